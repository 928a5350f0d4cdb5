"""The network of an earlier notebook, where it fits, and a small one where not."""

import dataclasses

import numpy as np
import pytest
from small import small

from deconvlib import training


@pytest.fixture
def few(digits):
    return digits.take(60, 20, seed=0)


def test_the_network_that_is_there_is_taken(few, tmp_path, capsys):
    left = small(few)
    left.save(tmp_path / "classifier.keras")
    found = training.network_of(tmp_path, few, "04_deconvolution")
    assert all(map(np.array_equal, found.get_weights(), left.get_weights()))
    assert capsys.readouterr().out == f"the network that notebook 03 left in {tmp_path}\n"


@pytest.mark.parametrize("other", ["nothing", "classes", "images"])
def test_where_none_fits_a_small_one_is_trained_and_it_says_so(other, few, tmp_path, capsys):
    if other != "nothing":
        images = few.x_test[:, :7] if other == "images" else few.x_test
        names = few.class_names[:9] if other == "classes" else few.class_names
        kept = few.y_test < len(names)
        small(
            dataclasses.replace(
                few,
                x_test=images[kept],
                x_train=images[kept],
                y_train=few.y_test[kept],
                y_test=few.y_test[kept],
                class_names=names,
            )
        ).save(tmp_path / "classifier.keras")
    model = training.network_of(tmp_path, few, "04_deconvolution")
    assert model.input_shape[1:] == few.image_shape and model.output_shape[-1] == few.num_classes
    assert capsys.readouterr().out == f"no network for digits in {tmp_path}: training a small one\n"
    assert (tmp_path / "04_deconvolution" / "backup").exists(), "a kill would cost the training"
