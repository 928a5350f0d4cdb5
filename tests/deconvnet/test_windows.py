"""A unit in its window has the value and the projection that it has in the whole image, whatever the network."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from deconvlib import backend, deconvnet, disk, networks
from deconvlib.backend import keras
from deconvlib.deconvnet import projection, windows


def whole(model, images, layer, units, rule):
    """Each unit's projection from its whole image, with the engine that `project` has."""
    engine = projection._Engine(model, layer, rule, True, (), True, images.shape[1:3])
    places = projection._one_hot(units.row * engine.columns + units.column, engine.rows * engine.columns)
    found, _ = engine.whole[0](images[units.image], places, projection._one_hot(units.channel, engine.channels))
    return found


def some_units(model, images, layer, rng, count):
    """Units in the corners of the maps, and others anywhere."""
    rows, columns, channels = (1, 1, *model.get_layer(layer).output.shape[1:])[-3:]
    row, column = rng.integers(rows, size=count), rng.integers(columns, size=count)
    row[:4], column[:4] = (0, 0, rows - 1, rows - 1), (0, columns - 1, 0, columns - 1)
    image, channel = rng.integers(len(images), size=count), rng.integers(channels, size=count)
    return deconvnet.Units(image, row, column, channel, np.zeros(count))


def assert_equal_to_the_whole(model, images, layer, rng, count=12, rule="deconvnet"):
    units = some_units(model, images, layer, rng, count)
    patches = deconvnet.project_units(model, images, layer, units, rule)
    expected = whole(model, images, layer, units, rule)
    height, width = patches.projections.shape[1:3]
    for index, (row, column) in enumerate(zip(patches.row, patches.column, strict=True)):
        here = slice(row, row + height), slice(column, column + width)
        # float32 sums in another order: at most 2.4e-7 of the largest value was measured over the 30 random networks
        np.testing.assert_allclose(patches.projections[index], expected[index][here], atol=1e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(patches.pixels[index], images[units.image[index]][here])
        outside = expected[index].copy()
        outside[here] = 0
        assert not outside.any()  # the patch holds all of the projection


paddings = st.sampled_from(["same", "valid"])
convolutions = st.builds(
    lambda kernel, stride, dilation, padding: (
        lambda: keras.layers.Conv2D(3, kernel, stride, padding, dilation_rate=dilation if stride == 1 else 1)
    ),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    paddings,
)
poolings = st.builds(
    lambda kind, size, stride, padding: lambda: kind(size, stride, padding),
    st.sampled_from([keras.layers.MaxPooling2D, keras.layers.AveragePooling2D]),
    st.integers(2, 3),
    st.integers(1, 3),
    paddings,
)
others = st.sampled_from(
    [
        keras.layers.ReLU,
        keras.layers.BatchNormalization,
        lambda: keras.layers.DepthwiseConv2D(3, padding="same"),
        lambda: keras.layers.SeparableConv2D(4, 3, padding="valid"),
        lambda: keras.layers.ZeroPadding2D(((1, 2), (0, 1))),
        lambda: keras.layers.Cropping2D(((0, 1), (1, 0))),
        "sum",
        "concatenation",
    ]
)


def network(height, width, pieces):
    """The pieces on top of one another; a branch runs a wide and a narrow convolution side by side."""
    entry = x = keras.Input((height, width, 2))
    for piece in pieces:
        if isinstance(piece, str):
            branches = [keras.layers.Conv2D(4, size, padding="same", activation="relu")(x) for size in (5, 2)]
            x = keras.layers.Add()(branches) if piece == "sum" else keras.layers.Concatenate()(branches)
        else:
            x = piece()(x)
    return keras.Model(entry, keras.layers.Conv2D(3, 2, padding="same", name="last")(x))


class Uncompiled(backend.compiled):
    def __init__(self, function, model, *shapes):
        self.begin = lambda *arguments: function(*map(keras.ops.convert_to_tensor, arguments))


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.integers(16, 30),
    st.integers(16, 30),
    st.lists(st.one_of(convolutions, convolutions, poolings, others), min_size=1, max_size=4),
    st.sampled_from(["deconvnet", "guided"]),
    st.sampled_from([0, 4]),
)
def test_over_random_networks(height, width, pieces, rule, together):
    keras.utils.clear_session()
    try:
        model = network(height, width, pieces)
    except ValueError:  # the maps became too small
        assume(False)
    assume(windows.plan(model, "last", (height, width)))
    rng = np.random.default_rng(0)
    model.set_weights(
        [np.abs(rng.normal(size=w.shape)) if "variance" in w.name else rng.normal(size=w.shape) for w in model.weights]
    )
    images = rng.normal(size=(3, height, width, 2)).astype(np.float32)
    # each operation by itself, since to compile a network takes longer than to run it; shared or not, whatever costs least
    with (
        mock.patch.object(backend, "compiled", Uncompiled),
        mock.patch.object(projection._Engine, "together", lambda *_: together),
    ):
        assert_equal_to_the_whole(model, images, "last", rng, rule=rule)


