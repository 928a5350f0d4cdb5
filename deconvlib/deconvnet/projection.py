"""Activation -> pixels: the deconvnet of Zeiler & Fergus 2013 and its two relatives, on any Keras model with a graph.

From one unit back to the image, layer by layer: unpool by the switches of this image's maxima, rectify the signal,
apply the transposed filter. Unpooling and transposed filtering are what the chain rule does at a max pooling and at a
convolution, so a projection is one vector–Jacobian product of the model with another rule at its rectifiers: `rules` has
the three, and refuses a nonlinearity for which none is defined, since the plain gradient in its place would look like an
answer. Of a batch normalization, on which the paper is silent, the signal is multiplied by γ / σ, sign included.

Several units are projected together, through the `windows` that they see instead of whole images. Where units of one image
see nearly all of it, its maps are computed once, and only the way back is in windows.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from deconvlib import backend, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, receptive_field, rules, windows
from deconvlib.deconvnet.rules import RULES
from deconvlib.networks import classifier as models

__all__ = ["RULES", "Patches", "coverage", "project", "project_units", "rectified_convolutions", "switches"]

MEMORY = 2**28  # bytes of activations and signals that one batch may hold


class Patches(NamedTuple):
    """What units see of their images and what it projects to, for units of any shape s.

    pixels: s + (height, width, channels), cut from the images as they were given; projections: float32 of the same
    shape. row, column: of each patch's upper left pixel in its image, integers of shape s.
    """

    pixels: np.ndarray
    projections: np.ndarray
    row: np.ndarray
    column: np.ndarray


def project(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    channel: int,
    rule: str = "deconvnet",
    *,
    whole_map: bool = False,
    switches: bool = True,
    chain_rule: tuple[str, ...] = (),
) -> np.ndarray:
    """Each image's strongest unit of one channel, projected back to the pixels: float32 of the shape of `images`.

    images: uint8, or float as the model takes them, (n, height, width, channels). The unit is seeded with its
    activation, all others of the layer with zero (section 2.1 of the paper). Where `layer` is a softmax, the projection
    starts from before it. The model is not changed.

    whole_map: seed every unit of the channel with its activation, instead of the strongest alone. switches: False
    unpools without them, each value spread evenly over its region. chain_rule: functions or layers, by their names in
    `coverage`, at which the plain chain rule may stand in for a rule that is not defined there.

    Raises ValueError for an unknown layer, channel or rule, for images that do not fit, and for a nonlinearity that the
    rule does not cover.
    """
    images = models.as_input(model, images)
    (rows, columns, channels), _ = _walk(model, layer, images.shape[1:3])
    _check_range("channel", channel, channels, layer)
    pull, batch_size = _whole(model, layer, rule, switches, chain_rule, images.shape[1:3])
    projections = np.empty_like(images)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        places = np.full((len(batch), rows * columns), whole_map, np.float32)
        (projections[start : start + batch_size],) = pull(batch, places, _one_hot(np.full(len(batch), channel), channels))
    return projections


def project_units(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    units,
    rule: str = "deconvnet",
    *,
    switches: bool = True,
    chain_rule: tuple[str, ...] = (),
) -> Patches:
    """What each unit sees, and its projection, cropped to the unit's receptive field; each unit on its own.

    images: all the images that `units` names by number; of a memory-mapped array only what they see is read. units:
    `exemplars.Units` of any shape. A patch has the size of the receptive field, at most the image's; at a border it is
    shifted into the image. The rest as for `project`, which gives the same values. Shows progress where it takes longer
    than two seconds.

    Raises ValueError also for a unit outside the images or the layer.
    """
    models.check_images(model, images)
    image_size = images.shape[1:3]
    (rows, columns, channels), _ = _walk(model, layer, image_size)
    flat = type(units)(*(np.ravel(part) for part in units))
    for what, limit in {"image": len(images), "row": rows, "column": columns, "channel": channels}.items():
        _check_range(what, getattr(flat, what), limit, layer)
    position = np.stack([flat.row, flat.column], axis=1).astype(int)
    field = receptive_field.of(model, layer, image_size)
    size = tuple(map(min, field.size, image_size))
    first = np.array([position[:, axis] * s.numerator // s.denominator for axis, s in enumerate(field.stride)]).T + field.offset
    corner = np.clip(first, 0, np.subtract(image_size, size))  # a patch at a border is shifted into the image

    plan = windows.plan(model, layer, image_size) if switches else None
    together = _together(model, layer, plan, image_size, flat.image) if plan and rule != "gradient" else 0
    if together:
        pull = _from_whole_maps(model, layer, rule, chain_rule, image_size, together)
        batches = [
            units[start : start + together]
            for units in (np.flatnonzero(flat.image == image) for image in np.unique(flat.image))
            for start in range(0, len(units), together)
        ]
    else:
        pull, batch_size = (
            _windowed(model, layer, rule, chain_rule, image_size)
            if plan
            else _whole(model, layer, rule, switches, chain_rule, image_size)
        )
        batches = np.split(np.arange(len(position)), range(batch_size, len(position), batch_size))
    where = position.astype(np.float32)
    if plan is None:
        first, where = np.zeros_like(first), _one_hot(position[:, 0] * columns + position[:, 1], rows * columns)
    pixels = np.empty((len(position), *size, images.shape[-1]), images.dtype)
    projections = np.empty(pixels.shape, np.float32)
    for chosen in progress.steps(batches, f"projections of {layer}"):
        numbers, filled = flat.image[chosen], chosen
        if together:  # one image, and units that fill up the batch
            numbers, filled = numbers[:1], np.resize(chosen, together)
        if together or plan is None:
            seen = images[numbers]
        else:
            seen = np.stack([_cut(images[i], at, field.size) for i, at in zip(numbers, first[chosen], strict=True)])
        (found,) = pull(models.as_floats(model, seen, numbers), where[filled], _one_hot(flat.channel[filled], channels))
        for unit, projected in zip(chosen, found[: len(chosen)], strict=True):
            pixels[unit] = _cut(images[flat.image[unit]], corner[unit], size)
            projections[unit] = _cut(projected, corner[unit] - first[unit], size)
    shape = np.shape(units.image)
    patches = (array.reshape(*shape, *array.shape[1:]) for array in (pixels, projections))
    return Patches(*patches, *(part.reshape(shape) for part in corner.T))


def switches(model: keras.Model, images: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """(maps, chosen): what max pooling `layer` pools, and where in it lies the maximum of each region.

    maps: float32 (n, height, width, channels); chosen: booleans of the same shape. Section 2.1 of the paper.
    Raises ValueError for a layer that is not a max pooling.
    """
    step = graph.find(model, layer)
    if type(step.operation).__name__ != "MaxPooling2D":
        raise ValueError(f"layer {layer!r} is a {type(step.operation).__name__}; only a MaxPooling2D has switches")
    images = keras.ops.convert_to_tensor(models.as_input(model, images))
    maps = None

    def keep(step, *arguments, **keywords):
        nonlocal maps
        maps = arguments[0]
        return step.operation(*arguments, **keywords)

    graph.run(model, [images], keep, until=layer)
    pooled, pull = backend.vjp(step.operation, maps)
    chosen = keras.ops.convert_to_numpy(pull(keras.ops.ones_like(pooled))) > 0
    return keras.ops.convert_to_numpy(maps), chosen


def coverage(model: keras.Model, layer: str, rule: str = "deconvnet", chain_rule: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row for each nonlinearity between the pixels and `layer`: layer, function, covered, backward.

    covered: whether `rule` is defined there; backward: what becomes there of the signal g on its way to the pixels, with
    x what the nonlinearity was given. Pooling is not listed: its switches are the chain rule.
    """
    rules.known_rule(rule)
    found = []
    for nonlinearity in rules.nonlinearities(model, layer):
        backward = rules.backward(nonlinearity, layer, rule, chain_rule)
        # a sigmoid at which the plain chain rule was asked for is passed, but not covered
        covered = backward not in ("refused", rules.CHAIN_RULE) or rule == "gradient"
        found.append((nonlinearity.step.name, nonlinearity.name, covered, backward))
    return pd.DataFrame(found, columns=["layer", "function", "covered", "backward"])


