"""Hyperparameters -> keras.Model: the classifiers that the notebooks train.

Every model takes float32 images in [0, 1], (n, height, width, channels), and rescales them itself, so that a saved model
carries its preprocessing. Layers are named in order: conv1, norm1, relu1, pool1, ..., deconv1, ..., dense1, logits, softmax.
"""

import collections
import functools
from typing import NamedTuple

import numpy as np

from deconvlib import allowed
from deconvlib.allowed import DECODERS
from deconvlib.backend import keras
from deconvlib.networks import network_deconvolution, upsampling

POOLINGS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


def classifier(
    image_shape: tuple[int, int, int],
    num_classes: int,
    filters: tuple[int | tuple[int, ...], ...] = (32, 64, 128),
    convolutions: int = 1,
    kernel_size: int = 3,
    strides: int = 1,
    padding: str = "same",
    activation: str = "relu",
    pooling: str = "max",
    normalization: str = "none",
    decoder: str = "none",
    decoder_filters: tuple[int, ...] = (64, 32),
    decoder_kernel_size: int | None = None,
    decoder_strides: int = 2,
    reconstruction_weight: float = 0.0,
    reconstructed: str = "image",
    dense_units: int = 64,
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """A classifier: stages of convolution and pooling, a decoder, a dense layer.

    filters: channels of each stage: `convolutions` times (convolution, normalization, activation), the first of them with
        `strides`, then a 2 × 2 pooling, rounded down. A tuple stands for a stage whose convolutions differ in channels.
    decoder: "none", or how each step of `decoder_filters` channels multiplies height and width by `decoder_strides`:
        "transposed": a Conv2DTranspose. "unpooling": by the switches of the last max pooling, then of the one before it, each
        with a convolution to the channels of the next unpooling; the factor is 2 (Zhao et al. 2015). "resize": the nearest
        pixel's value, then a convolution (Odena et al. 2016). "subpixel": a convolution to channels that become pixels (Shi
        et al. 2016). All are padded "same".
    decoder_kernel_size: None: 2 · `decoder_strides` for "transposed", since copies of a kernel divisible by the stride
        overlap evenly (Odena et al. 2016); `kernel_size` for the others.
    reconstruction_weight: 0: the dense layer reads the decoder. Above 0: it reads the encoder, and the decoder is a branch
        with one step more, to the image's channels and size; its mean squared error from the rescaled image, times this
        weight, is added to the loss (Zhang, Lee & Lee 2016).
    reconstructed: by the branch: "image"; "all": also what each stage but the last gives, by the step that mirrors it, their
        errors added to the image's (the paper's SAE-all, with unpooling SWWAE-all).
    normalization: "none"; "batch": a batch normalization after each convolution; "deconvolution": network deconvolution of
        every convolution and dense layer instead, transposed convolutions without (Ye et al. 2020);
        "deconvolution_then_batch": "batch", and the first convolution deconvolved: no maps are as correlated as the pixels.
    activation: any name that Keras knows. pooling: "max" or "average". dense_units: hidden ones; 0: no such layer. dropout:
        share in [0, 1) dropped before each dense layer. l1, l2: penalties on kernels. seed: weights (Glorot uniform), dropout.
    Raises ValueError for a name or number that cannot work, and says what would.
    """
    allowed.check(
        image_shape=image_shape, num_classes=num_classes, filters=filters, convolutions=convolutions, kernel_size=kernel_size,
        strides=strides, padding=padding, activation=activation, pooling=pooling, normalization=normalization,
        decoder=decoder, decoder_kernel_size=decoder_kernel_size, decoder_strides=decoder_strides,
        reconstruction_weight=reconstruction_weight, reconstructed=reconstructed, dense_units=dense_units, dropout=dropout,
        l1=l1, l2=l2, seed=seed,
    )  # fmt: skip
    stages = stages_of(filters, convolutions)
    if decoder_kernel_size is None:
        decoder_kernel_size = 2 * decoder_strides if decoder == "transposed" else kernel_size
    decoder = _Decoder(decoder, tuple(decoder_filters) if decoder != "none" else (), decoder_kernel_size, decoder_strides)
    decoder.check([widths[-1] for widths in reversed(stages)], pooling, reconstruction_weight)

    blocks = _Blocks(normalization, activation, keras.regularizers.L1L2(l1, l2) if l1 or l2 else None, seed)
    images = keras.Input(image_shape, name="images")
    rescaled = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)  # [-1, 1]: centred, as in the paper
    unpooled, ends = _encode(rescaled, blocks, stages, kernel_size, strides, padding, POOLINGS[pooling])
    steps = decoder.decode(ends[-1], blocks, unpooled, image_shape[2] if reconstruction_weight else 0)
    x, pairs = [ends[-1], *steps][-1], []
    if reconstruction_weight:
        if x.shape != rescaled.shape:
            x = keras.layers.Resizing(*image_shape[:2], name="resize")(x)
        pairs = [x, rescaled, *(_mirrored(steps[:-1], ends) if reconstructed == "all" else ())]
        x = ends[-1]
    x = keras.layers.Flatten(name="flatten")(x)
    if dense_units:
        x = blocks.dense(blocks.drop(x, dropout, "dropout1"), dense_units, "dense1", activation)
    x = blocks.dense(blocks.drop(x, dropout, "dropout2"), num_classes, "logits")
    if pairs:
        # as late as can be, so that the branch is on the way to no layer but the softmax
        x = ReconstructionLoss(reconstruction_weight, name="reconstruction")([x, *pairs])
    # float32 also under mixed precision: a softmax of many classes underflows in 16 bits
    return keras.Model(images, keras.layers.Softmax(name="softmax", dtype="float32")(x), name="classifier")


