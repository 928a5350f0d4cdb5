"""Four operators, and what makes a map finer, against matrices and numbers written down."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deconvlib import backend, networks
from deconvlib.backend import keras

NAMES = list(networks.OPERATORS)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@settings(max_examples=40, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
)
def test_all_give_the_same_shape(sides, kernel, stride, channels, filters):
    images = np.ones((2, *sides, channels), np.float32)
    for name, operator in networks.OPERATORS.items():
        layer = operator(filters, kernel, strides=stride, padding="same")
        assert tuple(layer(images).shape) == (2, sides[0] * stride, sides[1] * stride, filters), name
        assert tuple(layer.compute_output_shape(images.shape)) == (2, sides[0] * stride, sides[1] * stride, filters), name
        symbolic = layer(keras.Input((*sides, channels)))
        assert tuple(symbolic.shape) == (None, sides[0] * stride, sides[1] * stride, filters), name


def matrix(layer, shape):
    """Of the linear layer, a column for each input value."""
    size = int(np.prod(shape))
    return numpy(layer(np.eye(size, dtype=np.float32).reshape(size, *shape))).reshape(size, -1).T


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (2, 2), (5, 3), (2, 3)])
def test_a_transposed_convolution_is_the_transpose_of_the_convolutions_matrix(kernel, stride):
    side = 3
    convolution = keras.layers.Conv2D(2, kernel, strides=stride, padding="same", use_bias=False)
    forward = matrix(convolution, (side * stride, side * stride, 3))
    transposed = keras.layers.Conv2DTranspose(3, kernel, strides=stride, padding="same", use_bias=False)
    transposed.build((None, side, side, 2))
    transposed.kernel.assign(convolution.kernel)
    np.testing.assert_allclose(matrix(transposed, (side, side, 2)), forward.T, atol=1e-6)


def test_resizing_repeats_each_value():
    layer = networks.upsampling.ResizeConv2D(1, 1, use_bias=False, kernel_initializer="ones")
    assert numpy(layer(np.array([[1.0, 2], [3, 4]], np.float32)[None, ..., None]))[0, ..., 0].tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


def test_sub_pixels_begin_alike_and_come_from_their_own_kernels():
    images = np.random.default_rng(0).normal(size=(1, 3, 4, 2)).astype(np.float32)
    layer = networks.upsampling.SubpixelConv2D(2, 3)
    found = numpy(layer(images))[0]
    for row, column in ((0, 1), (1, 0), (1, 1)):
        np.testing.assert_array_equal(found[row::2, column::2], found[::2, ::2])
    kernel = np.zeros((1, 1, 2, 4), np.float32)
    kernel[0, 0, 0] = [1, 2, 3, 4]
    layer = networks.upsampling.SubpixelConv2D(1, 1, use_bias=False)
    layer.build((None, 1, 1, 2))
    layer.kernel.assign(kernel)
    assert numpy(layer(np.ones((1, 1, 1, 2), np.float32)))[0, ..., 0].tolist() == [[1, 2], [3, 4]]


def test_unpooling_goes_to_the_corner_or_to_the_maximum():
    values = np.array([[5.0]], np.float32)[None, ..., None]
    maps = np.array([[0.0, 1, 0], [3, 2, 0], [0, 0, 9]], np.float32)[None, ..., None]
    layer = networks.upsampling.UnpoolingConv2D(1, 1, use_bias=False, kernel_initializer="ones")
    assert numpy(layer(values))[0, ..., 0].tolist() == [[5, 0], [0, 0]]
    assert numpy(layer([values, maps]))[0, ..., 0].tolist() == [[0, 0, 0], [5, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="pooling by 2"):
        networks.upsampling.UnpoolingConv2D(1, 1)([values, maps[:, :1]])


def test_unpooling_to_the_corner_is_a_transposed_convolution():
    """With kernel 3 and stride 2 both pad 0 before and 1 after what the kernel reaches."""
    values = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    unpooling = networks.upsampling.UnpoolingConv2D(2, 3, use_bias=False)
    found = numpy(unpooling(values))
    transposed = keras.layers.Conv2DTranspose(2, 3, strides=2, padding="same", use_bias=False)
    transposed.build((None, 4, 5, 3))
    transposed.kernel.assign(numpy(unpooling.kernel)[::-1, ::-1].transpose(0, 1, 3, 2))
    # Keras cuts a transposed convolution at the other end: its first row is what unpooling has before its first one
    np.testing.assert_allclose(found[:, :-1, :-1], numpy(transposed(values))[:, 1:, 1:], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(name):
    rng = np.random.default_rng(0)
    images, layer = rng.normal(size=(1, 3, 2, 2)).astype(np.float32), networks.OPERATORS[name](2, 3, strides=2, padding="same")
    towards, along = rng.normal(size=(1, 6, 4, 2)).astype(np.float32), rng.normal(size=images.shape).astype(np.float32)
    _, pull = backend.vjp(layer, keras.ops.convert_to_tensor(images))
    found = float(np.sum(numpy(pull(keras.ops.convert_to_tensor(towards))) * along))
    step = 0.5  # linear: any step will do
    ends = [numpy(layer(images + sign * step * along)) for sign in (1, -1)]
    assert found == pytest.approx(float(np.sum(towards * (ends[0] - ends[1]))) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: networks.upsampling.ResizeConv2D(2, 3, strides=0), "strides must be a whole number"),
        (lambda: networks.upsampling.ResizeConv2D(2, 3, padding="valid"), "padding='same'"),
        (lambda: networks.upsampling.ResizeConv2D(2, 3, data_format="channels_first"), "channels last"),
        (lambda: networks.upsampling.Unpooling2D(0), "size must be a whole number of 1 or more, not 0"),
        (
            lambda: networks.upsampling.Unpooling2D()([np.ones((1, 2, 2, 3)), np.ones((1, 8, 8, 3))]),
            r"has the shape \(4, 4, 3\)",
        ),
        (lambda: networks.upsampling.DepthToSpace(2)(np.ones((1, 2, 2, 6))), "takes 4 channels for each of its output, not 6"),
    ],
)
def test_says_what_works(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_unpooling_by_switches():
    maps = np.array([[5, 1, 2, 2], [0, 3, 2, 2], [1, 7, -4, -2], [9, 0, -3, -1]], np.float32)[None, :, :, None]
    pooled = np.array([[10, 20], [30, 40]], np.float32)[None, :, :, None]
    expected = [[10, 0, 20, 0], [0, 0, 0, 0], [0, 0, 0, 0], [30, 0, 0, 40]]  # of the four equal the first
    np.testing.assert_array_equal(numpy(networks.upsampling.Unpooling2D()([pooled, maps]))[0, :, :, 0], expected)


@pytest.mark.parametrize(("shape", "size"), [((2, 8, 8, 3), 2), ((2, 7, 9, 3), 2), ((1, 9, 6, 2), 3)])
def test_pooling_what_was_unpooled_gives_it_back(shape, size):
    maps = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    pooled = numpy(keras.layers.MaxPooling2D(size)(maps))
    unpooled = numpy(networks.upsampling.Unpooling2D(size)([pooled, maps]))
    assert unpooled.shape == maps.shape
    assert np.array_equal(unpooled[unpooled != 0], maps[unpooled != 0])  # each where it was
    values = abs(pooled)  # a negative value would be pooled as the zeros beside it
    again = numpy(keras.layers.MaxPooling2D(size)(networks.upsampling.Unpooling2D(size)([values, maps])))
    np.testing.assert_array_equal(again, values)


def test_depth_to_space():
    x = np.arange(2 * 2 * 8, dtype=np.float32).reshape(1, 2, 2, 8)
    found = numpy(networks.upsampling.DepthToSpace(2)(x))
    # upper left pixel: channels 0 and 1, then 2 and 3 right of it, 4 and 5 below
    assert found[0, :2, :2].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert found[0, 2:, 2:].tolist() == [[[24, 25], [26, 27]], [[28, 29], [30, 31]]]
    np.testing.assert_array_equal(numpy(networks.upsampling.DepthToSpace(1)(x)), x)


@pytest.mark.parametrize(("kernel", "finer"), [(1, 2), (3, 2), (3, 3), (5, 2)])
def test_a_subpixel_convolution_is_a_transposed_convolution_of_a_larger_kernel(kernel, finer):
    maps = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)
    subpixel = networks.upsampling.SubpixelConv2D(4, kernel, finer, kernel_initializer="glorot_uniform")
    wanted = numpy(subpixel(maps))
    np.testing.assert_allclose(numpy(networks.upsampling.as_transposed(subpixel)(maps)), wanted, atol=1e-5)


def test_a_subpixel_convolution_of_an_even_kernel_has_no_such_twin():
    subpixel = networks.upsampling.SubpixelConv2D(4, 2)
    subpixel.build((None, 6, 6, 3))
    with pytest.raises(ValueError, match="kernel_size must be odd, not 2"):
        networks.upsampling.as_transposed(subpixel)