def rectified_convolutions(model: keras.Model) -> list[str]:
    """The layers in which the feature maps of a convolution appear rectified: itself, or the first rectifier after it."""
    found, waiting = [], False
    for step in graph.steps(model):
        _, rectifier = rules.nonlinearity(step)
        waiting = waiting or "Conv" in type(step.operation).__name__
        if waiting and rectifier is not None:
            found.append(step.name)
            waiting = False
    return found


def _walk(model, layer, image_size):
    """The layer's output as (rows, columns, channels), a vector as one place; and the elements of all maps on the way."""
    graph.find(model, layer)
    shapes = graph.shapes(model, image_size, until=layer)
    shape = shapes[layer]
    if len(shape) not in (1, 3):
        raise ValueError(f"layer {layer!r} has outputs of shape {shape}: not feature maps, nor a vector")
    return (1, 1, *shape)[-3:], sum(int(np.prod(shape)) for shape in shapes.values())


# Compiled for a model, a layer and a size; the weights are read anew at each call.


def _whole(model, layer, rule, switches, chain_rule, image_size):
    """(pull, images in a batch): pull(images, places, channels) projects units from whole images.

    places: (n, rows · columns), 1 where a unit is seeded; all 0 for the strongest. channels: one-hot (n, channels).
    """
    treated = rules.treatment(model, layer, rule, chain_rule)
    return graph.kept(_compile_whole, model, layer, rule, switches, tuple(treated.items()), tuple(image_size))