class _Blocks:
    """Layers with weights of one network: each has the next seed, a convolution the next number of its kind.

    penalty: a regularizer of every kernel, or None. The others: those of `classifier`.
    """

    def __init__(self, normalization, activation, penalty, seed):
        self.normalization, self.activation, self.penalty = normalization, activation, penalty
        self.seeds, self.count = seeds_of(seed), collections.Counter()
        self.convolution, self.dense_layer = keras.layers.Conv2D, keras.layers.Dense
        if normalization == "deconvolution":
            self.convolution, self.dense_layer = network_deconvolution.DeconvolvedConv2D, network_deconvolution.DeconvolvedDense

    def weights(self):
        return {"kernel_initializer": keras.initializers.GlorotUniform(next(self.seeds)), "kernel_regularizer": self.penalty}

    def convolve(self, x, kind, transposed=False, **settings):
        """A convolution, its normalization and its activation; fused to one layer where they can be.

        kind: "conv" or "deconv", which are numbered, or "reconstruct", which is linear, since rescaled pixels have both signs.
        """
        self.count[kind] += 1
        number = self.count[kind]
        first = self.normalization == "deconvolution_then_batch" and (kind, number) == ("conv", 1)
        layer = network_deconvolution.DeconvolvedConv2D if first else self.convolution
        layer = functools.partial(keras.layers.Conv2DTranspose if transposed else layer, **settings, **self.weights())
        if kind == "reconstruct":
            return layer(name=kind)(x)
        if self.normalization in ("none", "deconvolution"):
            return layer(name=f"{kind}{number}", activation=self.activation)(x)
        x = layer(name=f"{kind}{number}", use_bias=False)(x)
        index = number if kind == "conv" else f"_{kind}{number}"
        # Keras' momentum of 0.99 averages over hundreds of steps, more than a short training has
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{index}")(x)
        return keras.layers.Activation(self.activation, name=f"{self.activation}{index}")(x)

    def dense(self, x, units, name, activation=None):
        return self.dense_layer(units, activation=activation, name=name, **self.weights())(x)

    def drop(self, x, share, name):
        return keras.layers.Dropout(share, seed=next(self.seeds), name=name)(x) if share else x


def _encode(x, blocks, stages, kernel_size, strides, padding, pooling):
    """Two lists, an entry a stage: its maps before the pooling, and after it."""
    shape, before, after = x.shape[1:3], [], []
    for stage, widths in enumerate(stages, start=1):
        for step, width in enumerate(widths):
            _check_fits(x, stage, "convolve", kernel_size if padding == "valid" else 1, shape, stages)
            first = strides if step == 0 else 1
            x = blocks.convolve(x, "conv", filters=width, kernel_size=kernel_size, strides=first, padding=padding)
        _check_fits(x, stage, "halve", 2, shape, stages)
        before.append(x)
        x = pooling(2, name=f"pool{stage}")(x)
        after.append(x)
    return before, after


