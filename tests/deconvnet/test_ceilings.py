"""Rectifiers with a ceiling, on a network small enough to do by hand: two 1 × 1 convolutions, each with a ReLU6.

Of a pixel p the first is given 2 p, the second 3 times what the first answers.
"""

import warnings
from unittest import mock

import numpy as np
import pytest

from deconvlib import deconvnet, networks
from deconvlib.backend import keras

PIXELS = np.array([[1.0, 2, 4, 0], [-1, -2, -3, -4]]).reshape(2, 1, 4, 1).astype(np.float32)
# by hand, of the first image: 2, 4, 8, 0 and 2, 4, 6, 0 below; 6, 12, 18, 0 and 6, 6, 6, 0 above; the second image is silent


def by_layers(x, weights):
    for name, weight in weights.items():
        x = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=constant(weight), name=f"{name}_conv")(x)
        x = keras.layers.ReLU(6, name=name)(x)
    return x


def by_functions(x, weights):
    for name, weight in weights.items():
        x = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=constant(weight), name=f"{name}_conv")(x)
        x = keras.layers.Activation("relu6", name=name)(x)
    return x


def fused(x, weights):
    for name, weight in weights.items():
        x = keras.layers.Conv2D(
            1, 1, use_bias=False, kernel_initializer=constant(weight), activation="relu6", name=name
        )(x)  # fmt: skip
    return x


def constant(weight):
    return keras.initializers.Constant(weight)


def network(form=by_layers, low=2.0, high=3.0):
    images = keras.Input((1, 4, 1))
    return keras.Model(images, form(images, {"low": low, "high": high}))


@pytest.mark.parametrize("form", [by_layers, by_functions, fused])
def test_units_are_ranked_by_what_they_would_answer_without_the_ceiling(form):
    model = network(form)
    assert model.predict(PIXELS, verbose=0)[0].ravel().tolist() == [6, 6, 6, 0]  # three of them in the first place
    units = deconvnet.strongest(model, PIXELS, "high", k=2)
    assert (units.image.tolist(), units.column.tolist(), units.activation.tolist()) == ([[0, 1]], [[2, 0]], [[18, 0]])
    assert deconvnet.strongest(model, PIXELS, "low", k=1).activation.tolist() == [[8]]
    below = deconvnet.strongest(model, PIXELS, "high_conv" if form != fused else "high", k=1)
    assert below.activation.tolist() == [[18]], "what is above it does not change a layer"


def together(number):
    return mock.patch.object(deconvnet.projection._Engine, "together", lambda *_: number)


@pytest.mark.parametrize("form", [by_layers, by_functions, fused])
@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_a_projection_starts_without_the_ceiling_and_passes_one_below_as_its_rule_says(rule, form):
    """18 · 3 · 2 at the third pixel, whose unit below is at its ceiling; 12 · 3 · 2 at the second, whose is not."""
    model = network(form)
    units = deconvnet.Units(*np.array([[0, 0], [0, 0], [1, 2], [0, 0], [12, 18]]))
    third = 0 if rule == "gradient" else 108
    for number in (0, 2):
        with together(number), warnings.catch_warnings():
            warnings.simplefilter("ignore" if rule == "gradient" else "error", UserWarning)
            patches = deconvnet.project_units(model, PIXELS, "high", units, rule)
        assert patches.projections.ravel().tolist() == [72, third]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if rule == "gradient" else "error", UserWarning)
        assert deconvnet.project(model, PIXELS, "high", 0, rule)[0].ravel().tolist() == [0, 0, third, 0]
        whole = deconvnet.project(model, PIXELS, "high", 0, rule, whole_map=True)
        assert whole[0].ravel().tolist() == [36, 72, third, 0] and not whole[1].any()
        assert deconvnet.project(model, PIXELS, "low", 0, rule)[0].ravel().tolist() == [0, 0, 16, 0], rule


def test_what_brings_nothing_to_the_pixels_says_why():
    units = deconvnet.Units(*np.array([[0, 0], [0, 0], [1, 2], [0, 0], [12, 18]]))
    said = r"^rule 'gradient' brings nothing to the pixels from 1 of 2 units of layer 'high': .*silent, or at its ceiling$"
    with pytest.warns(UserWarning, match=said):
        deconvnet.project_units(network(), PIXELS, "high", units, "gradient")
    with pytest.warns(UserWarning, match="from 1 of 2 units of layer 'high'"):  # the second image's unit is silent
        deconvnet.project(network(), PIXELS, "high", 0, "gradient")
    images = keras.Input((1, 4, 1))
    x = keras.layers.ReLU(6, name="low")(images)
    x = keras.layers.Conv2D(1, 1, kernel_initializer=constant(-1), bias_initializer=constant(9), name="high")(x)
    for rule in ("deconvnet", "guided"):
        with pytest.warns(UserWarning, match=f"^rule '{rule}' .* from 2 of 2 units .* finds no positive signal"):
            deconvnet.project(keras.Model(images, x), PIXELS, "high", 0, rule)


def test_a_silent_unit_has_nothing_to_project_and_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for rule in deconvnet.RULES:
            assert not deconvnet.project(network(), PIXELS[1:], "high", 0, rule).any()


def test_coverage_says_where_the_ceiling_is_left_out():
    without = ", without the ceiling of 6"
    told = {rule: deconvnet.coverage(network(), "high", rule)["backward"].tolist() for rule in deconvnet.RULES}
    assert told == {
        "deconvnet": [f"max(g, 0){ceiling}; no switches on the way: alike for every image" for ceiling in ("", without)],
        "guided": ["max(g, 0) · [x > 0]", "max(g, 0) · [x > 0], without the ceiling of 6"],
        "gradient": ["g · [0 < x < 6]", "g · [x > 0], without the ceiling of 6"],
    }


def test_a_slope_stays_where_the_ceiling_goes():
    images = keras.Input((1, 4, 1))
    model = keras.Model(images, keras.layers.ReLU(3, negative_slope=0.5, name="leaky")(images))
    units = deconvnet.strongest(model, PIXELS, "leaky", k=2)
    assert units.activation.tolist() == [[4, -0.5]]
    assert deconvnet.project(model, PIXELS, "leaky", 0, "gradient").reshape(2, 4).tolist() == [[0, 0, 4, 0], [-0.25, 0, 0, 0]]


def test_no_projection_of_efficientnet_lite_is_zero_without_a_word():
    model = networks.load("EfficientNetLite0", weights="imagenet")
    images = np.random.default_rng(0).integers(0, 256, (2, 7, 7, 3), np.uint8).repeat(32, axis=1).repeat(32, axis=2)
    units = deconvnet.strongest(model, images, "b2_expand_relu", k=1)
    units = units[np.argsort(-units.activation[:, 0])[:40]]
    assert units.activation[10] > 6, "few are at the ceiling, and this tests little"
    for rule in deconvnet.RULES:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            patches = deconvnet.project_units(model, images, "b2_expand_relu", units, rule)
        zero = ~patches.projections.any(axis=(2, 3, 4)) & (units.activation > 0)
        assert zero.any() == any(f"from {zero.sum()} of 40 units" in str(one.message) for one in said)
