"""The projection against numbers written by hand, against the paper's chain written out, and against what must not change."""

import numpy as np
import pytest

from deconvlib import backend, deconvnet, exemplars, models
from deconvlib.backend import keras


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


@pytest.mark.parametrize("decoder", ["none", "transposed"])
@pytest.mark.parametrize("normalization", models.NORMALIZATIONS)
def test_gradient_rule_is_the_derivative(normalization, decoder):
    model = models.classifier(
        (16, 16, 3), 4, filters=(6, 8), normalization=normalization, decoder=decoder, decoder_filters=(4,)
    )
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    logits = keras.Model(model.input, model.get_layer("logits").output)
    output, pull = backend.vjp(logits, keras.ops.convert_to_tensor(image))
    seed = keras.ops.one_hot([2], 4) * output  # seeded with the logit itself, from before the softmax
    expected = keras.ops.convert_to_numpy(pull(seed))
    projected = deconvnet.project(model, image, "softmax", 2, rule="gradient")
    np.testing.assert_allclose(projected, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def fused():
    return [keras.layers.Conv2D(4, 3, activation="relu", name="a"), keras.layers.Conv2D(3, 3, name="b")]


def as_layer():
    return [keras.layers.Conv2D(4, 3, name="c"), keras.layers.ReLU(name="a"), keras.layers.Conv2D(3, 3, name="b")]


def as_activation():
    return [keras.layers.Conv2D(4, 3, name="c"), keras.layers.Activation("relu", name="a"), keras.layers.Conv2D(3, 3, name="b")]


def test_every_form_of_relu_gives_the_same_projection():
    images = np.random.default_rng(0).random((3, 8, 8, 2), dtype=np.float32)
    nets = [network(*layers()) for layers in (fused, as_layer, as_activation)]
    inner = network(*fused())
    nested = keras.Sequential([keras.Input((8, 8, 2)), inner])
    entry = keras.Input((8, 8, 2))
    convolve, last = keras.layers.Conv2D(4, 3), keras.layers.Conv2D(3, 3, name="b")
    functional = keras.Model(entry, last(keras.ops.relu(convolve(entry))))
    for net in [*nets, nested, functional]:
        net.set_weights(nets[0].get_weights())
    for rule in deconvnet.RULES:
        expected = deconvnet.project(nets[0], images, "b", 1, rule)
        for net in [*nets[1:], functional]:
            np.testing.assert_array_equal(deconvnet.project(net, images, "b", 1, rule), expected)
        np.testing.assert_array_equal(deconvnet.project(nested, images, f"{inner.name}/b", 1, rule), expected)
        assert not np.allclose(expected, 0)


def test_the_model_is_unchanged():
    model = models.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    weights, config, before = model.get_weights(), model.to_json(), model.predict(images, verbose=0)
    deconvnet.project(model, images, "conv2", 0)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert model.to_json() == config
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)
    assert model.get_layer("conv1").activation is keras.activations.relu


def test_units_are_projected_one_by_one_and_cropped_to_what_they_see():
    model = models.classifier((16, 16, 3), 4, filters=(6, 8))
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    units = exemplars.strongest(model, images, ["conv2"], k=3)["conv2"]
    patches, projections = deconvnet.project_units(model, images, "conv2", units)
    assert patches.shape == projections.shape == (8, 3, 8, 8, 3)
    for channel, rank in [(0, 0), (5, 2)]:
        whole = deconvnet.project(model, images[[units.image[channel, rank]]], "conv2", channel)[0]
        top = min(max(2 * units.row[channel, rank] - 3, 0), 8)
        left = min(max(2 * units.column[channel, rank] - 3, 0), 8)
        np.testing.assert_allclose(projections[channel, rank], whole[top : top + 8, left : left + 8], atol=1e-6)
        outside = whole.copy()
        outside[top : top + 8, left : left + 8] = 0
        assert not outside.any()  # nothing of the projection lies outside the receptive field
        pixels = images[units.image[channel, rank], top : top + 8, left : left + 8] / np.float32(255)
        np.testing.assert_allclose(patches[channel, rank], pixels, atol=1e-6)


def test_coverage_lists_every_nonlinearity_on_the_way():
    model = models.classifier((16, 16, 3), 4, filters=(6, 8), activation="tanh")
    table = deconvnet.coverage(model, "softmax")
    assert table["layer"].tolist() == ["conv1", "conv2", "dense1", "softmax"]
    assert table["function"].tolist() == ["tanh"] * 3 + ["softmax"]
    assert not table["covered"].any()
    assert deconvnet.coverage(models.classifier((16, 16, 3), 4, filters=(6, 8)), "conv2")["covered"].all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layer": "conv9"}, "'conv9' is not in this model; did you mean 'conv"),
        ({"channel": 6}, "channel 6 is not in layer 'conv1'; its channels are 0 to 5"),
        ({"channel": -1}, "channel -1"),
        ({"rule": "guide"}, "rule 'guide' is not one of 'deconvnet', 'guided', 'gradient'"),
        ({"images": np.zeros((1, 8, 8, 3))}, r"shape \(1, 8, 8, 3\) do not fit this model; it takes \(n, 16, 16, 3\)"),
        ({"images": np.zeros((0, 16, 16, 3))}, "at least 1"),
        ({"images": np.full((2, 16, 16, 3), np.nan)}, "image 0 holds NaN"),
    ],
)
def test_refuses(arguments, said):
    model = models.classifier((16, 16, 3), 4, filters=(6, 8))
    with pytest.raises(ValueError, match=said):
        deconvnet.project(**{"model": model, "images": np.zeros((1, 16, 16, 3)), "layer": "conv1", "channel": 0} | arguments)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu"])
def test_refuses_a_nonlinearity_without_a_rule_by_its_layers_name(activation):
    model = models.classifier((16, 16, 3), 4, filters=(6, 8), activation=activation)
    image = np.ones((1, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match=f"'conv1' applies {activation}"):
        deconvnet.project(model, image, "conv2", 0)
    assert deconvnet.project(model, image, "conv2", 0, rule="gradient").any()


def test_refuses_a_model_without_a_graph():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(TypeError, match="without a graph"):
        deconvnet.coverage(Own(), "conv1")
