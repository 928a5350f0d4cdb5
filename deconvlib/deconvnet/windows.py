"""The part of every map that one unit depends on, and the network run on just that part.

Told from the unit itself, the places that it sees of each map on the way are the same for all units of a layer. So any
number of units, each with the window that it sees of its own image, go through the network as one batch, and each map on
the way is no larger than needed: a unit of VGG16's block3_conv3 sees 40 × 40 pixels, 14 × 14 places of block2_conv2 and
5 × 5 of block3_conv1. What a window holds outside of a map is set to what the padding puts there. So the unit has exactly
the value, and the gradients, that it has in the whole image.
"""

import contextlib
import math
from typing import NamedTuple

import numpy as np

from deconvlib import backend, disk
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, receptive_field


class Part(NamedTuple):
    """In one axis: the places stride · u + low to stride · u + high of a map of some length, for unit u."""

    stride: int
    low: int
    high: int
    length: int

    @property
    def size(self):
        return self.high - self.low + 1


class Plan(NamedTuple):
    """pixels: the Parts of rows and columns that a unit sees of the image; reads, holds: what each step reads of its
    inputs, and what its output holds, by its name; elements: numbers in all that it holds, for one unit.
    """

    pixels: tuple[Part, Part]
    reads: dict[str, tuple[Part, Part]]
    holds: dict[str, tuple[Part, Part]]
    elements: int


class _Map:
    """A map of the network: its step, tensor, sources, and what its units see of these. None: no step, the pixels."""

    def __init__(self, step, tensor, sources=(), spans=None):
        self.step, self.tensor, self.shape, self.sources, self.spans = step, tensor, tensor.shape, sources, spans


def plan(model: keras.Model, layer: str, image_size: tuple[int, int]) -> Plan | None:
    """What to compute for one unit of `layer`; None where the whole image costs no more, or the way is not known.

    The way is known through the layers of `receptive_field` but transposed convolution and upsampling, behind which
    units see different windows.
    """
    maps = []

    def note(step, *arguments, **keywords):
        output, sources, constants = graph.traced(step, arguments, keywords)
        spans = None
        if len({source.shape[1:3] for source in sources}) == 1:
            with contextlib.suppress(receptive_field.UnknownReach):
                spans = receptive_field.spans(step.operation, sources[0].shape, constants)
        outputs = keras.tree.map_structure(lambda tensor: _Map(step, tensor, sources, spans), output)
        maps.extend(keras.tree.flatten(outputs))
        return outputs

    pixels = _Map(None, keras.KerasTensor((1, *image_size, model.inputs[0].shape[-1])))
    target = graph.run(model, [pixels], note, until=layer)
    needed, reads = {target: (receptive_field.ITSELF, receptive_field.ITSELF)}, {}
    for map_ in reversed(maps):
        if map_ not in needed:
            continue
        if map_.spans is None or any(span.stride.denominator > 1 for span in map_.spans):
            return None
        seen = tuple(map(receptive_field.Span.through, needed[map_], map_.spans))
        reads[map_] = _parts(seen, map_.sources[0])
        for source in map_.sources:
            try:
                needed[source] = tuple(map(receptive_field.Span.union, needed.get(source, seen), seen))
            except receptive_field.UnknownReach:
                return None
    holds = {map_: _parts(spans, map_) for map_, spans in needed.items()}
    elements = sum(rows.size * columns.size * math.prod(map_.shape[3:]) for map_, (rows, columns) in holds.items())
    if elements >= sum(int(np.prod(map_.shape)) for map_ in needed):
        return None
    by_name = [{map_.step.name: parts for map_, parts in found.items() if map_.step} for found in (reads, holds)]
    return Plan(holds[pixels], *by_name, elements)


def _parts(spans, map_):
    return tuple(Part(*map(int, span), length) for span, length in zip(spans, map_.shape[1:3], strict=True))


class _Held:
    """The part of a map that was computed. A class of its own: keras.tree would open a tuple."""

    def __init__(self, value, parts):
        self.value, self.parts = value, parts


def run(model: keras.Model, layer: str, plan: Plan, images, units, call, known=None):
    """(values, back): the units' values, (n, 1, 1, channels), from the windows that they see of their images.

    back(signal), of that shape, is the signal at the pixels of the windows. images: (n, height, width, channels), of the
    size of `plan.pixels`; units: rows and columns, integers (n, 2). call(step, operation, *arguments, **keywords)
    evaluates one operation. known(step): what its output holds, where that is not to be computed here.
    """
    pixels, pulls = _Held(images, plan.pixels), []

    def on_part(step, *arguments, **keywords):
        held = {id(part): part for part in keras.tree.flatten((arguments, keywords)) if isinstance(part, _Held)}
        sources = list(held.values())

        def evaluate(values):
            return _on_part(step, plan, units, call, dict(zip(held, values, strict=True)), arguments, keywords)

        # one step at a time, so that on the way back a linear one needs no values, where they are known all the less
        value, pull = backend.vjp(evaluate, [source.value for source in sources])
        made = _Held(value if known is None else known(step), plan.holds[step.name])
        pulls.append((made, sources, pull))
        return made

    unit = graph.run(model, [pixels], on_part, until=layer)

    def back(signal):
        signals = {id(unit): signal}
        for made, sources, pull in reversed(pulls):
            if id(made) not in signals:
                continue
            for source, part in zip(sources, pull(signals[id(made)]), strict=True):
                signals[id(source)] = signals[id(source)] + part if id(source) in signals else part
        return signals[id(pixels)]

    return unit.value, back


