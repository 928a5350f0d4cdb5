"""Names, folders and archives -> Dataset: images, integer labels, class names."""

import difflib
import hashlib
import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image
from platformdirs import user_cache_dir
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DOWNLOADS = {"cifar10": CIFAR10, "cifar100": None, "mnist": DIGITS, "fashion_mnist": FASHION}
NAMES = ("shapes", "digits", *DOWNLOADS)
SHAPES = ("disk", "ring", "square", "triangle", "cross", "star", "crescent", "heart", "arrow", "bars")
SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Dataset:
    """Training and test images with their labels.

    x_train, x_test: uint8 (n, height, width, channels). y_train, y_test: integers (n,), numbers of `class_names`.
    masks_train, masks_test: bool (n, height, width), True where the object is; None where that is not known.

    Raises ValueError for arrays that disagree, and for a label out of range.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    masks_train: np.ndarray | None = None
    masks_test: np.ndarray | None = None

    def __post_init__(self):
        for part, images, labels in (("training", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if images.dtype != np.uint8 or images.ndim != 4:
                shape = f"{images.dtype} of shape {images.shape}"
                raise ValueError(f"{part} images must be uint8 (n, height, width, channels), not {shape}")
            if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
                shape = f"{labels.dtype} of shape {labels.shape}"
                raise ValueError(f"{part} labels must be {len(images)} integers, one an image, not {shape}")
            if not len(images):
                raise ValueError(f"{self.name}: there are no {part} images")
            wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
            if len(wrong):
                raise ValueError(
                    f"{part} label {wrong[0]} is {labels[wrong[0]]}; the {self.num_classes} classes have the numbers 0 to "
                    f"{self.num_classes - 1}"
                )
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise ValueError(f"training images are {self.x_train.shape[1:]}, test images {self.x_test.shape[1:]}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.x_train.shape[1:]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __repr__(self):
        size = " × ".join(map(str, self.image_shape))
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test images of {size}, "
            f"{self.num_classes} classes"
        )

    def take(self, train: int, test: int, seed: int = 0) -> "Dataset":
        """A random subset of so many training and test images. Raises ValueError where there are fewer."""
        for part, wanted, labels in (("training", train, self.y_train), ("test", test, self.y_test)):
            if not 1 <= wanted <= len(labels):
                raise ValueError(f"{wanted} {part} images asked of {self.name}, which has {len(labels)}")
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(self.y_test))[:test]
        masks = None if self.masks_test is None else self.masks_test[chosen]
        subset = replace(self, x_test=self.x_test[chosen], y_test=self.y_test[chosen], masks_test=masks)
        return subset._train(rng.permutation(len(self.y_train))[:train])

    def take_per_class(self, n: int, seed: int = 0) -> "Dataset":
        """Few labels: n random training images of each class. Raises ValueError for a class that has fewer."""
        return self._of_each_class([n] * self.num_classes, seed)

    def long_tail(self, imbalance: float, seed: int = 0) -> "Dataset":
        """Class sizes fall exponentially, the first `imbalance` times the last; the test set stays (Cui et al. 2019).

        Class k of K keeps n · imbalance^(-k / (K - 1)) training images, n the size of the smallest class, rounded down.
        """
        if imbalance < 1:
            raise ValueError(f"imbalance is the largest class' size over the smallest's, 1 or more, not {imbalance}")
        largest = np.bincount(self.y_train, minlength=self.num_classes).min()
        return self._of_each_class(
            [max(int(largest * imbalance ** (-k / (self.num_classes - 1))), 1) for k in range(self.num_classes)], seed
        )

    def _of_each_class(self, sizes, seed):
        rng, chosen = np.random.default_rng(seed), []
        for label, size in enumerate(sizes):
            members = np.flatnonzero(self.y_train == label)
            if not 1 <= size <= len(members):
                name = self.class_names[label]
                raise ValueError(f"{size} training images of class {name!r} asked; {self.name} has {len(members)}")
            chosen.append(rng.permutation(members)[:size])
        return self._train(rng.permutation(np.concatenate(chosen)))

    def _train(self, chosen):
        masks = None if self.masks_train is None else self.masks_train[chosen]
        return replace(self, x_train=self.x_train[chosen], y_train=self.y_train[chosen], masks_train=masks)


def load(
    name: str | Path, data_dir: str | Path | None = None, image_size: int | tuple[int, int] | None = None, seed: int = 0
) -> Dataset:
    """The data set `name`: one of `NAMES`, or the path of a folder of class folders, a .zip of one, or an .npz.

    A name is looked for in `data_dir`, else in the folder that the environment variable DECONVLIB_DATA names, as
    <name>/train.zip and test.zip, as <name>/train/<class>/*.png or *.jpg and test, or as <name>.npz; else Keras downloads
    it. "shapes" and "digits" need no file. A folder or .zip may hold train and test, or classes at once; what has no test
    part is split, a fifth of each class for testing, by `seed`. An .npz holds x_train, y_train, x_test, y_test, or x and y,
    and may hold class_names. image_size: (height, width) to which images are brought; asked for where they differ.

    Decoded folders and archives are kept in a cache, in the folder DECONVLIB_CACHE where that is set.

    Raises ValueError for an unknown name, a folder without two classes, images of several sizes, a corrupt image (named);
    FileNotFoundError where neither a file nor a download is to be had.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    path = Path(name).expanduser()
    if name == "shapes":
        return shapes(seed=seed)
    if name == "digits":
        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return _split("digits", images, digits.target.astype(np.int64), DIGITS, seed)
    if name not in DOWNLOADS and path.exists():
        return _read(path.stem if path.is_file() else path.name, path, size, seed)
    if name not in DOWNLOADS:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f"did you mean {near[0]!r}? Known" if near else "known"
        known = ", ".join(map(repr, NAMES))
        raise ValueError(f"data set {str(name)!r} is neither known nor the path of a folder, .zip or .npz; {hint}: {known}")
    folder = data_dir or os.environ.get("DECONVLIB_DATA")
    if folder:
        for candidate in (Path(folder) / name, Path(folder) / f"{name}.npz"):
            if candidate.exists():
                return _read(name, candidate, size, seed)
    return _download(name, folder)


def shapes(train: int = 10_000, test: int = 2_000, seed: int = 0) -> Dataset:
    """Generated images of ten shapes, 32 × 32 RGB, with the mask of the object.

    Place, size (16 to 28 pixels across), rotation and both colours are random; the ground is a random texture, and every
    pixel has noise. Training and test images come from independent streams of `seed`.
    """
    parts = [_draw(count, np.random.default_rng([seed, part])) for part, count in enumerate((train, test))]
    (x_train, y_train, masks_train), (x_test, y_test, masks_test) = parts
    return Dataset("shapes", x_train, y_train, x_test, y_test, SHAPES, masks_train, masks_test)


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each channel, in [0, 1]. images: uint8 (n, height, width, channels)."""
    counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
    values = np.arange(256) / 255
    mean = np.array([np.average(values, weights=count) for count in counts])
    variance = [np.average((values - m) ** 2, weights=count) for count, m in zip(counts, mean, strict=True)]
    return mean, np.sqrt(variance)


def near_duplicates(dataset: Dataset, threshold: float = 0.96) -> pd.DataFrame:
    """Each test image's nearest training image, where the two are as good as the same: train, test, similarity.

    Similarity is the correlation of their grey thumbnails of about 16 × 16; rows from `threshold` on, most similar first. On
    CIFAR-10 nearly all pairs above 0.96 are the same photograph, and below 0.95 many are not.
    """
    train, test = _thumbnails(dataset.x_train), _thumbnails(dataset.x_test)
    found = []
    for start in range(0, len(test), 500):
        similarity = test[start : start + 500] @ train.T
        nearest = similarity.argmax(axis=1)
        found.append((nearest, np.arange(start, start + len(nearest)), similarity[np.arange(len(nearest)), nearest]))
    table = pd.DataFrame(dict(zip(("train", "test", "similarity"), map(np.concatenate, zip(*found, strict=True)), strict=True)))
    table = table[table["similarity"] >= threshold]
    return table.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def _thumbnails(images):
    step = max(1, images.shape[1] // 16), max(1, images.shape[2] // 16)
    rows, columns = images.shape[1] // step[0], images.shape[2] // step[1]
    images = images[:, : rows * step[0], : columns * step[1]]
    blocks = images.reshape(len(images), rows, step[0], columns, step[1], -1)
    grey = blocks.mean(axis=(2, 4, 5), dtype=np.float32).reshape(len(images), -1)
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)


def _split(name, images, labels, class_names, seed):
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
    return Dataset(name, images[train], labels[train], images[test], labels[test], tuple(class_names))


def _download(name, folder):
    # the only use of Keras here: loading a folder needs no TensorFlow
    from deconvlib.backend import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:
        place = Path(folder or "<data_dir>") / name
        raise FileNotFoundError(
            f"{name} is neither in a folder here nor to be downloaded ({error}). Give data_dir, or set DECONVLIB_DATA, to a "
            f"folder with {place / 'train.zip'} and test.zip, {place / 'train' / '<class>'}, or {place}.npz"
        ) from error
    return _from_arrays(name, x_train, y_train, x_test, y_test, DOWNLOADS[name])


def _from_arrays(name, x_train, y_train, x_test, y_test, class_names):
    x_train, x_test = (images[..., None] if images.ndim == 3 else images for images in (x_train, x_test))
    y_train, y_test = y_train.reshape(-1), y_test.reshape(-1)
    if class_names is None:
        class_names = tuple(map(str, range(int(max(y_train.max(), y_test.max())) + 1)))
    return Dataset(name, x_train, y_train, x_test, y_test, tuple(map(str, class_names)))


def _read(name, path, size, seed):
    if path.suffix == ".npz":
        return _read_npz(name, path, seed)
    if path.is_dir() and (path / "train.zip").exists():
        parts = [_Folder(path / f"{part}.zip") for part in ("train", "test") if (path / f"{part}.zip").exists()]
    elif path.is_dir() or zipfile.is_zipfile(path):
        parts = _Folder(path).parts()
    else:
        raise ValueError(f"{path} is neither a folder, a .zip nor an .npz")
    images, labels, names = _decode(parts[0], size)
    if len(parts) == 1:
        return _split(name, images, labels, names, seed)
    x_test, y_test, test_names = _decode(parts[1], size)
    if names != test_names:
        differ = ", ".join(sorted(set(names) ^ set(test_names)))
        raise ValueError(f"the training and test parts of {path} have different classes: {differ} is only in one of them")
    return Dataset(name, images, labels, x_test, y_test, names)


def _read_npz(name, path, seed):
    with np.load(path, allow_pickle=False) as arrays:
        class_names = arrays["class_names"] if "class_names" in arrays else DOWNLOADS.get(name)
        if {"x", "y"} <= set(arrays):
            whole = _from_arrays(name, arrays["x"], arrays["y"], arrays["x"], arrays["y"], class_names)
            return _split(name, whole.x_train, whole.y_train, whole.class_names, seed)
        wanted = ("x_train", "y_train", "x_test", "y_test")
        if not set(wanted) <= set(arrays):
            raise ValueError(f"{path} must hold {', '.join(wanted)}, or x and y; it holds {', '.join(arrays)}")
        return _from_arrays(name, *(arrays[part] for part in wanted), class_names)


class _Folder:
    """The image files below a folder or inside a .zip, by their class: a uniform view of both."""

    def __init__(self, path, below=()):
        self.path, self.below = path, below
        self.archive = zipfile.ZipFile(path) if path.is_file() else None
        if self.archive:
            names = [PurePosixPath(entry.filename) for entry in self.archive.infolist() if not entry.is_dir()]
        else:
            names = [PurePosixPath(file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file()]
        visible = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.parts)]
        self.files = sorted(name for name in visible if name.suffix.lower() in SUFFIXES and name.parts[: len(below)] == below)

    def parts(self):
        """[training, test], or [everything] where there is no such split; a folder that only wraps others is opened."""
        heads = {name.parts[len(self.below)] for name in self.files if len(name.parts) > len(self.below) + 1}
        if {"train", "test"} <= heads:
            return [_Folder(self.path, (*self.below, part)) for part in ("train", "test")]
        deep = all(len(name.parts) > len(self.below) + 2 for name in self.files)
        if len(heads) == 1 and deep and self.files:
            return _Folder(self.path, (*self.below, *heads)).parts()
        return [self]

    def classes(self):
        """One class name for each file: its folder."""
        return [name.parts[len(self.below)] if len(name.parts) > len(self.below) + 1 else "" for name in self.files]

    def read(self, name):
        return self.archive.read(str(name)) if self.archive else (self.path / name).read_bytes()

    def fingerprint(self):
        """Changes with the files' names, sizes and times."""
        stats = [self.path.stat()] if self.archive else [(self.path / name).stat() for name in self.files]
        told = [str(self.path.resolve()), *map(str, self.files), *(f"{s.st_size} {s.st_mtime_ns}" for s in stats)]
        return "\n".join(told)


def _decode(folder, size):
    """(images, labels, class names) of a folder, from the cache where it has been decoded before."""
    classes = folder.classes()
    names = tuple(sorted(set(classes) - {""}))
    if not folder.files:
        raise ValueError(f"{folder.path} holds no images (.png, .jpg, .jpeg)")
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class folders"
        raise ValueError(f"{folder.path} holds {found}; a classifier needs two or more folders of images, one a class")
    kept = [index for index, name in enumerate(classes) if name]
    labels = np.array([names.index(classes[index]) for index in kept])
    key = hashlib.blake2b(f"{folder.fingerprint()}\n{folder.below} {size}".encode(), digest_size=16).hexdigest()
    cache = Path(os.environ.get("DECONVLIB_CACHE") or user_cache_dir("deconvlib")) / f"{key}.npy"
    try:
        images = np.load(cache, allow_pickle=False)
        if len(images) == len(kept):
            return images, labels, names
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or cut short: decoded anew
    files = [folder.files[index] for index in kept]
    images = _stack(folder, files, size)
    _store(cache, images)
    return images, labels, names


def _store(cache, images):
    part = cache.with_suffix(f".{os.getpid()}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, images)
        part.replace(cache)
    except OSError:
        part.unlink(missing_ok=True)  # a full or read-only disk costs time next time, nothing else


def _stack(folder, files, size):
    def decode(name, payload):
        try:
            image = Image.open(io.BytesIO(payload))
            image.load()
        except Exception as error:
            raise ValueError(f"{folder.path}: {name} is not a readable image ({error})") from error
        if image.mode not in ("L", "RGB"):
            image = image.convert("L" if image.mode in ("1", "LA", "I", "I;16") else "RGB")
        return image if size is None else image.resize(size[::-1], Image.Resampling.LANCZOS)

    with ThreadPoolExecutor() as pool:
        # an archive is read by one thread: zipfile locks
        decoded = pool.map(decode, files, (folder.read(name) for name in files))
        progress = tqdm(decoded, total=len(files), desc=f"decoding {folder.path.name}", unit="image", delay=2, leave=False)
        images = list(progress)
    sizes = {image.size: name for image, name in zip(images, files, strict=True)}
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise ValueError(
            f"images differ in size: {one} is {first[1]} × {first[0]}, {other} {second[1]} × {second[0]} pixels; "
            "pass image_size=(height, width)"
        )
    colour = any(image.mode == "RGB" for image in images)
    arrays = [np.asarray(image.convert("RGB") if colour else image) for image in images]
    return np.stack(arrays).reshape(len(arrays), *arrays[0].shape[:2], -1)


def _draw(count, rng):
    """`count` images, labels and masks of shapes, in chunks that keep memory small."""
    labels = rng.permutation(np.arange(count) % len(SHAPES))
    images, masks = np.empty((count, 32, 32, 3), np.uint8), np.empty((count, 32, 32), bool)
    for start in range(0, count, 500):
        here = slice(start, start + 500)
        images[here], masks[here] = _draw_chunk(labels[here], rng)
    return images, labels, masks


def _draw_chunk(labels, rng):
    n = len(labels)
    radius = rng.uniform(8, 14, n)
    centre = rng.uniform(np.minimum(radius, 15.9), np.maximum(32 - radius, 16.1), (2, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    grid = (np.arange(64) + 0.5) / 2  # two samples a pixel: edges are smooth
    v, u = (grid[None, :, None] - centre[0][:, None, None]), (grid[None, None, :] - centre[1][:, None, None])
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = (cos * u + sin * v) / radius[:, None, None], (cos * v - sin * u) / radius[:, None, None]
    inside = np.empty((n, 64, 64), bool)
    for label, name in enumerate(SHAPES):
        inside[labels == label] = _inside(name, u[labels == label], v[labels == label])
    cover = inside.reshape(n, 32, 2, 32, 2).mean(axis=(2, 4), dtype=np.float32)[..., None]
    ground, colour = _colours(n, rng)
    texture = _texture(n, rng)
    image = (ground[:, None, None] + texture[..., None]) * (1 - cover) + colour[:, None, None] * cover
    image += rng.normal(0, 0.03, image.shape)
    return np.clip(image * 255, 0, 255).astype(np.uint8), cover[..., 0] > 0.5


def _inside(name, u, v):
    """Where a shape of radius 1 at the origin covers the point (u, v)."""
    r = np.hypot(u, v)
    if name == "disk":
        return r < 0.85
    if name == "ring":
        return (r < 0.95) & (r > 0.55)
    if name == "square":
        return np.maximum(abs(u), abs(v)) < 0.75
    if name == "triangle":
        return (v < 0.55) & (abs(u) * np.sqrt(3) - v < 1.05)
    if name == "cross":
        return (np.minimum(abs(u), abs(v)) < 0.27) & (np.maximum(abs(u), abs(v)) < 0.95)
    if name == "star":
        # within a tenth of the circle, from a tip at radius 1 to a notch at radius 0.45, the edge is a straight line
        turn = abs((np.arctan2(u, -v) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        notch = 0.45 * np.cos(np.pi / 5) - 1, 0.45 * np.sin(np.pi / 5)
        return notch[0] * r * np.sin(turn) - notch[1] * (r * np.cos(turn) - 1) > 0
    if name == "crescent":
        return (r < 0.95) & (np.hypot(u - 0.45, v) > 0.75)
    if name == "heart":
        a, b = 1.25 * u, -1.25 * v + 0.1
        return (a**2 + b**2 - 0.8) ** 3 < 1.2 * a**2 * b**3
    if name == "arrow":
        shaft = (abs(u) < 0.2) & (v > -0.1) & (v < 0.95)
        return shaft | ((v <= 0.0) & (abs(u) < (v + 0.95) * 0.8))
    return (abs(u) < 0.85) & (abs(abs(v) - 0.48) < 0.24)  # bars


def _colours(n, rng):
    """Colours of ground and object, (n, 3) in [0, 1], that differ enough to be seen."""
    ground, colour = rng.uniform(0.15, 0.85, (2, n, 3)).astype(np.float32)
    apart = colour - ground
    distance = np.linalg.norm(apart, axis=1, keepdims=True)
    colour = ground + apart / np.maximum(distance, 1e-3) * np.maximum(distance, 0.6)
    return ground, np.clip(colour, 0, 1)


def _texture(n, rng):
    """A sum of three random waves, (n, 32, 32)."""
    v, u = np.mgrid[:32, :32].astype(np.float32)
    texture = np.zeros((n, 32, 32), np.float32)
    for _ in range(3):
        frequency = rng.uniform(-1.2, 1.2, (2, n, 1, 1)).astype(np.float32)
        phase, strength = rng.uniform(0, 2 * np.pi, (n, 1, 1)), rng.uniform(0.01, 0.05, (n, 1, 1))
        texture += strength * np.sin(frequency[0] * u + frequency[1] * v + phase)
    return texture