def test_computes_no_more_than_one_unit_needs():
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    plan = windows.plan(model, "block3_conv3", (224, 224))
    sides = {name: rows.size for name, (rows, _) in plan.holds.items()}
    # by hand: each 3 × 3 convolution adds 2, each pooling doubles
    assert sides == {
        **{"block3_conv3": 1, "block3_conv2": 3, "block3_conv1": 5, "block2_pool": 7, "block2_conv2": 14},
        **{"block2_conv1": 16, "block1_pool": 18, "block1_conv2": 36, "block1_conv1": 38},
    }
    assert plan.pixels[0].size == 40 == deconvnet.receptive_field.of(model, "block3_conv3").size[0]


def test_whole_maps_are_shared_where_that_costs_less():
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))

    def together(layer, units_of_each_image):
        engine = projection._Engine(model, layer, "deconvnet", True, (), True, (224, 224))
        return engine.together(np.repeat([3, 7], units_of_each_image))

    assert together("block5_conv3", 8) > 1  # whose window is nearly the whole image
    assert together("block5_conv3", 1) == 0  # nothing to share
    assert together("block2_conv2", 64) == 0  # whose window is a hundredth of it


def test_none_where_windows_gain_nothing_or_differ_between_units():
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8), decoder="transposed", decoder_filters=(4,))
    assert windows.plan(model, "conv2", (16, 16))
    assert windows.plan(model, "logits", (16, 16)) is None
    assert windows.plan(model, "deconv1", (16, 16)) is None
    deep = networks.classifier((16, 16, 3), 4, filters=(4, 4, 4), convolutions=3)
    assert windows.plan(deep, "conv9", (16, 16)) is None


@pytest.mark.parametrize("layer", ["deconv1", "logits"])
def test_falls_back_to_the_whole_image(layer):
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8), decoder="transposed", decoder_filters=(4,))
    rng = np.random.default_rng(0)
    assert_equal_to_the_whole(model, rng.random((3, 16, 16, 3), dtype=np.float32), layer, rng)


# What users load. Untrained here, since there is no network; the same calls take weights="imagenet" where there is one.
APPLICATIONS = {
    "VGG16": "block4_conv1",
    "ResNet50": "conv3_block1_out",
    "MobileNetV2": "block_3_depthwise_relu",
    "DenseNet121": "conv2_block6_0_relu",
    "InceptionV3": "mixed0",
    "Xception": "block3_sepconv2_act",
    "EfficientNetV2B0": "block2b_expand_activation",
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_on_the_networks_of_keras_applications(name):
    model, layer = (
        getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(128, 128, 3)),
        APPLICATIONS[name],
    )
    rng = np.random.default_rng(0)
    low, high = (0, 255) if name == "EfficientNetV2B0" else (-1, 1)  # which rescales them itself
    images = rng.uniform(low, high, (2, 128, 128, 3)).astype(np.float32)
    table = deconvnet.coverage(model, model.layers[-1].name)
    if name == "EfficientNetV2B0":
        assert set(table.loc[~table["covered"], "function"]) == {"silu", "sigmoid", "Multiply"}
        with pytest.raises(ValueError, match="applies silu, for which"):
            deconvnet.project(model, images, layer, 0)
        assert deconvnet.project(model, images, layer, 0, chain_rule=("silu",)).any()
        return
    assert table["covered"].all() and len(table) >= 13
    assert_equal_to_the_whole(model, images, layer, rng, count=4)


