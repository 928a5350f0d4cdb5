"""Models of other origin, and this project's own from a file, also in a process that knows nothing of them."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small import answers

from deconvlib import deconvnet, networks
from deconvlib.backend import keras
from deconvlib.networks.classifier import ReconstructionLoss

JAX = importlib.util.find_spec("jax") is not None
IMAGES = np.random.default_rng(0).random((32, 16, 16, 3), np.float32)


def deconvolved():
    """With all layers of this project: unpooling and a shuffle in line, and a loss. After two steps of training."""
    settings = {"filters": (8,), "decoder": "unpooling", "decoder_filters": (8,), "dense_units": 8}
    model = networks.classifier((16, 16, 3), 4, normalization="deconvolution", **settings)
    shuffled = networks.upsampling.DepthToSpace(name="shuffle")(model.get_layer("deconv1").output)
    shuffled = ReconstructionLoss()([shuffled, shuffled, 0 * shuffled])
    model = keras.Model(model.inputs, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(shuffled)))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.arange(32) % 2, batch_size=16, verbose=0)
    return model


def operator(name):
    images = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(5, 3, padding="same")(images)
    pooled = keras.layers.MaxPooling2D(2)(maps)
    layer = networks.OPERATORS[name](2, 3, strides=2, padding="same", activation="relu")
    return keras.Model(images, layer([pooled, maps] if name == "unpooling" else pooled))


SAVED = {
    "classifier": lambda: networks.classifier(
        (16, 16, 3), 3, filters=(4,), normalization="batch", decoder="transposed", l2=1e-4
    ),
    "deconvolved": deconvolved,
    **{name: lambda name=name: operator(name) for name in networks.OPERATORS},
}
FRESH = """
import sys
import numpy as np
from deconvlib.backend import keras

folder, *names = sys.argv[1:]
images = np.load(folder + "/images.npy")
found = {"classifier": keras.models.load_model(folder + "/classifier.keras").predict(images, verbose=0)}  # Keras' own layers
from deconvlib import networks
from small import answers

