"""One wording for each refusal: a name that is not known, a number that cannot be, labels that are not the classes."""

import difflib

import numpy as np


def known(what: str, name: str, names) -> str:
    """`name` itself, where it is one of `names`; else a ValueError that lists them, the nearest first."""
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"{what} {name!r} is not known{hint} Known: {', '.join(map(repr, names))}")


def positive(what: str, *numbers):
    """Raises ValueError unless all are whole numbers of 1 or more."""
    if not numbers or any(not isinstance(number, int) or number < 1 for number in numbers):
        raise ValueError(f"{what} must be whole numbers of 1 or more, not {numbers}")


def not_known(name, known):
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{str(name)!r} is not known{hint} Known: {', '.join(map(str, known))}"


def labels(model, classes, count):
    classes = np.asarray(classes)
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"the model's output is {shape}; a classifier's is (n, classes)")
    if classes.shape != (count,) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"classes must be {count} integers, one an image, not {classes.dtype} {classes.shape}")
    wrong = np.flatnonzero((classes < 0) | (classes >= shape[-1]))
    if len(wrong):
        raise ValueError(
            f"class {classes[wrong[0]]} of image {wrong[0]} is not in the model; its classes are 0 to {shape[-1] - 1}"
        )
    return classes


def count(name, value):
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, not {value!r}")
