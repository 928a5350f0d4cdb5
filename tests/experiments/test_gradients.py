"""Gradient × input, integrated gradients and SmoothGrad, against numbers worked out by hand and on networks."""

import numpy as np
import pytest

from deconvlib import deconvnet, networks, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import projection
from deconvlib.experiments import gradients, targets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
CLASSES = np.arange(5) % 4


@pytest.fixture
def two_layers():
    """Of one pixel (a, b): h = max(a + b - 1, 0), and two scores, 3 h and -h."""
    image = keras.Input((1, 1, 2))
    hidden = keras.layers.Dense(1, activation="relu", name="hidden")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", name="classes")(hidden))
    model.set_weights([np.ones((2, 1)), np.array([-1.0]), np.array([[3.0, -1]]), np.zeros(2)])
    return model


ONE = np.array([[[[1, 0.5]]]], np.float32)  # h = 0.5


def test_by_hand(two_layers):
    classes = targets.of_classes(two_layers, ONE, np.array([[0], [1]]))
    found = gradients.gradient_times_input(two_layers, ONE, classes)
    np.testing.assert_allclose(found[:, 0, 0, 0], [[3, 1.5], [-1, -0.5]])
    # h rises on the last third of the way from black, of which one of three steps has the middle
    found = gradients.integrated_gradients(two_layers, ONE, classes, steps=3)
    np.testing.assert_allclose(found.maps[:, 0, 0, 0], [[1, 0.5], [-1 / 3, -1 / 6]], rtol=1e-6)
    np.testing.assert_allclose(found.change[:, 0], [1.5, -0.5])
    np.testing.assert_allclose(found.gap[:, 0], 0, atol=1e-6)
    found = gradients.integrated_gradients(two_layers, ONE, classes, steps=2)
    np.testing.assert_allclose(found.gap[:, 0], [0.75, -0.25])  # one of two


def test_a_hidden_unit_by_hand(two_layers):
    unit = targets.of_channels(two_layers, ONE, "hidden", 0)
    found = gradients.integrated_gradients(two_layers, ONE, unit, steps=3)
    np.testing.assert_allclose(found.maps[0, 0, 0], [1 / 3, 1 / 6], rtol=1e-6)
    np.testing.assert_allclose(found.change, [0.5])
    np.testing.assert_allclose(gradients.gradient_times_input(two_layers, ONE, unit)[0, 0, 0], [1, 0.5])


def test_from_a_baseline_by_hand(two_layers):
    unit = targets.of_channels(two_layers, ONE, "hidden", 0)
    baseline = np.array([[[1, 0]]], np.float32)  # from which h rises all the way, by the second number alone
    for given in (baseline, baseline[None]):
        found = gradients.integrated_gradients(two_layers, ONE, unit, given)
        np.testing.assert_allclose(found.maps[0, 0, 0], [0, 0.5])


def score(network, images, classes):
    logits = keras.Model(network.input, network.get_layer("logits").output).predict(images, verbose=0)
    return logits[np.arange(len(images)), classes]


def smooth(activation):
    """Without a rectifier, as EfficientNetV2 and ConvNeXt are."""
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, activation=activation, name="low")(images)
    x = keras.layers.Conv2D(8, 3, strides=2, activation=activation, name="high")(x)
    x = keras.layers.Dense(4, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(images, keras.layers.Softmax()(x))
    model.set_weights([RNG.normal(scale=0.4, size=weight.shape) for weight in model.get_weights()])
    return model


def recommended():
    """Untrained, with biases and statistics as after a training: of 64 steps the gap is 1.7 % of the change."""
    model, rng = networks.classifier((16, 16, 3), 4, convolutions=2, normalization="batch"), np.random.default_rng(0)
    ranges = {"bias": (-0.1, 0.1), "beta": (-0.5, 0.5), "gamma": (-0.5, 1.5)}
    ranges |= {"moving_mean": (-0.5, 0.5), "moving_variance": (0.5, 2.0)}
    for weight in model.weights:
        if weight.name in ranges:
            weight.assign(rng.uniform(*ranges[weight.name], weight.shape))
    return model


@pytest.mark.parametrize("kind", ["relu", "recommended", "gelu", "silu"])
def test_integrated_gradients_are_complete_at_the_default_steps(network, kind):
    model = {"relu": lambda: network, "recommended": recommended}.get(kind, lambda: smooth(kind))()
    images = IMAGES / np.float32(255)
    target = targets.of_classes(model, images, CLASSES)
    found = gradients.integrated_gradients(model, images, target)
    expected = score(model, images, CLASSES) - score(model, 0 * images, CLASSES)
    np.testing.assert_allclose(found.change, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2, 3)) - found.change, found.gap, atol=1e-5)
    assert np.linalg.norm(found.gap) <= 0.01 * np.linalg.norm(expected)
    if kind == "recommended":  # where fewer steps would not do
        few = gradients.integrated_gradients(model, images, target, steps=64)
        assert np.linalg.norm(few.gap) > 0.01 * np.linalg.norm(expected)


