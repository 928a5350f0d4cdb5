"""What a map is made of: the score of a class, or a hidden unit, in each image."""

from typing import NamedTuple

import numpy as np

from deconvlib import checks
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, graph, inputs
from deconvlib.deconvnet.activations import Units


class Target(NamedTuple):
    """Units, of any shape, in the output of a layer; of a softmax or a sigmoid the score before it is meant."""

    layer: str
    units: Units


def of_classes(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> Target:
    """The scores of classes: units of the shape of `classes`.

    classes: integers (n,), one for each image; or (k, n), several for each.
    Raises ValueError for a class that the model does not have, or another number of images.
    """
    classes = np.asarray(classes)
    for one in classes.reshape(-1, *classes.shape[-1:]):
        checks.labels(model, one, len(images))
    nothing = np.zeros(classes.shape, int)
    numbers = np.broadcast_to(np.arange(len(images)), classes.shape)
    return Target(graph.steps(model)[-1].name, Units(numbers, nothing, nothing, classes, nothing))


def of_channels(model: keras.Model, images: np.ndarray, layer: str, channel: int | np.ndarray) -> Target:
    """Each image's strongest unit of a channel of `layer`: units of shape (n,), or of the shape of `channel`.

    channel: one for all images; or integers (n,), one for each image; or (k, n), several for each.
    Raises ValueError for an unknown layer or channel, and for images that do not fit.
    """
    inputs.check_images(model, images)
    shape, wanted = activations.answers(model, [layer], images.shape[1:3])[layer], np.asarray(channel)
    fits = wanted.ndim in (0, 1, 2) and wanted.shape[-1:] in ((), (len(images),))
    if not fits or not np.issubdtype(wanted.dtype, np.integer):
        raise ValueError(f"channel must be a whole number, or one for each of the {len(images)} images, not {channel!r}")
    checks.within("channel", wanted, shape[-1], f"in layer {layer!r}")
    wanted = np.broadcast_to(wanted, wanted.shape or len(images))
    numbers = np.broadcast_to(np.arange(len(images)), wanted.shape)
    read = activations.reader(model, [layer], activations.peaks, images.shape[1:], ceilings=False)
    found = [read(batch) for _, batch in activations.batches(model, images, "strongest units")]
    strongest, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    row, column = np.unravel_index(places[numbers, wanted].astype(int), shape[:2] if len(shape) == 3 else (1, 1))
    return Target(layer, Units(numbers, row, column, wanted, strongest[numbers, wanted]))


def checked(model: keras.Model, images: np.ndarray, target: Target) -> tuple[Units, tuple[int, ...]]:
    """(the target's units, of shape (m,); the shape of what its layer answers to one image).

    Raises ValueError for what is no Target, an unknown layer, no units, and a unit outside the images or the layer.
    """
    if not isinstance(target, Target):
        raise ValueError(f"target must be made by targets.of_classes or targets.of_channels; it is a {type(target).__name__}")
    layer, units = target.layer, target.units.ravel()
    shape = activations.answers(model, [layer], images.shape[1:3])[layer]
    if not len(units.image):
        raise ValueError("there are no units to explain: give one or more")
    checks.within("image", units.image, len(images), "given")
    for what, limit in zip(("row", "column", "channel"), (1, 1, *shape)[-3:], strict=True):
        checks.within(what, getattr(units, what), limit, f"in layer {layer!r}")
    return units, shape


def seeds(units: Units, shape: tuple[int, ...]) -> np.ndarray:
    """What a way back starts with: float32 (m, *shape), 1 at the unit. units: (m,); shape: from `checked`."""
    found = np.zeros((len(units.image), *(1, 1, *shape)[-3:]), np.float32)
    found[np.arange(len(found)), units.row, units.column, units.channel] = 1
    return found.reshape(-1, *shape)
