"""What operators leave in a map, by hand and by the spectrum, and what they cost."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import backend, experiments, networks
from deconvlib.backend import keras


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


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


@pytest.mark.parametrize("name", networks.OPERATORS)
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


def test_a_spectrum_circles_where_a_checkerboard_lies():
    grid = np.tile([[0.0, 0, 1], [0, 0, 0], [0, 0, 0]], (4, 4))[None, ..., None]
    fig = experiments.operators.spectra({"grid": grid, "even": np.full((2, 12, 12, 1), 0.1 + 0.2)}, 3)
    upper, _, _, lower, even, _ = fig.axes
    np.testing.assert_array_equal(upper.images[0].get_array(), grid[0, ..., 0])
    bright = np.argwhere(lower.images[0].get_array() > -4)
    circled = lower.collections[0].get_offsets()[:, ::-1]
    assert sorted(map(tuple, bright)) == sorted(map(tuple, circled)) and len(circled) == 8
    assert (even.images[0].get_array() == -4).all(), "the last digits of an even map are shown"


def test_costs_are_drawn_where_the_table_says():
    sizes = [{"operator": name, "side": side, "forward, ratio": ratio, "both, ratio": 2 * ratio, "KiB, ratio": 0.25}
             for name, ratio in (("a", 1.0), ("b", 0.5)) for side in (8, 16)]  # fmt: skip
    forward, both, memory = experiments.operators.costs_figure(pd.DataFrame(sizes)).axes
    assert forward.lines[1].get_xydata().tolist() == [[8, 0.5], [16, 0.5]]
    assert both.lines[0].get_ydata().tolist() == [2, 2] and memory.lines[0].get_ydata().tolist() == [0.25, 0.25]


def test_what_is_built_has_the_weights_asked_for():
    ones = experiments.operators.build("transposed", 3, filters=1, weights="all 1")
    assert numpy(ones(np.ones((1, 4, 4, 1), np.float32)))[0, 2:-2, 2:-2, 0].max() == 4
    for name, even in (("subpixel", True), ("subpixel, no ICNR", False), ("resize", True), ("transposed", False)):
        maps = experiments.operators.of_constant(name, 4, 2, seed=3)
        assert maps.shape == (1, 8, 8, 8) and (experiments.operators.checkerboard(maps, 2) < 1e-10) == even, name


def restorer(name, channels):
    return networks.encoder_decoder((4, 4, 1), 1, filters=(channels,), decoder=name, scale=2, correction=True, seed=0)


def test_networks_of_equal_cost_have_as_many_flops():
    table = experiments.operators.equal_cost(restorer, ["transposed", "resize"], 16)
    assert table.index.tolist() == ["transposed", "resize"] and table["channels"].iloc[0] == 16
    assert table["MFLOPs"].iloc[1] == pytest.approx(table["MFLOPs"].iloc[0], rel=0.1)
    assert table["parameters"].iloc[0] == restorer("transposed", 16).count_params()


def test_a_restored_image_is_judged_by_its_error():
    """The new network returns its bilinear enlargement: of a constant image that is the image, of 0.1 beside it 20 dB."""
    images = np.full((2, 4, 4, 1), 0.5, np.float32)
    truth = np.full((2, 8, 8, 1), 0.6, np.float32)
    made, found = experiments.operators.judge(restorer("transposed", 4), images, truth)
    np.testing.assert_allclose(made, 0.5, atol=1e-6)
    assert found["PSNR, dB"] == pytest.approx(20, abs=1e-3) and found["error"] == pytest.approx(0, abs=1e-9)
    assert 0 <= found["map"] < 1


def test_restored_images_are_shown_where_the_first_errs_most():
    truth = np.full((2, 12, 12, 1), 0.5)
    blurred, sharp = truth.copy(), truth.copy()
    blurred[0, 9, 8], sharp[0, 9, 8] = 0.9, 0.6
    axes = experiments.operators.restored(truth, {"blurred": blurred, "sharp": sharp}, 2, side=4).axes
    images = np.array([ax.images[0].get_array() if ax.images else None for ax in axes], dtype=object).reshape(3, 3)
    assert images[0, 1].shape == (4, 4) and images[0, 1].max() == 0.9 and images[0, 0].max() == 0.5
    assert images[1, 1].max() == pytest.approx(0.4) and images[1, 2].max() == pytest.approx(0.1)
    for ax in axes[4:6]:
        assert ax.images[0].get_clim() == pytest.approx((-0.4, 0.4)), "errors have scales of their own"


def test_the_halving_classifiers_halve():
    models = experiments.operators.halving([2, 5], (12, 12, 3), 4)
    assert list(models) == ["convolution 2, stride 2", "convolution 5, stride 2", "max pooling", "mean pooling"]
    for model in models.values():
        assert model.layers[-3].output.shape[1:3] == (6, 6) and model.output_shape == (None, 4)
