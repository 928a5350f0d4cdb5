"""Panels in which an image is altered, moved as in a browser."""

import numpy as np
import pytest
from moving import moves

from deconvlib import data, networks
from deconvlib.experiments import invariance
from deconvlib.lab import altering


@pytest.fixture(scope="module")
def classifier():
    dataset = data.load("shapes").take(train=1, test=4)
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(4,), dense_units=0), dataset


def test_an_image_is_moved(classifier):
    model, dataset = classifier
    numbers = np.array([3, 1])
    table = invariance.measure(model, dataset.x_test[numbers], dataset.y_test[numbers], ["conv1"])
    panel = altering.move(model, dataset, numbers, table)
    assert panel.controls["example"].max == 1 and panel.values["down"] == 0
    moves(panel, example=1, down=3, scale=1.4, rotation=90)


def test_a_square_hides_a_part(classifier):
    model, dataset = classifier
    panel = altering.hide(model, dataset, np.arange(3), "conv1", size=8, stride=8, fill="gray")
    assert panel.values == {"example": 0, "size": 8, "stride": 8, "fill": "gray"}
    moves(panel, example=2, size=12, stride=6, fill="mean")


def test_pixels_are_deleted(classifier):
    model, dataset = classifier
    maps = {name: np.random.default_rng(seed).random((2, 32, 32)) for seed, name in enumerate("ab")}
    moves(altering.delete(model, dataset, np.array([2, 0]), maps), example=1, method="b", share=70)
