"""Images as a model takes them: the range of pixels that its first layers tell, and what is refused."""

import sys

import numpy as np
import pytest

from deconvlib import data, deconvnet, networks, training
from deconvlib.backend import keras
from deconvlib.deconvnet import inputs

RNG = np.random.default_rng(0)
PHOTOGRAPHS = RNG.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)


def behind(*front):
    """A model whose convolution reads the pixels behind `front`: layers, or functions."""
    images = keras.Input((16, 16, 3))
    x = images
    for layer in front:
        x = layer(x)
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    pooled = keras.layers.UnitNormalization()(keras.layers.GlobalAveragePooling2D()(maps))  # or pixels of 255 saturate it
    logits = keras.layers.Dense(3)(pooled)
    return keras.Model(images, keras.layers.Softmax()(logits))


def adapted(images):
    layer = keras.layers.Normalization()
    layer.adapt(images.astype(np.float32))
    return layer


def trained(images):
    """A batch normalization as it is after a training."""
    layer = keras.layers.BatchNormalization()
    layer.build(images.shape)
    mean, variance = images.mean(axis=(0, 1, 2)), images.var(axis=(0, 1, 2))
    layer.set_weights([*layer.get_weights()[:2], mean, variance])
    return layer


def preprocess(application):
    return sys.modules[getattr(keras.applications, application).__module__].preprocess_input


def augmentation():
    return keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), keras.layers.RandomContrast(0.2)])


FRONTS = {
    "rescaled": ((0, 255), lambda: [keras.layers.Rescaling(1 / 255)]),
    "centred": ((0, 255), lambda: [keras.layers.Rescaling(1 / 127.5, offset=-1)]),
    "an application's own": ((0, 1), lambda: [keras.layers.Rescaling(2.0, offset=-1.0)]),
    "back to bytes": ((0, 1), lambda: [keras.layers.Rescaling(255.0)]),
    "by channel": ((0, 255), lambda: [keras.layers.Rescaling([1 / 58, 1 / 57, 1 / 57], offset=[-2.1, -2.0, -1.8])]),
    "augmented": ((0, 255), lambda: [augmentation(), keras.layers.Rescaling(1 / 255)]),
    "resized": ((0, 255), lambda: [keras.layers.Resizing(8, 8), keras.layers.Rescaling(1 / 255)]),
    "untrained norm": ((0, 255), lambda: [keras.layers.BatchNormalization(), keras.layers.Rescaling(1 / 255)]),
    "a scale of 1": ((0, 255), lambda: [keras.layers.Rescaling(1.0), keras.layers.Rescaling(1 / 255)]),
    "trained norm": ((0, 255), lambda: [trained(PHOTOGRAPHS), keras.layers.Rescaling(1 / 255)]),
    "trained norm of [0, 1]": ((0, 1), lambda: [trained(PHOTOGRAPHS / 255)]),
    "adapted": ((0, 255), lambda: [adapted(PHOTOGRAPHS), keras.layers.Rescaling(1 / 255)]),
    "adapted to [0, 1]": ((0, 1), lambda: [adapted(PHOTOGRAPHS / 255)]),
    "adapted to few strokes": ((0, 1), lambda: [adapted(PHOTOGRAPHS > 230)]),  # its mean less its deviation is below 0
    "adapted to [-1, 1]": ((-1, 1), lambda: [adapted(PHOTOGRAPHS / 127.5 - 1)]),
    "given by a paper": ((0, 1), lambda: [keras.layers.Normalization(mean=[0.5] * 3, variance=[0.5] * 3)]),
    "a scale alone": ((0, 255), lambda: [keras.layers.Normalization(mean=0.0, variance=255.0**2)]),
    "from -1": ((-1, 1), lambda: [lambda x: (x + 1) / 2]),
    "from -1 to bytes": ((-1, 1), lambda: [keras.layers.Rescaling(127.5, offset=127.5)]),
    "enlarged": ((0, 255), lambda: [keras.layers.UpSampling2D(2), keras.layers.Rescaling(1 / 255)]),
    "pooled": ((0, 255), lambda: [keras.layers.AveragePooling2D(2), keras.layers.Rescaling(1 / 255)]),
    "functions": ((0, 255), lambda: [lambda x: keras.ops.image.resize(keras.ops.cast(x, "float32"), (12, 12)) / 255]),
    "clipped": ((0, 255), lambda: [lambda x: keras.ops.clip(x, 0, 255) / 255]),
    "grey": ((0, 255), lambda: [lambda x: keras.ops.mean(x, axis=-1, keepdims=True) / 255]),
    "pipeline": ((0, 255), lambda: [keras.layers.Pipeline([keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 255)])]),
    "policies": ((0, 255), lambda: [keras.layers.RandAugment(), keras.layers.Rescaling(1 / 255)]),
    "arithmetic": ((0, 255), lambda: [lambda x: (x - 127.5) / 127.5]),
    "arithmetic of [0, 1]": ((0, 1), lambda: [lambda x: (x - 0.5) * 2]),
    **{
        application: ((0, 255), lambda application=application: [augmentation(), preprocess(application)])
        for application in ("MobileNetV2", "ResNet50", "VGG16", "DenseNet121")
    },
}


@pytest.mark.parametrize("front", FRONTS)
def test_the_range_of_pixels_is_read_off_the_first_layers(front):
    known, make = FRONTS[front]
    assert inputs.pixel_range(behind(*make())) == known


