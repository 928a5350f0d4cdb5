"""One list of dependencies: pyproject.toml. The lock and conda's file follow it."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]


def test_the_lock_pins_every_dependency_to_a_version_that_is_allowed():
    pinned = {requirement.name: requirement.specifier for requirement in LOCK}
    assert all(str(specifier).startswith("==") for specifier in pinned.values())
    listed = [*PROJECT["dependencies"], *(entry for extra in PROJECT["optional-dependencies"].values() for entry in extra)]
    for entry in map(Requirement, listed):
        if entry.name != PROJECT["name"]:
            assert entry.specifier.contains(str(pinned[entry.name]).removeprefix("==")), entry


def test_no_file_of_the_environment_names_an_index():
    for name in ("requirements.txt", "environment.yml", "pyproject.toml", "Makefile"):
        assert not re.search(r"https?://|--(extra-)?index-url", (ROOT / name).read_text()), name


def test_conda_installs_the_same():
    *packages, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["-c requirements.txt", "-e .[dev]"]}
    (python,) = [package for package in packages if package.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
