"""Layers that decorrelate what they read: Ye et al., "Network Deconvolution", ICLR 2020.

This is no transposed convolution. Neighbouring pixels and channels of an image are correlated; these layers remove the
correlation before they convolve. They replace a batch normalization, which looks at each channel alone.
"""

import math

import numpy as np

from deconvlib import backend, checks, figures
from deconvlib.backend import keras

ops = keras.ops


def inverse_square_root(matrices, iterations: int = 5):
    """A^(-1/2) of symmetric positive definite matrices A, (..., d, d), by coupled Newton–Schulz iterations.

    An iteration lets a small eigenvalue's part grow 1.5 times at most, so few leave nearly no variance as small as it is: 5
    reach 7.6 times that of the largest. Ye et al. 2020.
    """
    norm = ops.sqrt(ops.sum(ops.square(matrices), axis=(-2, -1), keepdims=True))
    identity = ops.eye(matrices.shape[-1], dtype=matrices.dtype)
    root = matrices / norm  # goes to (A / norm)^(1/2), and `inverse` to its inverse
    inverse = step = 1.5 * identity - 0.5 * root  # the first iteration, whose inverse is the identity
    with backend.full_precision():
        for _ in range(iterations - 1):
            root = ops.matmul(root, step)
            step = 1.5 * identity - 0.5 * ops.matmul(inverse, root)
            inverse = ops.matmul(step, inverse)
    return inverse / ops.sqrt(norm)


class _Decorrelation(keras.layers.Layer):
    """(kernel, bias) on raw patches that do what the given kernel does on decorrelated ones; running statistics.

    With the mean m and the covariance C of patches x, (x - m) C^(-1/2) · w = x · C^(-1/2) w - m C^(-1/2) w.
    kernel: (blocks, size, filters); patches: (blocks, n, size) of one batch, None for the running statistics.
    """

    def __init__(self, blocks, size, epsilon, iterations, momentum, **settings):
        super().__init__(autocast=False, **settings)
        self.blocks, self.size = blocks, size
        self.epsilon, self.iterations, self.momentum = epsilon, iterations, momentum

    def build(self, *_):
        # float32 also under mixed precision: the iterations lose their way in 16 bits
        settings = {"trainable": False, "dtype": "float32", "autocast": False}
        self.mean = self.add_weight(name="mean", shape=(self.blocks, 1, self.size), initializer="zeros", **settings)
        shape = (self.blocks, self.size, self.size)
        self.matrix = self.add_weight(name="matrix", shape=shape, initializer=_identities, **settings)

    def call(self, kernel, patches=None):
        mean, matrix = self.mean, self.matrix
        if patches is not None:
            mean = ops.mean(patches, axis=1, keepdims=True)
            patches = patches - mean
            # half of a product's derivative, and its transpose, are all of a square's: one multiplication less
            with backend.full_precision():
                product = ops.matmul(ops.transpose(ops.stop_gradient(patches), (0, 2, 1)), patches)
            product = product + ops.transpose(product, (0, 2, 1)) - ops.stop_gradient(product)
            covariance = product / ops.cast(ops.shape(patches)[1], "float32")
            matrix = inverse_square_root(covariance + self.epsilon * ops.eye(self.size), self.iterations)
            for running, now in ((self.mean, mean), (self.matrix, matrix)):
                running.assign(self.momentum * running + (1 - self.momentum) * ops.stop_gradient(now))
        kernel = ops.matmul(matrix, kernel)
        return kernel, -ops.sum(ops.matmul(mean, kernel), axis=(0, 1))


def _identities(shape, dtype=None):
    return ops.broadcast_to(ops.eye(shape[-1], dtype=dtype), shape)


class _Deconvolved:
    """What a deconvolved convolution and a deconvolved dense layer have in common; comes before Keras' layer."""

    def __init__(self, *arguments, block, epsilon=1e-5, iterations=5, momentum=0.9, **settings):
        super().__init__(*arguments, **settings)
        checks.positive("block", block)
        checks.positive("iterations", iterations)
        if not epsilon > 0 or not 0 <= momentum < 1:
            raise ValueError(f"epsilon must be above 0 and momentum in [0, 1), not {epsilon} and {momentum}")
        self.block, self.epsilon, self.iterations, self.momentum = block, epsilon, iterations, momentum

    def get_config(self):
        return super().get_config() | {name: getattr(self, name) for name in ("block", "epsilon", "iterations", "momentum")}

    def build(self, input_shape):
        super().build(input_shape)
        channels = input_shape[-1]
        self.block_channels = channels if channels <= self.block else math.gcd(channels, self.block)
        self.blocks = channels // self.block_channels
        self.decorrelation = _Decorrelation(*self._covariances(), self.epsilon, self.iterations, self.momentum)
        self.decorrelation.build()

    def call(self, inputs, training=False):
        # frozen, it keeps its statistics, as a batch normalization does
        transformed = self.transformed(inputs if training and self.trainable else None)
        kernel, bias = (ops.cast(part, self.compute_dtype) for part in transformed)
        outputs = self._linear(inputs, kernel) + bias
        return outputs if self.activation is None else self.activation(outputs)

    def transformed(self, inputs=None):
        """(kernel, bias) of the ordinary layer that this one is for `inputs`, in training; at inference where None."""
        kernel, bias = self._decorrelated(ops.cast(self.kernel, "float32"), inputs)
        return kernel, bias + ops.cast(self.bias, "float32") if self.use_bias else bias


