"""Panels over a data set: its images, versions with less of them, and what an epoch makes of one."""

import functools
from pathlib import Path

import numpy as np

from deconvlib import data, figures, training
from deconvlib.backend import keras
from deconvlib.lab.explorer import Explorer, explore

PAGE, COLUMNS = 40, 10  # images on a sheet, and in a row of it


def shortage(dataset, labels_per_class=25, imbalance=50.0, seed=0) -> Explorer:
    """Class sizes of the data set with few labels and with a long tail. labels_per_class, imbalance: to begin with."""

    def draw(labels_per_class, imbalance):
        few, tail = dataset.take_per_class(labels_per_class, seed=seed), dataset.long_tail(imbalance, seed=seed)
        return data.class_sizes(
            {f"{labels_per_class} a class": few.class_counts(), f"long tail, {imbalance:g} : 1": tail.class_counts()},
            dataset.class_names,
        )

    return explore(
        draw, labels_per_class=(1, int(max(dataset.class_counts().min(), 1))), imbalance=(1.0, 200.0, 1.0),
        start={"labels_per_class": labels_per_class, "imbalance": imbalance},
        about={"labels_per_class": "labels a class", "imbalance": "imbalance: largest class : smallest class"},
    )  # fmt: skip


def augmentation(dataset, shift=0.1, seed=0) -> Explorer:
    """One of the first 100 training images beside 19 copies as an epoch may show it. shift: to begin with."""

    def draw(image, flip, shift):
        copies = training.augmented(dataset.x_train[image], 19, flip=flip, shift=shift, seed=seed)
        return figures.tiles(copies, columns=10, caption="the image, and 19 copies as an epoch may show it")

    return explore(
        draw, image=(0, min(len(dataset.x_train), 100) - 1), flip=True, shift=(0.0, 0.5, 0.02), start={"shift": shift},
        about={
            "flip": "mirror images: half of the copies are mirrored",
            "shift": "shift, share of side: the largest move in each direction; what is missing is mirrored",
        },
    )  # fmt: skip


def browse(dataset, run_dir, seed=0) -> Explorer:
    """Sheets of images by part, class and order; a click picks an image, and the sheet shows what is most like it.

    run_dir: where notebook 03 leaves the network whose confident mistakes are one of the orders.
    """
    parts = {"training": (dataset.x_train, dataset.y_train), "test": (dataset.x_test, dataset.y_test)}

    @functools.cache
    def mistakes():
        path = Path(run_dir) / "classifier.keras"
        if not path.exists():
            raise ValueError(f"there is no trained network in {run_dir} yet: notebook 03 leaves one there")
        return training.evaluate(keras.models.load_model(path), dataset).mistakes

    def members(part, class_name, order, picked):
        images, labels = parts[part]
        chosen = np.arange(len(images)) if order != "confident mistakes" else mistakes()
        if class_name != "all classes":
            chosen = chosen[labels[chosen] == dataset.class_names.index(class_name)]
        if order == "random":
            return np.random.default_rng(seed).permutation(chosen)
        return chosen[data.by_similarity(images[chosen], images[picked])] if order == "nearest to the picked" else chosen

    def draw(part, class_name, order, page, picked):
        if order == "confident mistakes" and part == "training":
            raise ValueError("mistakes are those on the test images: choose that part")
        if order == "nearest to the picked" and picked >= len(parts[part][0]):
            last = len(parts[part][0]) - 1
            raise ValueError(f"the {part} images end with number {last}: pick that one or another before it")
        chosen = members(part, class_name, order, picked)
        first = PAGE * min(page, max(len(chosen) - 1, 0) // PAGE)
        shown = chosen[first : first + PAGE]
        caption = f"{first + 1} to {first + len(shown)} of {len(chosen):,} images" if len(chosen) else "no such image"
        return figures.tiles(parts[part][0][shown], columns=COLUMNS, caption=caption)

    def clicked(_axes, x, y, values):
        chosen = members(*(values[name] for name in ("part", "class_name", "order", "picked")))
        number = PAGE * min(values["page"], (len(chosen) - 1) // PAGE) + COLUMNS * int(y) + int(x)
        return {"picked": int(chosen[number]), "order": "nearest to the picked", "page": 0} if number < len(chosen) else {}

    return explore(
        draw, part=list(parts), class_name=["all classes", *dataset.class_names],
        order=["random", "nearest to the picked", "confident mistakes"], page=(0, 20), picked=(0, len(dataset.x_train) - 1),
        clicked=clicked,
        about={
            "class_name": "class", "page": f"page: of {PAGE} images",
            "picked": "picked: number of the image that others are like",
        },
    )  # fmt: skip
