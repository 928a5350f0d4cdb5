"""Invariance, on networks whose answers are known by construction."""

import numpy as np
import pandas as pd
import pytest

from deconvlib.backend import keras
from deconvlib.experiments import invariance

RNG = np.random.default_rng(0)
IMAGES = np.zeros((2, 12, 12, 3), np.uint8)
MOVED = pd.DataFrame(
    [
        (kind, amount, image, layer, 1.0, 0.5, 0.9)
        for kind in ("scale", "rotation")
        for amount in (1, 2)
        for image in (0, 1)
        for layer in ("conv1", "dense1")
    ],
    columns=["transformation", "amount", "image", "layer", "distance", "relative", "probability"],
)


@pytest.fixture(scope="module")
def invariant():
    """Looks for bright patches anywhere: its maximum over the image does not know where they are."""
    images = keras.Input((24, 24, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="maps")(images)
    x = keras.layers.GlobalMaxPooling2D(name="maximum")(x)
    return keras.Model(images, keras.layers.Dense(3, activation="softmax", name="softmax")(x))


def test_a_translation_invariant_network_has_a_flat_curve(invariant):
    images = np.zeros((2, 24, 24, 1), np.float32)
    images[0, 9:14, 8:15] = RNG.random((5, 7, 1))
    images[1, 10:15, 10:13] = 1
    moves = np.arange(-6, 7)
    table = invariance.measure(invariant, images, [0, 2], ["maps", "maximum"], translation=moves, scale=(), rotation=())
    assert len(table) == 13 * 2 * 2 and (table["transformation"] == "translation").all()
    flat = table[table["layer"] == "maximum"]
    np.testing.assert_allclose(flat["distance"], 0, atol=1e-6)
    expected = invariant.predict(images, verbose=0)[[0, 1], [0, 2]]
    for image, probability in enumerate(expected):
        np.testing.assert_allclose(table.loc[table["image"] == image, "probability"], probability, rtol=1e-5)
    moved = table[(table["layer"] == "maps") & (table["amount"] != 0)]
    assert (moved["distance"] > 0.1).all() and (moved["relative"] > 0.1).all()


def test_nothing_changes_where_nothing_is_done(small):
    images = RNG.random((2, 12, 12, 3), np.float32)
    table = invariance.measure(small, images, [0, 1], ["conv1", "pooled"], translation=[0], scale=[1], rotation=[0, 360])
    np.testing.assert_allclose(table["distance"], 0, atol=1e-5)
    assert set(invariance.measure(small, images, [0, 1], ["conv1"])["transformation"].value_counts()) == {
        34,
        72,
        14,
    }


def test_distances_are_euclidean_and_relative_to_the_original(small):
    images = RNG.random((1, 12, 12, 3), np.float32)
    table = invariance.measure(small, images, [3], ["conv2"], translation=[2], scale=(), rotation=())
    read = keras.Model(small.inputs, small.get_layer("conv2").output)
    moved = np.concatenate([images[:, 1::-1], images[:, :-2]], axis=1)  # mirrored at the border
    before, after = (read.predict(pixels, verbose=0) for pixels in (images, moved))
    expected = np.linalg.norm(after - before)
    np.testing.assert_allclose(
        table.loc[0, ["distance", "relative"]].to_numpy(float), [expected, expected / np.linalg.norm(before)], rtol=1e-4
    )


def test_transformations_go_where_they_say():
    image = RNG.random((9, 9, 2)).astype(np.float32)
    down = invariance.transformed(image, "translation", 3)
    np.testing.assert_allclose(down[3:], image[:-3], atol=1e-6)
    turned = invariance.transformed(image, "rotation", 90)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-5)  # counterclockwise
    twice = invariance.transformed(image, "scale", 2)
    np.testing.assert_allclose(twice[::2, ::2], image[2:7, 2:7], atol=1e-6)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: invariance.figure(MOVED, ["cat", "dog"]),
        lambda: invariance.moved(RNG.random((2, 8, 8, 3)), ["a", "b"], MOVED, {"rotation": 30, "scale": 1.2}),
    ],
)
def test_every_figure_can_be_drawn(draw, drawn):
    drawn(draw())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: invariance.measure(m, IMAGES, [0, 1], ["conv1"], scale=[0.0]), "scale 0 leaves no image"),
        (lambda m: invariance.measure(m, IMAGES, [0, 1], ["conv1"], rotation=[np.inf]), "NaN or infinite"),
        (lambda m: invariance.measure(m, IMAGES, [0, 1], ["conv9"]), "'conv9' is not in this model"),
    ],
)
def test_refuses(small, call, said):
    with pytest.raises(ValueError, match=said):
        call(small)
