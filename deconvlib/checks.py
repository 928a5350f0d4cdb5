"""One wording for each refusal: a name that is not known, a number that cannot be, labels that are not the classes."""

import difflib
import numbers

import numpy as np


def known(what: str, name: str, names) -> str:
    """`name` itself, where it is one of `names`; else a ValueError that lists them, the nearest first."""
    if name in names:
        return name
    raise ValueError(f"{what} {not_known(name, names)}")


def not_known(name, names) -> str:
    """That `name` is not one of `names`, which it might be meant for, and which there are."""
    near = difflib.get_close_matches(str(name), map(str, names), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{str(name)!r} is not known{hint} Known: {', '.join(map(repr, names))}"


def is_whole(value) -> bool:
    """Whether it is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def positive(what: str, number):
    """Raises ValueError unless it is a whole number of 1 or more."""
    if not is_whole(number) or number < 1:
        raise ValueError(f"{what} must be a whole number of 1 or more, not {number!r}")


def names(what: str, given, least: int = 1) -> tuple[str, ...]:
    """`given` as a tuple; ValueError unless it is a list or tuple of texts, `least` or more: a text alone has letters."""
    listed = isinstance(given, list | tuple) and len(given) >= least
    if not listed or not all(isinstance(name, str) for name in given):
        count = f"{least} or more " if least else ""
        like = f"({given!r},)" if isinstance(given, str) else "('conv1', 'conv2')"
        raise ValueError(f"{what} must be a list or tuple of {count}names, like {like}, not {given!r:.200}")
    return tuple(given)


def within(what: str, numbers, limit: int, where: str) -> np.ndarray:
    """`numbers` as an array; ValueError unless all are whole numbers from 0 to below `limit`, of a `what` that is `where`."""
    numbers = np.asarray(numbers)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"{what} must be whole numbers, not {numbers.dtype}")
    wrong = numbers[(numbers < 0) | (numbers >= limit)]
    if wrong.size:
        raise ValueError(f"{what} {wrong.flat[0]} is not {where}; its {what}s are 0 to {limit - 1}")
    return numbers


def classifier(model) -> int:
    """The number of classes that `model` tells apart; ValueError unless it gives one vector an image, of two or more."""
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] < 2:
        raise ValueError(f"model {model.name!r} ends in {shape}; a classifier, with a probability for each class, is needed")
    return shape[1]


def probabilities(model, answers: np.ndarray):
    """Raises ValueError unless each row of what `model` answered is a distribution."""
    if not (answers.min() >= 0 and abs(answers.sum(axis=1) - 1).max() <= 0.01):  # of NaN neither is true
        raise ValueError(
            f"the outputs of model {model.name!r} are not the probabilities of one class an image: end it in a softmax; where "
            "several labels may be true, make of each a model that ends in Dense(1, activation='sigmoid')"
        )


def labels(model, labels: np.ndarray, count: int) -> np.ndarray:
    """`labels` as an array; ValueError unless they are `count` integers, one an image, each a class of the classifier."""
    labels, classes = np.asarray(labels), classifier(model)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {count} integers, one an image, not {labels.dtype} of shape {labels.shape}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        label, image = labels[wrong[0]], wrong[0]
        raise ValueError(f"label {label} of image {image} is not a class of this model; its classes are 0 to {classes - 1}")
    return labels
