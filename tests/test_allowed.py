"""What parameters may be: every one of every notebook is declared, and the library refuses by what is declared."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from parameters import OTHERS

from deconvlib import allowed, data, deconvnet, networks, training
from deconvlib.backend import keras
from deconvlib.experiments import accuracy, occlusion, operators, restoration, saliency, vanishing
from deconvlib.lab import parameters

NOTEBOOKS = parameters.series(Path(__file__).parents[1] / "notebooks")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_of_every_notebook_is_declared(path):
    for name, default in parameters.read_defaults(path).items():
        setting = allowed.of(path.stem, name)
        assert setting, f"{name} needs a line in deconvlib/allowed.py"
        allowed.refuse(name, default, setting)
        if name in OTHERS[path.stem]:
            allowed.refuse(name, OTHERS[path.stem][name], setting)
        assert not setting.holds(float("nan")) and not setting.holds({1, 2}) and not setting.holds(object())


def test_no_declaration_is_left_over():
    used = {name for path in NOTEBOOKS for name in parameters.read_defaults(path)}
    assert set(allowed.SETTINGS) - set(allowed.CLASSIFIER) - {"image_size"} <= used
    for stem, own in allowed.NOTEBOOKS.items():
        (path,) = parameters.choose(NOTEBOOKS, [stem])
        assert set(own) <= set(parameters.read_defaults(path))


def test_names_are_those_of_the_library():
    taken = set(inspect.signature(networks.classifier).parameters)
    assert set(allowed.CLASSIFIER) == taken - {"image_shape", "num_classes", "seed"}
    assert allowed.OPTIMIZERS == tuple(training.OPTIMIZERS)
    assert set(allowed.DECODERS) == {"none", *networks.OPERATORS}
    assert allowed.DAMAGES == tuple(restoration.DAMAGES)
    assert allowed.SETTINGS["fill"].names == occlusion.FILLS
    assert set(allowed.DATASETS) == {"shapes", "digits", "photographs", *data.loading.DOWNLOADS}
    assert allowed.POOLINGS == tuple(networks.classifier.__globals__["POOLINGS"])
    assert tuple(accuracy.variants([4, 8])) == allowed.VARIANTS
    assert allowed.SETTINGS["trained"].parts.names == vanishing.KINDS
    assert allowed.METHODS == saliency.METHODS


@pytest.mark.parametrize("activation", allowed.ACTIVATIONS)
def test_each_activation_works_in_a_classifier(activation):
    model = networks.classifier((8, 8, 1), 2, filters=(2,), activation=activation)
    assert np.isfinite(keras.ops.convert_to_numpy(model(np.zeros((1, 8, 8, 1), np.float32)))).all()


@pytest.mark.parametrize(
    ("value", "setting", "said"),
    [
        (True, allowed.COUNT, "must be a whole number of 1 or more, not True"),
        (2.0, allowed.COUNT, "not 2.0"),
        (np.float32("nan"), allowed.FROM_0, "must be a number of 0 or more, not"),
        (float("inf"), allowed.ABOVE_0, "must be a number above 0, not inf"),
        (10**400, allowed.SHARE, "below 1, not 1000"),
        ("8", allowed.STAGES, "must be a list of 1 or more entries"),
        ([8, []], allowed.STAGES, r"not \[8, \[\]\]"),
        (["nois"], allowed.SETTINGS["damages"], "x: 'nois' is not known; did you mean 'noise'"),
        ({"JPG": 2}, allowed.SETTINGS["epochs_of"], "x: 'JPG' is not known; did you mean 'JPEG'"),
        ({"JPEG": 0}, allowed.SETTINGS["epochs_of"], "x: JPEG must be a whole number of 1 or more, not 0"),
        ((255, 0), allowed.SETTINGS["pixels"], r"must be None, or \(lowest, highest\), two numbers like \(0, 255\), not"),
        ((0, float("nan")), allowed.SETTINGS["pixels"], "two numbers"),
        ([32, 48, 3], allowed.SETTINGS["image_size"], r"a side in pixels, or \[height, width\], not"),
        (1, allowed.FLAG, "must be true or false, not 1"),
        ("Grad-Cam", allowed.SETTINGS["method"], "x 'Grad-Cam' is not known; did you mean 'Grad-CAM'"),
        (None, allowed.SETTINGS["method"], "must be empty, for the best that the network allows, or one of deconvnet,"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_would_work(value, setting, said):
    with pytest.raises(ValueError, match=said) as error:
        allowed.refuse("x", value, setting)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("value", [np.int64(3), 3])
def test_numbers_of_numpy_are_numbers(value):
    allowed.check(epochs=value, learning_rate=np.float32(value), filters=[value], image_size=(value, value))


@pytest.fixture(scope="module")
def model():
    return networks.classifier((8, 8, 1), 2, filters=(2,))


def images():
    return np.zeros((3, 8, 8, 1), np.uint8)


def units(**changed):
    zeros = {name: np.zeros(2, int) for name in ("image", "row", "column", "channel", "activation")}
    return deconvnet.Units(**zeros | changed)


NONE = dict.fromkeys(("image", "row", "column", "channel", "activation"), np.zeros(0, int))


@pytest.fixture
def unnamed(tmp_path):
    """An .npz whose class_names are one text."""
    arrays = {"x": np.zeros((20, 8, 8, 1), np.uint8), "y": np.arange(20) % 2, "class_names": np.array("cat, dog")}
    np.savez(tmp_path / "unnamed.npz", **arrays)
    return tmp_path / "unnamed.npz"


def test_class_names_that_are_one_text_are_refused(unnamed):
    for load in (data.load, lambda path: data.sample(path, (8, 8, 1), 3)):
        with pytest.raises(ValueError, match="unnamed: class_names must be a list of names, one for each class"):
            load(unnamed)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda _: data.load(""), "name must be a name or a path, not ''"),
        (lambda _: data.load("shapes", seed=-1), "seed must be a whole number from 0"),
        (lambda _: data.sample(" ", (8, 8, 1), 3), "name must be a name or a path"),
        (lambda _: data.shapes(10, 10, seed=-1), "seed must be"),
        (lambda _: data.shapes(40, 20).long_tail(float("nan")), "imbalance must be a number of 1 or more, not nan"),
        (lambda _: data.shapes(40, 20).take(3, seed=-1), "seed must be"),
        (lambda _: networks.classifier((8, 8, 1), 2, filters=[10**7]), "filters must be a list of 1 or more entries.*4,096"),
        (lambda _: networks.classifier((8, 8, 1), 2, seed=-1), "seed must be"),
        (lambda _: networks.classifier((8, 8), 2), r"image_shape must be \[height, width, channels\]"),
        (lambda _: networks.classifier((8, 8, 1), 2, dropout=float("nan")), "dropout must be a number of 0 or more and below"),
        (lambda _: networks.encoder_decoder((8, 8, 1), 1, filters=[0]), "filters must be"),
        (lambda _: networks.variational((8, 8, 1), code=0), "code must be a whole number"),
        (lambda _: training.augmentation(shift=5), "shift must be a number from 0 to 0.5, not 5"),
        (lambda _: training.augmentation(shift=-1), "shift must be a number from 0 to 0.5, not -1"),
        (lambda _: training.augmentation(seed=-1), "seed must be"),
        (lambda model: training.fit(model, None, class_weight="x"), "class_weight must be None, or one of balanced, not 'x'"),
        (lambda model: training.fit(model, None, weight_decay=-1), "weight_decay must be a number of 0 or more, not -1"),
        (
            lambda model: training.fit(model, None, learning_rate=float("nan")),
            "learning_rate must be a number above 0, not nan",
        ),
        (lambda model: training.fit(model, None, batch_size=0), "batch_size must be a whole number of 1 or more, not 0"),
        (lambda model: training.fit(model, None, seed=-1), "seed must be"),
        (lambda model: training.fit_pairs(model, 3, None, batch_size=0), "batch_size must be"),
        (lambda model: deconvnet.strongest(model, images(), []), "layers must be a list or tuple of 1 or more names"),
        (lambda model: deconvnet.strongest(model, images(), "conv1", k=1, batch_size=0), "batch_size must be"),
        (lambda model: deconvnet.activations.reader(model, "conv1", None, (8, 8, 1)), r"layers must be .* like \('conv1',\)"),
        (lambda model: deconvnet.project_units(model, images(), "conv1", units(**NONE)), "there are no units to project"),
        (lambda model: units(row=np.zeros(3, int)), "the arrays of units must have one shape"),
        (lambda model: deconvnet.project(model, images(), "softmax", 0, chain_rule="softmax"), r"like \('softmax',\), not"),
        (lambda model: deconvnet.coverage(model, "softmax", chain_rule="softmax"), r"chain_rule must be .*\('softmax',\)"),
        (lambda _: operators.costs({}, (8, 8, 1), batch_size=0), "batch_size must be"),
    ],
)
def test_the_library_refuses_in_one_line(model, call, said):
    with pytest.raises(ValueError, match=said) as error:
        call(model)
    assert "\n" not in str(error.value)
