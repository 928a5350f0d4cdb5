"""Faults planted in networks are found, and nothing else is."""

import numpy as np
import pandas as pd
import pytest

from deconvlib.backend import keras
from deconvlib.deconvnet import activations
from deconvlib.experiments import channels

RNG = np.random.default_rng(0)
NOISE = RNG.random((40, 16, 16, 3)).astype(np.float32)


def planted(normalized=False):
    """Eight random filters, of which 2 is dead, 6 is the double of 3, and 7 is loud; then a sound layer of five."""
    images = keras.Input((16, 16, 3))
    x = images
    if normalized:
        x = keras.layers.Conv2D(8, 3, padding="same", name="conv1")(x)
        x = keras.layers.ReLU(name="relu1")(keras.layers.BatchNormalization(name="norm1")(x))
    else:
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.Conv2DTranspose(5, 3, strides=2, activation="relu", name="deconv1")(x)
    model = keras.Model(images, x)
    kernel = RNG.normal(size=(3, 3, 3, 8))
    kernel[..., 6], kernel[..., 7] = 2 * kernel[..., 3], 10 * kernel[..., 7]
    bias = np.array([0, 0, -1000, 0, 0, 0, 0.1, 0])
    sound = [RNG.normal(size=(3, 3, 5, 8)), np.zeros(5)]
    model.get_layer("conv1").set_weights([kernel, 0 * bias if normalized else bias])
    model.get_layer("deconv1").set_weights(sound)
    if normalized:
        model.get_layer("norm1").set_weights([np.ones(8), bias, np.zeros(8), np.ones(8)])
    return model


@pytest.mark.parametrize("normalized", [False, True])
def test_finds_the_planted_faults_and_no_other(normalized, monkeypatch):
    monkeypatch.setattr(activations, "BATCH", 16)
    table = channels.measure(planted(normalized), NOISE)
    first = "relu1" if normalized else "conv1"
    assert table["layer"].tolist() == [first] * 8 + ["deconv1"] * 5
    assert table.loc[table["dead"], ["layer", "channel"]].to_numpy().tolist() == [[first, 2]]
    doubles = table[table["duplicate_of"].notna()]
    assert doubles[["layer", "channel", "duplicate_of"]].to_numpy().tolist() == [[first, 6, 3]]
    assert doubles["cosine"].iloc[0] == pytest.approx(1) and doubles["correlation"].iloc[0] > 0.95
    assert table.loc[table["loud"], ["layer", "channel"]].to_numpy().tolist() == [[first, 7]]
    assert table.loc[2, "peak"] == 0 and table.loc[2, "firing"] == 0 and 0 < table.loc[0, "firing"] < 1
    counts = channels.faults(table)
    expected = [[first, 8, 1, 1, 1], ["deconv1", 5, 0, 0, 0]]
    assert counts.columns.tolist() == ["layer", "channels", "dead", "duplicates", "loud"]
    assert counts.to_numpy().tolist() == expected


def test_what_a_channel_does_is_what_its_map_holds():
    model = planted()
    table = channels.measure(model, NOISE, ["deconv1"])
    maps = model.predict(NOISE, verbose=0).reshape(-1, 5)
    np.testing.assert_allclose(table["peak"], maps.max(axis=0), rtol=1e-4)
    np.testing.assert_allclose(table["firing"], (maps > 0).mean(axis=0), atol=1e-4)
    correlation = np.corrcoef(maps.T.astype(float))
    np.testing.assert_allclose(table["correlation"][1:], [correlation[c, :c].max() for c in range(1, 5)], atol=1e-3)
    kernel = model.get_layer("deconv1").get_weights()[0]
    np.testing.assert_allclose(table["rms"], np.sqrt((kernel**2).mean(axis=(0, 1, 3))), rtol=1e-5)
    assert np.isnan(table["correlation"][0]) and np.isnan(table["cosine"][0])


def test_channels_alike_in_what_they_do_are_duplicates_whatever_feeds_them():
    images = keras.Input((16, 16, 3))
    both = [keras.layers.Conv2D(2, 1, name=name)(images) for name in ("left", "right")]
    x = keras.layers.ReLU(name="relu1")(keras.layers.Add()(both))
    model = keras.Model(images, x)
    left, right = RNG.normal(size=(2, 1, 1, 3, 2))
    right[..., 1] = left[..., 0] + right[..., 0] - left[..., 1]  # filters differ, sums do not
    model.set_weights([left, np.zeros(2), right, np.zeros(2)])
    table = channels.measure(model, NOISE)
    assert table["duplicate_of"].tolist() == [pd.NA, 0]
    assert table["rms"].isna().all() and not table["loud"].any()  # two convolutions feed the layer


def sampled(layer):
    return keras.Sequential([keras.Input((32, 32, 3)), layer])


def identity(stride):
    model = sampled(keras.layers.DepthwiseConv2D(1, strides=stride, use_bias=False, activation="relu", name="layer"))
    model.set_weights([np.ones((1, 1, 3, 1), np.float32)])
    return model


