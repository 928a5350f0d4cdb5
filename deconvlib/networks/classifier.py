"""Hyperparameters -> keras.Model: the networks that the notebooks train; and models of other origin, loaded safely.

Every model takes float32 images in [0, 1], (n, height, width, channels), and rescales them itself, so that a saved model
carries its preprocessing. Its last two layers are `logits` and `softmax`. Layers are named and numbered as the text
names them: conv1, norm1, relu1, pool1, ..., deconv1, ..., dense1.
"""

import collections
import difflib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from deconvlib.backend import keras
from deconvlib.deconvnet import graph
from deconvlib.networks import network_deconvolution as layers

POOLINGS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
DECODERS = ("none", "transposed", "unpooling", "resize", "subpixel")
NORMALIZATIONS = ("none", "batch", "deconvolution", "deconvolution_then_batch")
APPLICATIONS = tuple(name for name in dir(keras.applications) if name[0].isupper())
_FOREIGN_CODE = {"Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"}  # Keras' layers that hold a program


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
    known("pooling", pooling, POOLINGS)
    known("decoder", decoder, DECODERS)
    known("normalization", normalization, NORMALIZATIONS)
    known("reconstructed", reconstructed, ("image", "all"))
    known("padding", padding, ("same", "valid"))
    _check_activation(activation)
    check_positive("convolutions, kernel_size and strides", convolutions, kernel_size, strides)
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
    convolution = layers.DeconvolvedConv2D if deconvolved else keras.layers.Conv2D
    dense = layers.DeconvolvedDense if deconvolved else keras.layers.Dense

    def weights():
        return {"kernel_initializer": keras.initializers.GlorotUniform(next(seeds)), "kernel_regularizer": penalty}

    def convolve(x, layer, kind, **settings):
        """A (transposed) convolution, its normalization and its activation; fused to one layer where they can be."""
        if normalization == "deconvolution_then_batch" and not count["conv"]:
            layer = layers.DeconvolvedConv2D
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
            return layers.DepthToSpace(decoder_strides, name=f"shuffle{step}")(x)
        if decoder == "unpooling":
            x = layers.Unpooling2D(name=f"unpool{step}")([x, pooled[-step]])
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
        x = layers.ReconstructionLoss(reconstruction_weight, name="reconstruction")([x, *pairs])
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


def fold(model: keras.Model) -> keras.Model:
    """A copy of `model` for inference: each layer of network deconvolution is the one Conv2D or Dense that it amounts to.

    The outputs are equal. A branch that reconstructs, which only training needs, is left out; nested models are opened.
    `model` is not changed, and of its weights the copy has its own.
    """
    return _rebuilt(model, tuple(model.inputs[0].shape[1:]), folded=True)


def augmentation(flip: bool = True, shift: float = 0.1, seed: int = 0) -> tuple[keras.layers.Layer, ...]:
    """Layers that mirror images left to right, and move them by up to `shift` of their side, mirrored at the border."""
    augmenting = [keras.layers.RandomFlip("horizontal", seed=seed)] if flip else []
    if shift:
        augmenting.append(layers.RandomShift(shift, seed=seed + 1))
    return tuple(augmenting)


def layer_table(model: keras.Model) -> pd.DataFrame:
    """One row a layer: name, kind, output shape without the batch, parameters, FLOPs for one image.

    FLOPs are 2 × the multiply–adds of convolutions, transposed convolutions and dense layers; the rest is small beside.
    """
    return pd.DataFrame(
        {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "shape": tuple(layer.output.shape[1:]),
            "parameters": layer.count_params(),
            "FLOPs": _flops(layer),
        }
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    )


def _flops(layer):
    kernels = [weight.shape for weight in layer.weights if weight.name.endswith("kernel")]
    # a convolution uses each weight once for each output position; these two once for each input position
    shape = layer.input.shape if type(layer).__name__ in ("Conv2DTranspose", "SubpixelConv2D") else layer.output.shape
    return 2 * sum(int(np.prod(kernel)) for kernel in kernels) * int(np.prod(shape[1:-1]))