def test_only_units_that_need_them_have_more_steps(two_layers, monkeypatch):
    """h rises from 2/3 of the way on, between two of three steps, whose middles are exact; in another image from 1/4 on."""
    images = np.concatenate([ONE, [[[[2.0, 2.0]]]]]).astype(np.float32)
    asked, total = [], gradients._sum

    def counting(model, images, target, rule, versions, count, what):
        asked.append((count, target.units.image.tolist()))
        return total(model, images, target, rule, versions, count, what)

    monkeypatch.setattr(gradients, "_sum", counting)
    monkeypatch.setattr(gradients, "_graded", lambda: np.arange(4) / 3)
    unit = targets.of_channels(two_layers, images, "hidden", 0)
    found = gradients.integrated_gradients(two_layers, images, unit)
    assert asked == [(1, [0, 1]), (1, [0, 1]), (3, [0, 1]), (6, [1]), (18, [1])]
    for index, steps in enumerate((3, 27)):
        alone = gradients.integrated_gradients(two_layers, images, unit, steps=steps)
        np.testing.assert_allclose(found.maps[index], alone.maps[index], rtol=1e-5)
        np.testing.assert_allclose(found.gap[index], alone.gap[index], atol=1e-5)
    few = gradients.integrated_gradients(two_layers, images, unit, steps=3)
    assert abs(few.gap[0]) < 1e-6 and few.gap[1] == pytest.approx(-1 / 3, abs=1e-5)  # it adds up to 2/3 of 4, not to 3/4


def test_the_first_step_is_divided_where_a_score_may_rise_at_once():
    """A score of 1 from a thousandth of the way on: of 64 equal steps no middle sees it rise."""
    rise, most = keras.layers.Dense(1, activation="relu", name="rise"), keras.layers.ReLU(max_value=1.0, name="score")
    model = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten(), rise, most, keras.layers.Dense(1, name="same")])
    model.set_weights([np.array([[1000.0]]), np.zeros(1), np.ones((1, 1)), np.zeros(1)])
    image, nothing = np.ones((1, 1, 1, 1), np.float32), np.zeros(1, int)
    unit = targets.Target("same", deconvnet.Units(*[nothing] * 5))
    assert gradients.integrated_gradients(model, image, unit, steps=64).gap == pytest.approx(-1)
    found = gradients.integrated_gradients(model, image, unit)
    assert found.change == pytest.approx(1) and abs(found.gap[0]) < 0.04
    edges = gradients._graded()
    assert edges[[0, 1, 9, -1]].tolist() == [0, 2**-14, 2**-6, 1] and (np.diff(edges) > 0).all() and len(edges) == 1 + 72


@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_smoothgrad_without_noise_is_the_projection(network, rule):
    target = targets.of_channels(network, IMAGES, "relu2", 3)
    units = targets.Target("relu2", target.units[target.units.activation > 0])
    expected = gradients.projected(network, IMAGES, units, rule)
    found = gradients.smoothgrad(network, IMAGES, units, rule, samples=2, noise=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * abs(expected).max())
    assert not np.allclose(gradients.smoothgrad(network, IMAGES, units, rule, samples=2), expected)
    whole = deconvnet.project(network, IMAGES[units.units.image], "relu2", 3, rule, signal=1.0)
    np.testing.assert_allclose(expected, whole, atol=1e-5 * abs(whole).max())


def test_units_of_any_shape_in_any_batch_give_the_same(network, monkeypatch):
    two = np.stack([CLASSES, CLASSES[::-1]])
    together = gradients.smoothgrad(network, IMAGES, targets.of_classes(network, IMAGES, two), samples=3)
    assert together.shape == (2, 5, 16, 16, 3)
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    monkeypatch.setattr(projection, "MEMORY", 1)  # one unit a batch
    told = []
    with progress.to(lambda *step: told.append(step)):
        for one, classes in zip(together, two, strict=True):
            alone = gradients.smoothgrad(copy, IMAGES, targets.of_classes(copy, IMAGES, classes), samples=3)
            np.testing.assert_allclose(alone, one, atol=1e-5 * abs(one).max())
    assert told[-1] == ("SmoothGrad of softmax", 14, 15) and len(told) == 30


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, t: gradients.integrated_gradients(m, IMAGES, t, np.zeros((8, 8, 3))), r"baseline must be \(16, 16, 3\), or"),
        (lambda m, t: gradients.integrated_gradients(m, IMAGES, t, np.zeros((4, 16, 16, 3))), "baseline must be"),
        (lambda m, t: gradients.integrated_gradients(m, IMAGES, t, steps=0), "steps must be a whole number of 1 or more"),
        (lambda m, t: gradients.smoothgrad(m, IMAGES, t, samples=0), "samples must be a whole number of 1 or more"),
        (lambda m, t: gradients.smoothgrad(m, IMAGES, t, noise=-1), "noise must be 0 or more"),
        (lambda m, t: gradients.smoothgrad(m, IMAGES, t, "guide"), "did you mean 'guided'"),
        (lambda m, t: gradients.projected(m, IMAGES[:4], t), "image 4 is not given; its images are 0 to 3"),
        (lambda m, t: gradients.projected(m, IMAGES[0], t), "of one image give image\\[None\\]"),
        (lambda m, t: gradients.projected(m, IMAGES, t._replace(layer="relu9")), "'relu9' is not in this model"),
        (lambda m, t: gradients.projected(m, IMAGES, CLASSES), "must be made by targets.of_classes or .*; it is a ndarray"),
        (lambda m, t: gradients.projected(m, IMAGES, t._replace(units=t.units[:0])), "no units"),
        (lambda m, t: gradients.projected(smooth("gelu"), IMAGES, t._replace(layer="logits"), "guided"), "not defined"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network, targets.of_classes(network, IMAGES, CLASSES))
