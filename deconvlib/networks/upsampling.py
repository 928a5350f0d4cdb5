"""Four ways to a finer map, as layers that stand in for each other, and what their grids leave in it.

Each has the arguments of keras.layers.Conv2DTranspose, takes float (n, height, width, channels) and returns
(n, height × strides, width × strides, filters), padded "same" whatever the kernel and the stride:

    transposed   keras.layers.Conv2DTranspose: each value spreads its kernel; kernels overlap
    resize       ResizeConv2D: the nearest value, then a convolution (Odena et al. 2016)
    subpixel     SubpixelConv2D: a convolution to channels that become pixels (Shi et al. 2016)
    unpooling    UnpoolingConv2D: each value at its maximum's place, then a convolution (Zeiler et al. 2011, Noh et al. 2015)
"""

import time

import numpy as np
import pandas as pd

from deconvlib import backend, progress
from deconvlib.backend import keras
from deconvlib.networks import classifier as models
from deconvlib.networks import network_deconvolution as layers

ops = keras.ops


class _Upsampling(keras.layers.Conv2D):
    """A convolution of stride 1 whose map is made finer by `strides`, before it or after it."""

    _maps_from_outputs = False  # whether the convolution gives strides² maps for each filter

    def __init__(self, filters, kernel_size, strides=2, padding="same", **settings):
        layers.check_count("strides", strides)
        if padding != "same" or settings.get("data_format", "channels_last") != "channels_last":
            raise ValueError(f"layer {type(self).__name__} works with padding='same' and channels last, not {padding!r}")
        self.finer = strides
        super().__init__(filters * (strides**2 if self._maps_from_outputs else 1), kernel_size, padding=padding, **settings)

    def get_config(self):
        filters = self.filters // (self.finer**2 if self._maps_from_outputs else 1)
        return super().get_config() | {"filters": filters, "strides": self.finer}

    def compute_output_shape(self, input_shape):
        n, *sides, _ = input_shape
        return (n, *(side and side * self.finer for side in sides), self.get_config()["filters"])


@keras.saving.register_keras_serializable(package="deconvlib")
class ResizeConv2D(_Upsampling):
    """Each value strides × strides times, then a convolution: no place is reached by more of the kernel than another.

    Odena et al. 2016, "Deconvolution and Checkerboard Artifacts".
    """

    def call(self, inputs):
        _, rows, columns, channels = inputs.shape
        size = self.finer
        # not a repeat: the gradient of a broadcast is a sum
        finer = ops.broadcast_to(inputs[:, :, None, :, None], (ops.shape(inputs)[0], rows, size, columns, size, channels))
        return super().call(ops.reshape(finer, (-1, rows * size, columns * size, channels)))