def test_where_nothing_tells_the_range_it_is_not_known(capsys):
    assert inputs.pixel_range(behind()) is None
    assert inputs.pixel_range(behind(keras.layers.BatchNormalization())) is None
    model = behind()
    assert inputs.as_input(model, PHOTOGRAPHS).max() == inputs.as_input(model, PHOTOGRAPHS[:1]).max() == 1
    said = f"nothing in model '{model.name}' says what range of pixels it takes; bytes are brought to [0, 1]\n"
    assert capsys.readouterr().out == said  # once


def test_averages_that_have_not_settled_tell_nothing_wrong():
    """A batch normalization's averages begin with mean 0 and variance 1: of pixels in [0, 1] they look like [-1, 1]."""
    for images, steps, known in ((PHOTOGRAPHS / 255, 50, None), (PHOTOGRAPHS / 255, 1000, (0, 1)), (PHOTOGRAPHS, 2, (0, 255))):
        layer, kept = trained(images), 0.99**steps
        scale, offset, mean, variance = layer.get_weights()
        layer.set_weights([scale, offset, (1 - kept) * mean, kept + (1 - kept) * variance])
        assert inputs.pixel_range(behind(layer)) == known


@pytest.mark.parametrize("front", ["augmented", "MobileNetV2", "ResNet50", "VGG16", "adapted", "trained norm"])
def test_what_a_model_of_0_to_255_says_of_bytes_is_what_keras_says(front, tmp_path):
    model = behind(*FRONTS[front][1]())
    model.save(tmp_path / "model.keras")
    loaded = networks.load(tmp_path / "model.keras")
    wanted = keras.models.load_model(tmp_path / "model.keras").predict(PHOTOGRAPHS.astype(np.float32), verbose=0)
    got = loaded.predict(inputs.as_input(loaded, PHOTOGRAPHS), verbose=0)
    assert np.ptp(wanted, axis=0).max() > 1e-3
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    labels = RNG.integers(0, 3, len(PHOTOGRAPHS))
    evaluated = training.evaluate(loaded, data.Dataset("own", PHOTOGRAPHS, labels, PHOTOGRAPHS, labels, ("a", "b", "c")))
    assert evaluated.accuracy == (wanted.argmax(axis=1) == labels).mean()


def test_channels_put_in_another_order_are_linear_and_seen_in_windows():
    """As in Keras' preprocessing of ResNet50, which stacks blue, green and red."""
    model, plain = behind(preprocess("ResNet50")), behind()
    assert deconvnet.receptive_field.of(model, "conv").size == (3, 3)
    kernel, bias = model.get_layer("conv").get_weights()
    plain.get_layer("conv").set_weights([kernel[:, :, ::-1], bias])  # it reads red, green and blue
    floats = PHOTOGRAPHS.astype(np.float32)
    units = deconvnet.strongest(model, floats, "conv", k=2)
    patches = deconvnet.project_units(model, floats, "conv", units)
    assert patches.projections.shape == (4, 2, 3, 3, 3) and np.ptp(patches.projections) > 0
    means = np.array([123.68, 116.779, 103.939], np.float32)
    wanted = deconvnet.project_units(plain, floats - means, "conv", units)
    np.testing.assert_allclose(patches.projections, wanted.projections, rtol=1e-3, atol=1e-3)


def test_images_become_what_the_model_takes():
    model = networks.classifier((16, 16, 1), 3, filters=(4,))
    bytes_, floats = np.full((1, 16, 16, 1), 255, np.uint8), np.full((1, 16, 16, 1), 0.5)
    assert inputs.as_input(model, bytes_).max() == 1 and inputs.as_input(model, floats).dtype == np.float32
    centred = behind(adapted(PHOTOGRAPHS / 127.5 - 1))
    ends = np.zeros((1, 16, 16, 3), np.uint8)
    ends[0, 0] = 255
    assert inputs.as_input(centred, ends).min() == -1 and inputs.as_input(centred, ends).max() == 1


def test_floats_of_another_range_are_refused():
    of_bytes, of_ones = behind(keras.layers.Rescaling(1 / 255)), behind(keras.layers.Rescaling(2.0, offset=-1.0))
    with pytest.raises(ValueError, match=r"pixels lie in \[0, 1\]; this model takes \[0, 255\]: give uint8"):
        inputs.as_input(of_bytes, PHOTOGRAPHS / 255)
    with pytest.raises(ValueError, match=r"\[0, 1\]; this model takes \[0, 255\]"):
        deconvnet.strongest(of_bytes, PHOTOGRAPHS / 255, "conv")
    inputs.as_input(of_bytes, np.zeros((1, 16, 16, 3)))  # black
    with pytest.raises(ValueError, match=r"rescales them itself and takes \[0, 1\]"):
        inputs.as_input(of_ones, PHOTOGRAPHS.astype(np.float32))


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_what_is_no_model_of_images_is_told_before_anything_else():
    images = np.zeros((1, 8, 8, 3), np.uint8)
    for model, said in {
        keras.Sequential([keras.layers.Dense(2)]): "is not built",
        Subclassed(): "without a graph of layers",
        keras.Sequential([keras.Input((8, 3)), keras.layers.Conv1D(2, 3)]): r"a model of images \(n, height, width, channels\)",
        keras.Sequential([keras.Input((8, 8, 8, 3)), keras.layers.Conv3D(2, 3)]): r"a model of images",
        "model.keras": r"a keras.Model is needed, not a str; networks.load",
    }.items():
        for ask in (
            lambda model: deconvnet.project(model, images, "conv", 0),
            lambda model: deconvnet.strongest(model, images, "conv", k=1),
            lambda model: inputs.as_input(model, images),
        ):
            with pytest.raises((TypeError, ValueError), match=said):
                ask(model)
