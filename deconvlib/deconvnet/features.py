"""Images -> what chosen layers make of them, in one compiled pass over batches that fit in memory."""

import numpy as np

from deconvlib import backend, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph
from deconvlib.networks import classifier as models

MEMORY = 2**28  # bytes that the largest map of one batch may take
BATCH = 128  # images; more are no faster on a processor


def reader(model: keras.Model, layers: list[str], reduce, image_shape: tuple[int, int, int]):
    """A compiled function: float32 images (n, *image_shape) -> the arrays of `reduce`, each with n as its first axis.

    reduce(outputs, prediction) -> a list of tensors, in operations of keras.ops; outputs: those of `layers`, prediction:
    the model's own. What is compiled is kept for the next call with the same arguments; weights are read anew each time.
    Raises ValueError for an unknown layer, or a model of several outputs.
    """
    for layer in layers:
        graph.find(model, layer)
    if len(model.outputs) != 1:
        raise ValueError(f"model {model.name!r} has {len(model.outputs)} outputs; a model of one output is needed")
    return graph.kept(_compiled, model, tuple(layers), reduce, tuple(image_shape))


def _compiled(model, layers, reduce, image_shape):
    def forward(images):
        outputs = {}

        def call(step, *arguments, **keywords):
            output = step.operation(*arguments, **keywords)
            if step.name in layers:
                outputs[step.name] = output
            return output

        prediction = graph.run(model, [images], call)
        return reduce([outputs[layer] for layer in layers], keras.tree.flatten(prediction)[0])

    return backend.compiled(forward, model, image_shape)


def maps(outputs, prediction):
    """The outputs as they are: for `reader`."""
    return outputs


def vectors(outputs, prediction):
    """Each output as one vector an image, (n, units): for `reader`."""
    return [keras.ops.reshape(output, (-1, int(np.prod(output.shape[1:])))) for output in outputs]


def batches(model: keras.Model, images: np.ndarray, what: str):
    """Yields (number of its first image, images as `model` takes them) for each batch; `what` names the progress.

    images: uint8, or float as the model takes them. Raises ValueError for images that do not fit, or hold NaN.
    """
    models.check_images(model, images)
    size = batch_size(model, images.shape[1:])
    for start in progress.steps(range(0, len(images), size), what):
        batch = images[start : start + size]
        yield start, models.as_floats(model, batch, range(start, start + len(batch)))


def batch_size(model: keras.Model, image_shape: tuple[int, int, int]) -> int:
    """How many images to compute at once: the largest map of all of them fits in MEMORY, and BATCH at most."""
    largest = 1

    def note(step, *arguments, **keywords):
        nonlocal largest
        output = step.operation.compute_output_spec(*arguments, **keywords)
        largest = max(largest, *(int(np.prod(tensor.shape)) for tensor in keras.tree.flatten(output)))
        return output

    graph.run(model, [keras.KerasTensor((1, *image_shape))], note)
    return max(1, min(BATCH, MEMORY // (4 * largest)))