def load(
    model: str | Path,
    weights: str | None = None,
    preprocessing: str | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> keras.Model:
    """The model of a .keras file, or keras.applications' of that name, as the rest of this library takes it.

    weights: of an application; None: not trained, "imagenet": downloaded, or the path of a .weights.h5 file.
    preprocessing: the application whose `preprocess_input` the file's model was trained behind, such as "ResNet50"; None:
        it takes what its own first layer says, else [0, 1]. An application comes with its own. It becomes the model's first
        layers, so that the model takes uint8, or floats in [0, 1], in RGB. Where it would swap red and blue, the first
        convolutions' filters swap theirs.
    image_size: side, or (height, width), of the images, for a model that takes any.

    Nested models are opened into one graph, and logits get a softmax. Nothing of the file but its numbers is used: Keras
    builds its own layers, and those that are registered here, from the description in the file.

    Raises FileNotFoundError; ValueError for a file that is not a whole .keras file or needs code that is not here, which
    is named and not run, for an unknown application, and for images of any size without `image_size`.
    """
    if str(model) not in APPLICATIONS:
        network = _read(Path(model).expanduser())
    else:
        network, preprocessing = _application(str(model), weights), preprocessing or str(model)
    if len(network.inputs) != 1 or len(network.outputs) != 1 or len(network.inputs[0].shape) != 4:
        raise ValueError(f"model {network.name!r} must take one image, (height, width, channels), and have one output")
    shape = list(network.inputs[0].shape[1:])
    if None in shape:
        if image_size is None or shape[2] is None:
            raise ValueError(f"model {network.name!r} takes images of any size {tuple(shape)}; give image_size")
        sides = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
        shape[:2] = [own or side for own, side in zip(shape, sides, strict=False)]
    last = graph.steps(network)[-1].operation
    logits = type(last).__name__ in ("Dense", "Activation") and last.activation is keras.activations.linear
    nested = any(isinstance(layer, keras.Model) for layer in network.layers)
    if not preprocessing and not logits and not nested and list(network.inputs[0].shape[1:]) == shape:
        return network
    return _rebuilt(network, tuple(shape), preprocessing, logits)


def _application(name, weights):
    try:
        return getattr(keras.applications, name)(weights=weights)
    except Exception as error:
        raise ValueError(f"{name} with weights={weights!r} is not to be had: {error}. weights=None needs no file") from error


def _read(path):
    if not path.exists() and path.suffix != ".keras" and len(path.parts) == 1:
        known("model", str(path), APPLICATIONS)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; looked for it from {Path.cwd()}")
    resave = "load it where you trust it, and save it with model.save('model.keras')"
    if path.is_dir() or path.suffix in (".h5", ".hdf5", ".pb"):
        raise ValueError(f"{path} is of an older format, which can run code as it is loaded: {resave}")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .keras file, or it is cut short: save it anew with model.save('model.keras')")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        needed = _needed({key: value for key, value in config.items() if key != "compile_config"})  # losses are not loaded
    except Exception as error:
        raise ValueError(f"{path} is not a whole .keras file: {error}. Save it anew with model.save('model.keras')") from error
    if needed:
        raise ValueError(
            f"{path} needs {' and '.join(needed)}, which the file cannot be trusted to bring: nothing of it was run. Import "
            "the module that defines it, with @keras.saving.register_keras_serializable() above it, before this; or make a "
            "layer of Keras, or of your own, of each Lambda; or build the part with feature maps anew, keras.Model(inputs, "
            "outputs) of Keras' layers, and save that"
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error


def _needed(config):
    """What a model's description names that is neither Keras' nor registered here, or brings a program; each once."""
    found = []
    if isinstance(config, dict) and "class_name" in config and "config" in config:
        kind, module = config["class_name"], config.get("module")
        name = config["config"] if kind == "function" else config.get("registered_name") or kind
        own = str(module).partition(".")[0] == "keras" or (kind == "function" and hasattr(keras.activations, str(name)))
        if kind in _FOREIGN_CODE:
            found.append(f"the {kind} layer {config['config'].get('name')!r}")
        elif kind == "__lambda__":
            found.append("a lambda function")
        elif not (kind.startswith("__") or own or keras.saving.get_registered_object(str(name))):
            found.append(f"the {'function' if kind == 'function' else 'class'} {name!r}")
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return list(dict.fromkeys([*found, *(name for part in parts for name in _needed(part))]))


def _rebuilt(network, shape, preprocessing=None, logits=False, folded=False):
    """The same layers with the same weights as one graph, behind the preprocessing, and before a softmax for logits.

    folded: layers that training needs, as what they are at inference.
    """
    names = collections.Counter(step.operation.name for step in graph.steps(network) if ":" not in step.name)
    images = keras.Input(shape, name="images")
    x, swapped = _preprocessed(images, preprocessing) if preprocessing else (images, False)
    copies, raw = {}, {id(x)} if swapped else set()

    def call(step, *arguments, **keywords):
        layer = step.operation
        colours = any(id(part) in raw for part in keras.tree.flatten((arguments, keywords)))
        if not isinstance(layer, keras.layers.Layer):
            output = layer(*arguments, **keywords)
        elif folded and isinstance(layer, layers.ReconstructionLoss):
            output = arguments[0][0]
        elif layer in copies:
            output = copies[layer](*arguments, **keywords)
        else:
            name = layer.name if names[layer.name] == 1 else step.name.replace("/", ".").replace(":", ".")
            if folded and isinstance(layer, layers.DeconvolvedConv2D | layers.DeconvolvedDense):
                copies[layer] = copy = layer.folded(name)
                values = copy.get_weights()
            else:
                copies[layer] = copy = type(layer).from_config(layer.get_config() | {"name": name})
                values = layer.get_weights()
            output = copy(*arguments, **keywords)
            if colours and values:
                if type(layer).__name__ != "Conv2D" or layer.groups > 1:  # network deconvolution's statistics would swap too
                    raise ValueError(f"preprocessing {preprocessing!r} swaps red and blue; layer {layer.name!r} cannot follow")
                values[0] = values[0][:, :, ::-1]
            copy.set_weights(values)
        if colours and not getattr(layer, "weights", None):
            raw.update(map(id, keras.tree.flatten(output)))
        return output

    output = graph.run(network, [x], call)
    (output,) = keras.tree.flatten(output)
    output = keras.layers.Softmax(dtype="float32", name="softmax")(output) if logits else output
    return keras.Model(images, output, name=network.name)


def _preprocessed(images, application):
    """(images in [0, 1] as the application's network takes them, but in RGB; whether it takes BGR)."""
    module = getattr(keras.applications, known("preprocessing", application, APPLICATIONS)).__module__
    # what it does to black, red, green and blue says what it does to every colour: all of them are linear
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    black, *primaries = sys.modules[module].preprocess_input(colours[:, None, None])[:, 0, 0]
    matrix = np.array(primaries) - black  # row: what comes in; column: what comes out
    swapped = not matrix[0, 0]
    if swapped:
        matrix, black = matrix[:, ::-1], black[::-1]
    scale = matrix.diagonal()
    if np.ptp(scale) < 1e-6 and np.ptp(black) < 1e-6:
        return keras.layers.Rescaling(float(scale[0]), offset=float(black[0]), name="rescale")(images), swapped
    x = keras.layers.Rescaling(255.0, name="rescale")(images)
    mean, deviation = -255 * black / scale, 255 / scale
    return keras.layers.Normalization(mean=mean.tolist(), variance=(deviation**2).tolist(), name="centre")(x), swapped


def as_input(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Images as `model` takes them: float32; uint8 pixels become [0, 1], floats stay as they are.

    images: (n, height, width, channels), n ≥ 1. Where the model begins with a Rescaling of its own, that says what it
    takes: uint8 pixels stay 0 to 255 for a scale such as 1 / 255, and floats out of the range are refused.

    Raises ValueError for another shape, type or range, no image, or a NaN.
    """
    images = np.asarray(images)
    check_images(model, images)
    return as_floats(model, images, range(len(images)))


def check_images(model: keras.Model, images: np.ndarray):
    """Raises ValueError where `images` have another shape or type than `model` takes; reads no pixel."""
    if len(model.inputs) != 1:
        raise ValueError(f"model {model.name!r} takes {len(model.inputs)} inputs; a model of one image is needed")
    shape = model.inputs[0].shape[1:]
    fits = images.ndim == 4 and len(shape) == 3
    fits = fits and all(want in (None, got) for want, got in zip(shape, images.shape[1:], strict=True))
    if not fits or not len(images):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"images of shape {images.shape} do not fit this model; it takes (n, {wanted}), n at least 1")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images are {images.dtype}; give pixels as uint8, or floats as the model takes them")


def as_floats(model: keras.Model, images: np.ndarray, numbers) -> np.ndarray:
    """`as_input` for images, or cut-outs of images, of any size; numbers: what an error calls each of them."""
    top = _pixel_range(model)
    if images.dtype == np.uint8:
        return images.astype(np.float32) if top == 255 else images.astype(np.float32) / 255
    floats = images.astype(np.float32, copy=False)
    low, high = floats.min(), floats.max()
    if not np.isfinite([low, high]).all():
        bad = int(np.flatnonzero(~np.isfinite(floats).all(axis=(1, 2, 3)))[0])
        raise ValueError(f"image {numbers[bad]} holds NaN or infinity")
    if top and not (-1e-3 * top <= low and high <= 1.001 * top):  # a resized image overshoots by rounding
        raise ValueError(f"pixels lie in [{low:g}, {high:g}]; this model rescales them itself and takes [0, {top}]")
    return floats


def _pixel_range(model):
    """1 or 255 where the model's first layer is a Rescaling that tells; None where nothing does."""
    first = next((layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)), None)
    if not isinstance(first, keras.layers.Rescaling) or np.ndim(first.scale):
        return None
    return 255 if abs(first.scale) < 1 / 16 else 1


def known(what: str, name: str, names) -> str:
    """`name` itself, where it is one of `names`; else a ValueError that lists them, the nearest first."""
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"{what} {name!r} is not known{hint} Known: {', '.join(map(repr, names))}")


def check_positive(what: str, *numbers):
    """Raises ValueError unless all are whole numbers of 1 or more."""
    if not numbers or any(not isinstance(number, int) or number < 1 for number in numbers):
        raise ValueError(f"{what} must be whole numbers of 1 or more, not {numbers}")


def _check_activation(activation):
    try:
        keras.activations.get(activation)
    except ValueError:
        names = (name for name in dir(keras.activations) if name.islower() and not name.startswith("_"))
        known("activation", activation, [name for name in names if name not in ("get", "serialize", "deserialize")])


def _check_numbers(image_shape, num_classes, stages, dropout, l1, l2):
    check_positive("image_shape (height, width, channels)", *image_shape)
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (height, width, channels), not {image_shape}")
    check_positive("filters", *(width for widths in stages for width in widths or [0]))
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
    check_positive("decoder_filters", *decoder_filters)
    check_positive("decoder_kernel_size and decoder_strides", kernel_size, strides)
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
