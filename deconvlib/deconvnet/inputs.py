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
    if images.dtype != np.uint8 and pixel_range(model) == (0, 255) and floats.max() <= 1 and (floats % 1).any():
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
        raise ValueError(f"images of shape {images.shape} do not fit this model; it takes (n, {wanted}), n at least 1")
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
    low, high = known or (0, 1)
    if images.dtype == np.uint8:
        return in_range(images, low, high)
    floats = images.astype(np.float32, copy=False)
    least, most = floats.min(), floats.max()
    if not np.isfinite([least, most]).all():
        bad = int(np.flatnonzero(~np.isfinite(floats).all(axis=(1, 2, 3)))[0])
        raise ValueError(f"image {numbers[bad]} holds NaN or infinity")
    slack = 1e-3 * high  # a resized image overshoots by rounding
    if known and not (low - slack <= least and most <= high + slack):
        raise ValueError(f"pixels lie in [{least:g}, {most:g}]; this model rescales them itself and takes [{low}, {high}]")
    return floats


def in_range(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 pixels as float32 from `low`, black, to `high`, white."""
    floats = images.astype(np.float32)
    if (low, high) == (0, 1):
        return floats / np.float32(255)  # to the last bit as everywhere
    return floats * np.float32((high - low) / 255) + np.float32(low)


def pixel_range(model: keras.Model) -> tuple[int, int] | None:
    """(lowest, highest) value of the pixels that `model` takes, one of RANGES, as its first layers tell; None: they do not.

    What tells is the first layer to scale the pixels: a Rescaling, an arithmetic operation with a constant, as
    `preprocess_input` is made of, or a Normalization or BatchNormalization by the mean and variance of what it was trained
    on. Augmentation, resizing, cropping, padding and reordered channels may come before it.
    """
    told = (_told(*found) for found in graph.kept(_scalings, model))
    return next((answer for answer in told if answer), None)


_SCALING = {"Rescaling", "Normalization", "BatchNormalization", "TrueDivide", "Divide", "Multiply", "Add", "Subtract"}
_UNSCALED = {
    *("Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D", "Dropout", "GaussianNoise", "Identity", "Permute", "Reshape"),
    *("GetItem", "Stack", "Split", "Flip", "Take", "Unstack", "ExpandDims", "Squeeze", "Transpose", "Concatenate"),
}


def _scalings(model):
    """(operation, its constants) of each step that may tell the range, in order: of all that reads pixels as they are given."""
    found, pixels = [], object()

    def follow(step, *arguments, **keywords):
        parts, kind = keras.tree.flatten((arguments, keywords)), graph.kind(step.operation)
        reads = any(part is pixels for part in parts)
        if reads and kind in _SCALING:
            found.append((step.operation, [part for part in parts if part is not pixels]))
        # behind one that may tell too: a scale of 1, or statistics of nothing, leave the pixels as they are
        passed = reads and (kind in _SCALING or kind in _UNSCALED or graph.is_augmentation(kind))
        return [pixels if passed else None] * len(step.node.outputs)

    graph.run(model, [pixels], follow)
    return found


def _told(operation, constants):
    """The range that one operation tells, or None."""
    kind = graph.kind(operation)
    if "Normalization" in kind:
        names = ("mean", "variance") if kind == "Normalization" else ("moving_mean", "moving_variance")
        mean, variance = (keras.ops.convert_to_numpy(getattr(operation, name)) for name in names)
        if not mean.any() and (variance == 1).all():
            return None
        # numbers in [a, b] with this mean have at most this variance (Bhatia & Davis 2000); 0.02 for rounding
        fits = [(low, high) for low, high in RANGES if (variance <= 1.02 * (high - mean) * (mean - low)).all()]
        return fits[0] if fits else None
    if kind == "Rescaling":
        scale, offset = np.abs(operation.scale).max(), np.abs(operation.offset).max()
    else:
        if not constants or any(number is None for number in constants):  # with another map
            return None
        number = max(np.abs(keras.ops.convert_to_numpy(number)).max() for number in constants)
        scale = number if kind == "Multiply" else 1 / number if "Divide" in kind else 1
        offset = number if kind in ("Add", "Subtract") else 0
    if scale == 1 and not offset:
        return None
    # one that only moves them, by the middle of the range or the mean of many images, tells by how much
    return (0, 255) if scale < 1 / 16 or (scale == 1 and offset > 1.5) else (0, 1)
