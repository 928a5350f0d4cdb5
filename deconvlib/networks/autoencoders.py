"""Hyperparameters -> keras.Model from images to images: an encoder, and a decoder that restores the resolution.

What `classifier` is to a label, these are to pixels. Models take float32 images in [0, 1] and rescale them themselves.
"""

import functools
import math
from typing import NamedTuple

from deconvlib import allowed, checks
from deconvlib.backend import keras
from deconvlib.networks import network_deconvolution, upsampling
from deconvlib.networks.classifier import seeds_of, stages_of

ops = keras.ops
NEAR = 9  # pixels, side of the square around a missing pixel whose mean is its first guess


def encoder_decoder(
    image_shape: tuple[int, int, int],
    channels: int,
    filters: tuple[int | tuple[int, ...], ...] = (32, 64),
    decoder: str = "transposed",
    decoder_kernel_size: int | None = None,
    skips: bool = True,
    correction: bool = False,
    holes: bool = False,
    scale: int = 1,
    normalization: str = "none",
    seed: int = 0,
) -> keras.Model:
    """A model from images to maps of `channels` values a pixel: each stage halves the map, each step of the decoder undoes one.

    filters: channels of each stage: a 3 × 3 convolution and ReLU, several for a tuple, then a 2 × 2 max pooling. After the
        last pooling the last stage's convolutions come once more. The decoder mirrors the stages: a step of `decoder`, what
        the stage gave before its pooling where there are `skips` (Ronneberger et al. 2015), a convolution.
    decoder: one of upsampling.OPERATORS; "unpooling" by the switches of the pooling that it undoes (Noh et al. 2015).
    decoder_kernel_size: None: 4 for "transposed", whose copies then overlap evenly; 3 for the others.
    correction: the output is added to the image, so that the model learns the difference (Zhang et al. 2017) and begins as
        the image itself; needs as many channels as that has. scale: a power of 2 that enlarges the maps, and this image.
    holes: pixels that are black in all channels are missing. The model sees which they are, and in their place the mean of
        those known near them (normalized convolution: Knutsson & Westin 1993); it corrects these alone.
    normalization: "none"; "batch": a batch normalization after each convolution; "deconvolution_and_batch": that, and each
        convolution but the decoder's sees decorrelated patches (Ye et al. 2020). seed: initial weights (Glorot uniform).
    Raises ValueError for a name or number that cannot work, sides that don't halve so often among them.
    """
    allowed.check(image_shape=image_shape, filters=filters, decoder_kernel_size=decoder_kernel_size, seed=seed)
    allowed.refuse("normalization", normalization, allowed.OF_A_DECODER)
    stages = stages_of(filters)
    _check(image_shape, stages, decoder)
    _check_correction(image_shape, channels, correction, holes, scale)
    initial = map(keras.initializers.GlorotUniform, seeds_of(seed))
    convolution = network_deconvolution.DeconvolvedConv2D if normalization == "deconvolution_and_batch" else keras.layers.Conv2D

    def finish(x):
        x = keras.layers.BatchNormalization(momentum=0.9)(x) if normalization != "none" else x
        return keras.layers.ReLU()(x)

    def convolve(x, *widths):
        for width in widths:
            x = finish(convolution(width, 3, padding="same", kernel_initializer=next(initial))(x))
        return x

    def finer(x, width, *maps):
        layer = _finer(decoder, width, decoder_kernel_size, next(initial))
        return finish(layer([x, *maps] if maps and decoder == "unpooling" else x))

    images = x = begun = keras.Input(image_shape, name="images")
    if holes:
        begun, missing = _filled(images)
        x = keras.layers.Concatenate()([begun, missing])
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(x)
    kept = []
    for widths in stages:
        x = convolve(x, *widths)
        kept.append(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = convolve(x, *stages[-1])
    ends = [widths[-1] for widths in stages]
    for below, maps in zip((ends[0], *ends)[-2::-1], reversed(kept), strict=False):
        x = finer(x, below, maps)
        x = keras.layers.Concatenate()([x, maps]) if skips else x
        x = convolve(x, below)
    for _ in range(scale.bit_length() - 1):
        x = finer(x, ends[0])
    initializer = "zeros" if correction else next(initial)
    x = keras.layers.Conv2D(channels, 3, padding="same", name="pixels", kernel_initializer=initializer)(x)
    if correction:
        x = x * missing if holes else x
        if scale > 1:  # bilinear: what the difference is from should have no corners of its own
            begun = keras.layers.UpSampling2D(scale, interpolation="bilinear")(begun)
        x = keras.layers.Add(name="corrected")([begun, x])
    return keras.Model(images, x, name="encoder_decoder")


def _filled(images):
    """The images with a first guess in the place of missing pixels, and which pixels these are, (n, height, width, 1)."""
    missing = ops.cast(ops.equal(ops.max(images, axis=-1, keepdims=True), 0), images.dtype)
    near = functools.partial(ops.average_pool, pool_size=NEAR, strides=1, padding="same")
    # nothing known near by: black, as it is
    return images + missing * near(images) / ops.maximum(near(1 - missing), 1e-6), missing


class Variational(NamedTuple):
    """The parts of a variational auto-encoder, which share their weights."""

    whole: keras.Model  # images (and one-hot classes) -> reconstructions; this one is trained
    encoder: keras.Model  # images -> means of the code, (n, code)
    decoder: keras.Model  # codes (and one-hot classes) -> images


def variational(
    image_shape: tuple[int, int, int],
    code: int = 32,
    filters: tuple[int, ...] = (32, 64),
    decoder: str = "transposed",
    num_classes: int = 0,
    divergence_weight: float = 0.01,
    seed: int = 0,
) -> Variational:
    """A variational auto-encoder: a code of `code` numbers, normal with mean 0 and deviation 1, from which images are decoded.

    filters: channels of each stage, a convolution of stride 2 each; the decoder mirrors them by steps of `decoder`, one of
        upsampling.OPERATORS ("unpooling" has no switches here).
    num_classes: above 0 the decoder is also told the class, as one-hot (n, num_classes), the second input (Kingma et al. 2014).
    divergence_weight: of the code's Kullback–Leibler divergence from that normal distribution, in nats a pixel value, beside
        the mean squared error; 2 σ² where pixels deviate by σ from what is decoded (Kingma & Welling 2014).
    Raises ValueError for a name or number that cannot work.
    """
    allowed.check(image_shape=image_shape, code=code, divergence_weight=divergence_weight, seed=seed)
    allowed.refuse("filters", filters, allowed.ONE_A_STAGE)
    _check(image_shape, filters, decoder)
    initial = map(keras.initializers.GlorotUniform, seeds_of(seed))

    images = keras.Input(image_shape, name="images")
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)
    for width in filters:
        x = keras.layers.Conv2D(width, 4, strides=2, padding="same", activation="relu", kernel_initializer=next(initial))(x)
    smallest = x.shape[1:]
    x = keras.layers.Flatten()(x)
    mean = keras.layers.Dense(code, kernel_initializer=next(initial), name="mean")(x)
    log_variance = keras.layers.Dense(code, kernel_initializer=next(initial), name="log_variance")(x)

    codes = keras.Input((code,), name="codes")
    classes = [keras.Input((num_classes,), name="classes")] if num_classes else []
    x = keras.layers.Concatenate()([codes, *classes]) if classes else codes
    x = keras.layers.Dense(math.prod(smallest), activation="relu", kernel_initializer=next(initial))(x)
    x = keras.layers.Reshape(smallest)(x)
    for width in (filters[0], *filters)[-2::-1]:
        x = _finer(decoder, width, 4, next(initial), activation="relu")(x)
    pixels = keras.layers.Conv2D(image_shape[2], 3, padding="same", activation="sigmoid", kernel_initializer=next(initial))(x)
    decoding = keras.Model([codes, *classes], pixels, name="decoder")

    drawn = Sampling(divergence_weight / math.prod(image_shape), seed=seed, name="sampling")([mean, log_variance])
    whole = keras.Model([images, *classes], decoding([drawn, *classes]), name="variational")
    return Variational(whole, keras.Model(images, mean, name="means"), decoding)


