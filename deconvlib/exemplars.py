"""Images -> the units that each channel of a network answers to most: what figure 2 of Zeiler & Fergus shows."""

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from deconvlib import graph, models
from deconvlib.backend import keras


class Units(NamedTuple):
    """Units in a layer's output, by integer arrays of one shape, and what they answered.

    image: number of the image; row, column: position in the map (0 in a dense layer); channel; activation: float32.
    """

    image: np.ndarray
    row: np.ndarray
    column: np.ndarray
    channel: np.ndarray
    activation: np.ndarray


def strongest(model: keras.Model, images: np.ndarray, layers: list[str], k: int = 9, batch_size: int = 256):
    """{layer: Units of shape (channels, k)}: each channel's k strongest units, strongest first, at most one an image.

    images: uint8, or float as the model takes them, (n, height, width, channels). One pass over them for all layers
    together; only the k best of each channel are kept. Shows progress where it takes longer than two seconds.

    Raises ValueError for an unknown layer, or for fewer images than k.
    """
    if len(images) < k:
        raise ValueError(f"{k} strongest of {len(images)} images: ask for at most {len(images)}")
    shapes = {layer: graph.find(model, layer).node.outputs[0].shape for layer in layers}
    peaks = keras.Model(model.inputs, [peak for layer in layers for peak in _peak(model.get_layer(layer).output)])
    best = {layer: np.full((3, k, shape[-1]), -np.inf) for layer, shape in shapes.items()}
    for start in tqdm(range(0, len(images), batch_size), desc="strongest units", unit="batch", delay=2, leave=False):
        batch = models.as_input(model, images[start : start + batch_size])
        found = peaks.predict_on_batch(batch)
        for (layer, kept), values, places in zip(best.items(), found[::2], found[1::2], strict=True):
            numbers = np.broadcast_to(np.arange(start, start + len(batch))[:, None], values.shape)
            pool = np.concatenate([kept, np.stack([values, numbers, places])], axis=1)
            order = np.argsort(-pool[0], axis=0, kind="stable")[:k]  # stable: among equals the first image
            best[layer] = np.take_along_axis(pool, order[None], axis=1)
    return {layer: _units(shapes[layer], *np.swapaxes(kept, 1, 2)) for layer, kept in best.items()}


def _peak(output):
    """The largest value of each map and its flat position, both (n, channels)."""
    maps = keras.ops.reshape(output, (-1, int(np.prod(output.shape[1:-1])), output.shape[-1]))
    return [keras.ops.max(maps, axis=1), keras.ops.argmax(maps, axis=1)]


def _units(shape, activation, image, place):
    row, column = np.unravel_index(place.astype(int), shape[1:3]) if len(shape) == 4 else np.zeros((2, *place.shape), int)
    channel = np.broadcast_to(np.arange(shape[-1])[:, None], place.shape)
    return Units(image.astype(int), row, column, channel, activation.astype(np.float32))