WHITE = RNG.normal(size=(60, 32, 32, 3)).astype(np.float32)
PLACE = np.arange(32)
WAVES = {
    period: np.tile(np.cos(2 * np.pi * PLACE / period)[None, :, None, None], (2, 1, 32, 3)).astype(np.float32)
    for period in (2, 4, 16)
}


@pytest.mark.parametrize("stride", [2, 4])
def test_white_noise_is_folded_as_its_bandwidth_says(stride):
    row = channels.aliasing(identity(stride), WHITE).loc[0]
    assert row["layer"] == "layer" and row["kind"] == "DepthwiseConv2D" and row["stride"] == (stride, stride)
    # without the mean of each map a little less of what is kept
    assert 0 < row["aliased"] - (1 - 1 / stride**2) < 0.015


@pytest.mark.parametrize(
    ("period", "stride", "expected"), [(2, 2, 1), (4, 2, 0.5), (16, 2, 0), (16, 4, 0), (2, (1, 2), 0), (2, (2, 1), 1)]
)
def test_waves_are_folded_where_the_stride_is_too_long_for_them(period, stride, expected):
    layer = keras.layers.MaxPooling2D(1, strides=stride, name="layer")
    table = channels.aliasing(sampled(layer), WAVES[period])
    assert table["aliased"].tolist() == [pytest.approx(expected, abs=1e-3)]


def test_pooling_counts_as_the_filter_that_it_is():
    # the mean of two neighbours passes cos² of π times the frequency: below a quarter 0.818 of noise, on both axes 0.669
    layer = keras.layers.AveragePooling2D(2, name="pool1")
    assert 0 < channels.aliasing(sampled(layer), WHITE)["aliased"].iloc[0] - (1 - 0.669) < 0.015


def test_layers_without_a_stride_or_a_spectrum_are_left_out():
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(2, 3, name="conv1"),
            keras.layers.MaxPooling2D(4, name="pool1"),
            keras.layers.Conv2D(2, 3, strides=2, name="conv2"),  # 5 places a side at stride 1
        ]
    )
    assert channels.aliasing(model, WHITE)["layer"].tolist() == ["pool1"]
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    assert channels.aliasing(flat, WHITE[:, :8, :8]).empty


def test_refuses():
    model = planted()
    with pytest.raises(ValueError, match="'conv9' is not in this model; did you mean 'conv1'"):
        channels.measure(model, NOISE, ["conv9"])
    with pytest.raises(ValueError, match="image 3 holds NaN"):
        channels.measure(model, np.where(np.arange(40)[:, None, None, None] == 3, np.nan, NOISE))
    flat = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(name="flat")], name="flat_model")
    with pytest.raises(ValueError, match="'flat_model' has no rectified convolution"):
        channels.measure(flat, NOISE)
    rows = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Reshape((48, 16), name="rows")])
    with pytest.raises(ValueError, match=r"'rows' has outputs of shape \(48, 16\): not feature maps, nor a vector"):
        channels.measure(rows, NOISE, ["rows"])


def test_dense_units_are_channels_of_one_place():
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(5, "relu", name="units")])
    kernel, bias = RNG.normal(size=(768, 5)), np.array([0, -1000, 0, 0, 0])
    kernel[:, 3] = 2 * kernel[:, 2]
    model.get_layer("units").set_weights([kernel, bias])
    table = channels.measure(model, NOISE, ["units"])
    assert table["dead"].tolist() == [False, True, False, False, False]
    assert table["duplicate_of"].tolist() == [pd.NA, pd.NA, pd.NA, 2, pd.NA]


def test_a_layer_that_is_dead_throughout_is_told_as_such():
    model = planted()
    kernel, bias = model.get_layer("conv1").get_weights()
    model.get_layer("conv1").set_weights([0 * kernel, bias - 1])
    faults = channels.faults(channels.measure(model, NOISE, ["conv1"]))
    assert faults[["channels", "dead", "duplicates", "loud"]].iloc[0].tolist() == [8, 8, 0, 0]


def test_the_filters_figure_frames_the_faulty_ones_and_counts_them(drawn):
    model = planted()
    fig = drawn(channels.filters({"a": model, "b": model}, NOISE, "conv1", count=6))
    for ax in fig.axes:
        assert len(ax.patches) == 1 and "of 8 filters 1 dead, 1 repeated" in ax.get_title()  # 6 is not shown
    (frame,), (image,) = ax.patches, ax.images
    width = (image.get_array().shape[1] + 4) / 6
    assert frame.get_x() == pytest.approx(2 * width - 0.5)


def test_a_coarse_copy_differs_in_one_layer_and_keeps_maps_of_one_pixel():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv1")(images)
    model = keras.Model(images, keras.layers.MaxPooling2D(name="pool1")(keras.layers.Conv2D(2, 3, padding="same")(x)))
    found = channels.coarse(model, "conv1", 11, 8)
    assert found.get_layer("conv1").kernel.shape == (11, 11, 3, 4) and found.output_shape == (None, 1, 1, 2)
    assert model.get_layer("conv1").kernel.shape == (3, 3, 3, 4)
