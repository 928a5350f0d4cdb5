"""One list of dependencies: pyproject.toml. The library imports what stands there; the lock and conda's file follow it."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deconvlib.__main__ import LAB

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]


def test_the_lock_pins_every_dependency_to_a_version_that_is_allowed():
    pinned = {requirement.name: requirement.specifier for requirement in LOCK}
    assert all(str(specifier).startswith("==") for specifier in pinned.values())
    entries = [*PROJECT["dependencies"], *(entry for extra in PROJECT["optional-dependencies"].values() for entry in extra)]
    for entry in map(Requirement, entries):
        if entry.name != PROJECT["name"]:
            assert entry.specifier.contains(str(pinned[entry.name]).removeprefix("==")), entry


OF_MODULE = importlib.metadata.packages_distributions()
LIBRARY = sorted((ROOT / "deconvlib").rglob("*.py"))


def imported(path):
    """Names of the distributions that a file imports anything of."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.partition(".")[0])
    return {distribution(module) for module in modules - set(sys.stdlib_module_names) - {"deconvlib"}}


def distribution(module):
    return OF_MODULE.get(module, [module])[0].lower().replace("_", "-")


def listed(*extras):
    entries = [*PROJECT["dependencies"], *(entry for extra in extras for entry in PROJECT["optional-dependencies"][extra])]
    return {Requirement(entry).name for entry in entries}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT / "deconvlib")))
def test_each_file_imports_only_what_its_part_of_the_list_installs(path):
    lab = path.parent.name == "lab"
    backends = {"tensorflow", "tensorflow-cpu", "jax", "torch"} if path.name == "backend.py" else set()
    assert imported(path) <= backends | (listed("lab", "cluster") if lab else listed())


def test_the_command_line_looks_for_packages_of_the_extra_lab():
    assert {distribution(module) for module in LAB} <= listed("lab") - listed()
    used = set().union(*(imported(path) for path in LIBRARY if path.parent.name == "lab")) & listed("lab") - listed()
    assert used - {"jupyter-client", "nbformat", "traitlets"} <= {distribution(module) for module in LAB}, (
        "these come with nbconvert"
    )


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_without_a_backend_one_line_says_what_to_install(backend):
    code = (
        f"import sys; sys.modules[{backend!r}] = None\ntry: import deconvlib.backend\nexcept ImportError as e: sys.exit(str(e))"
    )
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"{backend} is not installed: pip install 'deconvlib[cpu]'")


def test_no_file_of_the_environment_names_an_index():
    for name in ("requirements.txt", "environment.yml", "pyproject.toml", "Makefile"):
        assert not re.search(r"https?://|--(extra-)?index-url", (ROOT / name).read_text()), name


def test_conda_installs_the_same():
    *packages, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["-c requirements.txt", "-e .[dev,cpu]"]}
    (python,) = [package for package in packages if package.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))


def test_the_hello_of_the_readme_runs_as_it_is_printed(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line]) <= 7
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "hello.png").stat().st_size > 10_000


def texts():
    """(folder, Markdown) of each page and notebook that a reader follows links from."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("reports/**/*.md"), *ROOT.glob("notebooks/*.md")]:
        yield pytest.param(path.parent, path.read_text(encoding="utf-8"), id=path.name)
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        told = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        yield pytest.param(path.parent, told, id=path.stem)


@pytest.mark.parametrize(("folder", "text"), list(texts()))
def test_links_lead_somewhere(folder, text):
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        assert re.match(r"https?://|#", link) or (folder / link.partition("#")[0]).exists(), link
