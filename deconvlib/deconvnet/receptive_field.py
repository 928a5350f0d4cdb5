"""Layer -> the pixels that one of its units can see: size, stride and offset, through any graph above it.

The arithmetic of Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019),
extended by transposed convolution, where the step between neighbouring units is a fraction of a pixel.

A unit may see many pixels that hardly count: `effective` measures the part of the field that does (Luo et al. 2016,
"Understanding the Effective Receptive Field in Deep Convolutional Neural Networks").
"""

import functools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from deconvlib.backend import keras
from deconvlib.deconvnet import graph


class ReceptiveField(NamedTuple):
    """Where unit (row, column) looks: pixels from ⌊stride × position⌋ + offset on, `size` of them, in each axis.

    The smallest such window that holds every unit's; after a transposed convolution units differ, and some see less.
    size, offset: (rows, columns) in pixels; an offset below 0 reaches into the padding. stride: pixels between
    neighbouring units, a Fraction below 1 after a transposed convolution. whole: every unit may see the whole image.
    known: False where a layer on the way is not one whose reach is known here, so that `whole` is only the safe answer.
    """

    size: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    offset: tuple[int, int]
    whole: bool = False
    known: bool = True

    def first(self, units):
        """The first pixel that each unit sees, row and column; units: rows and columns, integers (n, 2)."""
        # whole numbers throughout: ⌊i · numerator / denominator⌋
        numerators, denominators = (np.array([getattr(s, p) for s in self.stride]) for p in ("numerator", "denominator"))
        return units * numerators // denominators + self.offset

    def patch(self, units, image_size):
        """(size, corners) of what units see of images (height, width): a patch at a border is shifted into its image.

        units: rows and columns, integers (n, 2). size: that of the field, at most the images'; corners: integers (n, 2).
        """
        size = tuple(map(min, self.size, image_size))
        return size, np.clip(self.first(units), 0, np.subtract(image_size, size))

    def unit_above(self, point, shape):
        """(row, column) of the unit in a map of `shape` whose window's middle is nearest to `point`: (row, column), pixels."""
        middle = np.add(self.offset, (np.array(self.size) - 1) / 2)
        stride = [float(step) or np.inf for step in self.stride]  # 0 where every unit sees the whole image: then the first
        nearest = (np.asarray(point) - middle) / stride
        return tuple(int(np.clip(round(at), 0, most - 1)) for at, most in zip(nearest, shape, strict=True))


class Span(NamedTuple):
    """In one axis: unit i of a map sees the places p of an earlier map with stride · i + low ≤ p ≤ stride · i + high."""

    stride: Fraction
    low: Fraction
    high: Fraction

    def through(self, earlier):
        """What unit i sees of a still earlier map, whose places `earlier` the places of this span see."""
        ends = (earlier.stride * self.low + earlier.low, earlier.stride * self.high + earlier.high)
        return Span(earlier.stride * self.stride, *ends)

    def union(self, other):
        """What a unit sees that sees both: at sums, products, concatenations. Raises UnknownReach for other strides."""
        if self.stride != other.stride:
            raise UnknownReach
        return Span(self.stride, min(self.low, other.low), max(self.high, other.high))


ITSELF = Span(Fraction(1), Fraction(0), Fraction(0))


class UnknownReach(Exception):
    """An operation of which it is not known which part of its input each unit of its output sees."""


class _Reach:
    """What a map's units see, and the map's shape. A class of its own: keras.tree would open a tuple."""

    def __init__(self, tensor, spans, known=True):
        self.tensor, self.spans, self.known = tensor, spans, known  # spans: of rows and columns; None: the whole image


_POINTWISE = {
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "BatchNormalization", "Dense", "Identity"),
    *("Rescaling", "Normalization", "Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianNoise", "GaussianDropout"),
    *("ActivityRegularization", "Cast", "DeconvolvedDense", "ReconstructionLoss", "LayerNormalization", "LayerScale"),
    "StochasticDepth",
    # layers, and functions of keras.ops
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "TrueDivide", "Divide", "Negative"),
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Gelu", "Silu", "Selu", "Sigmoid", "Tanh", "Softplus", "HardSigmoid"),
    *("HardSilu", "Abs", "Absolute", "Square", "Sqrt", "Exp", "Log", "Clip"),
}


_WHOLE = {"Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"}