loaded = {name: networks.load(folder + "/" + name + ".keras") for name in names if name != "classifier"}
found |= {name: model.predict(images, verbose=0) for name, model in loaded.items()}
deconvolved = loaded["deconvolved"]
found |= {str(number): array for number, array in enumerate(answers(deconvolved, images))}
np.savez(folder + "/found.npz", **found)
deconvolved.compile("adam", "sparse_categorical_crossentropy")
assert np.isfinite(deconvolved.fit(images, np.arange(len(images)) % 2, verbose=0).history["loss"]).all()
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The models of SAVED, and what a fresh process, under JAX where it is installed, has from their files."""
    folder, models = tmp_path_factory.mktemp("saved"), {name: make() for name, make in SAVED.items()}
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    np.save(folder / "images.npy", IMAGES)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    environment |= {"KERAS_BACKEND": "jax"} if JAX else {}
    subprocess.run([sys.executable, "-c", FRESH, str(folder), *models], check=True, env=environment)
    return models, np.load(folder / "found.npz")


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_loads_in_a_fresh_process(fresh, name):
    models, found = fresh
    expected = models[name].predict(IMAGES, verbose=0)
    assert np.ptp(expected) > 1e-3
    # float32: the largest difference between the backends was 1.2e-7
    np.testing.assert_allclose(found[name], expected, atol=1e-6)


@pytest.mark.skipif(not JAX, reason="JAX is not installed")
def test_jax_agrees(fresh):
    models, found = fresh
    for number, expected in enumerate(answers(models["deconvolved"], IMAGES)):
        assert np.linalg.norm(found[str(number)] - expected) <= 1e-3 * np.linalg.norm(expected) + 1e-6


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121", "ResNet50", "MobileNetV3Small"])
def test_a_model_answers_to_pixels_as_behind_an_applications_preprocessing(name, tmp_path):
    """One of each kind: to [-1, 1]; by mean and deviation; BGR less its mean; none, 0 to 255."""
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    network = keras.Sequential(
        [
            *(keras.Input((12, 12, 3)), keras.layers.ZeroPadding2D(), keras.layers.Conv2D(4, 3, activation="relu")),
            *(keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5)),
        ]
    )
    network.save(tmp_path / "own.keras")
    loaded = networks.load(tmp_path / "own.keras", preprocessing=name)
    module = sys.modules[getattr(keras.applications, name).__module__]
    logits = network.predict(module.preprocess_input(images.astype(np.float32)), verbose=0)
    assert np.ptp(logits) > 0.1
    got = loaded.predict(deconvnet.inputs.as_input(loaded, images), verbose=0)
    assert np.allclose(got, keras.ops.softmax(logits), atol=1e-5)


def test_an_application_by_its_name():
    model = networks.load("MobileNetV2")
    assert model.input_shape == (None, 224, 224, 3) and model.output_shape == (None, 1000)
    assert model.layers[1].get_config()["scale"] == 2.0  # [0, 1] to [-1, 1]


def test_a_nested_model_is_opened_and_logits_get_a_softmax(tmp_path):
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, activation="relu", name="conv")], name="inner"
    )
    outer = keras.Sequential(
        [keras.Input((None, None, 3)), inner, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    )
    outer.save(tmp_path / "nested.keras")
    with pytest.raises(ValueError, match="image_size"):
        networks.load(tmp_path / "nested.keras")
    loaded = networks.load(tmp_path / "nested.keras", image_size=16)
    assert loaded.input_shape == (None, 16, 16, 3) and "conv" in [layer.name for layer in loaded.layers]
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    wanted = keras.ops.softmax(outer.predict(images, verbose=0))
    assert np.allclose(loaded.predict(images, verbose=0), wanted, atol=1e-6)


def test_a_model_that_needs_no_change_comes_back_as_it_was(tmp_path):
    model = networks.classifier((16, 16, 1), 3, filters=(4,), normalization="batch")
    model.save(tmp_path / "own.keras")
    loaded = networks.load(tmp_path / "own.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True))


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_nothing_of_a_malicious_lambda_runs(tmp_path):
    witness = str(tmp_path / "it ran")
    evil = keras.layers.Lambda(lambda x: (open(witness, "w").close(), x)[1], output_shape=(8, 8, 3), name="evil")
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(evil(images))))
    Path(witness).unlink(missing_ok=True)  # building it ran it
    model.save(tmp_path / "evil.keras")
    with pytest.raises(ValueError, match=r"Lambda layer 'evil'.*nothing of it was run.*of each Lambda"):
        networks.load(tmp_path / "evil.keras")
    assert not Path(witness).exists()
    keras.models.load_model(tmp_path / "evil.keras", safe_mode=False).predict(np.zeros((1, 8, 8, 3)), verbose=0)
    assert Path(witness).exists(), "the file is not dangerous, and this tests nothing"


class Halved(keras.layers.Layer):
    def call(self, x):
        return x / 2


def test_a_custom_layer_is_refused_by_its_name_and_taken_once_it_is_registered(tmp_path):
    keras.Sequential([keras.Input((8, 8, 3)), Halved(), keras.layers.Flatten(), keras.layers.Dense(2)]).save(
        tmp_path / "c.keras"
    )
    with pytest.raises(ValueError, match=r"class '.*Halved'.*register_keras_serializable"):
        networks.load(tmp_path / "c.keras")
    with keras.saving.custom_object_scope({"Custom>Halved": Halved, "Halved": Halved}):
        assert networks.load(tmp_path / "c.keras").output_shape == (None, 2)


def test_a_function_of_another_module_is_refused(tmp_path):
    """What a description could name to have Keras import and call it."""
    model = networks.classifier((16, 16, 1), 3, filters=(4,))
    model.save(tmp_path / "own.keras")
    with zipfile.ZipFile(tmp_path / "own.keras") as whole, zipfile.ZipFile(tmp_path / "other.keras", "w") as other:
        for name in whole.namelist():
            held = whole.read(name)
            planted = (
                b'"activation": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}'
            )
            assert name != "config.json" or b'"activation": "relu"' in held
            other.writestr(name, held.replace(b'"activation": "relu"', planted) if name == "config.json" else held)
    with pytest.raises(ValueError, match="function 'system'"):
        networks.load(tmp_path / "other.keras")


def test_files_that_are_no_models(tmp_path):
    good = tmp_path / "good.keras"
    networks.classifier((16, 16, 1), 3, filters=(4,)).save(good)
    (tmp_path / "short.keras").write_bytes(good.read_bytes()[:5000])
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "torch.pt").write_bytes(b"PK")
    (tmp_path / "lite.tflite").write_bytes(b"TFL3")
    (tmp_path / "other.onnx").write_bytes(b"ONNX")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"program")
    damaged = bytearray(good.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = bytes(400)
    (tmp_path / "damaged.keras").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("cat/1.txt", "")
    for name, said in {
        "short.keras": "cut short",
        "text.keras": "not a .keras file",
        "torch.pt": r"a pickle, which runs code.*layer.set_weights",
        "lite.tflite": "TensorFlow Lite.*that it was converted from",
        "other.onnx": "of ONNX.*layer.set_weights",
        "folder": r"is a folder; give a .keras or .h5 file",
        "folder.keras": r"is a folder; give a .keras or .h5 file",
        "saved": r"a SavedModel.*tf_keras.models.load_model\('saved'\).save\('model.h5'\)",
        "damaged.keras": "damaged.keras",
        "other.keras": "config.json",
    }.items():
        with pytest.raises(ValueError, match=said):
            networks.load(tmp_path / name)
    for file in sorted(tmp_path.iterdir()):
        if file != good:
            with pytest.raises(ValueError, match=r"^[^\n]{20,500}$"):  # in one line
                networks.load(file)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.keras"):
        networks.load(tmp_path / "none.keras")
    with pytest.raises(ValueError, match="did you mean 'MobileNetV2'"):
        networks.load("MobilNetV2")
    with pytest.raises(ValueError, match="is not to be had"):
        networks.load("MobileNetV2", weights="no such file")


def rewritten(source, target, **changes):
    """A .keras file again, with parts of its text files replaced: name={old: new}."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as other:
        for name in whole.namelist():
            held = whole.read(name)
            for old, new in changes.get(name.partition(".")[0], {}).items():
                assert old in held
                held = held.replace(old, new)
            other.writestr(name, held)
    return target


