"""The projection against numbers written by hand, against the paper's chain written out, and against what must not change."""

import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from deconvlib import backend, deconvnet, networks
from deconvlib.backend import keras
from deconvlib.deconvnet import graph


def network(*layers, shape=(8, 8, 2)):
    return keras.Sequential([keras.Input(shape), *layers])


def convolution(filters, size, name, weights, activation="relu", **settings):
    """A convolution of known weights, (size, size, channels, filters), without bias."""
    layer = keras.layers.Conv2D(filters, size, activation=activation, use_bias=False, name=name, **settings)
    layer.build((None, None, None, weights.shape[2]))
    layer.set_weights([weights])
    return layer


@pytest.mark.parametrize(("rule", "by_hand"), [("deconvnet", 8), ("guided", 12), ("gradient", 4)])
def test_the_three_rules_differ_as_computed_by_hand(rule, by_hand):
    # conv1 at a pixel x > 0 gives relu(x, -x, 2x) = (x, 0, 2x), conv2 3x + 0 - 2x = x: strongest where x = 4.
    # Back from 4: the signal at conv1 is (12, 4, -4); rectified (12, 4, 0), masked (12, 0, -4), both (12, 0, 0);
    # and through the filters (1, -1, 2): 12 - 4 = 8, 12 - 8 = 4, 12.
    model = network(
        convolution(3, 1, "conv1", np.array([[[[1.0, -1.0, 2.0]]]])),
        convolution(1, 1, "conv2", np.array([[[[3.0], [1.0], [-1.0]]]])),
        shape=(2, 2, 1),
    )
    image = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    expected = np.array([[0, 0], [0, by_hand]]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(deconvnet.project(model, image, "conv2", 0, rule), expected)


def test_unpooling_puts_the_signal_where_the_maximum_was():
    # difference along the diagonal of a 4 × 4 map; its largest value, 2, is at row 1, column 1
    kernel = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1)
    model = network(convolution(1, 2, "conv1", kernel), keras.layers.MaxPooling2D(3, name="pool1"), shape=(4, 4, 1))
    image = np.array([[1, 2, 0, 1], [0, 3, 1, 2], [2, 0, 1, 0], [1, 1, 0, 4]], np.float32).reshape(1, 4, 4, 1)
    expected = np.zeros((1, 4, 4, 1))
    expected[0, 1, 1], expected[0, 2, 2] = 2, -2
    np.testing.assert_allclose(deconvnet.project(model, image, "pool1", 0), expected)


def chain(image, kernels, channel, rule):
    """Unpool, rectify, transposed filter, in loops: 3 × 3 convolutions, ReLU, 2 × 2 max pooling between them."""
    x, saved = image, []
    for index, kernel in enumerate(kernels):
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        y = np.zeros((*x.shape[:2], kernel.shape[-1]))
        for row, column in np.ndindex(y.shape[:2]):
            y[row, column] = np.tensordot(padded[row : row + 3, column : column + 3], kernel, 3)
        x = np.maximum(y, 0)
        switches = None
        if index < len(kernels) - 1:
            blocks = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).transpose(0, 2, 4, 1, 3).reshape(-1, 4)
            switches = np.eye(4)[blocks.argmax(1)]
            x = blocks.max(1).reshape(y.shape[0] // 2, y.shape[1] // 2, -1)
        saved.append((y, switches))
    signal = np.zeros_like(x)
    strongest = np.unravel_index(x[..., channel].argmax(), x.shape[:2])
    signal[strongest][channel] = x[strongest][channel]
    for kernel, (y, switches) in zip(reversed(kernels), reversed(saved), strict=True):
        if switches is not None:
            blocks = (switches * signal.reshape(-1, 1)).reshape(*signal.shape, 2, 2)
            signal = blocks.transpose(0, 3, 1, 4, 2).reshape(y.shape)
        if rule != "gradient":
            signal = np.maximum(signal, 0)
        if rule != "deconvnet":
            signal = signal * (y > 0)
        back = np.zeros((signal.shape[0] + 2, signal.shape[1] + 2, kernel.shape[2]))
        for row, column in np.ndindex(signal.shape[:2]):
            back[row : row + 3, column : column + 3] += kernel @ signal[row, column]
        signal = back[1:-1, 1:-1]
    return signal


@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_projection_is_the_papers_chain(rule):
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=(3, 3, *channels)).astype(np.float32) for channels in ((2, 4), (4, 5), (5, 3))]
    layers = [convolution(k.shape[-1], 3, f"conv{i}", k, padding="same") for i, k in enumerate(kernels, 1)]
    model = network(layers[0], keras.layers.MaxPooling2D(), layers[1], keras.layers.MaxPooling2D(), layers[2])
    images = rng.random((4, 8, 8, 2), dtype=np.float32)
    for channel in range(3):
        expected = np.stack([chain(image, kernels, channel, rule) for image in images])
        # float32 against float64: the largest difference measured over 100 such nets was 2e-6 of the largest value
        tolerance = 1e-5 * max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(deconvnet.project(model, images, "conv3", channel, rule), expected, atol=tolerance)