@keras.saving.register_keras_serializable(package="deconvlib")
class Sampling(keras.layers.Layer):
    """A draw from the normal distribution of [mean, logarithm of the variance], each (n, code); the mean when not training.

    Adds weight × the mean over n of its Kullback–Leibler divergence from mean 0 and variance 1 to the loss. Kingma & Welling
    2014, equation 10 and appendix B.
    """

    def __init__(self, weight, seed=None, **settings):
        super().__init__(**settings)
        self.weight, self.seed = weight, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self):
        return super().get_config() | {"weight": self.weight, "seed": self.seed}

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def call(self, inputs, training=False):
        mean, log_variance = inputs
        divergence = 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - log_variance - 1, axis=1)
        self.add_loss(self.weight * ops.mean(divergence))
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


def _finer(decoder, width, kernel_size, initializer, **settings):
    """The layer of upsampling.OPERATORS that doubles height and width."""
    kernel_size = kernel_size or (4 if decoder == "transposed" else 3)
    settings["kernel_initializer"] = upsampling.ICNR(initializer) if decoder == "subpixel" else initializer
    return upsampling.OPERATORS[decoder](width, kernel_size, strides=2, padding="same", **settings)


def _check(image_shape, filters, decoder):
    checks.known("decoder", decoder, upsampling.OPERATORS)
    (height, width, _), times = image_shape, len(filters)
    if height % 2**times or width % 2**times:
        fits = next(n for n in range(times, -1, -1) if not (height % 2**n or width % 2**n))
        raise ValueError(
            f"images of {height} × {width} cannot be halved {times} times: use {fits} stages, or multiples of {2**times} pixels"
        )


def _check_correction(image_shape, channels, correction, holes, scale):
    allowed.check(channels=channels)
    if scale < 1 or scale & (scale - 1):
        raise ValueError(f"scale must be a power of 2, not {scale}")
    if correction and channels != image_shape[2]:
        raise ValueError(f"correction adds to the image's {image_shape[2]} channels, not to {channels}")
    if holes and (not correction or scale > 1):
        raise ValueError("holes needs correction=True and scale=1: what is not missing stays as it is")
