"""Layer -> the pixels that one of its units can see: size, stride and offset, through any graph above it.

The arithmetic of Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019),
extended by transposed convolution, where the step between neighbouring units is a fraction of a pixel.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from deconvlib import graph
from deconvlib.backend import keras


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


@dataclass(frozen=True)  # not a named tuple: keras.tree would open it
class _Axis:
    """Unit i of a map sees the pixels p with stride · i + low ≤ p ≤ stride · i + high."""

    stride: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True)
class _Reach:
    axes: tuple[_Axis, _Axis] | None  # rows and columns; None: the whole image
    known: bool = True


_POINTWISE = {
    *(
        "Activation",
        "ReLU",
        "LeakyReLU",
        "PReLU",
        "ELU",
        "Softmax",
        "BatchNormalization",
        "Dropout",
        "SpatialDropout2D",
    ),
    *("Rescaling", "Normalization", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity", "Dense"),
    *(
        "Add",
        "Subtract",
        "Multiply",
        "Average",
        "Maximum",
        "Minimum",
        "Concatenate",
    ),  # layers, and functions of keras.ops
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Gelu", "Silu", "Selu", "Sigmoid", "Tanh", "Softplus", "HardSigmoid"),
    *("HardSilu", "TrueDivide", "Divide", "Negative", "Abs", "Square", "Sqrt", "Exp", "Log", "Clip"),
}
_WHOLE = {"Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"}


def of(model: keras.Model, layer: str) -> ReceptiveField:
    """The receptive field of a unit of `layer`, in pixels of the model's input.

    Raises ValueError for a layer that is not in the model, and names those that are.
    """
    graph.find(model, layer)
    unit = _Axis(Fraction(1), Fraction(0), Fraction(0))
    reach = graph.run(model, [_Reach((unit, unit))] * len(model.inputs), _through, until=layer)
    if reach.axes is None:
        rows, columns = model.inputs[0].shape[1:3]
        return ReceptiveField((rows, columns), (Fraction(0), Fraction(0)), (0, 0), whole=True, known=reach.known)
    windows = [_window(axis) for axis in reach.axes]
    size, offset = (tuple(window[part] for window in windows) for part in (0, 1))
    return ReceptiveField(size, tuple(axis.stride for axis in reach.axes), offset, known=reach.known)


def _window(axis):
    """(size, offset) of the smallest window that, from pixel ⌊stride · i⌋ + offset on, holds what any unit i sees."""
    if axis.stride.denominator == 1:
        offset, end = math.ceil(axis.low), math.floor(axis.high)
    else:  # ⌊stride · i⌋ lies up to 1 - 1 / denominator below stride · i
        offset, end = math.floor(axis.low), math.floor(axis.high + 1 - Fraction(1, axis.stride.denominator))
    return end - offset + 1, offset


def _through(step, *arguments, **keywords):
    """What the operation's output sees, from what its inputs see."""
    # the rest of a call's arguments are numbers and None, which see nothing
    reach = _union([part for part in keras.tree.flatten((arguments, keywords)) if isinstance(part, _Reach)])
    kind, operation = type(step.operation).__name__, step.operation
    shape = step.node.input_tensors[0].shape
    if kind in _WHOLE or (len(shape) != 4 and kind in _POINTWISE):
        return _Reach(None, reach.known)
    if kind in _POINTWISE or reach.axes is None:
        return reach
    if kind in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
        return _slide(reach, shape, operation.kernel_size, operation.strides, operation.dilation_rate, operation.padding)
    if kind in ("MaxPooling2D", "AveragePooling2D"):
        return _slide(reach, shape, operation.pool_size, operation.strides, (1, 1), operation.padding)
    if kind == "Conv2DTranspose":
        return _slide_back(reach, operation)
    if kind == "UpSampling2D" and operation.interpolation == "nearest":
        # unit i copies unit ⌊i / size⌋
        moves = [(Fraction(1, size), Fraction(1 - size, size), Fraction(0)) for size in operation.size]
        return _move(reach, moves)
    if kind in ("ZeroPadding2D", "Cropping2D"):
        before = operation.padding if kind == "ZeroPadding2D" else operation.cropping
        sign = -1 if kind == "ZeroPadding2D" else 1
        return _move(reach, [(Fraction(1), Fraction(sign * side[0]), Fraction(sign * side[0])) for side in before])
    return _Reach(None, known=False)


def _slide(reach, shape, kernel, strides, dilations, padding):
    moves = []
    for length, size, stride, dilation in zip(shape[1:3], kernel, strides, dilations, strict=True):
        extent = (size - 1) * dilation + 1
        before = 0
        if padding == "same":
            # an image of unknown size counts as one that the stride divides
            ragged = (length % stride or stride) if length else stride
            before = max(extent - ragged, 0) // 2
        moves.append((Fraction(stride), Fraction(-before), Fraction(extent - 1 - before)))
    return _move(reach, moves)


def _slide_back(reach, operation):
    if operation.output_padding is not None:
        return _Reach(None, known=False)
    moves = []
    for size, stride, dilation in zip(operation.kernel_size, operation.strides, operation.dilation_rate, strict=True):
        extent = (size - 1) * dilation + 1
        cropped = max(extent - stride, 0) // 2 if operation.padding == "same" else 0
        # output o is reached from the inputs i with o = i · stride + j - cropped, 0 ≤ j < extent
        moves.append((Fraction(1, stride), Fraction(cropped - extent + 1, stride), Fraction(cropped, stride)))
    return _move(reach, moves)


def _move(reach, moves):
    """Compose: output unit o sees input units from scale · o + low to scale · o + high."""
    axes = (
        _Axis(axis.stride * scale, axis.low + axis.stride * low, axis.high + axis.stride * high)
        for axis, (scale, low, high) in zip(reach.axes, moves, strict=True)
    )
    return _Reach(tuple(axes), reach.known)


def _union(reaches):
    known = all(reach.known for reach in reaches)
    axes = [reach.axes for reach in reaches]
    if any(pair is None for pair in axes):
        return _Reach(None, known)
    if len({tuple(axis.stride for axis in pair) for pair in axes}) > 1:
        return _Reach(None, known=False)
    merged = (
        _Axis(same[0].stride, min(axis.low for axis in same), max(axis.high for axis in same))
        for same in zip(*axes, strict=True)
    )
    return _Reach(tuple(merged), known)