@pytest.mark.parametrize("decoder", ["none", "transposed", "unpooling"])
@pytest.mark.parametrize("normalization", networks.NORMALIZATIONS)
def test_gradient_rule_is_the_derivative(normalization, decoder):
    model = networks.classifier(
        (16, 16, 3), 4, filters=(6, 8), normalization=normalization, decoder=decoder, decoder_filters=(6,)
    )
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    logits = keras.Model(model.input, model.get_layer("logits").output)
    output, pull = backend.vjp(logits, keras.ops.convert_to_tensor(image))
    seed = keras.ops.one_hot([2], 4) * output  # seeded with the logit itself, from before the softmax
    expected = keras.ops.convert_to_numpy(pull(seed))
    projected = deconvnet.project(model, image, "softmax", 2, rule="gradient")
    np.testing.assert_allclose(projected, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_through_unpooling_the_signal_goes_by_the_switches():
    """Up and down again: from the place of the strongest unpooled value to the maximum that it came from."""
    image = np.array([[1, 2, 0, 0], [3, 4, 0, 5], [6, 0, 9, 8], [0, 7, 0, 1]], np.float32)[None, :, :, None]
    entry = keras.Input((4, 4, 1))
    maps = keras.layers.Conv2D(1, 1, use_bias=False, activation="relu", name="conv")(entry)
    unpooled = networks.upsampling.Unpooling2D(name="unpool")([2 * keras.layers.MaxPooling2D(name="pool")(maps), maps])
    model = keras.Model(entry, unpooled)
    model.get_layer("conv").set_weights([np.ones((1, 1, 1, 1))])
    expected = np.zeros_like(image)
    expected[0, 2, 2] = 2 * 18  # seeded with 2 · 9, and doubled on the way back
    for rule in deconvnet.RULES:
        np.testing.assert_allclose(deconvnet.project(model, image, "unpool", 0, rule), expected)
    assert deconvnet.coverage(model, "unpool")["layer"].tolist() == ["conv"]


def test_the_model_is_unchanged():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    weights, config, before = model.get_weights(), model.to_json(), model.predict(images, verbose=0)
    deconvnet.project(model, images, "conv2", 0)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert model.to_json() == config
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)
    assert model.get_layer("conv1").activation is keras.activations.relu


