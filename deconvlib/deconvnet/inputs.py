"""Images as a model takes them, and what is refused."""

import numpy as np

from deconvlib.backend import keras
from deconvlib.deconvnet import graph

RANGES = ((0, 1), (-1, 1), (0, 255))  # of pixels, that models take


def as_input(model: keras.Model, images: np.ndarray, numbers=None) -> np.ndarray:
    """Images as `model` takes them: float32; uint8 pixels are brought to the range of the model, floats stay as they are.

    images: (n, height, width, channels), n ≥ 1. The range is `pixel_range`'s; where nothing in the model tells it, [0, 1].
    numbers: what an error calls each image; None: its place.
    Raises ValueError for another shape or type, no image, a NaN, and floats that cannot be of the model's range.
    """
    images = np.asarray(images)
    check_images(model, images)
    floats = as_floats(model, images, range(len(images)) if numbers is None else numbers)
    # integers are a dark image; numbers between them are pixels of another range
    if images.dtype != np.uint8 and pixel_range(model, False) == (0, 255) and floats.max() <= 1 and (floats % 1).any():
        raise ValueError("pixels lie in [0, 1]; this model takes [0, 255]: give uint8, or 255 times these")
    return floats


def check_images(model: keras.Model, images: np.ndarray):
    """Raises ValueError where `images` have another shape or type than `model` takes; reads no pixel.

    Raises TypeError for a model without a graph of layers.
    """
    check_model(model)
    shape = model.inputs[0].shape[1:]
    fits = images.ndim == 4 and all(want in (None, got) for want, got in zip(shape, images.shape[1:], strict=True))
    if not fits or not len(images):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        one = "; of one image give image[None]" if images.ndim == 3 else ""
        raise ValueError(f"images of shape {images.shape} do not fit this model; it takes (n, {wanted}), n at least 1{one}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images are {images.dtype}; give pixels as uint8, or floats as the model takes them")


def check_model(model: keras.Model):
    """Raises ValueError unless `model` takes one image, (height, width, channels); TypeError if it has no graph of layers."""
    inputs = graph.functional(model).inputs
    if len(inputs) != 1:
        raise ValueError(f"model {model.name!r} takes {len(inputs)} inputs; a model of one image is needed")
    if len(inputs[0].shape) != 4:
        raise ValueError(
            f"model {model.name!r} takes {inputs[0].shape}; a model of images (n, height, width, channels) is needed"
        )


def as_floats(model: keras.Model, images: np.ndarray, numbers) -> np.ndarray:
    """`as_input` for images, or cut-outs of images, of any size; numbers: what an error calls each of them."""
    known = pixel_range(model)
    if known is None:
        graph.kept(_say_unknown, model)
    low, high = known or (0, 1)
    if images.dtype == np.uint8:
        return in_range(images, low, high)
    floats = np.asarray(images, np.float32)
    least, most = floats.min(), floats.max()
    if not np.isfinite([least, most]).all():
        bad = int(np.flatnonzero(~np.isfinite(floats).all(axis=(1, 2, 3)))[0])
        raise ValueError(f"image {numbers[bad]} holds NaN or infinity")
    slack = 1e-3 * high  # a resized image overshoots by rounding
    if pixel_range(model, by_statistics=False) and not (low - slack <= least and most <= high + slack):
        raise ValueError(f"pixels lie in [{least:g}, {most:g}]; this model rescales them itself and takes [{low}, {high}]")
    return floats


def _say_unknown(model):
    print(f"nothing in model {model.name!r} says what range of pixels it takes; bytes are brought to [0, 1]", flush=True)