class _Decoder(NamedTuple):
    """How maps get finer; a step for each of `filters`. See `classifier`."""

    operator: str
    filters: tuple[int, ...]
    kernel_size: int
    strides: int

    def decode(self, x, blocks, maps, pixels):
        """What each step gives. maps: of each stage, before its pooling. pixels: above 0, channels of a step "reconstruct"."""
        steps, kinds = [], [(width, "deconv") for width in self.filters] + [(pixels, "reconstruct")] * bool(pixels)
        for number, (width, kind) in enumerate(kinds, start=1):
            x = self.finer(x, number, width, kind, blocks, maps)
            steps.append(x)
        return steps

    def finer(self, x, number, width, kind, blocks, maps):
        """A map of `width` channels with `strides` times the height and width of x: `upsampling.OPERATORS`, layer by layer."""
        convolve = functools.partial(blocks.convolve, kind=kind, kernel_size=self.kernel_size, padding="same")
        if self.operator == "transposed":
            return convolve(x, transposed=True, filters=width, strides=self.strides)
        if self.operator == "subpixel":
            return upsampling.DepthToSpace(self.strides, name=f"shuffle{number}")(convolve(x, filters=width * self.strides**2))
        if self.operator == "unpooling":
            x = upsampling.Unpooling2D(name=f"unpool{number}")([x, maps[-number]])
        else:
            x = keras.layers.UpSampling2D(self.strides, name=f"upsample{number}")(x)
        return convolve(x, filters=width)

    def check(self, mirrored, pooling, reconstruction_weight):
        """Raises ValueError where it cannot work. mirrored: channels that each stage ends with, the last one first."""
        if self.operator == "none":
            if reconstruction_weight:
                raise ValueError(f"reconstruction_weight needs a decoder that reconstructs: {', '.join(DECODERS[1:])}")
            return
        allowed.check(decoder_filters=self.filters)
        if self.operator != "unpooling":
            return
        if pooling != "max" or self.strides != 2:
            raise ValueError(f"decoder 'unpooling' needs pooling='max', decoder_strides=2, not {pooling!r}, {self.strides}")
        # each unpooling needs the channels of the maps whose switches it takes; the branch's last step is its own
        wanted, most = tuple(mirrored[1:]), len(mirrored) - bool(reconstruction_weight)
        if len(self.filters) > most or any(width != want for width, want in zip(self.filters, wanted, strict=False)):
            raise ValueError(
                f"decoder 'unpooling' mirrors the encoder: decoder_filters must begin as {wanted} does, and have at most "
                f"{most} entries, not {self.filters}"
            )


def _mirrored(steps, ends):
    """[a step of the decoder, what the stage gave that it mirrors, the next step, ...]"""
    mirrored = ends[-2::-1]
    given, wanted = ([tuple(maps.shape[1:]) for maps in each] for each in (steps, mirrored))
    if given != wanted[: len(given)]:
        raise ValueError(
            f"reconstructed='all' mirrors the encoder: the decoder's steps must give {wanted}, not {given}; choose "
            "decoder_filters and decoder_strides so"
        )
    return [maps for pair in zip(steps, mirrored, strict=False) for maps in pair]


def stages_of(filters, convolutions: int = 1) -> list[tuple[int, ...]]:
    """Channels of each convolution of each stage: a number stands for `convolutions` of them, a tuple or list for itself."""
    return [tuple(width) if isinstance(width, tuple | list) else (width,) * convolutions for width in filters]


def seeds_of(seed: int):
    """An iterator of different seeds, one for each layer: initializers that shared one would begin alike."""
    return iter(np.random.default_rng(seed).integers(2**31, size=1000).tolist())


def tutorial(image_shape: tuple[int, int, int], num_classes: int, seed: int = 0) -> keras.Model:
    """The tutorial's network made to run: its layers and settings, in the order of its text.

    Convolutions of 32, 64, 128 filters, 3 × 3, unpadded, ReLU, each with a 2 × 2 max pooling; transposed convolutions of 10,
    32, 3 filters, 3 × 3, stride 1; dense 64; one output a class. The listing itself cannot run: it applies transposed
    convolutions to a flattened vector and ends in 3 channels.
    """
    settings = {"padding": "valid", "decoder": "transposed", "decoder_filters": (10, 32, 3)}
    return classifier(image_shape, num_classes, **settings, decoder_kernel_size=3, decoder_strides=1, seed=seed)


def _check_fits(x, stage, verb, least, shape, stages):
    height, width = x.shape[1:3]
    if min(height, width) < least:
        raise ValueError(
            f"stage {stage} cannot {verb} a map of {height} × {width}: images of {shape[0]} × {shape[1]} are too small for "
            f"{len(stages)} stages with these settings; use {stage - 1} stages, padding='same', or larger images"
        )


@keras.saving.register_keras_serializable(package="deconvlib")
class ReconstructionLoss(keras.layers.Layer):
    """Adds weight × mean squared error of a reconstruction to the loss of the model that it is in.

    Takes [outputs, reconstruction, original, ...], pairs of one shape each, whose errors are added; returns `outputs` as they
    are, so that a model can have the layer between two others. Zhang, Lee & Lee 2016, equations 1 and 2.
    """

    def __init__(self, weight=1.0, **settings):
        super().__init__(**settings)
        if not weight > 0:
            raise ValueError(f"weight must be above 0, not {weight}")
        self.weight = weight

    def get_config(self):
        return super().get_config() | {"weight": self.weight}

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def call(self, inputs):
        outputs, *pairs = inputs
        for reconstruction, original in zip(pairs[::2], pairs[1::2], strict=True):
            error = keras.ops.cast(reconstruction, "float32") - keras.ops.cast(original, "float32")
            self.add_loss(self.weight * keras.ops.mean(keras.ops.square(error)))
        return outputs
