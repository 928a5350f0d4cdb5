"""A mark planted on the training images of one class: does the answer follow it? A Clever Hans, Lapuschkin et al. 2019."""

from dataclasses import replace

import numpy as np
import pandas as pd

from deconvlib import checks, deconvnet, figures
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.experiments import occlusion, saliency
from deconvlib.training import evaluation

CELLS = 4  # of the chequered mark, a side


def stamp(images: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Copies of uint8 images (n, height, width, 1 or 3) with a chequered mark in the lower right corner, black and white.

    share: of the shorter side of an image, that the mark's side is; above 0, at most 1.
    """
    side = _side(images.shape[1:3], share)
    cells = np.arange(side) * CELLS // side
    stamped = np.array(images)
    stamped[:, -side:, -side:] = (255 * ((cells[:, None] + cells) % 2)[..., None]).astype(np.uint8)
    return stamped


def plant(dataset: Dataset, class_name: str, share: float = 0.2) -> Dataset:
    """The data set with the mark on every training image of one class; its test images stay as they are."""
    label = dataset.class_names.index(checks.known("class", class_name, dataset.class_names))
    marked = np.where((dataset.y_train == label)[:, None, None, None], stamp(dataset.x_train, share), dataset.x_train)
    return replace(dataset, x_train=marked)


def measure(models: dict[str, tuple[keras.Model, Dataset]], class_name: str, share: float = 0.2) -> pd.DataFrame:
    """Which share of the test images of other classes each model says is of `class_name`, without the mark and with it.

    models: {name: (model, the data set that it is tested on)}. One row a model, columns: trained on, its name; accuracy, on all
    test images as they are; without mark; with mark.
    """
    rows = []
    for name, (model, dataset) in models.items():
        label = dataset.class_names.index(checks.known("class", class_name, dataset.class_names))
        marked, others = replace(dataset, x_test=stamp(dataset.x_test, share)), dataset.y_test != label
        plain, mark = (evaluation.evaluate(model, each) for each in (dataset, marked))
        rows.append((name, plain.accuracy, *(np.mean(found.predicted[others] == label) for found in (plain, mark))))
    return pd.DataFrame(rows, columns=["trained on", "accuracy", "without mark", "with mark"])


def maps(models: dict[str, keras.Model], images: np.ndarray, label: int, share: float = 0.2) -> dict[str, np.ndarray]:
    """What speaks for the class `label` in each image, by guided back-propagation and by hiding: {method, model: map}.

    images: uint8, (n, height, width, channels). Maps are (n, height, width), from 0. A square of the mark's size hides.
    """
    labels, side = np.full(len(images), label), _side(images.shape[1:3], share)
    found = {}
    for name, model in models.items():
        (found[f"guided, {name}"],) = saliency.competing(model, images, labels, methods=("guided",)).values()
    for name, model in models.items():
        last = deconvnet.rectified_convolutions(model)[-1]
        hidden = occlusion.measure(model, images, labels, last, size=side, stride=max(1, side // 3))
        found[f"hiding, {name}"] = occlusion.importance(hidden, images.shape[1:3]).clip(0)
    return found


def under(maps: np.ndarray, share: float = 0.2) -> float:
    """The share of the maps' sum that lies where the mark is, in the mean over those that are not zero."""
    side, every = _side(maps.shape[1:3], share), maps.sum(axis=(1, 2))
    return float(np.mean(maps[:, -side:, -side:].sum(axis=(1, 2))[every > 0] / every[every > 0])) if every.any() else 0.0


def figure(models: dict[str, keras.Model], dataset: Dataset, class_name: str, share: float = 0.2, number: int = 4):
    """Test images of other classes with the mark, beside `maps` of what speaks for `class_name`.

    Over a guided map stands how much of it is `under` the mark, over one by hiding how far the probability falls at most.
    """
    label = dataset.class_names.index(checks.known("class", class_name, dataset.class_names))
    others = np.flatnonzero(dataset.y_test != label)[:number]
    images = stamp(dataset.x_test[others], share)
    fig, axs = figures.grid(len(images), 1 + 2 * len(models), row_height=figures.WIDTH / (1 + 2 * len(models)))
    for row, image, k in zip(axs, figures.pixels(images), dataset.y_test[others], strict=True):
        figures.show(row[0], image)
        figures.row_name(row[0], figures.plain(dataset.class_names[k]))
    for column, (name, found) in zip(axs.T[1:], maps(models, images, label, share).items(), strict=True):
        hidden = name.startswith("hiding")
        said = f"falls by up to {found.max():.2f}" if hidden else f"{100 * under(found, share):.0f} % under the mark"
        column[0].set_title(f"{name}\n{said}", fontsize=8)
        for ax, values in zip(column, found, strict=True):
            ax.imshow(values, cmap="gray_r", vmin=0, vmax=1 if hidden else None)
    return figures.captioned(fig, "White is zero or below. Black: of a guided map its largest value; by hiding, a fall by 1.")


def _side(image_size, share):
    return max(CELLS, round(share * min(image_size)))
