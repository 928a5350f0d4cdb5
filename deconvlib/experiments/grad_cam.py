"""Grad-CAM and guided Grad-CAM of Selvaraju et al. 2017: where the maps of a layer raise a score.

The maps are computed once an image. Only what lies above them is differentiated, once for each class or unit.
"""

import numpy as np
from skimage.transform import resize

from deconvlib import backend, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, graph, inputs, projection, rules
from deconvlib.experiments import gradients, targets
from deconvlib.experiments.targets import Target


def grad_cam(model: keras.Model, images: np.ndarray, target: Target, layer: str | None = None) -> np.ndarray:
    """Where the maps of `layer` raise the target's score, float32, from 0, of the units' shape + (height, width) of the images.

    The maps are summed, each times the mean gradient of the score with respect to it, rectified, and enlarged to the size of
    the images. No rectifier is needed. images: as for `deconvnet.project`; target: from `targets.of_classes` or `of_channels`;
    layer: with feature maps; None: `last_maps`.
    Raises ValueError for an unknown layer, one without maps, or from which no way leads to the target.
    """
    images = inputs.as_input(model, images)
    units, shape = targets.checked(model, images, target)
    layer = layer or last_maps(model, target.layer)
    if layer is None:
        raise ValueError(f"Grad-CAM needs a layer with feature maps below the units of {target.layer!r}, and there is none")
    below, above, size = graph.kept(_programs, model, layer, target.layer, images.shape[1:])
    numbers, turns = np.unique(units.image), _turns(units.image)
    found = [None] * len(units.image)
    for batch in progress.steps(np.split(numbers, range(size, len(numbers), size)), f"Grad-CAM of {layer}"):
        maps = [images[batch], *below(images[batch])]
        within = np.isin(units.image, batch)
        for turn in range(turns[within].max() + 1):
            chosen = np.flatnonzero(within & (turns == turn))
            rows = np.searchsorted(batch, units.image[chosen])
            (summed,) = above(*(part[rows] for part in maps), targets.seeds(units[chosen], shape))
            for index, one in zip(chosen, summed, strict=True):
                found[index] = one
    found = np.stack(found)
    graph.check_finite(model, [target.layer], found)
    enlarged = resize(found, (len(found), *images.shape[1:3]), order=1, mode="edge")  # along the first axis nothing changes
    return enlarged.reshape(*np.shape(target.units.image), *images.shape[1:3])


def guided(model: keras.Model, images: np.ndarray, target: Target, layer: str | None = None) -> np.ndarray:
    """Guided Grad-CAM: the score's projection by rule "guided", times Grad-CAM; the units' shape + (height, width, channels).

    The rest as for `grad_cam`. Raises ValueError also for a nonlinearity that is no rectifier.
    """
    where = grad_cam(model, images, target, layer)
    return where[..., None] * gradients.projected(model, images, target, "guided")


def last_maps(model: keras.Model, layer: str) -> str | None:
    """The layer that Grad-CAM of units in `layer` is made of: the last with feature maps that the units' own weights read.

    Of classes it is the last with maps of more than one place. None where convolutions made no maps below.
    Raises ValueError for an unknown layer.
    """
    graph.find(model, layer)
    steps, way = graph.steps(model), graph.ancestors(model, [layer])
    kernels = [step.name for step in steps if step.name in way and _has_kernel(step.operation)]
    read = graph.ancestors(model, kernels[-1:]).difference(kernels[-1:])
    shapes = {step.name: step.node.outputs[0].shape for step in steps if step.name in read}
    for name, shape in reversed(shapes.items()):
        if len(shape) == 4 and shape[1:3] != (1, 1) and graph.ancestors(model, [name]).intersection(kernels):
            return name
    return None


def _has_kernel(operation):
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))


def _turns(numbers):
    """Of each unit, how many units of the same image come before it."""
    order = np.argsort(numbers, kind="stable")
    _, first, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    turns = np.empty(len(numbers), int)
    turns[order] = np.arange(len(numbers)) - np.repeat(first, counts)
    return turns


class _Part:
    """What stands for a tensor, with the step that made it (None: it is the images), and whether it depends on the maps."""

    def __init__(self, tensor, step, above):
        self.tensor, self.step, self.above = tensor, step, above


def _programs(model, layer, last, image_shape):
    """(below, above, images in a batch).

    below(images): the maps of `layer`, and what else is read above them. above(images, *these, seeds): the maps, each times
    its mean gradient, summed and rectified, (n, height, width).
    """
    shapes = graph.shapes(model, image_shape[:2], until=last)
    _check_layer(model, layer, last, shapes)
    given, above = _parted(model, layer, last, image_shape)
    call = rules.caller(last, "gradient", rules.treatment(model, last, "gradient"))

    def weighted(pixels, *arguments):
        *tensors, seeds = arguments
        known = dict(zip(given, keras.tree.pack_sequence_as(list(given.values()), tensors), strict=True))
        (maps,) = known[layer]

        def score(maps):
            def evaluate(step, *arguments, **keywords):
                if step.name in above:
                    return call(step, step.operation, *arguments, **keywords)
                return maps if step.name == layer else known.get(step.name, [None] * len(step.node.outputs))

            return graph.run(model, [pixels], evaluate, until=last)

        values, back = backend.vjp(score, maps)
        slope = keras.ops.mean(back(keras.ops.cast(seeds, values.dtype)), axis=(1, 2), keepdims=True)
        return keras.ops.cast(keras.ops.relu(keras.ops.sum(maps * slope, axis=3)), "float32")

    held = [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(list(given.values()))]
    below = activations.reader(model, list(given), activations.maps, image_shape)
    program = backend.compiled(weighted, model, image_shape, *held, shapes[last])
    return below, program, projection.batch_size(sum(int(np.prod(shape)) for shape in shapes.values()))


def _check_layer(model, layer, last, shapes):
    """shapes: of every layer on the way to `last`."""
    graph.find(model, layer)
    fitting = [name for name, shape in shapes.items() if len(shape) == 3 and name != last]
    if layer not in fitting:
        what = f"has outputs of shape {shapes[layer]}" if layer in shapes else "is not on the way"
        what = "is the target's own" if layer == last else what
        raise ValueError(
            f"Grad-CAM of {last!r} needs a layer with feature maps below it, and layer {layer!r} {what}; "
            + (f"the last that fits is {fitting[-1]!r}" if fitting else "there is none")
        )


def _parted(model, layer, last, image_shape):
    """({step that is read above the maps: its outputs}, `layer` first; names of the steps that depend on the maps)."""
    given, above = {layer: None}, set()

    def note(step, *arguments, **keywords):
        output, parts, _ = graph.traced(step, arguments, keywords)
        tensors = keras.tree.flatten(output)
        made[step.name] = tensors
        if any(part.above for part in parts):
            above.add(step.name)
            given.update({part.step: None for part in parts if part.step and not part.above})
        return [_Part(tensor, step.name, step.name in above or step.name == layer) for tensor in tensors]

    made = {}
    images = keras.KerasTensor((1, *image_shape))
    graph.run(model, [_Part(images, None, False)], note, until=last)
    return {step: made[step] for step in given}, above
