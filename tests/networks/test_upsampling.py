"""Four operators against matrices and numbers written down, and the checkerboard by hand."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deconvlib import backend, experiments, networks
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


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded(name, tmp_path):
    images = keras.Input((4, 4, 3))
    maps = keras.layers.Conv2D(5, 3, padding="same")(images)
    pooled = keras.layers.MaxPooling2D(2)(maps)
    layer = networks.OPERATORS[name](2, 3, strides=2, padding="same", activation="relu")
    model = keras.Model(images, layer([pooled, maps] if name == "unpooling" else pooled))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, 4, 4, 3)).astype(np.float32)
    program = (
        "import sys, json, numpy as np; from deconvlib.networks import upsampling; from deconvlib.backend import keras;"
        f"x = np.array(json.loads(sys.stdin.read()), 'float32');"
        f"print(json.dumps(np.asarray(keras.models.load_model({str(tmp_path / 'model.keras')!r})(x)).tolist()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(x.tolist()),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    np.testing.assert_allclose(json.loads(told.stdout), numpy(model(x)), atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_a_constant_image_leaves_resizing_and_icnr_without_a_checkerboard(kernel):
    images = np.full((1, 12, 12, 3), 0.7, np.float32)
    for operator in (networks.upsampling.ResizeConv2D, networks.upsampling.SubpixelConv2D):
        maps = numpy(operator(4, kernel)(images))[:, 6:-6, 6:-6]
        assert experiments.operators.checkerboard(maps, 2) < 1e-10


def test_the_checkerboard_of_kernel_3_and_stride_2_is_that_of_the_overlap():
    """All weights 1: kernels overlap 1, 2, 2 and 4 times, (1.5 ± 0.5)² in both axes: 0.25 (9 + 9 + 1) / (… + 81) = 0.19."""
    layer = keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same", kernel_initializer="ones")
    maps = numpy(layer(np.ones((1, 8, 8, 1), np.float32)))[:, 2:-2, 2:-2]
    assert sorted(maps[0, :2, :2].ravel().tolist()) == [1, 2, 2, 4]
    assert experiments.operators.checkerboard(maps, 2) == pytest.approx(0.19)
    even = keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same", kernel_initializer="ones")
    assert experiments.operators.checkerboard(numpy(even(np.ones((1, 8, 8, 1), np.float32)))[:, 2:-2, 2:-2], 2) == 0


def test_the_checkerboard_is_the_energy_of_the_spectrums_peaks():
    maps = np.random.default_rng(0).normal(size=(3, 12, 12, 2))
    for stride in (2, 3, 4):
        energy = np.abs(np.fft.fft2(maps, axes=(1, 2))) ** 2
        peaks = energy[:, :: 12 // stride, :: 12 // stride].sum() - energy[:, 0, 0].sum()
        assert experiments.operators.checkerboard(maps, stride) == pytest.approx(peaks / energy.sum())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strides": 0}, "strides must be a whole number"),
        ({"padding": "valid"}, "padding='same'"),
        ({"data_format": "channels_first"}, "channels last"),
    ],
)
def test_says_what_works(settings, said):
    with pytest.raises(ValueError, match=said):
        networks.upsampling.ResizeConv2D(2, 3, **settings)


def test_a_map_smaller_than_the_grid_is_refused():
    with pytest.raises(ValueError, match="no grid of 4"):
        experiments.operators.checkerboard(np.ones((1, 3, 8, 1)), 4)


def test_kept_is_what_the_kernel_reads():
    sizes = {name: 4 * 6 * 4 * 3 for name in ("transposed", "subpixel")} | {
        name: 16 * 6 * 4 * 3 for name in ("resize", "unpooling")
    }
    for name, size in sizes.items():
        layer = networks.OPERATORS[name](5, 3, strides=2, padding="same")
        layer(keras.Input((6, 4, 3)))
        assert experiments.operators.bytes_kept(layer) == size, name


def test_costs_stand_beside_a_bare_convolution_of_as_many_flops():
    """4 × 4 maps of 6 channels to 8 × 8 of 6: 2 · 16 · 16 · 36 and 2 · 64 · 9 · 36 FLOPs; bare, 18 · 64 w²: w = 4 and 6."""
    named = {
        name: networks.OPERATORS[name](6, kernel, strides=2, padding="same")
        for name, kernel in (("transposed", 4), ("resize", 3))
    }
    table = experiments.operators.costs(named, (4, 4, 6), batch_size=4, repeats=2).set_index("operator")
    assert table["MFLOPs"].tolist() == [0.018432, 0.041472]
    assert table["KiB"].tolist() == [4 * 16 * 6 / 1024, 4 * 64 * 6 / 1024]
    assert table["KiB, ratio"].tolist() == [16 * 6 / (64 * 4), 1]
    times = table[["forward", "both", "forward, ratio", "both, ratio"]]
    assert (times > 0).all(axis=None) and np.isfinite(times).all(axis=None)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_timed_is_the_pass_and_its_gradients(name):
    layer = networks.OPERATORS[name](2, 3, strides=2, padding="same")
    model = experiments.operators._alone(layer, (3, 3, 2))
    maps = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    forward, both = experiments.operators._passes(model)
    result = numpy(model(maps))
    np.testing.assert_allclose(forward(maps)[0], result.sum(axis=(1, 2, 3)), rtol=1e-4, atol=1e-4)
    _, pull = backend.vjp(model, keras.ops.convert_to_tensor(maps))
    at_maps = numpy(pull(keras.ops.convert_to_tensor(result))).sum(axis=(1, 2, 3))
    # what is left is the weights' part, the same for each map
    rest = both(maps)[0] - at_maps
    assert np.ptp(rest) < 1e-3 and np.abs(rest).max() > 1e-2