def _compile_whole(model, layer, rule, switches, treated, image_size):
    (rows, columns, channels), elements = _walk(model, layer, image_size)
    call = rules.caller(layer, rule, dict(treated), switches)

    def forward(images):
        return graph.run(model, [images], lambda step, *a, **k: call(step, step.operation, *a, **k), until=layer)

    def pull(images, places, channel):
        maps, back = backend.vjp(forward, images)
        flat = keras.ops.reshape(maps, (-1, rows * columns, channels))
        channel, places = keras.ops.cast(channel, maps.dtype), keras.ops.cast(places, maps.dtype)
        strongest = keras.ops.argmax(keras.ops.sum(flat * channel[:, None], axis=2), axis=1)
        strongest = keras.ops.one_hot(strongest, rows * columns, dtype=flat.dtype)
        asked = keras.ops.max(places, axis=1, keepdims=True)
        seed = (places + (1 - asked) * strongest)[:, :, None] * channel[:, None]
        return keras.ops.cast(back(keras.ops.reshape(flat * seed, keras.ops.shape(maps))), "float32")

    pixels = (*image_size, model.inputs[0].shape[-1])
    return backend.compiled(pull, model, pixels, (rows * columns,), (channels,)), _batch_size(elements)


def _windowed(model, layer, rule, chain_rule, image_size):
    """(pull, windows in a batch): pull(windows, positions, channels) projects units from the windows that they see.

    positions: rows and columns, (n, 2); channels: one-hot (n, channels).
    """
    treated = rules.treatment(model, layer, rule, chain_rule)
    return graph.kept(_compile_windowed, model, layer, rule, tuple(treated.items()), tuple(image_size))