def of(model: keras.Model, layer: str, image_size: tuple[int, int] | None = None) -> ReceptiveField:
    """The receptive field of a unit of `layer`, in pixels of the model's input.

    image_size: (height, width) of the images, for a model that takes any; "same" padding depends on it.
    Raises ValueError for a layer that is not in the model, and names those that are.
    """
    graph.find(model, layer)
    size = tuple(image_size or model.inputs[0].shape[1:3])
    # an image of unknown size counts as one that every stride divides
    shape = (None, *(length or 2**12 for length in size), model.inputs[0].shape[3])
    pixels = _Reach(keras.KerasTensor(shape), (ITSELF, ITSELF))
    reach = graph.run(model, [pixels] * len(model.inputs), _through, until=layer)
    if reach.spans is None:
        return ReceptiveField(size, (Fraction(0), Fraction(0)), (0, 0), whole=True, known=reach.known)
    windows = [_window(span) for span in reach.spans]
    extent, offset = (tuple(window[part] for window in windows) for part in (0, 1))
    return ReceptiveField(extent, tuple(span.stride for span in reach.spans), offset, known=reach.known)


def effective(
    model: keras.Model,
    layer: str,
    images: np.ndarray,
    share: float = 0.95,
    rule: str = "gradient",
    *,
    channels: int = 32,
    seed: int = 0,
) -> tuple[int, int]:
    """(rows, columns) of the window that holds `share` of the energy of a unit's projection by `rule`: `holding`.

    Of the strongest unit, in these images, of so many channels, drawn at random by `seed` from those that fire; `of` tells the
    window that holds all. images: as for `project`.
    Raises ValueError where no channel fires, and as `project_units`.
    """
    from deconvlib.deconvnet import activations, projection  # which stand on this file

    units = activations.strongest(model, images, layer, k=1)[:, 0]
    firing = np.flatnonzero(units.activation > 0)
    if not len(firing):
        raise ValueError(f"no channel of layer {layer!r} fires on these images; give others")
    drawn = np.sort(np.random.default_rng(seed).permutation(firing)[:channels])
    return holding(projection.project_units(model, images, layer, units[drawn], rule).projections, share)[0]


def holding(projections: np.ndarray, share: float = 0.95) -> tuple[tuple[int, int], np.ndarray]:
    """(size, corner) of the smallest window that holds `share` of a projection's energy, on average over them.

    projections: (n, height, width, channels). size: (rows, columns), of a square, or of what the sides leave of one. corner:
    integers (n, 2), from which row and column on it holds most of each. A projection that is zero does not count.
    Energy is the sum of squares. Raises ValueError for a share that is not above 0, and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0, and be at most 1, not {share!r}")
    energy = np.square(projections, dtype=float).sum(axis=-1)
    every = energy.sum(axis=(1, 2))
    sums = np.pad(energy / np.where(every > 0, every, 1)[:, None, None], ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)

    def best(side):
        height, width = (min(side, length) for length in energy.shape[1:])
        held = sums[:, height:, width:] - sums[:, :-height, width:] - sums[:, height:, :-width] + sums[:, :-height, :-width]
        place = held.reshape(len(held), -1).argmax(axis=1)
        return held.reshape(len(held), -1).max(axis=1), (height, width), np.stack(np.unravel_index(place, held.shape[1:]), 1)

    least, most = 1, max(energy.shape[1:])
    while least < most:
        side = (least + most) // 2
        if best(side)[0][every > 0].sum() >= share * (every > 0).sum() - 1e-9:
            most = side
        else:
            least = side + 1
    return best(least)[1:]


def _window(span):
    """(size, offset) of the smallest window that, from pixel ⌊stride · i⌋ + offset on, holds what any unit i sees."""
    if span.stride.denominator == 1:
        offset, end = math.ceil(span.low), math.floor(span.high)
    else:  # ⌊stride · i⌋ lies up to 1 - 1 / denominator below stride · i
        offset, end = math.floor(span.low), math.floor(span.high + 1 - Fraction(1, span.stride.denominator))
    return end - offset + 1, offset


def _through(step, *arguments, **keywords):
    """What the operation's output sees, from what its inputs see."""
    output, reaches, constants = graph.traced(step, arguments, keywords)
    known, seen = all(reach.known for reach in reaches), None
    try:
        moves = spans(step.operation, reaches[0].tensor.shape, constants)
        if moves and all(reach.spans for reach in reaches):
            seen = [[move.through(span) for move, span in zip(moves, reach.spans, strict=True)] for reach in reaches]
            seen = [functools.reduce(Span.union, axis) for axis in zip(*seen, strict=True)]
    except UnknownReach:
        known, seen = False, None
    return keras.tree.map_structure(lambda tensor: _Reach(tensor, seen, known), output)


