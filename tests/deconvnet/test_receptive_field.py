"""Receptive fields against sizes known by hand, and against where a gradient really reaches."""

import math
from fractions import Fraction

import numpy as np
import pytest

from deconvlib import backend, deconvnet, networks
from deconvlib.backend import keras


def reach(model, layer, row, column):
    """First and last pixel rows and columns with a gradient from one unit, found with all-positive weights."""
    part = keras.Model(model.inputs, model.get_layer(layer).output)
    part.set_weights([np.full_like(weight, 0.1) for weight in part.get_weights()])
    image = keras.ops.ones((1, *model.input_shape[1:]))
    output, pull = backend.vjp(part, image)
    seed = np.zeros(output.shape, np.float32)
    seed[0, row, column, 0] = 1
    rows, columns = np.nonzero(keras.ops.convert_to_numpy(pull(keras.ops.convert_to_tensor(seed)))[0].any(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_by_hand():
    model = networks.classifier((32, 32, 3), 10)
    sizes = {
        layer: deconvnet.receptive_field.of(model, layer).size[0] for layer in ("conv1", "pool1", "conv2", "pool2", "conv3")
    }
    assert sizes == {"conv1": 3, "pool1": 4, "conv2": 8, "pool2": 10, "conv3": 18}
    field = deconvnet.receptive_field.of(model, "conv3")
    assert (field.stride, field.offset) == ((4, 4), (-7, -7))
    assert deconvnet.receptive_field.of(model, "logits").whole and deconvnet.receptive_field.of(model, "logits").known


SETTINGS = [
    {"kernel_size": 5, "strides": 2},
    {"convolutions": 2, "pooling": "average", "padding": "valid"},
    {"kernel_size": 4, "strides": 3, "filters": (2,)},
    {"decoder": "transposed", "decoder_filters": (2, 2)},
    {"decoder": "transposed", "decoder_filters": (2,), "decoder_kernel_size": 3, "decoder_strides": 2},
    {"decoder": "transposed", "decoder_filters": (2,), "decoder_kernel_size": 3, "decoder_strides": 1, "padding": "valid"},
    {"normalization": "deconvolution", "kernel_size": 4, "strides": 2},
    {"decoder": "resize", "decoder_filters": (2,)},
    {"decoder": "subpixel", "decoder_filters": (2,)},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(map(str, settings.values())))
@pytest.mark.parametrize("size", [48, 45])
def test_covers_where_the_gradient_reaches(settings, size):
    # average pooling, or the gradient would only reach the maxima
    model = networks.classifier(
        (size, size, 1), 2, **{"filters": (2, 2), "pooling": "average", "activation": "linear"} | settings
    )
    for layer in model.layers:
        if len(layer.output.shape) != 4 or layer.name == "images" or layer.output.shape[1] < 8:
            continue
        field = deconvnet.receptive_field.of(model, layer.name)
        for position in range(layer.output.shape[1] // 2, layer.output.shape[1] // 2 + 4):
            first, last, *_ = reach(model, layer.name, position, position)
            start = math.floor(field.stride[0] * position) + field.offset[0]
            window = max(start, 0), min(start + field.size[0], size) - 1
            if layer.name.startswith(("deconv", "upsample", "shuffle")):
                assert window[0] <= first <= last <= window[1], (layer.name, position)
            else:
                assert window == (first, last), (layer.name, position)


def test_a_transposed_convolution_divides_the_stride():
    model = networks.classifier((32, 32, 3), 10, decoder="transposed", decoder_filters=(4, 4))
    assert deconvnet.receptive_field.of(model, "deconv1").stride == (4, 4)
    model = networks.classifier((32, 32, 3), 10, filters=(4,), decoder="transposed", decoder_filters=(4, 4))
    assert deconvnet.receptive_field.of(model, "deconv2").stride == (Fraction(1, 2), Fraction(1, 2))


def test_of_unpooling_the_safe_answer():
    """Its switches depend on places that the values do not see."""
    model = networks.classifier((16, 16, 3), 4, filters=(4, 4), decoder="unpooling", decoder_filters=(4,))
    field = deconvnet.receptive_field.of(model, "deconv1")
    assert field.whole and not field.known


def test_branches_see_what_either_sees():
    entry = keras.Input((16, 16, 1))
    wide = keras.layers.Conv2D(2, 7, padding="same")(entry)
    narrow = keras.layers.Conv2D(2, 3, padding="same")(entry)
    model = keras.Model(entry, keras.layers.Add(name="sum")([wide, narrow]))
    assert deconvnet.receptive_field.of(model, "sum").size == (7, 7)


def test_an_unknown_layer_sees_the_whole_image_and_says_so():
    model = keras.Sequential([keras.Input((16, 16, 2)), keras.layers.Resizing(8, 8, name="resize")])
    field = deconvnet.receptive_field.of(model, "resize")
    assert field.whole and not field.known and field.size == (16, 16)


def test_the_unit_above_a_point_has_its_window_around_it():
    model = networks.classifier((32, 32, 3), 4, filters=(4, 4))
    field = deconvnet.receptive_field.of(model, "conv2")  # 16 × 16 units, two pixels apart, that see 8 × 8 pixels each
    for point in ((0, 0), (10, 21), (31, 31)):
        unit = field.unit_above(point, (16, 16))
        first = np.floor(np.multiply(unit, np.array(field.stride, float))) + field.offset
        assert (np.abs(first + (np.array(field.size) - 1) / 2 - point) <= 1.5).all()
    assert deconvnet.receptive_field.of(model, "logits").unit_above((5, 5), (1, 1)) == (0, 0)