def _compile_windowed(model, layer, rule, treated, image_size):
    plan = windows.plan(model, layer, image_size)
    (_, _, channels), _ = _walk(model, layer, image_size)
    call = rules.caller(layer, rule, dict(treated))

    def pull(images, positions, channel):
        units = keras.ops.cast(positions, "int32")
        values, back = windows.run(model, layer, plan, images, units, call)
        return keras.ops.cast(back(values * keras.ops.cast(channel, values.dtype)[:, None, None]), "float32")

    pixels = (*(part.size for part in plan.pixels), model.inputs[0].shape[-1])
    return backend.compiled(pull, model, pixels, (2,), (channels,)), _batch_size(plan.elements)


def _from_whole_maps(model, layer, rule, chain_rule, image_size, together):
    """pull(image, positions, channels) projects `together` units of one image, (1, height, width, channels).

    As `_windowed`, but the image's maps are computed once, whole, for all these units; only the way back is in windows.
    """
    treated = rules.treatment(model, layer, rule, chain_rule)
    return graph.kept(_compile_from_whole_maps, model, layer, rule, tuple(treated.items()), tuple(image_size), together)


def _compile_from_whole_maps(model, layer, rule, treated, image_size, together):
    plan = windows.plan(model, layer, image_size)
    (_, _, channels), _ = _walk(model, layer, image_size)

    def pull(image, positions, channel):
        # of known length: where only a shape is asked for, nothing is computed
        units, maps = keras.ops.reshape(keras.ops.cast(positions, "int32"), (together, 2)), {}

        forward = rules.caller(layer, rule, dict(treated))

        def make(step, *arguments, **keywords):
            maps[step.name] = forward(step, step.operation, *arguments, **keywords)
            return maps[step.name]

        def known(step):
            return windows.cut(maps[step.name], plan.holds[step.name], units)

        graph.run(model, [image], make, until=layer)
        call = rules.caller(layer, rule, dict(treated), known=known)
        values, back = windows.run(model, layer, plan, windows.cut(image, plan.pixels, units), units, call, known)
        return keras.ops.cast(back(values * keras.ops.cast(channel, values.dtype)[:, None, None]), "float32")

    return backend.compiled(pull, model, (*image_size, model.inputs[0].shape[-1]), (2,), (channels,))


def _together(model, layer, plan, image_size, numbers):
    """How many units of one image, named by its number, best share its whole maps; 0 where windows of their own cost less."""
    whole, each = _walk(model, layer, image_size)[1], plan.elements
    counts = np.unique(numbers, return_counts=True)[1]
    # as many elements as are computed: the maps of a batch once, and its units' signals, those that fill it up among them
    costs = {0: 2 * each * len(numbers)}
    size = 1
    while size <= min(_batch_size(each / 4), 2 * counts.max()):  # on the way back, few signals are held at a time
        costs[size] = np.ceil(counts / size).sum() * (whole + size * each)
        size *= 2  # few sizes, as each is compiled
    return min(costs, key=costs.get)


def _batch_size(elements):
    # activations on the way up and signals on the way down, of 4 bytes
    return max(1, min(256, int(MEMORY // (2 * 4 * elements))))


def _cut(image, corner, size):
    """The part of an image of some size from a corner on, which may lie outside; zero where there is no image."""
    part = np.zeros((*size, image.shape[-1]), image.dtype)
    (top, left), (bottom, right) = np.maximum(corner, 0), np.minimum(np.add(corner, size), image.shape[:2])
    if top < bottom and left < right:
        part[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]] = image[top:bottom, left:right]
    return part


def _one_hot(index, length):
    encoded = np.zeros((len(index), length), np.float32)
    encoded[np.arange(len(index)), index] = 1
    return encoded


def _check_range(what, values, limit, layer):
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{what} must be whole numbers, not {values.dtype}")
    wrong = values[(values < 0) | (values >= limit)]
    if wrong.size:
        where = "given" if what == "image" else f"in layer {layer!r}"
        raise ValueError(f"{what} {wrong.flat[0]} is not {where}; its {what}s are 0 to {limit - 1}")