def _on_part(step, plan, units, call, values, arguments, keywords):
    """The part of the step's output that the plan holds. values: {id of an argument that is _Held: its value}."""
    parts, operation, kind = plan.reads[step.name], step.operation, graph.kind(step.operation)
    padded = kind == "ZeroPadding2D" or getattr(operation, "padding", None) == "same"
    inside = _inside(parts, units) if padded else None

    def read(held):
        if not isinstance(held, _Held):
            return held
        begin = [part.low - whole.low for part, whole in zip(parts, held.parts, strict=True)]
        value = values[id(held)][:, begin[0] : begin[0] + parts[0].size, begin[1] : begin[1] + parts[1].size]
        # not minus infinity, which times zero is not a number
        lowest = np.finfo(np.float32).min if kind == "MaxPooling2D" else 0.0
        return keras.ops.where(inside, value, keras.ops.cast(lowest, value.dtype)) if padded else value

    arguments, keywords = keras.tree.map_structure(read, (arguments, keywords))
    if kind in ("ZeroPadding2D", "Cropping2D"):  # only move the places
        return arguments[0]
    if padded:
        operation = graph.face(operation, padding="valid")
    value = call(step, operation, *arguments, **keywords)
    if padded and kind == "AveragePooling2D":  # the mean of what lies inside
        share = operation(keras.ops.cast(inside, value.dtype))
        value = value / keras.ops.maximum(share, 1e-6)
    return value


def cut(whole, parts: tuple[Part, Part], units):
    """What the units' windows hold of one whole map: (1, height, width, ...) -> (n, *sizes of the parts, ...).

    Outside of the map, where `run` puts what the padding does, some value of the map.
    """
    rows, columns = _places(parts, units)
    rows, columns = (keras.ops.clip(x, 0, length - 1) for x, length in ((rows, whole.shape[1]), (columns, whole.shape[2])))
    places = rows[:, :, None] * whole.shape[2] + columns[:, None]
    return keras.ops.take(keras.ops.reshape(whole, (-1, *whole.shape[3:])), places, axis=0)


def _places(parts, units):
    """The rows and the columns, (n, size) each, that the units see of a map."""
    return [
        part.stride * units[:, axis, None] + keras.ops.arange(part.low, part.high + 1, dtype=units.dtype)
        for axis, part in enumerate(parts)
    ]


def _inside(parts, units):
    """Booleans (n, height, width, 1): which places of the parts lie in the map."""
    rows, columns = (
        keras.ops.logical_and(places >= 0, places < part.length)
        for part, places in zip(parts, _places(parts, units), strict=True)
    )
    return keras.ops.logical_and(rows[:, :, None, None], columns[:, None, :, None])


def gather(arrays: np.ndarray, numbers: np.ndarray, corner: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A part of an array for each of n units, (n, *size, channels): of arrays[number], from its corner on; zero outside.

    arrays: (m, height, width, channels), in memory or in a file; numbers: integers (n,); corner: rows and
    columns, integers (n, 2), which may lie outside.
    """
    if isinstance(arrays, disk.Rows):
        arrays, numbers = arrays.array, arrays.numbers[numbers]
    count, height, width, channels = arrays.shape
    if arrays.strides[2:] != (channels * arrays.itemsize, arrays.itemsize):
        arrays = np.ascontiguousarray(arrays)  # so that a row of a part is one block: five times as fast
    rows = corner[:, 0, None] + np.arange(size[0])
    outside, rows = (rows < 0) | (rows >= height), np.clip(rows, 0, height - 1)
    left, right = np.clip(-corner[:, 1], 0, size[1]), np.clip(width - corner[:, 1], 0, size[1])
    parts = np.zeros((len(numbers), size[0], size[1] * channels), arrays.dtype)
    # units that reach equally far over the sides together
    for reach in np.unique(left * (size[1] + 1) + right):
        begin, end = divmod(int(reach), size[1] + 1)
        if begin < end:
            every = np.lib.stride_tricks.as_strided(  # each place from which on a row of the array has such a block
                arrays,
                (count, height, width - (end - begin) + 1, (end - begin) * channels),
                arrays.strides,
                writeable=False,
            )
            units = np.flatnonzero((left == begin) & (right == end))
            found = every[numbers[units, None], rows[units], corner[units, 1, None] + begin]
            parts[units, :, begin * channels : end * channels] = found
    if outside.any():
        parts[outside] = 0
    return parts.reshape(len(numbers), *size, channels)