@keras.saving.register_keras_serializable(package="deconvlib")
class ICNR(keras.initializers.Initializer):
    """Kernels of a sub-pixel convolution that are the same for each of the size² pixels: it begins as a resize-convolution.

    initializer: of the kernel that they share. Aitken et al. 2017, "Checkerboard artifact free sub-pixel convolution".
    """

    def __init__(self, initializer="glorot_uniform", size=2):
        self.initializer, self.size = keras.initializers.get(initializer), size

    def __call__(self, shape, dtype=None):
        *window, channels = shape
        kernel = self.initializer((*window, channels // self.size**2), dtype=dtype)
        return ops.tile(kernel, (*[1] * len(window), self.size**2))

    def get_config(self):
        return {"initializer": keras.initializers.serialize(self.initializer), "size": self.size}


@keras.saving.register_keras_serializable(package="deconvlib")
class SubpixelConv2D(_Upsampling):
    """A convolution to strides² maps a filter, which become the pixels of one finer map.

    kernel_initializer: None: `ICNR` of Glorot's uniform; with another one the pixels of a square begin with different
    kernels, a checkerboard. Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution".
    """

    _maps_from_outputs = True

    def __init__(self, filters, kernel_size, strides=2, padding="same", kernel_initializer=None, **settings):
        kernel_initializer = ICNR(size=strides) if kernel_initializer is None else kernel_initializer
        super().__init__(filters, kernel_size, strides, padding, kernel_initializer=kernel_initializer, **settings)

    def call(self, inputs):
        maps = super().call(inputs)
        return ops.depth_to_space(maps, self.finer, data_format="channels_last") if self.finer > 1 else maps


@keras.saving.register_keras_serializable(package="deconvlib")
class UnpoolingConv2D(_Upsampling):
    """Each value at one place of its square, zero elsewhere, then a convolution.

    Takes values alone, whose place is then the upper left one (Dosovitskiy et al. 2015): with the kernel turned by half a
    turn that is a transposed convolution. Or takes [values, maps], as layers.Unpooling2D does: the place is that of the
    maximum of the `maps` that were pooled by `strides`, and the result has their height and width.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.unpool, self.input_spec = layers.Unpooling2D(self.finer), None

    def build(self, input_shape):
        super().build(self._values(input_shape))
        self.input_spec = None  # Keras' is for one input

    def compute_output_shape(self, input_shape):
        shape = super().compute_output_shape(self._values(input_shape))
        return (*input_shape[1][:3], shape[3]) if self._values(input_shape) is not input_shape else shape

    def call(self, inputs):
        size = self.finer
        if isinstance(inputs, list | tuple):
            return super().call(self.unpool(inputs))
        _, rows, columns, channels = inputs.shape
        finer = ops.pad(inputs[:, :, None, :, None], ((0, 0), (0, 0), (0, size - 1), (0, 0), (0, size - 1), (0, 0)))
        return super().call(ops.reshape(finer, (-1, rows * size, columns * size, channels)))

    @staticmethod
    def _values(input_shape):
        """The values' shape where there are maps beside them."""
        return input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape


OPERATORS = {
    "transposed": keras.layers.Conv2DTranspose,
    "resize": ResizeConv2D,
    "subpixel": SubpixelConv2D,
    "unpooling": UnpoolingConv2D,
}


def checkerboard(maps: np.ndarray, stride: int) -> float:
    """Share of the energy of `maps` at the frequencies of a grid of `stride` pixels: 0 without a checkerboard, below 1.

    maps: float (n, height, width, channels), of sides of `stride` or more; what the stride doesn't divide is left out. The
    mean of each map and each of the stride² places in the grid is what repeats with the grid; its variance is the energy at
    the nonzero multiples of 1 / stride in both axes (Odena et al. 2016 show these peaks), over the mean square of the map.

    Raises ValueError for maps of another form, or smaller than the grid.
    """
    maps = np.asarray(maps, np.float64)
    if maps.ndim != 4 or min(maps.shape[1:3]) < stride or stride < 1:
        raise ValueError(f"maps of shape {maps.shape} have no grid of {stride}; they must be (n, height, width, channels)")
    rows, columns = (side // stride for side in maps.shape[1:3])
    maps = maps[:, : rows * stride, : columns * stride]
    places = maps.reshape(len(maps), rows, stride, columns, stride, -1).mean(axis=(1, 3))
    energy = np.square(maps).mean()
    return float(places.var(axis=(1, 2)).mean() / energy) if energy else 0.0


def bytes_kept(layer: keras.layers.Layer) -> int:
    """Bytes for one image that a built convolution must keep for its backward pass: its kernel's input, as float32.

    Of resizing and unpooling that is the map after it is made finer. What a program needs for a moment only is not in it.
    """
    finer = layer.finer**2 if isinstance(layer, ResizeConv2D | UnpoolingConv2D) else 1
    return 4 * finer * int(np.prod(layer.input.shape[1:]))


def costs(named: dict, shape: tuple[int, int, int], batch_size: int = 16, repeats: int = 5, seed: int = 0) -> pd.DataFrame:
    """What each layer costs here, and how many times what a bare convolution of as many FLOPs costs; one row a layer.

    named: {name: a convolution or operator, not built}. shape: (height, width, channels) of the map that each gets. The
    bare convolution is 3 × 3 from w channels to w at the size of the layer's output, with w so that the FLOPs agree.

    Columns: operator; MFLOPs of an image, forward; forward and both (with the backward pass to map and weights),
    milliseconds for `batch_size` maps of noise; KiB, `bytes_kept` for an image; and each of the last three as a "..., ratio".
    Times are medians of `repeats`, and their ratios medians of those of neighbouring runs, so that what else the machine
    does meanwhile falls on both.
    """
    rows, timed, rng = [], [], np.random.default_rng(seed)
    for name, layer in named.items():
        own = _alone(layer, shape)
        flops = int(models.layer_table(own)["FLOPs"].sum())
        height, width = own.output_shape[1:3]
        channels = max(1, round((flops / (18 * height * width)) ** 0.5))
        bare = _alone(keras.layers.Conv2D(channels, 3, padding="same"), (height, width, channels))
        memory = [bytes_kept(model.layers[-1]) / 1024 for model in (own, bare)]
        rows.append({"operator": name, "MFLOPs": flops / 1e6, "KiB": memory[0], "KiB, ratio": memory[0] / memory[1]})
        maps = [rng.normal(size=(batch_size, *model.input_shape[1:])).astype(np.float32) for model in (own, bare)]
        timed += [list(zip(pair, maps, strict=True)) for pair in zip(_passes(own), _passes(bare), strict=True)]
    seconds = np.zeros((repeats + 1, len(timed), 2))
    for repeat, pair in progress.steps(list(np.ndindex(*seconds.shape[:2])), "timing", unit="run"):
        for which, (run, maps) in enumerate(timed[pair]):
            begun = time.perf_counter()
            run(maps)
            seconds[repeat, pair, which] = time.perf_counter() - begun
    seconds = seconds[1:]  # the first run of a program also prepares it
    took = np.median(1000 * seconds[..., 0], axis=0).reshape(-1, 2)
    ratio = np.median(seconds[..., 0] / seconds[..., 1], axis=0).reshape(-1, 2)
    for row, milliseconds, times in zip(rows, took, ratio, strict=True):
        row |= dict(zip(("forward", "both", "forward, ratio", "both, ratio"), (*milliseconds, *times), strict=True))
    return pd.DataFrame(rows)


def _alone(layer, shape):
    images = keras.Input(shape)
    return keras.Model(images, layer(images))


def _passes(model):
    """Programs of the forward pass, and of both, from maps to one number a map: no time goes into copying results."""

    def forward(maps):
        return keras.ops.sum(model(maps), axis=(1, 2, 3))

    def both(maps):
        weights = [weight.value for weight in model.trainable_variables]
        result, pull = backend.vjp(lambda parts: model.stateless_call(parts[1:], [], parts[0])[0], [maps, *weights])
        gradient, *others = pull(result)
        return keras.ops.sum(gradient, axis=(1, 2, 3)) + sum(keras.ops.sum(other) for other in others)

    return [backend.compiled(function, model, model.input_shape[1:]) for function in (forward, both)]
