"""Hyperparameters -> keras.Model: the networks that the notebooks train; and models of other origin, loaded safely.

Every model takes float32 images in [0, 1], (n, height, width, channels), and rescales them itself, so that a saved model
carries its preprocessing. Its last two layers are `logits` and `softmax`. Layers are named and numbered as the text
names them: conv1, norm1, relu1, pool1, ..., deconv1, ..., dense1.
"""

import numpy as np

from deconvlib import checks
from deconvlib.backend import keras
from deconvlib.networks import network_deconvolution, upsampling

POOLINGS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


DECODERS = ("none", "transposed", "unpooling", "resize", "subpixel")


NORMALIZATIONS = ("none", "batch", "deconvolution", "deconvolution_then_batch")


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

    filters: channels of each stage; a stage is `convolutions` times (convolution, normalization, activation), the first
        of them with `strides`, and then a 2 × 2 pooling that halves height and width (rounded down). A tuple of channels
        stands for a stage whose convolutions differ.
    decoder: "none", or how each step of `decoder_filters` channels multiplies height and width by `decoder_strides`:
        "transposed": a Conv2DTranspose. "unpooling": unpooling by the switches of the last max pooling, then of the one
        before it, each with a convolution after it, which must give the channels of the next unpooling; the factor is 2
        (Zhao et al. 2015). "resize": the nearest pixel's value, then a convolution (Odena et al. 2016). "subpixel": a
        convolution to channels that become pixels (Shi et al. 2016).
    decoder_kernel_size: None: 2 · `decoder_strides` for "transposed", since copies of a kernel divisible by the stride
        overlap evenly (Odena et al. 2016); `kernel_size` for the others. All are padded "same".
    reconstruction_weight: 0: the dense layer reads the decoder. Above 0: it reads the encoder, and the decoder is a branch
        beside it with one step more, to the image's channels; its mean squared error from the rescaled image, times this
        weight, is added to the loss (Zhang, Lee & Lee 2016). A branch that ends in another size is resized.
    reconstructed: by the branch: "image"; or "all", what each stage but the last gives as well, by the step that mirrors
        it, their errors added to the image's (the paper's SAE-all, with unpooling SWWAE-all).
    normalization: "none"; "batch": a batch normalization after each convolution; "deconvolution": network deconvolution of
        every convolution and dense layer instead, but of transposed convolutions, which have none then (Ye et al. 2020);
        "deconvolution_then_batch": "batch", with network deconvolution of the first convolution alone: no maps are as
        correlated as the pixels, and its cost hardly shows.
    activation: any name that Keras knows; pooling: "max" or "average".
    dense_units: width of the hidden dense layer; 0 leaves it out. dropout: share in [0, 1) dropped before each dense
        layer. l1, l2: penalties on the kernels. seed: initial weights (Glorot uniform) and dropout.

    Raises ValueError for a name or number that cannot work, and says what would.
    """
    checks.known("pooling", pooling, POOLINGS)
    checks.known("decoder", decoder, DECODERS)
    checks.known("normalization", normalization, NORMALIZATIONS)
    checks.known("reconstructed", reconstructed, ("image", "all"))
    checks.known("padding", padding, ("same", "valid"))
    _check_activation(activation)
    checks.positive("convolutions, kernel_size and strides", convolutions, kernel_size, strides)
    stages = stages_of(filters, convolutions)
    _check_numbers(image_shape, num_classes, stages, dropout, l1, l2)
    if decoder_kernel_size is None:
        decoder_kernel_size = 2 * decoder_strides if decoder == "transposed" else kernel_size
    mirrored = tuple(widths[-1] for widths in reversed(stages))
    _check_decoder(decoder, mirrored, pooling, decoder_filters, decoder_kernel_size, decoder_strides, reconstruction_weight)
    penalty = keras.regularizers.L1L2(l1, l2) if l1 or l2 else None
    count = {"conv": 0, "deconv": 0}
    seeds = seeds_of(seed)
    deconvolved = normalization == "deconvolution"
    convolution = network_deconvolution.DeconvolvedConv2D if deconvolved else keras.layers.Conv2D
    dense = network_deconvolution.DeconvolvedDense if deconvolved else keras.layers.Dense

    def weights():
        return {"kernel_initializer": keras.initializers.GlorotUniform(next(seeds)), "kernel_regularizer": penalty}

    def convolve(x, layer, kind, **settings):
        """A (transposed) convolution, its normalization and its activation; fused to one layer where they can be."""
        if normalization == "deconvolution_then_batch" and not count["conv"]:
            layer = network_deconvolution.DeconvolvedConv2D
        if kind == "reconstruct":
            return layer(name=kind, **weights(), **settings)(x)  # linear: pixels have both signs
        count[kind] += 1
        index = count[kind] if kind == "conv" else f"_{kind}{count[kind]}"
        name = f"{kind}{count[kind]}"
        if normalization in ("none", "deconvolution"):
            return layer(name=name, activation=activation, **weights(), **settings)(x)
        x = layer(name=name, use_bias=False, **weights(), **settings)(x)
        # Keras' momentum of 0.99 averages over hundreds of steps, more than a short training has
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{index}")(x)
        return keras.layers.Activation(activation, name=f"{activation}{index}")(x)

    def decode(x, step, width, kind="deconv"):
        """A map of `width` channels with `decoder_strides` times the height and width of x."""
        settings = {"filters": width, "kernel_size": decoder_kernel_size, "padding": "same"}
        if decoder == "transposed":
            return convolve(x, keras.layers.Conv2DTranspose, kind, **settings | {"strides": decoder_strides})
        if decoder == "subpixel":
            x = convolve(x, convolution, kind, **settings | {"filters": width * decoder_strides**2})
            return upsampling.DepthToSpace(decoder_strides, name=f"shuffle{step}")(x)
        if decoder == "unpooling":
            x = upsampling.Unpooling2D(name=f"unpool{step}")([x, pooled[-step]])
        else:
            x = keras.layers.UpSampling2D(decoder_strides, name=f"upsample{step}")(x)
        return convolve(x, convolution, kind, **settings)

    images = keras.Input(image_shape, name="images")
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)  # [0, 1] -> [-1, 1]: centred, as in the paper
    rescaled, pooled, ends = x, [], []
    for stage, widths in enumerate(stages, start=1):
        for step, width in enumerate(widths):
            _check_fits(x, stage, "convolve", kernel_size if padding == "valid" else 1, image_shape, filters)
            settings = {"filters": width, "kernel_size": kernel_size, "strides": strides if step == 0 else 1}
            x = convolve(x, convolution, "conv", padding=padding, **settings)
        _check_fits(x, stage, "halve", 2, image_shape, filters)
        pooled.append(x)
        x = POOLINGS[pooling](2, name=f"pool{stage}")(x)
        ends.append(x)
    pairs = []
    for step, width in enumerate(decoder_filters if decoder != "none" else (), start=1):
        x = decode(x, step, width)
        if reconstruction_weight and reconstructed == "all":
            pairs += [x, _mirrored(ends, step, x)]
    if reconstruction_weight:
        reconstruction = decode(x, len(decoder_filters) + 1, image_shape[2], "reconstruct")
        if reconstruction.shape[1:] != images.shape[1:]:
            reconstruction = keras.layers.Resizing(*image_shape[:2], name="resize")(reconstruction)
        pairs = [reconstruction, rescaled, *pairs]
        x = ends[-1]
    x = keras.layers.Flatten(name="flatten")(x)
    if dense_units:
        x = keras.layers.Dropout(dropout, seed=next(seeds), name="dropout1")(x) if dropout else x
        x = dense(dense_units, activation=activation, **weights(), name="dense1")(x)
    x = keras.layers.Dropout(dropout, seed=next(seeds), name="dropout2")(x) if dropout else x
    x = dense(num_classes, **weights(), name="logits")(x)
    if reconstruction_weight:
        # as late as can be, so that the branch is on the way to no layer but the softmax
        x = ReconstructionLoss(reconstruction_weight, name="reconstruction")([x, *pairs])
    # float32 also under mixed precision: a softmax of many classes underflows in 16 bits
    return keras.Model(images, keras.layers.Softmax(name="softmax", dtype="float32")(x), name="classifier")


def stages_of(filters, convolutions: int = 1) -> list[tuple[int, ...]]:
    """Channels of each convolution of each stage: a number stands for `convolutions` of them, a tuple or list for itself."""
    return [tuple(width) if isinstance(width, tuple | list) else (width,) * convolutions for width in filters]


def seeds_of(seed: int):
    """An iterator of different seeds, one for each layer: initializers that shared one would begin alike."""
    return iter(np.random.default_rng(seed).integers(2**31, size=1000).tolist())


def tutorial(image_shape: tuple[int, int, int], num_classes: int, seed: int = 0) -> keras.Model:
    """The tutorial's network made to run: its layers and settings, in the order of its text.

    Convolutions of 32, 64, 128 filters, 3 × 3, unpadded, ReLU, each with a 2 × 2 max pooling; transposed convolutions
    of 10, 32, 3 filters, 3 × 3, stride 1; flatten; dense 64; one output a class. The listing itself cannot run: it
    applies transposed convolutions to a flattened vector and ends in 3 channels.
    """
    return classifier(
        image_shape,
        num_classes,
        padding="valid",
        decoder="transposed",
        decoder_filters=(10, 32, 3),
        decoder_kernel_size=3,
        decoder_strides=1,
        seed=seed,
    )


def _check_activation(activation):
    try:
        keras.activations.get(activation)
    except ValueError:
        names = (name for name in dir(keras.activations) if name.islower() and not name.startswith("_"))
        checks.known("activation", activation, [name for name in names if name not in ("get", "serialize", "deserialize")])


def _check_numbers(image_shape, num_classes, stages, dropout, l1, l2):
    checks.positive("image_shape (height, width, channels)", *image_shape)
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (height, width, channels), not {image_shape}")
    checks.positive("filters", *(width for widths in stages for width in widths or [0]))
    if num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, not {num_classes}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
    if l1 < 0 or l2 < 0:
        raise ValueError(f"l1 and l2 must not be negative, not {l1} and {l2}")


def _check_decoder(decoder, mirrored, pooling, decoder_filters, kernel_size, strides, reconstruction_weight):
    if reconstruction_weight < 0:
        raise ValueError(f"reconstruction_weight must not be negative, not {reconstruction_weight}")
    if decoder == "none":
        if reconstruction_weight:
            raise ValueError(f"reconstruction_weight needs a decoder that reconstructs: {', '.join(DECODERS[1:])}")
        return
    checks.positive("decoder_filters", *decoder_filters)
    checks.positive("decoder_kernel_size and decoder_strides", kernel_size, strides)
    if decoder != "unpooling":
        return
    if pooling != "max" or strides != 2:
        raise ValueError(f"decoder 'unpooling' needs pooling='max' and decoder_strides=2, not {pooling!r} and {strides}")
    # each unpooling needs the channels of the maps whose switches it takes; the branch's last step is its own
    wanted, most = mirrored[1:], len(mirrored) - bool(reconstruction_weight)
    if len(decoder_filters) > most or any(width != want for width, want in zip(decoder_filters, wanted, strict=False)):
        raise ValueError(
            f"decoder 'unpooling' mirrors the encoder: decoder_filters must begin as {wanted} does, and have at most {most} "
            f"entries, not {tuple(decoder_filters)}"
        )


def _mirrored(ends, step, x):
    """What the stage gave that the decoder's `step` mirrors, with x."""
    shape = ends[-1 - step].shape[1:] if step < len(ends) else None
    if x.shape[1:] != shape:
        wanted = [tuple(end.shape[1:]) for end in reversed(ends[:-1])]
        raise ValueError(
            f"reconstructed='all' mirrors the encoder: the decoder's steps must give {wanted}, of which step {step} gives "
            f"{tuple(x.shape[1:])}; choose decoder_filters and decoder_strides so"
        )
    return ends[-1 - step]


def _check_fits(x, stage, verb, least, image_shape, filters):
    height, width = x.shape[1:3]
    if min(height, width) < least:
        raise ValueError(
            f"stage {stage} cannot {verb} a map of {height} × {width}: images of {image_shape[0]} × {image_shape[1]} are "
            f"too small for {len(filters)} stages with these settings; use {stage - 1} stages, padding='same', or larger "
            "images"
        )


ops = keras.ops


@keras.saving.register_keras_serializable(package="deconvlib")
class ReconstructionLoss(keras.layers.Layer):
    """Adds weight × mean squared error of a reconstruction to the loss of the model that it is in.

    Takes [outputs, reconstruction, original, ...], each reconstruction of the shape of the original after it, whose errors
    are added; returns `outputs` as they are, so that a model can have the layer between two others. Zhang, Lee & Lee 2016,
    equations 1 and 2.
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
            error = ops.cast(reconstruction, "float32") - ops.cast(original, "float32")
            self.add_loss(self.weight * ops.mean(ops.square(error)))
        return outputs