def test_a_file_of_keras_2_is_told_as_such(tmp_path):
    """Keras 2 wrote the same kind of archive, whose classes have names of its own."""
    networks.classifier((16, 16, 1), 3, filters=(4,)).save(tmp_path / "own.keras")
    changes = {
        "metadata": {f'"keras_version": "{keras.__version__}"'.encode(): b'"keras_version": "2.15.0"'},
        "config": {b"keras.src.models.functional": b"keras.src.engine.functional"},
    }
    old = rewritten(tmp_path / "own.keras", tmp_path / "two.keras", **changes)
    with pytest.raises(ValueError, match=r"saved by Keras 2.15.0.*load_model\('two.keras'\).save\('model.h5'\)"):
        networks.load(old)


@pytest.mark.parametrize(
    "name", ["config.set_floatx", "utils.set_random_seed", "saving.load_model", "src.backend.config.set_floatx"]
)
def test_a_function_of_keras_that_is_no_part_of_a_model_is_refused(name, tmp_path):
    networks.classifier((16, 16, 1), 3, filters=(4,)).save(tmp_path / "own.keras")
    module, _, function = f"keras.{name}".rpartition(".")
    planted = f'"activation": {{"module": "{module}", "class_name": "function", "config": "{function}"}}'
    changes = {"config": {b'"activation": "relu"': planted.encode()}}
    with pytest.raises(ValueError, match=f"needs the function '{function}'"):
        networks.load(rewritten(tmp_path / "own.keras", tmp_path / "other.keras", **changes))


def test_the_reason_is_said_and_not_the_whole_description(tmp_path):
    networks.classifier((16, 16, 1), 3, filters=(4,)).save(tmp_path / "own.keras")
    changes = {"config": {b'"kernel_size": [3, 3]': b'"kernel_size": [3, 3], "of_tomorrow": 1'}}
    with pytest.raises(ValueError, match=r"^[^\n]*cannot be loaded: [^\n]{0,300}of_tomorrow[^\n]*$"):
        networks.load(rewritten(tmp_path / "own.keras", tmp_path / "newer.keras", **changes))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = networks.classifier((16, 16, 1), 3, filters=(4,))
    model.get_layer("conv1").set_weights([np.full((3, 3, 1, 4), np.nan), np.zeros(4)])
    model.save(tmp_path / "diverged.keras")
    with pytest.raises(ValueError, match="weights conv1/kernel hold NaN"):
        networks.load(tmp_path / "diverged.keras")


ONE = {
    "sigmoid": lambda x: keras.layers.Dense(1, activation="sigmoid", name="classes")(x),
    "logit": lambda x: keras.layers.Dense(1)(x),
    "sigmoid apart": lambda x: keras.layers.Activation("sigmoid")(keras.layers.Dense(1)(x)),
    "function": lambda x: keras.ops.sigmoid(keras.layers.Dense(1)(x)),
    "pooled": lambda x: keras.layers.Activation("sigmoid")(keras.ops.mean(x, axis=1, keepdims=True)),
}


