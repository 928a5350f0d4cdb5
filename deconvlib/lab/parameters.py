"""Which notebooks there are and what they take: parameters and profiles read, values checked, before anything runs."""

import ast
import contextlib
import datetime
import json
import math
import os
from pathlib import Path

import yaml

from deconvlib import allowed, checks
from deconvlib.lab import record


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
    unknown = [name for name in wanted if not name or not any(stem.startswith(name) for stem in stems)]
    if unknown:
        raise UserError(f"notebook {checks.not_known(unknown[0], stems)}")
    return [path for path in paths if not wanted or any(path.stem.startswith(name) for name in wanted)]


def read_profile(series, profile):
    """{notebook's stem, or "all": {parameter: value}}; its names are checked against every notebook of the series."""
    folder = series[0].parent / "profiles"
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if profile not in names:  # a path is none of them: results would go where it says
        raise UserError(f"profile {checks.not_known(profile, names)}")
    path = folder / f"{profile}.yaml"
    sections = read_yaml(path)
    form = "{notebook, or all: {parameter: value}}, like `03_training: {epochs: 2}`"
    if not isinstance(sections, dict):
        raise UserError(f"{path.name} must hold {form}, not {sections!r:.80}")
    defaults = {file.stem: read_defaults(file) for file in series}
    defaults["all"] = {name: None for known in defaults.values() for name in known}
    for notebook, values in sections.items():
        if notebook not in defaults:
            raise UserError(f"{path.name}: notebook {checks.not_known(notebook, list(defaults))}")
        if not isinstance(values, dict | None):
            raise UserError(f"{path.name}: {notebook} must hold {{parameter: value}}, not {values!r:.80}")
        for name in values or {}:
            if name not in defaults[notebook]:
                raise UserError(f"{path.name}: {notebook}: parameter {checks.not_known(name, sorted(defaults[notebook]))}")
            if name == "run_dir":
                raise UserError(f"{path.name}: {notebook}: run_dir is not a profile's to set; --out says where results go")
    return sections


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that is there twice, where YAML would take the last one without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge" and isinstance(key.value, str)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path):
    """What a profile or a grid holds: mappings from texts, lists, texts, finite numbers, true, false and null.

    Raises UserError, in one line that names the file, for anything else.
    """
    try:
        held = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return None if held is None else _plain(held)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path.name} is not YAML: {where}{getattr(error, 'problem', None) or error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not UTF-8, at byte {error.start}: save it anew in that encoding") from error
    except RecursionError as error:
        raise UserError(f"{path.name}: it is nested without an end") from error
    except ValueError as error:
        raise UserError(f"{path.name}: {error}") from error


def _plain(value):
    """The value with lists for tuples. Raises ValueError for what is not made of JSON's values."""
    if isinstance(value, dict):
        if odd := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"{odd[0]!r} must be a text to be a name: put it in quotes")
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number to compute with: give a finite one")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    hint = "put a date in quotes" if isinstance(value, datetime.date) else "give a number, a text, true, false, null, or a list"
    raise ValueError(f"a {type(value).__name__}, {value!r:.80}, is no value of a parameter: {hint}")


def checked_parameters(paths, sections, overrides):
    """{path: {parameter: value}}: the profile's, then the overrides. Each must be known, and what the parameter may be."""
    defaults = {path: read_defaults(path) for path in paths}
    names = sorted({name for known in defaults.values() for name in known})
    if unknown := [name for name in overrides if name not in names]:
        raise UserError(f"parameter {checks.not_known(unknown[0], names)}")
    if "run_dir" in overrides:
        raise UserError("parameter 'run_dir' is where results go, which --out says: run --out FOLDER")
    return {path: checked(path, known, sections, overrides) for path, known in defaults.items()}


def checked(path: Path, known: dict, sections: dict, overrides: dict) -> dict:
    """{parameter: value} of one notebook: of those that are `known`, with their defaults, each that is given, checked."""
    given = (sections.get("all") or {}) | (sections.get(path.stem) or {})
    if overrides:  # what the profile promises of its trainings is not said of others
        given.pop("strict", None)
    given |= overrides
    values = {name: _read(path, name, value, known[name]) for name, value in given.items() if name in known}
    _look(path, values)
    return values | ({"run_dir": None} if "run_dir" in known else {})


def read_defaults(path):
    """{parameter: default} of a notebook's tagged cell, without running it."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        sources = ["".join(cell["source"]) for cell in tagged]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path.name} is not a notebook, or it is cut short") from error
    if len(sources) != 1:
        raise UserError(f"{path.stem} has {len(sources)} cells tagged 'parameters'; it needs one")
    try:
        return {statement.targets[0].id: ast.literal_eval(statement.value) for statement in ast.parse(sources[0]).body}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise UserError(f"{path.name}: its cell of parameters must hold lines like `epochs = 4`, and nothing else") from error


def _read(path, name, value, default):
    """The value as the parameter takes it. A text that stands for another value, as on a command line, is read as that."""
    setting = allowed.of(path.stem, name)
    if setting and not setting.holds(default):  # in a notebook of the user's own the name means another thing
        setting = None
    wanted = type(default)
    try:
        value = _plain(_meant(value, setting, default))
        value = float(value) if wanted is float and checks.is_whole(value) else value
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path.stem}: {name}: {error}") from error
    if setting:
        try:
            allowed.refuse(name, value, setting)
        except ValueError as error:
            raise UserError(f"{path.stem}: {error}") from error
    # None stands for "not given"
    elif default is not None and type(value) is not wanted and not (value is None and wanted is str):
        raise UserError(
            f"{path.stem}: parameter {name!r} is {value!r:.200}, a {type(value).__name__}; it must be a {wanted.__name__} "
            f"like {default!r}"
        )
    return value


def _meant(value, setting, default):
    """What a text stands for: a value of Python, none, true or false, if the parameter takes it so; else the text itself."""
    if not isinstance(value, str) or isinstance(default, str):
        return value
    names = {"none": None, "null": None, "": None, "true": True, "false": False}
    read = value
    if value.strip().lower() in names:
        read = names[value.strip().lower()]
    else:
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            read = ast.literal_eval(value.strip())
    taken = setting and setting.holds(value)  # a folder may have the name 2024
    return value if taken and not setting.holds(read) else read


def _look(path, values):
    """Raises UserError for files and folders that are named among the values and are not there."""
    home = record.home(path.parent)
    for name in ("data_dir", "masks_dir", "dataset_name", "images", "model_path", "weights"):
        value = values.get(name)
        if not isinstance(value, str) or value in ("", *allowed.DATASETS):
            continue
        bare = not os.path.splitext(value)[1] and os.path.basename(value) == value
        if bare and name in ("model_path", "weights"):  # an application's name or "imagenet", which it takes Keras to know
            continue
        if not (home / os.path.expanduser(value)).exists():
            hint = f", and data set {checks.not_known(value, allowed.DATASETS)}" if name in ("dataset_name", "images") else ""
            raise UserError(f"{path.stem}: {name}: there is no file or folder {value} in {home}{hint}")
