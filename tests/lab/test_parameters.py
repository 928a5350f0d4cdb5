"""What is refused before anything runs, and how values of profiles and of the command line are read."""

from pathlib import Path

import nbformat
import pytest
import yaml
from small_notebooks import notebook

from deconvlib.lab import parameters, run

NOTEBOOKS = parameters.series(Path(__file__).parents[2] / "notebooks")


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """A function that runs notebooks of a folder: one line says what is wrong, no kernel starts and nothing is written."""
    monkeypatch.setattr(run, "execute", None)

    def check(said, folder, *names, **settings):
        with pytest.raises(parameters.UserError, match=said) as error:
            run.run(names, folder=folder, out=tmp_path / "out", **settings)
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()

    return check


@pytest.mark.parametrize("inside", [False, True])
def test_the_notebooks_are_those_of_the_folder_where_it_is_called(folder, monkeypatch, inside):
    monkeypatch.chdir(folder if inside else folder.parent)
    assert parameters.series() == parameters.series(folder) == [folder / "01_one.ipynb", folder / "02_two.ipynb"]


def test_says_where_it_looked_for_notebooks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(parameters.UserError) as error:
        run.run()
    assert f"in {tmp_path / 'notebooks'} or {tmp_path}; change to the folder that holds notebooks/" in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["03"], {}, "notebook '03' is not known. Known: '01_one', '02_two'"),
        (["01_on3"], {}, "did you mean '01_one'"),
        ([], {"profile": "quik"}, "profile 'quik' is not known; did you mean 'quick'"),
        ([], {"overrides": {"epoch": "3"}}, "parameter 'epoch' is not known; did you mean 'epochs'"),
        ([], {"overrides": {"epochs": "3.5"}}, "01_one: epochs must be a whole number of 1 or more, not 3.5"),
        ([], {"overrides": {"rate": "fast"}}, "parameter 'rate' is 'fast', a str"),
        ([], {"overrides": {"flip": "1"}}, "01_one: flip must be true or false, not 1"),
        ([], {"overrides": {"filters": "8"}}, "01_one: filters must be a list of 1 or more entries, each a whole number"),
    ],
)
def test_refuses_what_it_does_not_know(refused, folder, names, settings, said):
    refused(said, folder, *names, **settings)


def test_a_profile_may_set_what_only_other_notebooks_have(folder):
    notebook(folder, "03_three", "print(size)", parameters='size = 1\nrun_dir = "."')
    (folder / "profiles/quick.yaml").write_text("all: {size: 2}")
    two, sections = folder / "02_two.ipynb", parameters.read_profile(parameters.series(folder), "quick")
    assert parameters.checked_parameters([two], sections, {}) == {two: {"run_dir": None}}


def test_reads_yaml_values_by_the_parameters_type(folder):
    (folder / "profiles/quick.yaml").write_text("01_one: {rate: 1e-3, epochs: 2}")  # YAML takes 1e-3 for a text
    one, two = parameters.series(folder)
    values = parameters.checked_parameters([one], parameters.read_profile([one, two], "quick"), {"name": "007"})
    assert values[one] == {"rate": 0.001, "epochs": 2, "name": "007", "run_dir": None}


def test_what_a_profile_promises_of_trainings_is_not_said_of_values_of_ones_own(folder):
    notebook(folder, "03_three", "print(size)", parameters="size = 1\nstrict = False")
    (folder / "profiles/quick.yaml").write_text("all: {strict: true}")
    three, sections = folder / "03_three.ipynb", parameters.read_profile(parameters.series(folder), "quick")
    for overrides, strict in (({}, True), ({"size": 2}, None), ({"size": 2, "strict": True}, True)):
        assert parameters.checked_parameters([three], sections, overrides)[three].get("strict") == strict


def test_refuses_a_notebook_without_parameters(refused, folder):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), folder / "03_three.ipynb")
    refused("03_three has 0 cells tagged 'parameters'", folder)


def test_the_quick_profile_is_the_committed_defaults_and_what_must_hold():
    sections = yaml.safe_load((NOTEBOOKS[0].parent / "profiles/quick.yaml").read_text())
    for path in NOTEBOOKS:
        defaults = parameters.read_defaults(path)
        given = {k: v for k, v in sections["all"].items() if k in defaults} | sections.get(path.stem, {})
        assert given.pop("strict", True)
        assert given == {name: defaults[name] for name in given}, path.stem