@pytest.mark.parametrize("ending", ONE)
def test_one_sigmoid_or_logit_becomes_two_classes(ending, tmp_path):
    images = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255, name="softmax")(images)  # names that loading gives layers of its own
    x = keras.layers.Dropout(0.1, name="images")(x)
    x = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer="ones", name="rescale")(x)  # no channel is silent
    model = keras.Model(images, ONE[ending](keras.layers.Flatten()(x)))
    model.save(tmp_path / "one.keras")
    loaded = networks.load(tmp_path / "one.keras")
    photographs = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3)).astype(np.float32)
    given = model.predict(photographs, verbose=0)[:, 0]
    given = given if ending != "logit" else 1 / (1 + np.exp(-given))
    answers = loaded.predict(photographs, verbose=0)
    np.testing.assert_allclose(answers, np.stack([1 - given, given], axis=1), atol=1e-6)
    maps = deconvnet.project(loaded, photographs, "rescale", 0)
    assert np.abs(maps).max() > 0


@pytest.mark.parametrize("pixels", [(0, 255), (-1, 1), (0, 1)])
def test_the_range_of_pixels_can_be_stated(pixels, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
    model.save(tmp_path / "own.keras")
    photographs = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    low, high = pixels
    wanted = model.predict(low + (high - low) * photographs.astype(np.float32) / 255, verbose=0)
    loaded = networks.load(tmp_path / "own.keras", pixels=pixels)
    np.testing.assert_allclose(
        loaded.predict(deconvnet.inputs.as_input(loaded, photographs), verbose=0), wanted, rtol=1e-4, atol=1e-6
    )


def test_pixels_that_are_no_range_are_refused(tmp_path):
    networks.classifier((16, 16, 1), 3, filters=(4,)).save(tmp_path / "own.keras")
    for pixels in ((255, 0), (0, 1, 2), (0, np.nan), 255, "0-255"):
        with pytest.raises(ValueError, match=r"pixels must be None, or \(lowest, highest\)"):
            networks.load(tmp_path / "own.keras", pixels=pixels)
    with pytest.raises(ValueError, match="leave pixels"):
        networks.load(tmp_path / "own.keras", pixels=(0, 255), preprocessing="ResNet50")


def test_statistics_of_the_images_come_with_a_model_that_is_rebuilt(tmp_path):
    """Keras' Normalization computes with constants that it makes of its weights."""
    images = np.random.default_rng(0).normal(5, 3, (50, 8, 8, 3)).astype(np.float32)
    normalization = keras.layers.Normalization()
    normalization.adapt(images)
    inner = keras.Sequential([keras.Input((8, 8, 3)), normalization, keras.layers.Conv2D(4, 3)])
    outer = keras.Sequential(
        [keras.Input((8, 8, 3)), inner, keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    )
    outer.save(tmp_path / "nested.keras")
    loaded = networks.load(tmp_path / "nested.keras")
    assert not any(isinstance(layer, keras.Model) for layer in loaded.layers)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), outer.predict(images, verbose=0), atol=1e-6)


def test_a_layer_that_cannot_follow_swapped_colours_is_named(tmp_path):
    layers = [keras.layers.DepthwiseConv2D(3, name="depthwise"), keras.layers.Flatten(), keras.layers.Dense(2)]
    keras.Sequential([keras.Input((8, 8, 3)), *layers]).save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match="'ResNet50' swaps red and blue; layer 'depthwise' cannot follow"):
        networks.load(tmp_path / "own.keras", preprocessing="ResNet50")


def test_an_application_of_another_size_has_its_weights_there(monkeypatch):
    wide = networks.load("EfficientNetLite0", image_size=(64, 96))
    assert wide.input_shape == (None, 64, 96, 3) and wide.output_shape == (None, 1000)
    own = networks.load("EfficientNetLite0")
    assert own.input_shape == (None, 224, 224, 3) and [w.shape for w in own.weights] == [w.shape for w in wide.weights]
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
    monkeypatch.setattr(networks.loading, "_application", lambda name, weights: (flat, None))
    with pytest.raises(ValueError, match=r"VGG16 does not take images of 16 × 16: .*leave image_size out"):
        networks.load("VGG16", image_size=16)
