"""Images as a model takes them, and what is refused."""

import numpy as np

from deconvlib.backend import keras


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
