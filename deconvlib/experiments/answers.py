"""What a classifier answers to images, beside maps of the classes that it gave."""

import textwrap
from typing import NamedTuple

import numpy as np
import pandas as pd

from deconvlib import checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import inputs
from deconvlib.deconvnet.rules import RULES
from deconvlib.experiments import gradients, saliency, targets

COLUMNS = 6  # images side by side, at most


class Answers(NamedTuple):
    """What a classifier answers to n images, and maps of the score of the class that it gave to each.

    probabilities: (n, classes). maps: {method: (n, height, width, channels)}, from `saliency.attributions`. gap: of integrated
    gradients, how far what they add up to is off, as a share of the scores' change from black to the images, over all of them;
    None where they are not among the methods.
    """

    images: np.ndarray
    probabilities: np.ndarray
    maps: dict[str, np.ndarray]
    gap: float | None


def measure(model: keras.Model, images: np.ndarray, methods: tuple[str, ...] = ("deconvnet",), seed: int = 0) -> Answers:
    """What `model` answers, and maps by several of `saliency.METHODS`.

    images: as for `deconvnet.project`; to be drawn too, uint8, or floats in [0, 1]. Raises ValueError as
    `saliency.attributions`, and for outputs that are no probabilities.
    """
    methods, floats, gap = saliency.known_methods(methods), inputs.as_input(model, images), None
    probabilities = model.predict(floats, verbose=0)
    checks.probabilities(model, probabilities)
    target, maps = targets.of_classes(model, floats, probabilities.argmax(axis=1)), {}
    for method in methods:
        if method == "integrated gradients":
            maps[method], change, off = gradients.integrated_gradients(model, floats, target)
            gap = float(np.linalg.norm(off) / (np.linalg.norm(change) or 1))
        else:
            maps[method] = saliency.attributions(model, floats, target, method, seed=seed)
    return Answers(images, probabilities, maps, gap)


def table(answers: Answers, sources, class_names=(), labels=None) -> pd.DataFrame:
    """A row for each image: image, its source; answer; truth, empty without labels; confidence, the answer's probability.

    class_names, labels: as for `figure`.
    """
    given = answers.probabilities.argmax(axis=1)
    truth = [""] * len(given) if labels is None else _names(labels, class_names)
    named = {"image": list(sources), "answer": _names(given, class_names), "truth": truth}
    return pd.DataFrame(named | {"confidence": answers.probabilities.max(axis=1).round(2)})


def figure(answers: Answers, class_names=(), labels=None, top: int = 0):
    """Each image under its answer, and under or beside it the maps of that class.

    class_names: of all classes; none: their numbers. labels: the true classes, integers (n,). top: so many of the
    most probable classes are drawn as bars; 0: no bars.
    """
    images = figures.pixels(answers.images)
    parts = ["image", *["probability"] * bool(top), *answers.maps]
    axs, side = _axes(images, parts)
    shown = {method: figures.to_display(maps) for method, maps in answers.maps.items() if method != "Grad-CAM"}
    for index, (image, chances) in enumerate(zip(images, answers.probabilities, strict=True)):
        order = chances.argsort()[::-1][: max(top, 1)]
        names = _names(order, class_names)
        title = _wrapped(f"{names[0]}, {percent(chances[order[0]])}", side)
        if labels is not None:
            title += "\n" + _wrapped(f"is {_names(labels[[index]], class_names)[0]}", side)
        for part, ax in zip(parts, axs[index], strict=True):
            if part == "image":
                figures.show(ax, image, title)
            elif part == "probability":
                _bars(ax, names, chances[order])
            elif part == "Grad-CAM":
                saliency.lay_over(ax, image, answers.maps[part][index, ..., 0])
            else:
                figures.show(ax, shown[part][index])
    _name(axs, parts)  # `figures.show` clears a title
    return figures.captioned(axs[0, 0].figure, _caption(answers))


def percent(share: float | None) -> str:
    """A share in words, to two digits, near 1 to three; of None that it was not measured."""
    return "not measured" if share is None else f"{100 * share:.{3 if share > 0.995 else 2}g} %"


def _axes(images, parts):
    """(axes (images, parts), inches of a side): an image's parts below each other; beside, where images are fewer."""
    count, beside = len(images), len(images) < len(parts)
    blocks = count if beside else -(-count // COLUMNS)
    columns = len(parts) if beside else -(-count // blocks)
    rows = blocks if beside else blocks * len(parts)
    side = min(figures.WIDTH / columns, 3)
    height = side * images.shape[1] / images.shape[2] + 0.4 * blocks / rows  # with the titles
    _, axs = figures.grid(rows, columns, row_height=height, width=side * columns)
    if not beside:
        axs = axs.reshape(blocks, len(parts), columns).transpose(0, 2, 1).reshape(-1, len(parts))[:count]
    return axs, side


def _name(axs, parts):
    """Each part's name: above the first image's where they stand beside each other, else at the left of its row."""
    if len(axs) < len(parts):
        for ax, part in zip(axs[0, 1:], parts[1:], strict=True):
            ax.set_title(part, fontsize=8)
        return
    for row in axs[:, 1:]:
        for ax, part in zip(row, parts[1:], strict=True):
            if ax.get_subplotspec().is_first_col():
                figures.row_name(ax, part)


def _bars(ax, names, chances):
    ax.axis("on")
    ax.barh(range(len(names)), chances)
    ax.set_yticks(range(len(names)), [figures.plain(name) for name in names])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xticks=(0, 0.5, 1))


def _caption(answers):
    signed = set(answers.maps) - {"Grad-CAM"}
    said = [figures.scaling(what="Projections" if signed <= set(RULES) else "Maps of the class")] if signed else []
    if "Grad-CAM" in answers.maps:
        said.append(saliency.LAID_OVER)
    if answers.gap is not None:
        said.append(f"Integrated gradients add up to the score's change from black within {percent(answers.gap)}.")
    return " ".join(said)


def _names(classes, class_names):
    return [str(class_names[number]) if class_names else f"class {number}" for number in classes]


def _wrapped(text, side):
    """In lines that fit a picture `side` inches wide."""
    return "\n".join(figures.plain(line) for line in textwrap.wrap(text, max(int(15 * side), 8)))