@keras.saving.register_keras_serializable(package="deconvlib")
class DeconvolvedConv2D(_Deconvolved, keras.layers.Conv2D):
    """keras.layers.Conv2D on patches without correlation: network deconvolution.

    In training the batch gives mean and covariance of the patches under the kernel, and gradients flow through them; the
    kernel, and not each patch, is multiplied by the covariance's inverse square root. At inference running averages make it
    one fixed convolution. Takes float (n, height, width, channels).

    block: channels decorrelated together, with a covariance of their own; their greatest common divisor where it does not
        divide the number of channels. The paper's 64 makes the iterations 16 times as expensive as 16 does.
    sampling_stride: each so many-th place of the output, in both axes, gives a patch to the statistics.
    max_patches: only the batch's first images do, so many that there are no more patches; their order must mean nothing.
    epsilon: added to the variances (1e-5). iterations: of `inverse_square_root` (5). momentum: share of the running
        averages that a step leaves (0.9). The others: Keras'; channels last, groups 1.
    Raises ValueError for numbers that cannot work. Ye et al. 2020, algorithm 1; with block=64, max_patches=None and
    up to 64 channels, their FastDeconv.
    """

    def __init__(self, filters, kernel_size, *, block=16, sampling_stride=3, max_patches=4096, **settings):
        super().__init__(filters, kernel_size, block=block, **settings)
        checks.positive("sampling_stride", sampling_stride)
        if max_patches is not None:
            checks.positive("max_patches", max_patches)
        if self.groups > 1:
            raise ValueError(f"groups must be 1, not {self.groups}: all filters read the same patches")
        if self.data_format != "channels_last":
            raise ValueError(f"data_format must be 'channels_last', not {self.data_format!r}")
        self.sampling_stride, self.max_patches = sampling_stride, max_patches

    def get_config(self):
        return super().get_config() | {"sampling_stride": self.sampling_stride, "max_patches": self.max_patches}

    def _covariances(self):
        """How many there are, and of how many values each."""
        return self.blocks, math.prod(self.kernel_size) * self.block_channels

    def _linear(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)

    def _decorrelated(self, kernel, inputs):
        rows, columns, channels, filters = kernel.shape
        kernel = ops.reshape(kernel, (rows * columns, self.blocks, self.block_channels, filters))
        kernel = ops.reshape(ops.transpose(kernel, (1, 0, 2, 3)), (self.blocks, -1, filters))
        kernel, bias = self.decorrelation(kernel, None if inputs is None else self.patches(inputs))
        kernel = ops.reshape(kernel, (self.blocks, rows * columns, self.block_channels, filters))
        return ops.reshape(ops.transpose(kernel, (1, 0, 2, 3)), (rows, columns, channels, filters)), bias

    def patches(self, inputs):
        """The sampled patches of each block, float32 (blocks, n, rows × columns × channels of a block)."""
        taps, pads, counts = [], [], []
        for axis in (0, 1):
            length, stride, dilation = inputs.shape[1 + axis], self.strides[axis], self.dilation_rate[axis]
            extent, step = (self.kernel_size[axis] - 1) * dilation + 1, stride * self.sampling_stride
            # a length that is not known counts as one that the stride divides
            pad = max(extent - ((length or stride) % stride or stride), 0) if self.padding == "same" else 0
            first = ops.arange(0, ops.shape(inputs)[1 + axis] + pad - extent + 1, step)
            taps.append(first[:, None] + ops.arange(0, extent, dilation))
            pads.append((pad // 2, pad - pad // 2))
            counts.append(length and (length + pad - extent) // step + 1)
        if self.max_patches and all(counts):
            inputs = inputs[: max(1, self.max_patches // math.prod(counts))]
        x = ops.pad(ops.cast(inputs, "float32"), ((0, 0), *pads, (0, 0)))
        # rows of a table of pixels: several times faster than slices with a stride, on the way back above all
        images, height, width, _ = ops.shape(x)
        place = taps[0][:, None, :, None] * width + taps[1][None, :, None, :]
        place = ops.reshape(place, (-1,)) + ops.arange(images)[:, None] * height * width
        x = ops.take(ops.reshape(x, (-1, inputs.shape[-1])), ops.reshape(place, (-1,)), axis=0)
        x = ops.reshape(x, (-1, math.prod(self.kernel_size), self.blocks, self.block_channels))
        return ops.reshape(ops.transpose(x, (2, 0, 1, 3)), (self.blocks, -1, self.decorrelation.size))


@keras.saving.register_keras_serializable(package="deconvlib")
class DeconvolvedDense(_Deconvolved, keras.layers.Dense):
    """keras.layers.Dense on inputs without correlation: network deconvolution.

    Takes float (n, features). All blocks of `block` features share one mean and covariance, since a batch has too few vectors
    for each to have its own: after a Flatten, the channels' at all places. The rest as for DeconvolvedConv2D. Ye et al. 2020.
    """

    def __init__(self, units, *, block=64, **settings):
        super().__init__(units, block=block, **settings)

    def _covariances(self):
        return 1, self.block_channels

    _linear = staticmethod(ops.matmul)

    def _decorrelated(self, kernel, inputs):
        patches = None if inputs is None else ops.reshape(ops.cast(inputs, "float32"), (1, -1, self.block_channels))
        kernel, bias = self.decorrelation(ops.reshape(kernel, (-1, self.block_channels, self.units)), patches)
        return ops.reshape(kernel, (-1, self.units)), bias


def covariances(matrices, titles):
    """Square matrices side by side on one scale, zero white: covariances of patches before and after."""
    fig, axs = figures.panels(len(matrices), 2.6, sharey=False)
    limit = max(np.abs(matrix).max() for matrix in matrices) or 1
    for ax, matrix, title in zip(axs, matrices, titles, strict=True):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(title, fontsize=8)
        ax.set(xticks=[], yticks=[])
    fig.colorbar(image, ax=axs, label="covariance")
    return fig
