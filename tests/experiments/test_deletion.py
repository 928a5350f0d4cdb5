"""Deletion and insertion, on a network that looks at one pixel."""

import numpy as np
import pytest
import scipy.stats

from deconvlib.backend import keras
from deconvlib.deconvnet import activations
from deconvlib.experiments import deletion

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def one_pixel():
    """A network that looks at pixel (3, 5) alone, at 1 or at 0.5 : class 1 has e^6 / (1 + e^6) or 1 / 2."""
    dense = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), dense, keras.layers.Softmax()])
    kernel = np.zeros((8, 8, 2))
    kernel[3, 5] = 0, 12
    dense.set_weights([kernel.reshape(64, 2), np.array([0, -6.0])])
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, :4], image[0, 3, 5] = 1, 1  # half the pixels, so that the mean is 0.5
    return model, image


@pytest.mark.parametrize(("rank", "fall"), [(0, 1), (20, 21), (63, 64)])
def test_the_curve_falls_where_the_pixel_that_counts_is_deleted(one_pixel, rank, fall):
    model, image = one_pixel
    order = -np.arange(64.0)
    order[[3 * 8 + 5, rank]] = order[[rank, 3 * 8 + 5]]
    curve = deletion.deletion(model, image, order.reshape(1, 8, 8), np.array([1]), steps=64)
    high = np.exp(6) / (1 + np.exp(6))
    np.testing.assert_allclose(curve.share, np.arange(65) / 64)
    np.testing.assert_allclose(curve.probability[0], [high] * fall + [0.5] * (65 - fall), atol=1e-6)
    np.testing.assert_allclose(curve.auc, (high * (fall - 0.5) + 0.5 * (64 - fall + 0.5)) / 64, atol=1e-6)


def test_the_curve_rises_where_the_pixel_that_counts_comes_back(one_pixel):
    best = np.zeros((1, 8, 8))
    best[0, 3, 5] = 1
    curve = deletion.insertion(one_pixel[0], best[..., None], best, np.array([1]), steps=16)
    begin, *after = curve.probability[0]
    assert begin < 0.1  # blurred by a pixel, of 1 there remains about 1 / 2π
    np.testing.assert_allclose(after, np.exp(6) / (1 + np.exp(6)), atol=1e-6)


def test_curves_do_not_depend_on_the_batches(network, monkeypatch):
    maps, classes = RNG.random((5, 16, 16)), np.arange(5) % 4
    whole = deletion.deletion(network, IMAGES, maps, classes, steps=7)
    monkeypatch.setattr(activations, "BATCH", 3)
    parts = deletion.deletion(network, IMAGES, maps, classes, steps=7)
    np.testing.assert_allclose(parts.probability, whole.probability, atol=1e-6)
    expected = network.predict(IMAGES / np.float32(255), verbose=0)[np.arange(5), classes]
    np.testing.assert_allclose(whole.probability[:, 0], expected, atol=1e-6)


def test_equals_are_deleted_in_random_order(one_pixel):
    model, image = one_pixel
    flat = np.ones((40, 8, 8))
    found = deletion.deletion(model, image.repeat(40, axis=0), flat, np.ones(40, int), steps=64)
    fell = (found.probability > 0.75).sum(axis=1)  # uniform on 1 to 64: mean 32.5, of 40 with an s.d. of 2.9
    assert abs(fell.mean() - 32.5) < 9 and len(set(fell)) > 10


def test_a_curve_is_the_mean_over_the_images_and_its_band_the_t_interval(drawn):
    curve = deletion.Curve(np.array([0, 0.5, 1]), RNG.random((4, 3)), RNG.random(4))
    fig = drawn(deletion.figure({"random": curve}, {"random": curve}))
    for ax in fig.axes:
        np.testing.assert_allclose(ax.lines[0].get_ydata(), curve.probability.mean(axis=0))
        low, high = scipy.stats.t.interval(0.95, 3, curve.probability.mean(axis=0), scipy.stats.sem(curve.probability))
        edge = ax.collections[0].get_paths()[0].vertices
        np.testing.assert_allclose([edge[:, 1].min(), edge[:, 1].max()], [low.min(), high.max()])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: deletion.deletion(m, IMAGES, np.zeros((5, 8, 8)), np.zeros(5, int)), r"maps must be \(5, 16, 16\)"),
        (lambda m: deletion.deletion(m, IMAGES, np.zeros((5, 16, 16, 3)), np.zeros(5, int)), "with saliency.measure"),
        (lambda m: deletion.insertion(m, IMAGES, np.full((5, 16, 16), np.nan), np.zeros(5, int)), "map 0 holds NaN"),
        (lambda m: deletion.deletion(m, IMAGES, np.zeros((5, 16, 16)), np.full(5, 4)), "label 4 of image 0 is not a class"),
        (lambda m: deletion.deletion(m, IMAGES, np.zeros((5, 16, 16)), np.zeros(5, int), steps=0), "steps must be from 1"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network)


def test_refuses_a_network_without_a_softmax(one_pixel):
    logits = keras.Model(one_pixel[0].inputs, one_pixel[0].layers[-1].input)
    with pytest.raises(ValueError, match="end it in a softmax"):
        deletion.deletion(logits, one_pixel[1], np.zeros((1, 8, 8)), np.array([1]))


def test_the_most_salient_pixels_change_first():
    begin, end = np.zeros((1, 2, 2, 1)), np.ones((1, 2, 2, 1))
    values = np.array([[[0.1, 0.9], [0.5, 0.2]]])
    assert deletion.changed(begin, end, values, 0.5)[0, ..., 0].tolist() == [[0, 1], [1, 0]]
    assert deletion.plain(np.array([[[[0.0], [1.0]]]])).ravel().tolist() == [0.5, 0.5]


def test_steps_show_the_image_its_map_and_both_ways(drawn):
    image = np.zeros((4, 4, 3), np.uint8)
    fig = drawn(deletion.steps(image, np.random.default_rng(0).random((2, 4, 4, 3)), np.eye(4), ["a", "b", "c"]))
    assert [ax.get_title() for ax in fig.axes] == ["a", "map: darkest first", "b", "c"]
