"""Panels in which an image is altered, and a classifier says what it makes of it."""

import numpy as np
import pandas as pd

from deconvlib import data, deconvnet
from deconvlib.backend import keras
from deconvlib.experiments import deletion, invariance, occlusion
from deconvlib.lab.explorer import Explorer, explore


def move(model: keras.Model, dataset: data.Dataset, numbers: np.ndarray, table: pd.DataFrame) -> Explorer:
    """An image moved down, enlarged and turned: what the classifier says before and after.

    numbers: of the test images to choose from; table: from `invariance.measure` of these images, for the curves.
    """
    images, names = dataset.x_test[numbers], dataset.class_names
    first = table[table["layer"] == table["layer"].iloc[0]]

    def draw(example, down, scale, rotation):
        image = changed = images[example]
        at = {"translation": down, "scale": scale, "rotation": rotation}
        for kind, amount in at.items():
            changed = invariance.transformed(changed, kind, amount)
        both = np.stack([image, changed])
        return invariance.moved(both, _answers(model, both, names), first[first["image"] == example], at)

    quarter = dataset.image_shape[0] // 4
    about = {
        "example": "example: image of the figure above",
        "down": "down, pixels: then mirrored at the border",
        "scale": "scale, times: enlarged about the middle",
        "rotation": "rotation, degrees: anticlockwise",
    }
    ranges = {"down": (-quarter, quarter), "scale": (1.0, 1.8, 0.05), "rotation": (0, 360)}
    return explore(draw, example=(0, len(images) - 1), **ranges, start={"down": 0}, about=about)


def hide(model: keras.Model, dataset: data.Dataset, numbers: np.ndarray, layer: str, **start) -> Explorer:
    """A square slides over an image: `occlusion.figure` of the image, for another size, stride and fill.

    numbers: of the test images to choose from. layer: with feature maps, of which the strongest is followed.
    start: size, stride and fill to begin with.
    """
    images, labels, names = dataset.x_test[numbers], dataset.y_test[numbers], dataset.class_names

    def draw(example, size, stride, fill):
        image, label = images[[example]], labels[[example]]
        hidden = occlusion.measure(model, image, label, layer, size=size, stride=stride, fill=fill)
        title = f"{names[label[0]]}: channel {hidden.channel[0, 0]}"
        return occlusion.figure(image, hidden, occlusion.projections(model, image, hidden), [title], names)

    about = {
        "example": "example: an image of each class",
        "size": "square, pixels: side of what is hidden",
        "stride": "stride, pixels: from one place of the square to the next; 1 takes the longest",
        "fill": "fill: gray, the image's mean colour, or the image without its details",
    }
    ranges = {"size": (1, min(dataset.image_shape[:2]) // 2), "stride": (1, 8), "fill": list(occlusion.FILLS)}
    return explore(draw, example=(0, len(images) - 1), **ranges, start=start, about=about)


def delete(model: keras.Model, dataset: data.Dataset, numbers: np.ndarray, maps: dict) -> Explorer:
    """The pixels that a map marks are deleted from an image, and inserted into a blurred one.

    numbers: of the test images to choose from. maps: {method: (n, height, width)}, of these images.
    """
    images, names = deconvnet.inputs.as_input(model, dataset.x_test[numbers]), dataset.class_names

    def draw(example, method, share):
        image, values = images[[example]], maps[method][[example]]
        ways = {"deleted": (image, deletion.plain(image)), "inserted": (deletion.blurred(image), image)}
        changed = [deletion.changed(*way, values, share / 100) for way in ways.values()]
        shown = np.concatenate([image, *changed])
        answers = _answers(model, shown, names)
        titles = [f"{name}: {answer}" for name, answer in zip(("image", *ways), answers, strict=True)]
        return deletion.steps(dataset.x_test[numbers[example]], shown[1:], values[0], titles)

    about = {
        "example": "example: one of the judged images",
        "method": "method: whose map says which pixels go first",
        "share": "pixels, %: share of the pixels that are deleted, or inserted",
    }
    ranges = {"example": (0, len(images) - 1), "method": list(maps), "share": (0, 100)}
    return explore(draw, **ranges, start={"share": 20}, about=about)


def _answers(model, images, names):
    """What the classifier says of each image, in words."""
    chances = np.asarray(model.predict_on_batch(deconvnet.inputs.as_input(model, images)))
    return [f"{names[chance.argmax()]} {100 * chance.max():.0f} %" for chance in chances]
