"""The house: which wing may import which, what only some files may know, and how large a file or a function may be."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "deconvlib"
FILES = sorted(LIBRARY.rglob("*.py"))
# a file imports its own wing, and what stands before it
WINGS = ("data", "deconvnet", "networks", "training", "experiments", "lab", "__main__")
FILES_BELOW = ("disk", "backend", "checks", "progress", "figures")
ORDER = (("disk",), FILES_BELOW[1:], ("allowed",), *((wing,) for wing in WINGS))
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
JUPYTER = {"IPython", "ipyevents", "ipykernel", "ipywidgets", "jupyter_client", "matplotlib_inline", "nbclient", "nbconvert"}
JUPYTER |= {"nbformat", "papermill", "traitlets", "voila"}
BACKENDS = {"tensorflow", "jax", "torch"}
PRIVATE = ("deconvnet/graph.py", "backend.py")  # may use names of Keras that begin with an underscore
NAMED_TUPLE = {"_replace", "_fields", "_asdict"}


def name(path):
    return path.relative_to(LIBRARY).as_posix()


def wing(path):
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported(path):
    """Every module that the file imports, wherever in it: "deconvlib.data.files"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path):
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_down_only(path):
    own = wing(path)
    for module in imported(path):
        if module.startswith("deconvlib."):
            other = module.split(".")[1]
            assert other == own or LEVEL[other] < LEVEL.get(own, 0), f"{name(path)} imports {module}"


def test_the_engine_stands_on_the_first_files_alone():
    for path in FILES:
        if wing(path) == "deconvnet":
            ours = {module.split(".")[1] for module in imported(path) if module.startswith("deconvlib.")}
            assert ours <= {"deconvnet", *FILES_BELOW}, f"{name(path)}: {ours}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_the_lab_knows_jupyter_and_only_backend_the_backends(path):
    packages = {module.partition(".")[0] for module in imported(path)}
    assert wing(path) == "lab" or not packages & JUPYTER, packages & JUPYTER
    assert name(path) == "backend.py" or not packages & BACKENDS, packages & BACKENDS


@pytest.mark.parametrize("path", [path for path in FILES if name(path) not in PRIVATE], ids=name)
def test_private_names_of_keras_stand_in_graph_and_backend_alone(path):
    text = path.read_text(encoding="utf-8")
    assert "keras.src" not in text and "seed_generator_state" not in text
    nodes = list(ast.walk(ast.parse(text)))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)} | NAMED_TUPLE
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in attributes:
        private = node.attr.startswith("_") and not node.attr.startswith("__") and ast.unparse(node.value) != "self"
        assert not private or node.attr in own, f"{name(path)}:{node.lineno} reads {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_fit_on_a_few_screens(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350
    for function in functions(path):
        first = function.body[0]
        docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
        lines = function.end_lineno - function.lineno + 1 - docstring
        assert lines <= 60, f"{function.name} has {lines} lines of code"


BUILDERS = {"fit", "classifier", "encoder_decoder", "variational"}  # their parameters are a user's hyperparameters


@pytest.mark.parametrize("path", FILES, ids=name)
def test_functions_take_few_parameters(path):
    for function in functions(path):
        given = function.args
        count = len(given.posonlyargs + given.args + given.kwonlyargs) - (bool(given.args) and given.args[0].arg == "self")
        assert count <= 12 or function.name in BUILDERS, f"{function.name} takes {count} parameters"