def test_what_was_compiled_goes_with_the_model():
    # in a process of its own, where no log or warning of another test can hold what is to go
    program = """
import gc, weakref
import numpy as np
from deconvlib import deconvnet, networks
model = networks.classifier((16, 16, 3), 4, filters=(6,))
deconvnet.project(model, np.zeros((1, 16, 16, 3)), "conv1", 0)
gone = weakref.ref(model)
del model
gc.collect()
assert gone() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_units_are_projected_one_by_one_and_cropped_to_what_they_see():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    units = deconvnet.strongest(model, images, ["conv2"], k=3)["conv2"]
    patches, projections, *_ = deconvnet.project_units(model, images, "conv2", units)
    assert patches.shape == projections.shape == (8, 3, 8, 8, 3)
    for channel, rank in [(0, 0), (5, 2)]:
        whole = deconvnet.project(model, images[[units.image[channel, rank]]], "conv2", channel)[0]
        top = min(max(2 * units.row[channel, rank] - 3, 0), 8)
        left = min(max(2 * units.column[channel, rank] - 3, 0), 8)
        np.testing.assert_allclose(projections[channel, rank], whole[top : top + 8, left : left + 8], atol=1e-6)
        outside = whole.copy()
        outside[top : top + 8, left : left + 8] = 0
        assert not outside.any()  # nothing of the projection lies outside the receptive field
        pixels = images[units.image[channel, rank], top : top + 8, left : left + 8]
        np.testing.assert_array_equal(patches[channel, rank], pixels)


def test_maps_of_whole_images_are_cut_to_what_units_see():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    units = deconvnet.strongest(model, images, "conv2", k=3)
    expected = deconvnet.project_units(model, images, "conv2", units)
    whole = [deconvnet.project(model, images[units.image[c, [k]]], "conv2", c) for c, k in np.ndindex(8, 3)]
    found = deconvnet.projection.cut(model, images, "conv2", units, np.reshape(whole, (8, 3, 16, 16, 3)))
    for one, other in zip(found[:4], expected[:4], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert found.layer == "conv2" and found.units is units
    with pytest.raises(ValueError, match=r"maps must be \(8, 3, 16, 16\) and channels, .* not \(8, 3, 8, 8, 3\)"):
        deconvnet.projection.cut(model, images, "conv2", units, expected.projections)


def test_a_whole_map_is_the_sum_of_its_units():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    # of the gradient alone: rectifying a sum is not the sum of what is rectified
    whole = deconvnet.project(model, images, "conv2", 3, "gradient", whole_map=True)
    rows, columns = (index.ravel() for index in np.indices((8, 8)))
    units = deconvnet.Units(np.zeros(64, int), rows, columns, np.full(64, 3), np.zeros(64))
    patches, total = deconvnet.project_units(model, images, "conv2", units, "gradient"), np.zeros_like(whole[0])
    for projection, row, column in zip(patches.projections, patches.row, patches.column, strict=True):
        total[row : row + 8, column : column + 8] += projection
    np.testing.assert_allclose(whole[0], total, atol=1e-5 * np.abs(total).max())


def test_without_switches_the_signal_spreads_evenly_over_each_region():
    model = network(
        convolution(1, 1, "conv1", np.ones((1, 1, 1, 1))),
        keras.layers.MaxPooling2D(2, name="pool1"),
        convolution(1, 1, "conv2", np.ones((1, 1, 1, 1))),
        shape=(2, 2, 1),
    )
    image = np.array([[1, 2], [0, 8]], np.float32).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(deconvnet.project(model, image, "conv2", 0)[0, ..., 0], [[0, 0], [0, 8]])
    np.testing.assert_allclose(deconvnet.project(model, image, "conv2", 0, switches=False)[0, ..., 0], [[2, 2], [2, 2]])
    units = deconvnet.strongest(model, image, ["conv2"], k=1)["conv2"]
    spread = deconvnet.project_units(model, image, "conv2", units, switches=False)
    np.testing.assert_allclose(spread.projections.ravel(), 2)


def test_switches_are_the_places_of_the_maxima():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    maps, chosen = deconvnet.switches(model, images, "pool1")
    assert maps.shape == chosen.shape == (2, 16, 16, 6)
    blocks = [array.reshape(2, 8, 2, 8, 2, 6).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 4) for array in (maps, chosen)]
    assert (blocks[1].sum(axis=1) == 1).all()
    np.testing.assert_array_equal(blocks[0][blocks[1]], blocks[0].max(axis=1))
    with pytest.raises(ValueError, match="'conv1' is a Conv2D; only a MaxPooling2D has switches"):
        deconvnet.switches(model, images, "conv1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layer": "conv9"}, "'conv9' is not in this model; did you mean 'conv"),
        ({"channel": 6}, "channel 6 is not in layer 'conv1'; its channels are 0 to 5"),
        ({"channel": -1}, "channel -1"),
        ({"rule": "guide"}, "rule 'guide' is not known; did you mean 'guided'"),
        ({"images": np.zeros((1, 8, 8, 3))}, r"shape \(1, 8, 8, 3\) do not fit this model; it takes \(n, 16, 16, 3\)"),
        ({"images": np.zeros((0, 16, 16, 3))}, "at least 1"),
        ({"images": np.full((2, 16, 16, 3), np.nan)}, "image 0 holds NaN"),
        (
            {"images": np.full((2, 16, 16, 3), 200.0)},
            r"pixels lie in \[200, 200\]; this model rescales them itself and takes \[0, 1\]",
        ),
        (
            {"images": np.zeros((2, 16, 16, 3), int)},
            "images are int64; give pixels as uint8, or floats as the model takes them",
        ),
    ],
)
def test_refuses(arguments, said):
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    with pytest.raises(ValueError, match=said):
        deconvnet.project(**{"model": model, "images": np.zeros((1, 16, 16, 3)), "layer": "conv1", "channel": 0} | arguments)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image": [3]}, "image 3 is not given; its images are 0 to 2"),
        ({"row": [-1]}, "row -1 is not in layer 'conv2'; its rows are 0 to 7"),
        ({"column": [8]}, "column 8 is not in layer 'conv2'"),
        ({"channel": [8]}, "channel 8 is not in layer 'conv2'; its channels are 0 to 7"),
        ({"row": [0.5]}, "row must be whole numbers, not float64"),
    ],
)
def test_refuses_units_that_are_not_there(changed, said):
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    units = {name: np.array([0]) for name in ("image", "row", "column", "channel", "activation")} | {
        name: np.array(v) for name, v in changed.items()
    }
    with pytest.raises(ValueError, match=said):
        deconvnet.project_units(model, np.zeros((3, 16, 16, 3), np.uint8), "conv2", deconvnet.Units(**units))


def test_refuses_a_model_without_a_graph():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(TypeError, match="without a graph"):
        deconvnet.coverage(Own(), "conv1")


def test_a_unit_may_start_with_another_signal_than_its_activation():
    """Without a rectifier behind the unit its projection is linear in the signal, of either sign by the gradient rule."""
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    for layer in ("conv2", "softmax"):  # in windows, and from the whole image
        units = deconvnet.strongest(model, images, layer, k=2)
        values = units.activation
        if layer == "softmax":
            logits = keras.Model(model.input, model.get_layer("logits").output)(deconvnet.inputs.as_input(model, images))
            values = keras.ops.convert_to_numpy(logits)[units.image, units.channel]
        own, one, less = (
            deconvnet.project_units(model, images, layer, units, "gradient", signal=signal).projections
            for signal in (None, 1.0, -2.0)
        )
        scale = np.abs(one).max()
        np.testing.assert_allclose(own, one * values[..., None, None, None], atol=1e-5 * scale * np.abs(values).max())
        np.testing.assert_allclose(less, -2 * one, atol=1e-5 * scale)


@pytest.mark.parametrize("rule", deconvnet.RULES)
def test_both_doors_start_a_class_below_zero_alike(rule):
    """By the class score as it is, or by the signal that is given: with 1, where a gradient starts, another map."""
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    model.get_layer("logits").set_weights([model.get_layer("logits").get_weights()[0], np.full(4, -9.0)])
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    nothing = np.zeros(5, int)
    units = deconvnet.Units(np.arange(5), nothing, nothing, nothing + 2, nothing)
    found = {}
    for signal in (None, 1.0, -2.0):
        found[signal] = deconvnet.project(model, images, "softmax", 2, rule, signal=signal)
        patches = deconvnet.project_units(model, images, "softmax", units, rule, signal=signal)
        np.testing.assert_allclose(found[signal], patches.projections, atol=1e-6 * np.abs(found[signal]).max())
    own, one = (maps[0].ravel() / np.linalg.norm(maps[0]) for maps in (found[None], found[1.0]))
    # the score is negative: turned round by the gradient, and rectified by the others
    assert np.isclose(own @ one, -1) if rule == "gradient" else abs(own @ one) < 0.9


def test_weights_that_are_no_numbers_are_refused_by_name():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    kernel, bias = model.get_layer("conv2").get_weights()
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("conv2").set_weights([kernel, bias])
    image = np.full((1, 16, 16, 3), 200, np.uint8)
    unit = deconvnet.Units(*np.zeros((5, 1), int))
    for ask in (
        lambda: deconvnet.project(model, image, "conv2", 0),
        lambda: deconvnet.project_units(model, image, "conv2", unit),
        lambda: deconvnet.strongest(model, image, ["conv1", "conv2"], k=1),
    ):
        with pytest.raises(ValueError, match="layer 'conv2' has weights that are NaN or infinite"):
            ask()
    assert np.isfinite(deconvnet.project(model, image, "conv1", 0)).all()
    kernel, bias = model.get_layer("conv1").get_weights()
    model.get_layer("conv1").set_weights([np.full_like(kernel, np.nan), bias])
    with pytest.raises(ValueError, match="NaN or infini"):  # also where the plan was made before
        deconvnet.project_units(model, image, "conv1", unit, "gradient", signal=1.0)


def test_plans_are_made_once_and_anew_for_another_activation():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8))
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    unit = deconvnet.strongest(model, image, "conv2", k=1)[:1]
    with mock.patch.object(backend, "compiled", side_effect=backend.compiled) as compiled:
        first, again = (deconvnet.project_units(model, image, "conv2", unit).projections for _ in range(2))
        assert compiled.call_count == 1
        np.testing.assert_array_equal(first, again)
        model.get_layer("conv1").activation = keras.activations.tanh
        with pytest.raises(ValueError, match="'conv1' applies tanh"):
            deconvnet.project_units(model, image, "conv2", unit)


def test_what_is_kept_for_a_model_is_bounded():
    model = networks.classifier((16, 16, 3), 4, filters=(6,))
    made = []

    def make(model, number):
        made.append(number)
        return number

    for number in range(graph.KEPT + 1):
        graph.kept(make, model, number)
        graph.kept(make, model, 1)
    assert len(made) == graph.KEPT + 1  # what is used stays
    graph.kept(make, model, 0)
    assert made[-1] == 0 and len(made) == graph.KEPT + 2  # what was used least lately is gone


def test_a_sequential_model_that_has_grown_is_planned_anew():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, activation="relu", name="conv1")])
    images = np.random.default_rng(0).random((1, 8, 8, 1), dtype=np.float32)
    assert list(deconvnet.coverage(model, "conv1")["layer"]) == ["conv1"]
    deconvnet.project(model, images, "conv1", 0)
    model.pop()
    model.add(keras.layers.Conv2D(3, 5, activation="relu", name="conv1"))
    assert deconvnet.strongest(model, images, "conv1", k=1).channel.shape == (3, 1)
    assert deconvnet.project(model, images, "conv1", 2).shape == (1, 8, 8, 1)
