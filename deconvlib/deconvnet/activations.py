"""Images -> what layers make of them: features of chosen layers, and the units that each channel answers to most."""

import math
from dataclasses import dataclass, fields

import numpy as np

from deconvlib import backend, checks, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, inputs, rules

MEMORY = 2**28  # bytes of maps that one batch may hold
BATCH = 128  # images; more are no faster on a processor


def reader(model: keras.Model, layers: list[str], reduce, image_shape: tuple[int, int, int], ceilings: bool = True):
    """A compiled function: float32 images (n, *image_shape) -> the arrays of `reduce`, each with n as its first axis.

    reduce(outputs of the layers, in their order) -> a list of tensors, in operations of keras.ops. Only what a layer depends
    on is computed. What is compiled is kept for the next call with the same arguments; weights are read anew each time.
    ceilings: False leaves out the ceiling of the layers' own rectifiers: `reduce` gets what they would give without it.
    Raises ValueError for an unknown layer.
    """
    for layer in checks.names("layers", layers):
        graph.find(model, layer)
    return graph.kept(_compiled, model, tuple(layers), reduce, tuple(image_shape), ceilings)


def _compiled(model, layers, reduce, image_shape, ceilings):
    graph.check_weights(model, layers)
    way = graph.ancestors(model, layers)

    def forward(images):
        outputs = {}

        def call(step, *arguments, **keywords):
            if step.name not in way:
                return [None] * len(step.node.outputs)
            output, without = rules.uncapped(step, *arguments, **keywords)
            if step.name in layers:
                outputs[step.name] = output if ceilings else without
            return output

        graph.run(model, [images], call)
        return reduce([outputs[layer] for layer in layers])

    return backend.compiled(forward, model, image_shape)


def over(model: keras.Model, layers: list[str], reduce, images: np.ndarray, what: str) -> list[np.ndarray]:
    """The arrays of `reduce`, as for `reader`, of all images together; `what` names the progress."""
    read = reader(model, layers, reduce, images.shape[1:])
    found = [read(batch) for _, batch in batches(model, images, what)]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def maps(outputs):
    """The outputs as they are: for `reader`."""
    return outputs


def vectors(outputs):
    """Each output as one vector an image, (n, units): for `reader`."""
    return [keras.ops.reshape(output, (-1, int(np.prod(output.shape[1:])))) for output in outputs]


def peaks(outputs):
    """The largest value of each map and its flat position, two tensors (n, channels) an output: for `reader`."""
    flat = [keras.ops.reshape(output, (-1, int(np.prod(output.shape[1:-1])), output.shape[-1])) for output in outputs]
    return [tensor for maps in flat for tensor in (keras.ops.max(maps, axis=1), keras.ops.argmax(maps, axis=1))]


def batches(model: keras.Model, images: np.ndarray, what: str):
    """Yields (number of its first image, images as `model` takes them) for each batch; `what` names the progress.

    images: uint8, or float as the model takes them. Raises ValueError for images that do not fit, or hold NaN.
    """
    inputs.check_images(model, images)
    size = batch_size(model, images.shape[1:])
    for start in progress.steps(range(0, len(images), size), what):
        batch = images[start : start + size]
        yield start, inputs.as_input(model, batch, range(start, start + len(batch)))


