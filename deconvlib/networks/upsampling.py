"""The operators that restore resolution: `OPERATORS` are single layers, each with its convolution.

A classifier's decoder has their parts (`Unpooling2D`, ...) as layers, since normalization and activation come between.
"""

from deconvlib import checks
from deconvlib.backend import keras

ops = keras.ops


class _BySize(keras.layers.Layer):
    """A layer that multiplies height and width by `size`, and refuses shapes that do not go with it."""

    def __init__(self, size=2, **settings):
        super().__init__(**settings)
        checks.positive("size", size)
        self.size = size

    def get_config(self):
        return super().get_config() | {"size": self.size}

    def build(self, input_shape):
        self.compute_output_shape(input_shape)


@keras.saving.register_keras_serializable(package="deconvlib")
class Unpooling2D(_BySize):
    """Each value back at the place of its region's maximum, zero elsewhere: unpooling by switches.

    Takes [pooled, maps]: values (n, rows, columns, channels), and the maps (n, height, width, channels) whose max pooling
    by `size` has that shape, or it raises a ValueError. Returns the shape of `maps`. Of equal maxima the first place counts;
    rows and columns that the pooling left over are zero. Zeiler & Fergus 2013, section 2.1; Zhao et al. 2015.
    """

    def compute_output_shape(self, input_shape):
        pooled, maps = input_shape
        wanted = (maps[0], *(length and length // self.size for length in maps[1:3]), maps[3])
        if tuple(pooled[1:]) != wanted[1:]:
            where = f"layer {self.name!r} has values of {tuple(pooled[1:])} for maps of {tuple(maps[1:])}"
            raise ValueError(f"{where}, whose pooling by {self.size} has the shape {wanted[1:]}")
        return tuple(maps)

    def call(self, inputs):
        pooled, maps = inputs
        size, (_, rows, columns, channels) = self.size, ops.shape(pooled)
        inside = maps[:, : rows * size, : columns * size]
        regions = ops.transpose(ops.reshape(inside, (-1, rows, size, columns, size, channels)), (0, 1, 3, 5, 2, 4))
        regions = ops.reshape(regions, (-1, rows, columns, channels, size * size))
        # argmax, not a comparison with the maximum: one place in a region, also of equals
        switches = ops.one_hot(ops.argmax(regions, axis=-1), size * size, dtype=pooled.dtype)
        unpooled = ops.reshape(pooled[..., None] * switches, (-1, rows, columns, channels, size, size))
        unpooled = ops.reshape(ops.transpose(unpooled, (0, 1, 4, 2, 5, 3)), (-1, rows * size, columns * size, channels))
        left = [ops.shape(maps)[axis] - ops.shape(inside)[axis] for axis in (1, 2)]
        return ops.pad(unpooled, ((0, 0), (0, left[0]), (0, left[1]), (0, 0)))


@keras.saving.register_keras_serializable(package="deconvlib")
class DepthToSpace(_BySize):
    """Channels as the pixels of a finer map: what makes a convolution a sub-pixel convolution.

    Takes (n, height, width, size² × channels), or raises a ValueError. Returns (n, height × size, width × size, channels): the
    first `channels` are the upper left pixel of each square of `size`, the next ones the pixel right of it. Shi et al. 2016.
    """

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        if channels % self.size**2:
            raise ValueError(f"layer {self.name!r} takes {self.size**2} channels for each of its output, not {channels} in all")
        return (n, *(length and length * self.size for length in (height, width)), channels // self.size**2)

    def call(self, inputs):
        return shuffled(inputs, self.size)


def shuffled(maps, size):
    """See `DepthToSpace`."""
    # by 1 there is nothing to do, which TensorFlow refuses
    return ops.depth_to_space(maps, size, data_format="channels_last") if size > 1 else maps


class _Upsampling(keras.layers.Conv2D):
    """A convolution of stride 1 whose map is made finer by `strides`, before it or after it."""

    def __init__(self, filters, kernel_size, strides=2, padding="same", **settings):
        checks.positive("strides", strides)
        if padding != "same" or settings.get("data_format", "channels_last") != "channels_last":
            raise ValueError(f"layer {type(self).__name__} works with padding='same' and channels last, not {padding!r}")
        super().__init__(filters, kernel_size, padding=padding, **settings)
        self.finer, self.channels = strides, filters

    def get_config(self):
        return super().get_config() | {"filters": self.channels, "strides": self.finer}

    def compute_output_shape(self, input_shape):
        n, *sides, _ = input_shape
        return (n, *(side and side * self.finer for side in sides), self.channels)

    @staticmethod
    def _joined(squares):
        """(n, rows, size, columns, size, channels), each value's square, as one map."""
        _, rows, size, columns, _, channels = squares.shape
        return ops.reshape(squares, (-1, rows * size, columns * size, channels))


@keras.saving.register_keras_serializable(package="deconvlib")
class ResizeConv2D(_Upsampling):
    """Each value strides × strides times, then a convolution: no place is reached by more of the kernel than another.

    Odena et al. 2016, "Deconvolution and Checkerboard Artifacts".
    """

    def call(self, inputs):
        _, rows, columns, channels = inputs.shape
        shape = (ops.shape(inputs)[0], rows, self.finer, columns, self.finer, channels)
        # not a repeat, as in UpSampling2D: the gradient of a broadcast is a sum
        return super().call(self._joined(ops.broadcast_to(inputs[:, :, None, :, None], shape)))


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

    def __init__(self, filters, kernel_size, strides=2, padding="same", kernel_initializer=None, **settings):
        kernel_initializer = ICNR(size=strides) if kernel_initializer is None else kernel_initializer
        super().__init__(filters, kernel_size, strides, padding, kernel_initializer=kernel_initializer, **settings)
        self.filters = filters * strides**2

    def call(self, inputs):
        return shuffled(super().call(inputs), self.finer)


@keras.saving.register_keras_serializable(package="deconvlib")
class UnpoolingConv2D(_Upsampling):
    """Each value at one place of its square, zero elsewhere, then a convolution.

    Of values alone, the place is the upper left one (Dosovitskiy et al. 2015): with the kernel turned by half a turn that is
    a transposed convolution. Of [values, maps] it is that of the maximum, as for Unpooling2D; `strides` pooled the maps.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.unpool, self.input_spec = Unpooling2D(self.finer), None

    def build(self, input_shape):
        super().build(input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape)
        self.input_spec = None  # Keras' is for one input

    def compute_output_shape(self, input_shape):
        if isinstance(input_shape[0], list | tuple):
            return (*input_shape[1][:3], self.channels)
        return super().compute_output_shape(input_shape)

    def call(self, inputs):
        if isinstance(inputs, list | tuple):
            return super().call(self.unpool(inputs))
        zeros, rest = (0, self.finer - 1), (0, 0)
        return super().call(self._joined(ops.pad(inputs[:, :, None, :, None], (rest, rest, zeros, rest, zeros, rest))))


def as_transposed(subpixel: SubpixelConv2D) -> keras.layers.Conv2DTranspose:
    """The transposed convolution that does the same as a built sub-pixel convolution of odd kernel k: of kernel strides × k.

    Its weights are the same numbers in another order, without the bias. Shi et al., "Is the deconvolution layer the same as a
    convolutional layer?", 2016.
    Raises ValueError for an even kernel, which reaches further to one side.
    """
    (size, _), finer, channels = subpixel.kernel_size, subpixel.finer, subpixel.input_spec.axes[-1]
    if size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, not {size}")
    parts = ops.convert_to_numpy(subpixel.kernel).reshape(size, size, channels, finer, finer, subpixel.channels)
    kernel = parts[::-1, ::-1].transpose(0, 3, 1, 4, 5, 2).reshape(2 * [size * finer] + [subpixel.channels, channels])
    layer = keras.layers.Conv2DTranspose(subpixel.channels, size * finer, strides=finer, padding="same", use_bias=False)
    layer.build((None, None, None, channels))
    layer.kernel.assign(kernel)
    return layer


OPERATORS = {
    "transposed": keras.layers.Conv2DTranspose,
    "resize": ResizeConv2D,
    "subpixel": SubpixelConv2D,
    "unpooling": UnpoolingConv2D,
}
