"""Linear probes, on layers whose features are known by construction."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import data
from deconvlib.backend import keras
from deconvlib.experiments import probes

RNG = np.random.default_rng(0)


def exclusive_or(count):
    """Uniform images, class 1 where either red or green is bright and not both."""
    bright = RNG.integers(0, 2, (count, 2))
    images = np.zeros((count, 6, 6, 3), np.uint8)
    images[..., :2] = 200 * bright[:, None, None] + RNG.integers(0, 50, (count, 6, 6, 2))
    return images, bright[:, 0] ^ bright[:, 1]


def test_a_probe_reads_what_is_linear_in_a_layer_and_only_that():
    dataset = data.Dataset("xor", *exclusive_or(200), *exclusive_or(100), ("same", "other"))
    model = pixelwise()
    model.set_weights([np.array([[1, -1], [-1, 1], [0, 0]], np.float32)[None, None], np.zeros(2, np.float32)])
    table = probes.measure(model, dataset, ["pixels", "conv1", "flat"], dimension=18).set_index("layer")
    assert table["features"].tolist() == [12, 18, 72]  # two by two cells of three, three by three of two, a whole vector
    assert table.loc["pixels", "test"] < 0.8 and table.loc["pixels", "train"] < 0.8
    assert table.loc["conv1", "test"] == table.loc["flat", "test"] == 1
    share = table.loc["pixels", "test"]
    np.testing.assert_allclose(table.loc["pixels", "error"], np.sqrt(share * (1 - share) / 100))


def pixelwise():
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Rescaling(1.0, name="pixels"),
            keras.layers.Conv2D(2, 1, activation="relu", name="conv1"),
            keras.layers.Flatten(name="flat"),
        ]
    )


@pytest.mark.parametrize("dimension", [12, 27, 36, 3])
def test_cells_are_means_of_what_they_cover(dimension):
    maps = RNG.random((2, 7, 6, 3)).astype(np.float32)
    cells = keras.ops.convert_to_numpy(probes._cells(keras.ops.convert_to_tensor(maps), dimension))
    side = int(np.sqrt(dimension / 3))
    assert cells.shape == (2, side, side, 3)
    edges = [[(int(np.floor(i * n / side)), int(np.ceil((i + 1) * n / side))) for i in range(side)] for n in (7, 6)]
    expected = [[maps[:, a:b, c:d].mean(axis=(1, 2)) for c, d in edges[1]] for a, b in edges[0]]
    np.testing.assert_allclose(cells, np.moveaxis(np.array(expected), 2, 0), rtol=1e-5)


def test_the_figure_has_the_test_accuracy_beside_the_training_accuracy(drawn):
    table = pd.DataFrame({"layer": ["conv1"], "features": [64], "train": [0.9], "test": [0.8], "error": [0.01]})
    fig = drawn(probes.figure(table))
    assert [bar.get_height() for bar in fig.axes[0].patches] == [0.9, 0.8]


def test_refuses():
    images, labels = exclusive_or(20)
    one = data.Dataset("one", images, np.zeros(20, int), images, labels, ("same", "other"))
    with pytest.raises(ValueError, match="images of one are of one class"):
        probes.measure(pixelwise(), one, ["conv1"])
    both = data.Dataset("xor", images, labels, images, labels, ("same", "other"))
    with pytest.raises(ValueError, match="dimension must be a whole number of 1 or more, not 0"):
        probes.measure(pixelwise(), both, ["conv1"], dimension=0)
    with pytest.raises(ValueError, match=r"images of shape \(20, 6, 6, 3\) do not fit"):
        probes.measure(keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(name="flat")]), both, ["flat"])
