"""The drawing of the three meanings: its pictures are what they are called."""

import numpy as np

from deconvlib import deconvnet, figures, networks
from deconvlib.experiments import meanings


def test_each_picture_is_computed():
    model = networks.classifier((32, 32, 3), 3, filters=(4, 8, 8))
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pictures = [
        np.asarray(ax.images[0].get_array()) for ax in meanings.figure(model, image, "conv3", "pool1").axes if ax.images
    ]
    values, one, two, whole, shown, unit, maxima, projection, grey, before, after, decorrelated = pictures

    assert one[2:6, 2:6].tolist() == (values[1, 1] * np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 9).astype(np.float32).tolist()
    assert np.count_nonzero(one) == 16 and np.count_nonzero(two) == 24  # eight places are reached by both copies
    assert whole.sum() == np.float32(values.sum() * 64 / 9) and whole[0, 0] == np.float32(values[0, 0] / 9)

    assert np.array_equal(shown, image / np.float32(255)) and np.count_nonzero(unit) == 1
    channel = int(deconvnet.strongest(model, image[None], "conv3", k=1).activation[:, 0].argmax())
    expected = deconvnet.project(model, image[None], "conv3", channel)[0]
    assert np.allclose(projection, figures.to_display(expected), atol=1e-5)
    assert maxima.shape == (32, 32) and np.count_nonzero(maxima) <= 256

    assert np.allclose(grey, image.mean(axis=-1) / 255, atol=1e-6)
    assert before.shape == (9, 9) and np.allclose(after, np.eye(9), atol=0.05)  # noise: five iterations suffice
    assert decorrelated.shape == (30, 30)


def test_decorrelation_takes_out_what_neighbours_share():
    model = networks.classifier((32, 32, 3), 3, filters=(4, 8, 8))
    noise = np.random.default_rng(0).random((32, 34, 3)).astype(np.float32)
    smooth = (noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]) / 3  # neighbours in a row share two of three: correlation 2/3
    pictures = [ax.images[0].get_array() for ax in meanings.figure(model, smooth, "conv3", "pool1").axes if ax.images]
    before, after = (np.asarray(matrix) / matrix[4, 4] for matrix in pictures[9:11])
    assert 0.6 < before[4, 5] < 0.75 and abs(after[4, 5]) < 0.2