def batch_size(model: keras.Model, image_shape: tuple[int, int, int], most: int | None = None) -> int:
    """How many images to compute at once: `most` or BATCH at most, and their largest map fits in MEMORY twice.

    A layer reads one map and makes another.
    """
    largest = max(map(math.prod, graph.shapes(model, image_shape[:2]).values()))
    return max(1, min(most or BATCH, MEMORY // (2 * 4 * largest)))


@dataclass(frozen=True)
class Units:
    """Units in a layer's output, by integer arrays of one shape, and what they answered; indexed as one of them is.

    image: number of the image; row, column: position in the map (0 in a dense layer); channel; activation: float32, where the
    layer's rectifier has a ceiling, as ReLU6, what the unit would answer without it.
    Raises ValueError where the arrays differ in shape.
    """

    image: np.ndarray
    row: np.ndarray
    column: np.ndarray
    channel: np.ndarray
    activation: np.ndarray

    def __post_init__(self):
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"the arrays of units must have one shape; they have {shapes}")

    def __getitem__(self, index) -> "Units":
        return self._each(lambda part: part[index])

    def ravel(self) -> "Units":
        """The same units, of shape (n,)."""
        return self._each(np.ravel)

    def _each(self, change):
        return Units(*(change(np.asarray(getattr(self, field.name))) for field in fields(self)))


def strongest(
    model: keras.Model, images, layers: str | list[str], k: int = 9, batch_size: int = 256
) -> Units | dict[str, Units]:
    """Units of shape (channels, k): each channel's k strongest units, strongest first, at most one an image.

    Where the layer's rectifier has a ceiling, as ReLU6, units are ranked by what they would answer without it: at the ceiling
    many are equal, and the first of them would win.

    layers: one layer; or several, for which {layer: Units} comes back. images: uint8, or float as the model takes them,
    (n, height, width, channels), an array in memory or on disk; or an iterable of such batches, or of (images, labels),
    as tf.data and keras.utils.PyDataset give them. One pass over them for all layers together, in which only the k best of
    each channel are kept. batch_size: images of an array at a time, at most; fewer where their maps are large.
    Shows progress where it takes longer than two seconds.
    Raises ValueError for an unknown layer, for images that do not fit, fewer of them than k, or batches without an end.
    """
    names = checks.names("layers", [layers] if isinstance(layers, str) else layers)
    checks.positive("k", k)
    checks.positive("batch_size", batch_size)
    images = keras.ops.convert_to_numpy(images) if keras.ops.is_tensor(images) else images
    if hasattr(images, "shape"):
        inputs.check_images(model, images)
        _check_enough(len(images), k)
        parts, total = _batches(model, images, batch_size)
    else:
        parts, total = _images(model, images), None
    best, count = {}, 0
    for batch in progress.steps(parts, "strongest units", total=total):
        numbers = range(count, count + len(batch))
        if not best:
            shapes = answers(model, names, batch.shape[1:3])
            find = reader(model, names, peaks, batch.shape[1:], ceilings=False)
            best = {layer: np.full((3, k, shape[-1]), -np.inf) for layer, shape in shapes.items()}
        found = find(inputs.as_input(model, batch, numbers))
        graph.check_finite(model, names, np.concatenate([values.ravel() for values in found[::2]]))
        for (layer, kept), values, places in zip(best.items(), found[::2], found[1::2], strict=True):
            pool = np.stack([values, np.broadcast_to(np.array(numbers)[:, None], values.shape), places])
            pool = np.concatenate([kept, pool], axis=1)
            order = np.argsort(-pool[0], axis=0, kind="stable")[:k]  # stable: among equals the first image
            best[layer] = np.take_along_axis(pool, order[None], axis=1)
        count += len(batch)
    _check_enough(count, k)
    found = {layer: _units(shapes[layer], *np.swapaxes(kept, 1, 2)) for layer, kept in best.items()}
    return found[layers] if isinstance(layers, str) else found


def _batches(model, images, most):
    """(the images in batches, each read when it is due; how many batches)."""
    size = batch_size(model, images.shape[1:], most)
    starts = range(0, len(images), size)
    return (images[start : start + size] for start in starts), len(starts)


def _images(model, batches):
    """The images of each batch as an array: of (images, labels) the first part."""
    if getattr(batches, "num_batches", 0) is None or int(getattr(batches, "cardinality", int)()) == -1:
        raise ValueError("these batches never end: give some of them, as batches.take(100)")
    for batch in batches:
        batch = batch[0] if isinstance(batch, tuple | list) else batch
        batch = keras.ops.convert_to_numpy(batch) if keras.ops.is_tensor(batch) else np.asarray(batch)
        inputs.check_images(model, batch)
        yield batch


def _check_enough(count, k):
    if count < k:
        raise ValueError(f"{k} strongest of {count} images: ask for at most {count}")


def answers(model: keras.Model, layers: list[str], image_size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """{layer: shape of what it answers to one image of (height, width)}: of feature maps (h, w, c), or of a vector (c,).

    Raises ValueError for an unknown layer, and for one of another shape.
    """
    for layer in layers:
        graph.find(model, layer)
    shapes = graph.shapes(model, image_size)
    for layer in layers:
        if len(shapes[layer]) not in (1, 3):
            raise ValueError(f"layer {layer!r} has outputs of shape {shapes[layer]}: not feature maps, nor a vector")
    return {layer: shapes[layer] for layer in layers}


def _units(shape, activation, image, place):
    row, column = np.unravel_index(place.astype(int), shape[:2]) if len(shape) == 3 else np.zeros((2, *place.shape), int)
    channel = np.broadcast_to(np.arange(shape[-1])[:, None], place.shape)
    return Units(image.astype(int), row, column, channel, activation.astype(np.float32))
