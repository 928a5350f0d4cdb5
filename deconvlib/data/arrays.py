"""Arrays -> Dataset: what an .npz or .npy holds, and what is split off for testing."""

import zipfile

import numpy as np

from deconvlib.data.dataset import Dataset

ARRAYS = ("x_train", "y_train", "x_test", "y_test", "x", "y", "class_names")  # what is read of an .npz
MOST = 100_000  # classes that have no names but their numbers


def read(name, path, seed, class_names=None):
    """The data set that an .npz holds. class_names: what its classes are called if it does not say it."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file (or it is cut short); make one with numpy.savez")
    arrays, held = _held(path)
    class_names = arrays.get("class_names", class_names)
    if all(key in arrays for key in ARRAYS[:4]):
        return dataset(name, *(arrays[key] for key in ARRAYS[:4]), class_names)
    if "x" in arrays and "y" in arrays:
        return split(name, arrays["x"], arrays["y"], class_names, seed)
    raise ValueError(f"{path} must hold x_train, y_train, x_test, y_test, or x and y; it holds {held}")


def _held(path):
    """({name: array} for the names in ARRAYS, names of all arrays) of an .npz; the one array of an .npy is x."""
    try:
        if not path.is_file():  # a pipe would never end
            raise ValueError("it is not a regular file")
        held = np.load(path, allow_pickle=False)
        held = {"x": held} if isinstance(held, np.ndarray) else held
        return {key: held[key] for key in ARRAYS if key in held}, ", ".join(held)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def images_of(path):
    """(images, labels or None, class names) of an .npy or .npz."""
    held, names = _held(path)
    suffix = "_test" if "x_test" in held else ""
    images, labels = held.get(f"x{suffix}"), held.get(f"y{suffix}")
    if images is None:
        raise ValueError(f"{path} must hold images as x, or x_test; it holds {names}")
    images = _images(path, images)
    if labels is None or not len(images):
        return images, None, ()
    whole = dataset(path.stem, images, labels, images, labels, held.get("class_names"))
    return images, whole.y_test, whole.class_names


def _images(place, images):
    """The array as uint8 (n, height, width, 1 or 3)."""
    images = images[..., None] if images.ndim == 3 else images
    if np.issubdtype(images.dtype, np.floating) and images.size and images.min() >= 0 and images.max() <= 1:
        images = np.round(images * 255).astype(np.uint8)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        form = f"{images.dtype} of shape {images.shape}"
        raise ValueError(f"{place}: images must be uint8, or floats in [0, 1], (n, height, width, 1 or 3), not {form}")
    return images


def split(name, images, labels, class_names, seed):
    """A fifth of each class tests, the rest trains."""
    # the whole set in both parts: labels are checked before they are split
    whole = dataset(name, images, labels, images, labels, class_names)
    labels = whole.y_train
    counts = np.bincount(labels, minlength=whole.num_classes)
    fewest = counts.argmin()
    if counts[fewest] < 2 or len(labels) <= 5 * (whole.num_classes - 1):
        raise ValueError(
            f"{name} has no test part and too few images to split: {len(labels)} in {whole.num_classes} classes, "
            f"{counts[fewest]} of {whole.class_names[fewest]!r}; give 5 or more of each class, or a train and a test folder"
        )
    return whole.hold_out(0.2, seed)


def dataset(name, x_train, y_train, x_test, y_test, class_names):
    """The Dataset of these arrays; without `class_names` its classes are called by their numbers."""
    x_train, x_test = (_images(name, images) for images in (x_train, x_test))
    y_train, y_test = (labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels for labels in (y_train, y_test))
    if class_names is None:
        known = [int(labels.max(initial=0)) for labels in (y_train, y_test) if np.issubdtype(labels.dtype, np.integer)]
        largest = max(known, default=0)
        if largest >= MOST:
            raise ValueError(f"{name}: a label is {largest}; number the classes from 0, below {MOST:,}, or give class_names")
        class_names = range(largest + 1)
    if np.ndim(class_names) != 1:
        raise ValueError(f"{name}: class_names must be a list of names, one for each class, not {class_names!r:.80}")
    return Dataset(name, x_train, y_train, x_test, y_test, tuple(map(str, class_names)))