def test_on_a_block_of_convnext():
    """Normalized over its channels and scaled: each unit sees what its convolutions see, by the gradient as in the whole."""
    images = keras.Input((32, 32, 3))
    x = y = keras.layers.Conv2D(8, 4, strides=4, name="stem")(images)
    for layer in (
        keras.layers.DepthwiseConv2D(3, padding="same"),
        keras.layers.LayerNormalization(epsilon=1e-6),
        keras.layers.Dense(16),
        keras.layers.Activation("gelu", name="gelu"),
        keras.layers.Dense(8),
    ):
        y = layer(y)
    model = keras.Model(images, keras.layers.Add(name="sum")([x, y]))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
    field = deconvnet.receptive_field.of(model, "sum")
    assert field.known and field.size == (12, 12) and windows.plan(model, "sum", (32, 32))
    pixels = rng.random((3, 32, 32, 3), dtype=np.float32)
    units = deconvnet.strongest(model, pixels, "gelu", k=2).ravel()
    found = deconvnet.project_units(model, pixels, "gelu", units, "gradient")
    expected = projection.cut(model, pixels, "gelu", units, whole(model, pixels, "gelu", units, "gradient"))
    np.testing.assert_allclose(found.projections, expected.projections, atol=1e-5 * abs(expected.projections).max())


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_network_deconvolution_in_a_window_is_that_of_the_whole(padding):
    rng = np.random.default_rng(0)
    model = networks.classifier((20, 20, 3), 2, filters=(4, 18), kernel_size=2, padding=padding, normalization="deconvolution")
    # what its statistics are after a training, but at random
    model.set_weights([weight + 0.2 * rng.normal(size=weight.shape) for weight in model.get_weights()])
    images = rng.random((3, 20, 20, 3), np.float32)
    assert windows.plan(model, "conv2", (20, 20)) is not None
    assert_equal_to_the_whole(model, images, "conv2", rng)


def parts_by_hand(arrays, numbers, corner, size):
    """Pixel by pixel."""
    parts = np.zeros((len(numbers), *size, arrays.shape[3]), arrays.dtype)
    for unit, row, column in np.ndindex(len(numbers), *size):
        at = np.add(corner[unit], (row, column))
        if (at >= 0).all() and (at < arrays.shape[1:3]).all():
            parts[unit, row, column] = arrays[numbers[unit], *at]
    return parts


@pytest.mark.parametrize("size", [(3, 2), (5, 7), (9, 9)])
def test_gathers_parts_wherever_they_lie(size, tmp_path):
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 256, (4, 5, 7, 2), np.uint8)
    numbers, corner = rng.integers(4, size=60), rng.integers(-10, 11, (60, 2))
    expected = parts_by_hand(arrays, numbers, corner, size)
    np.save(tmp_path / "arrays.npy", arrays)
    np.save(tmp_path / "shuffled.npy", arrays[[1, 3, 0, 2]])
    forms = {
        "in memory": arrays,
        "on disk": np.load(tmp_path / "arrays.npy", mmap_mode="r"),
        "of a file, by number": disk.Rows(np.load(tmp_path / "shuffled.npy", mmap_mode="r"), np.array([2, 0, 3, 1])),
        "backwards": arrays[:, :, ::-1].copy()[:, :, ::-1],
    }
    for form, array in forms.items():
        np.testing.assert_array_equal(windows.gather(array, numbers, corner, size), expected, form)
    inside = np.zeros((60, 2), int)
    np.testing.assert_array_equal(windows.gather(arrays, numbers, inside, (5, 7)), arrays[numbers])
