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


def test_the_window_that_holds_a_share_of_the_energy():
    """Of 4 + 1 + 1 + ... the energies are 16 and 1: by hand 16 / 20, 18 / 20 of a square of 2, all of a square of 3."""
    one = np.zeros((2, 6, 8, 1), np.float32)
    one[:, 2, 3], one[:, 2, 4], one[:, 3, 3], one[:, 4, 3], one[:, 2, 5] = 4, 1, -1, 1, 1
    one[1] = one[0, ::-1, ::-1]
    for share, side in ((0.8, 1), (0.81, 2), (0.9, 2), (0.91, 3), (1.0, 3)):
        size, corner = deconvnet.receptive_field.holding(one, share)
        assert size == (side, side)
    assert corner.tolist() == [[2, 3], [1, 2]]
    spread = np.concatenate([one, np.ones((2, 6, 8, 1)), np.zeros((1, 6, 8, 1))])  # a mean of shares; zeros do not count
    size, corner = deconvnet.receptive_field.holding(spread, 0.75)  # 0.5 · 1 + 0.5 · 25 / 48 of a square of 5
    assert size == (5, 5) and corner.shape == (5, 2)
    assert deconvnet.receptive_field.holding(np.ones((1, 2, 8, 3)), 0.5)[0] == (2, 4), "the sides leave 2 rows of a square"
    assert deconvnet.receptive_field.holding(np.zeros((1, 6, 8, 1)))[1].shape == (1, 2)
    for share in (0, 1.1):
        with pytest.raises(ValueError, match=f"share must lie above 0, and be at most 1, not {share}"):
            deconvnet.receptive_field.holding(one, share)


def centred(rim, bias=0.0):
    """One convolution of 5 × 5 whose weights are 1 in the middle 3 × 3 and `rim` around it, with a rectifier."""
    images = keras.Input((16, 16, 1))
    layer = keras.layers.Conv2D(2, 5, padding="same", activation="relu", name="conv")
    model = keras.Model(images, layer(images))
    kernel = np.full((5, 5, 1, 2), rim)
    kernel[1:4, 1:4] = 1
    layer.set_weights([kernel, np.array([0, bias])])
    return model


def test_the_effective_field_is_the_part_that_counts():
    """The energy of 9 weights of 1 and 16 of 0.1 is 9 + 0.16: the middle holds 98 % of it, on 36 % of the area."""
    images = np.random.default_rng(0).random((3, 16, 16, 1)).astype(np.float32)
    model = centred(0.1)
    assert deconvnet.receptive_field.of(model, "conv").size == (5, 5)
    for share, side in ((0.95, 3), (0.995, 5), (0.4, 2)):  # four of nine weights are 44 %
        assert deconvnet.receptive_field.effective(model, "conv", images, share, "deconvnet", channels=1) == (side, side)
    assert deconvnet.receptive_field.effective(centred(1.0), "conv", images) == (5, 5)
    assert deconvnet.receptive_field.effective(centred(0.1, bias=-99), "conv", images) == (3, 3), "a dead channel counts not"
    dead = centred(0.1)
    dead.set_weights([-weight for weight in dead.get_weights()])
    with pytest.raises(ValueError, match="no channel of layer 'conv' fires on these images"):
        deconvnet.receptive_field.effective(dead, "conv", images)


def test_patches_are_cropped_to_it_and_know_where_they_are():
    images = np.random.default_rng(0).random((3, 16, 16, 1)).astype(np.float32)
    model = centred(0.1)
    units = deconvnet.Units(*(np.array([[a, b]]) for a, b in ((0, 2), (7, 3), (8, 15), (0, 0), (1, 1))))
    patches = deconvnet.project_units(model, images, "conv", units)
    small = patches.cropped(0.95)
    assert small.pixels.shape == small.projections.shape == (1, 2, 3, 3, 1)
    assert (small.row.tolist(), small.column.tolist()) == ([[6, 2]], [[7, 13]])  # the middle 3 × 3; at the border what is left
    np.testing.assert_array_equal(small.pixels[0, 0], images[0, 6:9, 7:10])
    np.testing.assert_array_equal(small.projections[0, 0], patches.projections[0, 0, 1:4, 1:4])
