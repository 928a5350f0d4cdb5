"""Images -> the units that each channel of a network answers to most: what figure 2 of Zeiler & Fergus shows."""

from typing import NamedTuple

import numpy as np

from deconvlib import backend, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph
from deconvlib.networks import classifier as models


class Units(NamedTuple):
    """Units in a layer's output, by integer arrays of one shape, and what they answered.

    image: number of the image; row, column: position in the map (0 in a dense layer); channel; activation: float32.
    """

    image: np.ndarray
    row: np.ndarray
    column: np.ndarray
    channel: np.ndarray
    activation: np.ndarray


def strongest(model: keras.Model, images, layers: list[str], k: int = 9, batch_size: int = 256) -> dict[str, Units]:
    """{layer: Units of shape (channels, k)}: each channel's k strongest units, strongest first, at most one an image.

    images: uint8, or float as the model takes them, (n, height, width, channels), an array in memory or on disk; or an
    iterable of such batches. One pass over them for all layers together, in which only the k best of each channel are
    kept. Shows progress where it takes longer than two seconds.

    Raises ValueError for an unknown layer, for images that do not fit, or fewer of them than k.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    if hasattr(images, "shape"):
        models.check_images(model, images)
        _check_enough(len(images), k)
        images = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    best, find, count = {}, None, 0
    for batch in progress.steps(images, "strongest units"):
        models.check_images(model, batch)
        numbers = range(count, count + len(batch))
        if find is None:
            shapes = _shapes(model, layers, batch.shape[1:3])
            find = graph.kept(_peaks, model, tuple(layers), tuple(batch.shape[1:]))
            best = {layer: np.full((3, k, shape[-1]), -np.inf) for layer, shape in shapes.items()}
        found = find(models.as_floats(model, batch, numbers))
        for (layer, kept), values, places in zip(best.items(), found[::2], found[1::2], strict=True):
            pool = np.stack([values, np.broadcast_to(np.array(numbers)[:, None], values.shape), places])
            pool = np.concatenate([kept, pool], axis=1)
            order = np.argsort(-pool[0], axis=0, kind="stable")[:k]  # stable: among equals the first image
            best[layer] = np.take_along_axis(pool, order[None], axis=1)
        count += len(batch)
    _check_enough(count, k)
    return {layer: _units(shapes[layer], *np.swapaxes(kept, 1, 2)) for layer, kept in best.items()}


def _check_enough(count, k):
    if count < k:
        raise ValueError(f"{k} strongest of {count} images: ask for at most {count}")


def _shapes(model, layers, image_size):
    for layer in layers:
        graph.find(model, layer)
    shapes = graph.shapes(model, image_size)
    for layer in layers:
        if len(shapes[layer]) not in (1, 3):
            raise ValueError(f"layer {layer!r} has outputs of shape {shapes[layer]}: not feature maps, nor a vector")
    return {layer: shapes[layer] for layer in layers}


def _peaks(model, layers, image_shape):
    """images -> for each layer the largest value of each map and its flat position, both (n, channels); compiled."""
    last = [step.name for step in graph.steps(model) if step.name in layers][-1]

    def peaks(images):
        found = {}

        def note(step, *arguments, **keywords):
            output = step.operation(*arguments, **keywords)
            if step.name in layers:
                maps = keras.ops.reshape(output, (-1, int(np.prod(output.shape[1:-1])), output.shape[-1]))
                places = keras.ops.argmax(maps, axis=1)
                found[step.name] = keras.ops.max(maps, axis=1), places
            return output

        graph.run(model, [images], note, until=last)
        return [found[layer] for layer in layers]

    return backend.compiled(peaks, model, image_shape)


def _units(shape, activation, image, place):
    row, column = np.unravel_index(place.astype(int), shape[:2]) if len(shape) == 3 else np.zeros((2, *place.shape), int)
    channel = np.broadcast_to(np.arange(shape[-1])[:, None], place.shape)
    return Units(image.astype(int), row, column, channel, activation.astype(np.float32))
