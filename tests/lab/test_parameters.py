"""What is refused before anything runs, and how values of profiles and of the command line are read."""

from pathlib import Path

import nbformat
import pytest
import yaml
from small_notebooks import notebook

from deconvlib.lab import parameters, run

NOTEBOOKS = parameters.series(Path(__file__).parents[2] / "notebooks")


def series(folder, *names, **settings):
    return run.run(names, folder=folder, out=folder.parent / "out", **settings)


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
        ([], {"overrides": {"epochs": "3.5"}}, "parameter 'epochs' is 3.5, a float; it must be a int like 1"),
        ([], {"overrides": {"rate": "fast"}}, "parameter 'rate' is 'fast', a str"),
        ([], {"overrides": {"flip": "1"}}, "parameter 'flip' is 1, a int; it must be a bool"),
        ([], {"overrides": {"filters": "8"}}, "must be a list like"),
    ],
)
def test_refuses_before_anything_runs(folder, names, settings, said):
    with pytest.raises(parameters.UserError) as error:
        series(folder, *names, **settings)
    assert said in str(error.value)
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("03_three: {epochs: 1}", "notebook '03_three' is not known"),
        ("01_one: {epoch: 1}", "quick.yaml: 01_one: parameter 'epoch' is not known; did you mean 'epochs'"),
        ("all: {epoch: 1}", "quick.yaml: all: parameter 'epoch' is not known; did you mean 'epochs'"),
        ("01_one: {rate: fast}", "parameter 'rate' is 'fast'"),
        ("01_one: [", "quick.yaml is not YAML"),
    ],
)
def test_refuses_a_wrong_profile(folder, profile, said):
    (folder / "profiles/quick.yaml").write_text(profile)
    with pytest.raises(parameters.UserError) as error:
        series(folder)
    assert said in str(error.value)


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


def test_refuses_a_notebook_without_parameters(folder):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), folder / "03_three.ipynb")
    with pytest.raises(parameters.UserError, match="03_three has 0 cells tagged 'parameters'"):
        series(folder)


def test_the_quick_profile_is_the_committed_defaults():
    sections = yaml.safe_load((NOTEBOOKS[0].parent / "profiles/quick.yaml").read_text())
    for path in NOTEBOOKS:
        defaults = parameters.read_defaults(path)
        given = {k: v for k, v in sections["all"].items() if k in defaults} | sections.get(path.stem, {})
        assert given == {name: defaults[name] for name in given}, path.stem


@pytest.mark.parametrize("profile", sorted((NOTEBOOKS[0].parent / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_profile_is_valid(profile):
    assert parameters.checked_parameters(NOTEBOOKS, parameters.read_profile(NOTEBOOKS, profile.stem), {})
