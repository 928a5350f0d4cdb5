"""Gradients by depth: the initializer counts what a transposed convolution sums; the table holds each layer's norm."""

import numpy as np
import pytest

from deconvlib.backend import keras
from deconvlib.experiments import vanishing


def variance(layer):
    """Mean square of what it makes of independent values of variance 1, border left out."""
    maps = np.random.default_rng(0).normal(size=(8, 16, 16, 32)).astype(np.float32)
    return np.square(keras.ops.convert_to_numpy(layer(maps))[:, 4:-4, 4:-4]).mean()


def test_the_count_is_right_for_a_transposed_convolution():
    # each of 8 × 8 × 16 × 16 × 32 sums of 128 weights: the variance is known within about 2 %
    for strides, times in ((1, 1), (2, 1)):
        initial = vanishing.initializer(strides, seed=0)
        layer = keras.layers.Conv2DTranspose(32, 4, strides=strides, padding="same", kernel_initializer=initial)
        assert variance(layer) == pytest.approx(times, rel=0.1), strides
    keras_own = keras.layers.Conv2DTranspose(32, 4, strides=2, padding="same", kernel_initializer="glorot_uniform")
    assert variance(keras_own) == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("kind", vanishing.KINDS)
def test_networks_have_one_depth(kind):
    model = vanishing.network(kind, "tanh", (16, 16, 3), 4, depth=3, width=2)
    assert [f"layer{number}" in [layer.name for layer in model.layers] for number in range(1, 5)] == [True] * 3 + [False]
    assert model.output_shape == (None, 4)


def test_norms_are_those_of_each_layer_and_the_right_count_makes_them_larger():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 16, 16, 3), np.uint8), rng.integers(0, 4, 8)

    def build(kind, activation, seed):
        return vanishing.network(kind, activation, (16, 16, 3), 4, depth=2, width=4, seed=seed)

    table = vanishing.measure(build, images, labels, ["tanh"], (0, 1))
    assert len(table) == 5 * 2 * 2 and set(table["layer"]) == {1, 2} and (table["norm"] > 0).all()
    norms = table[table["layer"] == 1].pivot(index="seed", columns="network", values="norm")
    assert (norms["transposed"] > norms[vanishing.UNCORRECTED]).all()