@pytest.mark.parametrize("profile", sorted((NOTEBOOKS[0].parent / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_profile_is_valid(profile):
    assert parameters.checked_parameters(NOTEBOOKS, parameters.read_profile(NOTEBOOKS, profile.stem), {})


WRONG = [  # (notebook, parameter, text on the command line, what is said)
    ("01", "dataset_name", "shaps", "there is no file or folder shaps in .*; did you mean 'shapes'"),
    ("01", "dataset_name", "", "dataset_name must be a name or a path"),
    ("01", "dataset_name", "~nobody-of-this-name/x", "there is no file or folder ~nobody-of-this-name/x"),
    ("01", "fitting", "squeezed", "fitting 'squeezed' is not known; did you mean 'squeeze'"),
    ("01", "data_dir", "/no/such/folder", "there is no file or folder /no/such/folder"),
    ("01", "labels_per_class", "0", "labels_per_class must be a whole number of 1 or more"),
    ("01", "labels_per_class", "many", "labels_per_class must be a whole number of 1 or more, not 'many'"),
    ("01", "imbalance", "0.5", "imbalance must be a number of 1 or more, not 0.5"),
    ("01", "imbalance", "nan", "imbalance must be a number of 1 or more"),
    ("01", "shift", "5", "shift must be a number from 0 to 0.5, not 5.0"),
    ("01", "shift", "-0.1", "shift must be a number from 0 to 0.5"),
    ("01", "seed", "-1", "seed must be a whole number from 0"),
    ("01", "seed", "none", "seed must be a whole number from 0 to 2,147,483,647, not None"),
    ("02", "image_shape", "[32, 32]", r"image_shape must be \[height, width, channels\]"),
    ("02", "image_shape", "32", r"image_shape must be \[height, width, channels\]"),
    ("02", "num_classes", "1", "num_classes must be a whole number from 2"),
    ("02", "filters", "[]", "filters must be a list of 1 or more entries"),
    ("02", "filters", "[10000000]", "filters must be .* from 1 to 4,096"),
    ("02", "filters", "[32, 0]", r"not \[32, 0\]"),
    ("02", "convolutions", "0", "convolutions must be a whole number from 1"),
    ("02", "kernel_size", "2.5", "kernel_size must be a whole number from 1"),
    ("02", "strides", "-1", "strides must be a whole number from 1"),
    ("02", "activation", "rely", "activation 'rely' is not known; did you mean 'relu'"),
    ("02", "pooling", "mean", "pooling 'mean' is not known. Known: 'max', 'average'"),
    ("02", "normalization", "batchnorm", "normalization 'batchnorm' is not known; did you mean 'batch'"),
    ("02", "decoder", "transpose", "did you mean 'transposed'"),
    ("02", "decoder_filters", "64", "decoder_filters must be a list"),
    ("02", "decoder_kernel_size", "0", "decoder_kernel_size must be None, or a whole number from 1"),
    ("02", "dense_units", "-1", "dense_units must be a whole number from 0"),
    ("02", "dropout", "1.0", "dropout must be a number of 0 or more and below 1"),
    ("02", "l1", "-1", "l1 must be a number of 0 or more"),
    ("02", "l2", "inf", "l2 must be a number of 0 or more"),
    ("03", "epochs", "0", "epochs must be a whole number of 1 or more, not 0"),
    ("03", "epochs", "-1", "epochs must be a whole number of 1 or more, not -1"),
    ("03", "epochs", "[2, 3]", r"not \[2, 3\]"),
    ("03", "batch_size", "0", "batch_size must be a whole number of 1 or more"),
    ("03", "optimizer", "adm", "optimizer 'adm' is not known; did you mean 'adam'"),
    ("03", "learning_rate", "nan", "learning_rate must be a number above 0"),
    ("03", "learning_rate", "1e999", "learning_rate: inf is no number to compute with"),
    ("03", "learning_rate", "0", "learning_rate must be a number above 0, not 0.0"),
    ("03", "schedule", "cosin", "did you mean 'cosine'"),
    ("03", "weight_decay", "-1", "weight_decay must be a number of 0 or more, not -1.0"),
    ("03", "flip", "maybe", "flip must be true or false, not 'maybe'"),
    ("03", "class_weight", "x", "class_weight must be None, or one of balanced, not 'x'"),
    ("03", "label_smoothing", "1", "label_smoothing must be a number of 0 or more and below 1"),
    ("03", "precision", "float16", "precision 'float16' is not known; did you mean"),
    ("03", "network", "{'foo': 1}", "network: 'foo' is not known. Known: 'filters'"),
    ("03", "network", "{'kernel_size': 0}", "network: kernel_size must be a whole number from 1"),
    ("03", "network", "{3, 4}", r"network: a set, \{3, 4\}, is no value of a parameter"),
    ("03", "tutorial_epochs", "0", "tutorial_epochs must be a whole number of 1 or more"),
    ("03", "run_dir", "x", "--out FOLDER"),
    ("04", "layers", "conv1", "layers must be a list of entries"),
    ("04", "layers", "[1]", r"layers must be a list of entries, each a text, not \[1\]"),
    ("04", "channels", "0", "channels must be a whole number of 1 or more"),
    ("04", "top", "true", "top must be a whole number of 1 or more, not True"),
    ("04", "searched", "1e3", "searched must be a whole number of 1 or more, not 1000.0"),
]


@pytest.mark.parametrize(("names", "name", "value", "said"), WRONG, ids=lambda part: str(part)[:20])
def test_refuses_a_wrong_value(refused, names, name, value, said):
    refused(said, NOTEBOOKS[0].parent, names, overrides={name: value})


def given(names, **overrides):
    paths = parameters.choose(NOTEBOOKS, [names])
    return parameters.checked_parameters(paths, {}, overrides)[paths[0]]


def test_a_text_is_read_as_what_the_parameter_takes(tmp_path, monkeypatch):
    assert given("14", image_size="(32, 48)")["image_size"] == given("14", image_size="32,48")["image_size"] == [32, 48]
    assert given("03", decoder="none", class_weight="none", imbalance="2", network="{}")["imbalance"] == 2.0
    monkeypatch.setattr(parameters.record, "home", lambda _: tmp_path)
    (tmp_path / "2024").mkdir()
    assert given("03", data_dir="2024")["data_dir"] == "2024"
    assert given("03", dataset_name="2024")["dataset_name"] == "2024"


def test_a_name_that_means_another_thing_in_a_notebook_of_ones_own_is_not_refused(folder):
    notebook(folder, "03_three", "1", parameters='filters = 3\nrun_dir = "."')
    (three,) = parameters.choose(parameters.series(folder), ["03"])
    assert parameters.checked_parameters([three], {}, {"filters": "5"})[three]["filters"] == 5


FORM = r"quick.yaml must hold \{notebook, or all: \{parameter: value\}\}, like"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", FORM),
        ("[]", FORM),
        ("epochs", FORM),
        ("03_three: {epochs: 1}", "notebook '03_three' is not known"),
        ("01_one: {epoch: 1}", "quick.yaml: 01_one: parameter 'epoch' is not known; did you mean 'epochs'"),
        ("all: {epoch: 1}", "quick.yaml: all: parameter 'epoch' is not known; did you mean 'epochs'"),
        ("01_one: {rate: fast}", "parameter 'rate' is 'fast'"),
        ("01_one: [", "quick.yaml is not YAML"),
        ("01_one: [1]", r"quick.yaml: 01_one must hold \{parameter: value\}, not \[1\]"),
        ("01_one: {epochs: 1}\n01_one: {epochs: 2}", "quick.yaml is not YAML: line 1: '01_one' is there twice"),
        ("01_one: {epochs: 1, epochs: 2}", "'epochs' is there twice"),
        ("01_one: {name: 2024-01-01}", "quick.yaml: a date, .*: put a date in quotes"),
        ("01_one: {filters: !!set {a, b}}", "quick.yaml: a set, .*, is no value of a parameter"),
        ("01_one: {name: !!binary aGk=}", "a bytes, b'hi', is no value"),
        ("01_one: {rate: .nan}", "quick.yaml: nan is no number to compute with"),
        ("01_one: {1: 2}", "1 must be a text to be a name"),
        ("01_one: &a [*a]", "it is nested without an end"),
        ("01_one: {name: !!python/name:os.system x}", "quick.yaml is not YAML: line 1: could not determine a constructor"),
        ("01_one: {run_dir: x}", "run_dir is not a profile's to set"),
        ("01_one: {\tepochs: 1", "quick.yaml is not YAML: line 1"),
        (b"01_one: {name: caf\xe9}", "quick.yaml is not UTF-8, at byte 18"),
        (None, "cannot read .*quick.yaml: Is a directory"),
    ],
)
def test_refuses_a_wrong_profile(refused, folder, text, said):
    path = folder / "profiles/quick.yaml"
    path.unlink()
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(said, folder)


@pytest.mark.parametrize("profile", ["../profiles/quick", "quick.yaml", "", "/quick"])
def test_a_profile_is_a_name_and_no_path(refused, folder, profile):
    refused(r"is not known.*'quick'", folder, profile=profile)


@pytest.mark.parametrize("cell", ["epochs: int = 1", "epochs = 2 * 3", "import os", "epochs ="])
def test_a_cell_of_parameters_that_cannot_be_read_is_named(refused, folder, cell):
    notebook(folder, "03_three", "1", parameters=cell)
    refused("03_three.ipynb: its cell of parameters must hold lines like", folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": [1]}'])
def test_a_notebook_that_is_none_is_named(refused, folder, text):
    (folder / "03_three.ipynb").write_text(text)
    refused("03_three.ipynb is not a notebook, or it is cut short", folder)