def spans(operation: keras.Operation, shape: tuple, constants: list) -> tuple[Span, Span] | None:
    """What a unit of the operation's output sees of its input, in rows and columns; None: all of it.

    shape: of the input, with the batch; constants: the operation's arguments that are no maps. Raises UnknownReach for
    an operation that is not known here.
    """
    kind = graph.kind(operation)
    if _picks_channels(kind, operation, shape, constants):
        return ITSELF, ITSELF
    if kind in _WHOLE or (len(shape) != 4 and kind in _POINTWISE):
        return None
    if len(shape) != 4 or getattr(operation, "data_format", None) == "channels_first":
        raise UnknownReach
    if graph.is_augmentation(kind):
        return ITSELF, ITSELF
    if kind in _POINTWISE and not _same_everywhere(operation, constants):
        raise UnknownReach
    if kind in _POINTWISE:
        return ITSELF, ITSELF
    if kind in ("Conv2D", "DeconvolvedConv2D", "DepthwiseConv2D", "SeparableConv2D"):
        return _slide(shape, operation.kernel_size, operation.strides, operation.dilation_rate, operation.padding)
    if kind in ("MaxPooling2D", "AveragePooling2D"):
        return _slide(shape, operation.pool_size, operation.strides, (1, 1), operation.padding)
    if kind == "Conv2DTranspose" and operation.output_padding is None:
        return _slide_back(operation)
    if kind == "DepthToSpace" or (kind == "UpSampling2D" and operation.interpolation == "nearest"):
        # unit i copies unit ⌊i / size⌋
        sizes = operation.size if kind == "UpSampling2D" else (operation.size, operation.size)
        return tuple(Span(Fraction(1, size), Fraction(1 - size, size), Fraction(0)) for size in sizes)
    if kind == "ZeroPadding2D":
        return tuple(ITSELF._replace(low=Fraction(-before), high=Fraction(-before)) for before, _ in operation.padding)
    if kind == "Cropping2D":
        return tuple(ITSELF._replace(low=Fraction(before), high=Fraction(before)) for before, _ in operation.cropping)
    raise UnknownReach


def _picks_channels(kind, operation, shape, constants):
    """Whether the operation only picks, orders or stacks channels, as x[..., ::-1] does."""
    axis = getattr(operation, "axis", None)
    if kind == "GetItem":
        return len(shape) == 4 and constants[:-1] in ([Ellipsis], [slice(None)] * 3)
    if kind == "Stack":
        return len(shape) == 3 and axis in (-1, 3)
    return kind in ("Flip", "Take") and len(shape) == 4 and axis in (-1, 3, [-1], [3], (-1,), (3,))


def _same_everywhere(operation, constants):
    """Whether a pointwise operation treats each place of a map alike, so that a moved image moves its output."""
    axis = getattr(operation, "axis", -1)
    if axis not in (-1, 3, [-1], [3], (-1,), (3,), None):
        return False
    held = [getattr(operation, name, None) for name in ("alpha", "scale", "offset", "mean")]
    # an array that differs from place to place has rows and columns
    return all(np.size(array) == np.shape(array)[-1] for array in [*held, *constants] if np.ndim(array))


def _slide(shape, kernel, strides, dilations, padding):
    seen = []
    for length, size, stride, dilation in zip(shape[1:3], kernel, strides, dilations, strict=True):
        extent = (size - 1) * dilation + 1
        before = max(extent - (length % stride or stride), 0) // 2 if padding == "same" else 0
        seen.append(Span(Fraction(stride), Fraction(-before), Fraction(extent - 1 - before)))
    return tuple(seen)


def _slide_back(operation):
    seen = []
    for size, stride, dilation in zip(operation.kernel_size, operation.strides, operation.dilation_rate, strict=True):
        extent = (size - 1) * dilation + 1
        cropped = max(extent - stride, 0) // 2 if operation.padding == "same" else 0
        # output o is reached from the inputs i with o = i · stride + j - cropped, 0 ≤ j < extent
        seen.append(Span(Fraction(1, stride), Fraction(cropped - extent + 1, stride), Fraction(cropped, stride)))
    return tuple(seen)