def in_range(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 pixels as float32 from `low`, black, to `high`, white."""
    floats = images.astype(np.float32)  # of NumPy or JAX
    if (low, high) == (0, 1):
        return floats / np.float32(255)  # to the last bit as everywhere
    return floats * np.float32((high - low) / 255) + np.float32(low)


def pixel_range(model: keras.Model, by_statistics: bool = True) -> tuple[int, int] | None:
    """(lowest, highest) value of the pixels that `model` takes, one of RANGES, as its first layers tell; None: they do not.

    What tells is the first to scale the pixels: a Rescaling, an arithmetic operation with a constant, as `preprocess_input` is
    made of, or a Normalization or BatchNormalization, by its means and variances. What comes before it has no weights:
    augmentation, resizing, cropping, padding, pooling, channels in another order. by_statistics: False takes no word of means
    and variances, which may be of anything.
    """
    for operation, constants in graph.kept(_scalings, model):
        if told := _told(operation, constants):
            return told if by_statistics or "Normalization" not in graph.kind(operation) else None
    return None


_SCALING = {"Rescaling", "Normalization", "BatchNormalization", "TrueDivide", "Divide", "Multiply", "Add", "Subtract"}


def _scalings(model):
    """(operation, its constants) of each step that may tell the range, in order: of what reads pixels that nothing weighed."""
    found, pixels = [], object()

    def follow(step, *arguments, **keywords):
        parts = keras.tree.flatten((arguments, keywords))
        reads = any(part is pixels for part in parts)
        if reads and graph.kind(step.operation) in _SCALING:
            found.append((step.operation, [part for part in parts if part is not pixels]))
        elif reads and isinstance(step.operation, keras.layers.Layer):  # a pipeline, or a layer of the user's, holds others
            inside = [layer for layer in graph.layers(step.operation) if graph.kind(layer) in _SCALING]
            found.extend((layer, []) for layer in inside)
        # behind one that may tell too: a scale of 1, or statistics of nothing, leave the pixels as they are
        passed = reads and (graph.kind(step.operation) in _SCALING or not _weighs(step.operation))
        return [pixels if passed else None] * len(step.node.outputs)

    graph.run(model, [pixels], follow)
    return found


def _weighs(operation):
    """Whether it has weights; what augmentation draws its numbers from is none."""
    return any(weight.ndim and "float" in weight.dtype for weight in getattr(operation, "weights", ()))


def _told(operation, constants):
    """The range that one operation tells, or None."""
    kind = graph.kind(operation)
    if kind == "BatchNormalization":
        mean, variance = (keras.ops.convert_to_numpy(x) for x in (operation.moving_mean, operation.moving_variance))
        return _of_trained(mean, variance)
    if kind == "Normalization":
        mean, variance = (keras.ops.convert_to_numpy(x) for x in (operation.mean, operation.variance))
        return _of_adapted(mean, variance) if operation.input_mean is None else _of_given(mean, np.sqrt(variance))
    if kind == "Rescaling":
        scale, offset = operation.scale, operation.offset
    elif not constants or any(number is None for number in constants):  # with another map
        return None
    else:
        number = np.concatenate([np.ravel(keras.ops.convert_to_numpy(number)) for number in constants])
        scale = number if kind == "Multiply" else 1 / number if "Divide" in kind else 1
        offset = number if kind == "Add" else -number if kind == "Subtract" else 0
    scale, offset = np.mean(scale), np.mean(offset)
    if scale == 1 and not offset:
        return None
    if np.isclose(offset, scale):  # -1 becomes 0
        return (-1, 1)
    # one that only moves them, by the middle of the range or the mean of many images, tells by how much
    return (0, 255) if abs(scale) < 1 / 16 or (scale == 1 and abs(offset) > 1.5) else (0, 1)


def _of_adapted(mean, variance):
    """The first of RANGES in which numbers may have these means and variances."""
    # in [a, b] the variance is at most (b - mean) · (mean - a) (Bhatia & Davis 2000); 2 % for rounding
    fits = ((variance <= 1.02 * (high - mean) * (mean - low)).all() for low, high in RANGES)
    return next((known for known, fit in zip(RANGES, fits, strict=True) if fit), None)


def _of_trained(mean, variance):
    """As `_of_adapted`, of averages that begin with mean 0 and variance 1, and may hold some of that."""
    if max(abs(mean).max(), variance.max()) > 1.02:
        return (0, 255)
    known = _of_adapted(mean, variance)
    return known if known == (0, 1) and mean.any() else None


def _of_given(mean, deviation):
    """By constants that somebody wrote down, of the pixels themselves."""
    if max(abs(mean).max(), deviation.max()) > 1.5:
        return (0, 255)
    return (0, 1) if mean.min() > 0 else None
