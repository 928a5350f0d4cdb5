"""Layers read in batches give what the layers give; the strongest units are those of a full sort."""

import numpy as np
import pytest

from deconvlib import deconvnet, networks
from deconvlib.backend import keras
from deconvlib.deconvnet import activations


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
        assert_same(deconvnet.strongest(network, given, ["relu2"], k=4)["relu2"], expected)


def assert_same(units, others):
    for part in ("image", "row", "column", "channel", "activation"):
        np.testing.assert_allclose(getattr(units, part), getattr(others, part), rtol=1e-5)


def pairs(images, labels, size):
    return [(images[start : start + size], labels[start : start + size]) for start in range(0, len(images), size)]


class Batches(keras.utils.PyDataset):
    def __init__(self, images, labels, endless=False):
        super().__init__()
        self.pairs, self.endless = pairs(images, labels, 7), endless

    @property
    def num_batches(self):
        return None if self.endless else len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


def test_batches_may_come_with_labels_and_as_tensors(network):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    labels = np.arange(40) % 4
    expected = deconvnet.strongest(network, images, "relu2", k=4)
    tensors = [(keras.ops.convert_to_tensor(some), of) for some, of in pairs(images, labels, 7)]
    for given in (pairs(images, labels, 7), iter([list(pair) for pair in tensors]), Batches(images, labels)):
        assert_same(deconvnet.strongest(network, given, "relu2", k=4), expected)
    assert_same(deconvnet.strongest(network, keras.ops.convert_to_tensor(images), "relu2", k=4), expected)
    with pytest.raises(ValueError, match="never end"):
        deconvnet.strongest(network, Batches(images, labels, endless=True), "relu2", k=4)
    with pytest.raises(ValueError, match="do not fit this model"):
        deconvnet.strongest(network, [{"image": images}], "relu2", k=4)


def test_a_pipeline_of_tensorflow_is_searched(network):
    tf = pytest.importorskip("tensorflow")
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    pipeline = tf.data.Dataset.from_tensor_slices((images, np.arange(40) % 4)).batch(7)
    expected = deconvnet.strongest(network, images, "relu2", k=4)
    assert_same(deconvnet.strongest(network, pipeline.prefetch(1), "relu2", k=4), expected)
    assert_same(deconvnet.strongest(network, pipeline.map(lambda some, of: some), "relu2", k=4), expected)
    with pytest.raises(ValueError, match="never end"):
        deconvnet.strongest(network, pipeline.repeat(), "relu2", k=4)


def test_of_one_layer_the_units_come_back_alone(network):
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)
    assert_same(deconvnet.strongest(network, images, "relu2"), deconvnet.strongest(network, images, ["relu2"], k=9)["relu2"])


def test_units_are_indexed_as_an_array_is():
    parts = np.arange(30).reshape(5, 2, 3)
    units = deconvnet.Units(*parts)
    assert_same(units[1], deconvnet.Units(*parts[:, 1]))
    assert_same(units[:, :2], deconvnet.Units(*parts[:, :, :2]))
    assert_same(units[[1, 0]], deconvnet.Units(*parts[:, [1, 0]]))
    assert_same(units.ravel(), deconvnet.Units(*parts.reshape(5, 6)))
    assert units[0, 1].row == parts[1, 0, 1]


def test_layers_of_a_nested_model_and_of_images_of_any_size():
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, activation="relu", name="a")], name="inner"
    )
    outer = keras.Sequential([keras.Input((None, None, 3)), inner, keras.layers.ReLU(name="b")])
    images = np.random.default_rng(0).random((5, 12, 9, 3), dtype=np.float32)
    found = deconvnet.strongest(outer, images, ["b", "inner/a"], k=2)
    assert_same(found["b"], found["inner/a"])
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
    with pytest.raises(ValueError, match="k must be a whole number of 1 or more, not 0"):
        deconvnet.strongest(network, images, ["relu1"], k=0)
    broken = images.astype(np.float32)
    broken[2] = np.nan
    with pytest.raises(ValueError, match="image 2 holds NaN"):
        deconvnet.strongest(network, iter([broken[:2], broken[2:]]), ["relu1"], k=1)


# Layers read in batches

RNG = np.random.default_rng(0)


def nested():
    inner = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(3, 3, activation="relu", name="conv2")], name="inner")
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(images)
    return keras.Model(images, keras.layers.Flatten(name="flat")(inner(x)))


def test_reads_layers_of_nested_models_with_the_weights_of_the_moment():
    model, images = nested(), RNG.random((5, 8, 8, 3)).astype(np.float32)
    read = activations.reader(model, ["inner/conv2", "conv1"], activations.maps, (8, 8, 3))
    for _ in range(2):
        conv2, conv1 = read(images)
        np.testing.assert_allclose(conv1, model.get_layer("conv1")(images), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(conv2.reshape(5, -1), model(images), rtol=1e-5, atol=1e-6)
        model.set_weights([weight + 0.1 for weight in model.get_weights()])


def test_computes_nothing_behind_the_last_layer():
    """A model of several outputs has layers to read as well."""
    model, images = nested(), RNG.random((2, 8, 8, 3)).astype(np.float32)
    two = keras.Model(model.inputs, [model.layers[1].output, model.outputs[0]])
    (conv1,) = activations.reader(two, ["conv1"], activations.maps, (8, 8, 3))(images)
    np.testing.assert_allclose(conv1, model.get_layer("conv1")(images), rtol=1e-5, atol=1e-6)


def test_is_compiled_once():
    model = nested()
    assert activations.reader(model, ["conv1"], activations.maps, (8, 8, 3)) is activations.reader(
        model, ["conv1"], activations.maps, (8, 8, 3)
    )


def test_batches_hold_every_image_once(monkeypatch):
    model, images = nested(), RNG.integers(0, 256, (11, 8, 8, 3), np.uint8)
    monkeypatch.setattr(activations, "BATCH", 4)
    starts, parts = zip(*activations.batches(model, images, ""), strict=True)
    assert starts == (0, 4, 8)
    np.testing.assert_array_equal(np.concatenate(parts), images.astype(np.float32) / 255)


def test_a_batch_of_large_maps_is_small(monkeypatch):
    model = nested()  # its largest map has 6 · 6 · 4 values of 4 bytes
    monkeypatch.setattr(activations, "MEMORY", 2 * 6 * 6 * 4 * 4 * 3)
    assert activations.batch_size(model, (8, 8, 3)) == 3
    monkeypatch.setattr(activations, "MEMORY", 1)
    assert activations.batch_size(model, (8, 8, 3)) == 1


def test_reader_and_batches_refuse():
    model = nested()
    with pytest.raises(ValueError, match="'conv9' is not in this model"):
        activations.reader(model, ["conv9"], activations.maps, (8, 8, 3))
    images = np.zeros((activations.BATCH + 3, 8, 8, 3), np.float32)
    images[-1] = np.nan
    with pytest.raises(ValueError, match=f"image {len(images) - 1} holds NaN"):
        list(activations.batches(model, images, ""))
