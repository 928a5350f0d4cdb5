"""Which notebooks there are and what they take: parameters and profiles read, values checked, before anything runs."""

import ast
import contextlib
import json
from pathlib import Path

import yaml

from deconvlib import checks


class UserError(Exception):
    """Something that the user can mend, said in one line."""


def series(folder: Path | None = None) -> list[Path]:
    """The notebooks of `folder`; without it those of notebooks/ in the working directory, or of the working directory itself.

    Raises UserError where there are none.
    """
    places = [place.resolve() for place in ([folder] if folder else [Path("notebooks"), Path()])]
    for place in places:
        if paths := sorted(place.glob("[0-9]*.ipynb")):
            return paths
    looked = " or ".join(map(str, places))
    raise UserError(f"no notebook like 01_data.ipynb in {looked}; change to the folder that holds notebooks/, or copy it here")


def choose(paths, wanted):
    stems = [path.stem for path in paths]
    unknown = [name for name in wanted if not any(stem.startswith(name) for stem in stems)]
    if unknown:
        raise UserError(f"notebook {checks.not_known(unknown[0], stems)}")
    return [path for path in paths if not wanted or any(path.stem.startswith(name) for name in wanted)]


def read_profile(series, profile):
    """{notebook's stem, or "all": {parameter: value}}; its names are checked against every notebook of the series."""
    path = series[0].parent / "profiles" / f"{profile}.yaml"
    if not path.exists():
        raise UserError(f"profile {checks.not_known(profile, sorted(file.stem for file in path.parent.glob('*.yaml')))}")
    sections = read_yaml(path) or {}
    defaults = {file.stem: read_defaults(file) for file in series}
    defaults["all"] = {name: None for known in defaults.values() for name in known}
    for notebook, values in sections.items():
        if notebook not in defaults:
            raise UserError(f"{path.name}: notebook {checks.not_known(notebook, list(defaults))}")
        for name in values or {}:
            if name not in defaults[notebook]:
                raise UserError(f"{path.name}: {notebook}: parameter {checks.not_known(name, sorted(defaults[notebook]))}")
    return sections


def read_yaml(path):
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is not YAML: {error}") from error


def checked_parameters(paths, sections, overrides):
    """{path: {parameter: value}}: the profile's, then the overrides. Each must be known, and of its default's type."""
    defaults = {path: read_defaults(path) for path in paths}
    names = sorted({name for known in defaults.values() for name in known})
    if unknown := [name for name in overrides if name not in names]:
        raise UserError(f"parameter {checks.not_known(unknown[0], names)}")
    everywhere, values = sections.get("all") or {}, {}
    for path, known in defaults.items():
        own = sections.get(path.stem) or {}
        given = {name: value for name, value in (everywhere | own | overrides).items() if name in known}
        values[path] = {name: _typed(path.stem, name, value, known[name]) for name, value in given.items()}
        values[path] |= {"run_dir": None} if "run_dir" in known else {}
    return values


def read_defaults(path):
    """{parameter: default} of a notebook's tagged cell, without running it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{path.stem} has {len(tagged)} cells tagged 'parameters'; it needs one")
    body = ast.parse("".join(tagged[0]["source"])).body
    return {statement.targets[0].id: ast.literal_eval(statement.value) for statement in body}


def _typed(notebook, name, value, default):
    """The value as the type of the parameter's default. Text, from a command line, is read as that type."""
    wanted = type(default)
    if isinstance(value, str) and wanted is not str:
        if value.lower() in ("none", "null", ""):
            value = None
        elif value.lower() in ("true", "false"):
            value = value.lower() == "true"
        else:
            with contextlib.suppress(ValueError, SyntaxError):
                value = ast.literal_eval(value)
    if default is None or (value is None and wanted is str):  # None stands for "not given"
        return value
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        raise UserError(
            f"{notebook}: parameter {name!r} is {value!r}, a {type(value).__name__}; it must be a {wanted.__name__} "
            f"like {default!r}"
        )
    return value
