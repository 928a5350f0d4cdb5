"""The strongest units, against a sort of everything."""

import numpy as np
import pytest

from deconvlib import deconvnet, networks
from deconvlib.backend import keras


@pytest.fixture(scope="module")
def network():
    return networks.classifier((16, 16, 3), 4, filters=(6, 8), normalization="batch")


@pytest.mark.parametrize("batch_size", [7, 64])
def test_are_those_of_a_full_sort(network, batch_size):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    found = deconvnet.strongest(network, images, ["relu1", "logits"], k=5, batch_size=batch_size)
    assert set(found) == {"relu1", "logits"}
    for layer, units in found.items():
        whole = keras.Model(network.input, network.get_layer(layer).output)
        maps = whole.predict(deconvnet.inputs.as_input(network, images), verbose=0)
        maps = maps.reshape(40, -1, maps.shape[-1])
        for channel in range(maps.shape[-1]):
            peaks = maps[..., channel].max(axis=1)  # one unit an image
            order = np.argsort(-peaks)[:5]
            np.testing.assert_allclose(units.activation[channel], peaks[order], rtol=1e-4, atol=1e-6)
            assert len(set(units.image[channel])) == 5
            assert (units.channel[channel] == channel).all()
    units = found["relu1"]
    maps = keras.Model(network.input, network.get_layer("relu1").output).predict(
        deconvnet.inputs.as_input(network, images), verbose=0
    )
    named = maps[units.image, units.row, units.column, units.channel]
    np.testing.assert_allclose(named, units.activation, rtol=1e-4, atol=1e-6)


def test_images_may_lie_on_disk_or_come_in_batches(network, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    expected = deconvnet.strongest(network, images, ["relu2"], k=4)["relu2"]
    on_disk = np.load(tmp_path / "images.npy", mmap_mode="r")
    batches = (images[start : start + 7] for start in range(0, 40, 7))
    for given in (on_disk, batches):
        for part, other in zip(expected, deconvnet.strongest(network, given, ["relu2"], k=4)["relu2"], strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-5)


def test_layers_of_a_nested_model_and_of_images_of_any_size():
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, activation="relu", name="a")], name="inner"
    )
    outer = keras.Sequential([keras.Input((None, None, 3)), inner, keras.layers.ReLU(name="b")])
    images = np.random.default_rng(0).random((5, 12, 9, 3), dtype=np.float32)
    found = deconvnet.strongest(outer, images, ["b", "inner/a"], k=2)
    for part, other in zip(found["b"], found["inner/a"], strict=True):
        np.testing.assert_array_equal(part, other)
    patches = deconvnet.project_units(outer, images, "inner/a", found["inner/a"])
    assert patches.projections.shape == (4, 2, 3, 3, 3) and patches.projections.any()


def test_new_weights_are_seen_at_once(network):
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    before = deconvnet.strongest(network, images, ["conv1"], k=1)["conv1"].activation
    kept = network.get_weights()
    network.set_weights([2 * weight for weight in kept])
    after = deconvnet.strongest(network, images, ["conv1"], k=1)["conv1"].activation
    network.set_weights(kept)
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


def test_refuses(network):
    images = np.zeros((3, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="5 strongest of 3 images: ask for at most 3"):
        deconvnet.strongest(network, images, ["relu1"], k=5)
    with pytest.raises(ValueError, match="'relu9' is not in this model; did you mean 'relu"):
        deconvnet.strongest(network, images, ["relu9"], k=2)
    with pytest.raises(ValueError, match="do not fit this model"):
        deconvnet.strongest(network, np.zeros((3, 8, 8, 3)), ["relu1"], k=2)
    with pytest.raises(ValueError, match="5 strongest of 3 images"):
        deconvnet.strongest(network, iter([images]), ["relu1"], k=5)
    with pytest.raises(ValueError, match="k must be 1 or more, not 0"):
        deconvnet.strongest(network, images, ["relu1"], k=0)
    broken = images.astype(np.float32)
    broken[2] = np.nan
    with pytest.raises(ValueError, match="image 2 holds NaN"):
        deconvnet.strongest(network, iter([broken[:2], broken[2:]]), ["relu1"], k=1)
