"""Names, folders and archives -> Dataset: images, integer labels, class names."""

import contextlib
import copy
import difflib
import hashlib
import io
import numbers
import os
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from platformdirs import user_cache_dir

from deconvlib import progress

# scikit-learn, pandas and Keras are imported where they are used: each takes a second or more
if TYPE_CHECKING:
    import pandas as pd

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest
    fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit
    raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
    sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
    worm""".split()
)
DOWNLOADS = {"cifar10": CIFAR10, "cifar100": CIFAR100, "mnist": DIGITS, "fashion_mnist": FASHION}
NAMES = ("shapes", "digits", *DOWNLOADS)
SHAPES = ("disk", "ring", "square", "triangle", "cross", "star", "crescent", "heart", "arrow", "bars")
SUFFIXES = (".png", ".jpg", ".jpeg")


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
        for part, images, masks in (
            ("training", self.x_train, self.masks_train),
            ("test", self.x_test, self.masks_test),
        ):
            if masks is not None and (masks.dtype != bool or masks.shape != images.shape[:3]):
                shape = f"{masks.dtype} of shape {masks.shape}"
                raise ValueError(f"{part} masks must be bool {images.shape[:3]}, one an image, not {shape}")
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

    def take(self, train: int | None = None, test: int | None = None, seed: int = 0) -> "Dataset":
        """A random subset of so many training and test images; None keeps all. Raises ValueError where there are fewer."""
        for part, wanted, labels in (("training", train, self.y_train), ("test", test, self.y_test)):
            if wanted is not None and not 1 <= wanted <= len(labels):
                raise ValueError(f"{wanted} {part} images asked of {self.name}, which has {len(labels)}")
        rng = np.random.default_rng(seed)
        # both are drawn, whatever is asked: the training images must not depend on how many test images are kept
        in_test, in_train = (rng.permutation(len(labels)) for labels in (self.y_test, self.y_train))
        subset = self
        if test is not None:
            chosen = in_test[:test]
            masks = None if self.masks_test is None else self.masks_test[chosen]
            subset = replace(self, x_test=self.x_test[chosen], y_test=self.y_test[chosen], masks_test=masks)
        return subset if train is None else subset._train(in_train[:train])

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
        steps = max(self.num_classes - 1, 1)
        # divided, not multiplied by a negative power: 4900 * 49**-1.0 is a little less than 100
        sizes = [max(int(largest / imbalance ** (k / steps)), 1) for k in range(self.num_classes)]
        return self._of_each_class(sizes, seed)

    def hold_out(self, share: float, seed: int = 0) -> "Dataset":
        """A dataset whose test images are that share of the training images, every class in proportion; the rest trains.

        What is chosen by it, a learning rate for one, has not seen the test images. Raises ValueError for a class of one image.
        """
        from sklearn.model_selection import train_test_split

        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, not {share}")
        numbers = np.arange(len(self.y_train))
        kept, held = train_test_split(numbers, test_size=share, stratify=self.y_train, random_state=seed)
        masks = None if self.masks_train is None else self.masks_train[held]
        return replace(self._train(kept), x_test=self.x_train[held], y_test=self.y_train[held], masks_test=masks)

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
    and may hold class_names. image_size: side, or (height, width), in pixels, to which images are brought; must be given
    where they differ. Images are grey, one channel, where all are stored so, else RGB; 16-bit values keep their upper 8.

    Decoded folders and archives are kept in a cache, in the folder DECONVLIB_CACHE where that is set.

    Raises ValueError for an unknown name, a folder without two classes, images of several sizes, a corrupt image (named);
    FileNotFoundError where neither a file nor a download is to be had.
    """
    size = _size(image_size)
    dataset = _find(name, data_dir, size, seed)
    return dataset if size in (None, dataset.image_shape[:2]) else _resized(dataset, size)


def _size(image_size):
    """(height, width), or None for None. Raises ValueError for what is neither a side nor a pair."""
    size = (image_size, image_size) if isinstance(image_size, numbers.Integral) else image_size
    if size is None:
        return None
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not pair or not all(isinstance(side, numbers.Integral) and side > 0 for side in size):
        raise ValueError(f"image_size must be a side or (height, width) in whole pixels, not {image_size!r}")
    return int(size[0]), int(size[1])


def _find(name, data_dir, size, seed):
    path = Path(name).expanduser()
    if name == "shapes":
        return shapes(seed=seed)
    if name == "digits":
        from sklearn.datasets import load_digits

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


class Sample(NamedTuple):
    """Some images of a collection, for a model that is there already.

    images: uint8 (n, height, width, channels). labels: integers (n,), numbers of `class_names`; None, and no names, where
    the collection has no classes. source: each image's file, or its number in its array or data set.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    source: tuple[str, ...]


def sample(
    name: str | Path, image_shape: tuple[int, int, int], count: int, data_dir: str | Path | None = None, seed: int = 0
) -> Sample:
    """`count` random images of a collection, or all where it has fewer, brought to `image_shape`, in the collection's order.

    name: a folder or .zip of images, with or without a folder for each class (of train and test parts the test part); an
    .npz with x and y, or x_test and y_test, or x alone; an .npy of images; or a name that `load` knows, of whose test images
    they are. Arrays are uint8, or floats in [0, 1]. Only what is drawn is decoded; it is resized (Pillow, antialiased) to
    the height and width whatever its own proportions, and its colours become grey, or grey becomes RGB, as the channels say.

    Raises ValueError for what holds no images, a corrupt image (named), and as `load` does.
    """
    height, width, channels = image_shape
    path = Path(name).expanduser()
    if count < 1 or channels not in (1, 3):
        raise ValueError(f"{count} images of {channels} channels asked; ask for 1 or more, of 1 or 3 channels")
    if str(name) in NAMES or not path.exists():
        dataset = load(name, data_dir=data_dir, seed=seed)
        images, labels, class_names = dataset.x_test, dataset.y_test, dataset.class_names
    elif path.suffix in (".npy", ".npz"):
        images, labels, class_names = _arrays(path)
    else:
        folder = _Folder(path).parts()[-1]
        images = [file for file in folder.images() if "/" in file] or folder.images()
        classes = [file.partition("/")[0] for file in images if "/" in file]
        class_names = tuple(sorted(set(classes)))
        number = {one: label for label, one in enumerate(class_names)}
        labels = np.array([number[one] for one in classes]) if classes else None
    if not len(images):
        raise ValueError(f"{name} holds no images ({', '.join(SUFFIXES)})")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:count])
    source = tuple(images[i] if isinstance(images, list) else str(i) for i in chosen)
    images = _stack(folder, source, (height, width)) if isinstance(images, list) else images[chosen]
    images = images if images.shape[1:3] == (height, width) else _scale(images, (height, width))
    if channels == 1 and images.shape[-1] == 3:
        images = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[..., None]
    elif images.shape[-1] != channels:
        images = np.repeat(images, channels, axis=-1)
    return Sample(images, None if labels is None else labels[chosen], class_names, source)


def _arrays(path):
    """(images, labels or None, class names) of an .npy or .npz."""
    try:
        held = np.load(path, allow_pickle=False)
        held = {"x": held} if isinstance(held, np.ndarray) else {key: held[key] for key in held}
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    suffix = "_test" if "x_test" in held else ""
    images, labels = held.get(f"x{suffix}"), held.get(f"y{suffix}")
    if images is None:
        raise ValueError(f"{path} must hold images as x, or x_test; it holds {', '.join(held)}")
    images = images[..., None] if images.ndim == 3 else images
    if np.issubdtype(images.dtype, np.floating) and images.size and images.min() >= 0 and images.max() <= 1:
        images = np.round(images * 255).astype(np.uint8)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"{path}: images must be uint8, or floats in [0, 1], (n, height, width, 1 or 3), not {images.dtype} of shape "
            f"{images.shape}"
        )
    if labels is None or not len(images):
        return images, None, ()
    whole = _from_arrays(path.stem, images, labels, images, labels, held.get("class_names"))
    return images, whole.y_test, whole.class_names


def shapes(train: int = 10_000, test: int = 2_000, seed: int = 0) -> Dataset:
    """Generated images of ten shapes, 32 × 32 RGB, with the mask of the object.

    Place, size (20 to 28 pixels across), rotation and both colours are random; the ground is a random texture, and every
    pixel has noise. Colour and place say nothing of the class: logistic regression on the pixels tests at 18 %. Training and
    test images come from independent streams of `seed`.
    """
    parts = [_draw(count, np.random.default_rng([seed, part])) for part, count in enumerate((train, test))]
    (x_train, y_train, masks_train), (x_test, y_test, masks_test) = parts
    return Dataset("shapes", x_train, y_train, x_test, y_test, SHAPES, masks_train, masks_test)


@dataclass(frozen=True)
class Scenes:
    """Training and test images, and what is at each of their pixels.

    x_train, x_test: uint8 (n, height, width, channels). y_train, y_test: uint8 (n, height, width), numbers of `class_names`.

    Raises ValueError for arrays that disagree, and for a number out of range.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self):
        for part, images, masks in (("training", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
                raise ValueError(f"{part} images must be uint8 (n, height, width, channels), not {images.dtype} {images.shape}")
            if masks.dtype != np.uint8 or masks.shape != images.shape[:3]:
                raise ValueError(f"{part} masks must be uint8 {images.shape[:3]}, not {masks.dtype} of shape {masks.shape}")
            if masks.max() >= len(self.class_names):
                raise ValueError(
                    f"a {part} mask holds {masks.max()}; the classes have the numbers 0 to {len(self.class_names) - 1}"
                )

    def __repr__(self):
        size = " × ".join(map(str, self.x_train.shape[1:]))
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test images of {size}, "
            f"{len(self.class_names)} classes of pixels"
        )


def scenes(train: int = 2000, test: int = 400, objects: int = 3, side: int = 48, seed: int = 0) -> Scenes:
    """Generated images of several shapes, side × side RGB; class 0 is the ground, class 1 + k the shape k of SHAPES.

    Each scene has `objects` of them, of random shape, place, rotation and colour, a third to just under half of `side` across;
    later ones stand before earlier ones. Ground and noise as in `shapes`; training and test scenes come from independent
    streams of `seed`. Raises ValueError for numbers below 1, or a side below 16.
    """
    if min(train, test, objects) < 1 or side < 16:
        raise ValueError(
            f"{train} and {test} scenes of {objects} objects, {side} pixels wide: numbers from 1, sides from 16 work"
        )
    parts = [_compose(count, objects, side, np.random.default_rng([seed, part, 1])) for part, count in enumerate((train, test))]
    return Scenes("scenes", *parts[0], *parts[1], ("ground", *SHAPES))


def load_scenes(path: str | Path, image_size: int | tuple[int, int] | None = None, seed: int = 0) -> Scenes:
    """Images and masks of a folder or .zip: images/*.png or *.jpg, and masks/*.png of the same names.

    A mask's pixels are grey values or colours; each that occurs in any mask is a class, in ascending order. A fifth is split
    off for testing, by `seed`. image_size: as for `load`; masks are brought to it by the nearest pixel.

    Raises ValueError for an image without a mask, a corrupt file (named), sizes that differ, fewer than 5 images, and masks
    that hold one value or more than 256; FileNotFoundError where there is no such folder.
    """
    path, size = Path(path).expanduser(), _size(image_size)
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or .zip {path}")
    folder = _Folder(path)
    below = {kind: [name for name in folder.images() if name.startswith(f"{kind}/")] for kind in ("images", "masks")}
    masks = {Path(name).stem: name for name in below["masks"] if name.lower().endswith(".png")}
    if lacking := [name for name in below["images"] if Path(name).stem not in masks]:
        raise ValueError(f"{path}: {lacking[0]} has no mask; masks/ must hold a .png of the same name")
    if len(below["images"]) < 5:
        raise ValueError(f"{path} holds {len(below['images'])} images in images/; give 5 or more, each with its mask in masks/")
    images = _stack(folder, below["images"], size)
    painted = _stack(folder, [masks[Path(name).stem] for name in below["images"]], size, Image.Resampling.NEAREST)
    if painted.shape[:3] != images.shape[:3]:
        raise ValueError(f"images of {path} are {images.shape[1:3]}, masks {painted.shape[1:3]}; give image_size")
    values, numbers = np.unique(painted.reshape(-1, painted.shape[3]), axis=0, return_inverse=True)
    if not 2 <= len(values) <= 256:
        raise ValueError(
            f"the masks of {path} hold {len(values)} values, not 2 to 256: save them with 8 bits, without blur or JPEG"
        )
    masks = numbers.reshape(painted.shape[:3]).astype(np.uint8)
    names = tuple(str(value[0]) if len(value) == 1 else "#{:02x}{:02x}{:02x}".format(*value) for value in values)
    order = np.random.default_rng(seed).permutation(len(images))
    test, train = np.split(order, [len(images) // 5])
    return Scenes(path.stem, images[train], masks[train], images[test], masks[test], names)


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each channel, in [0, 1]. images: uint8 (n, height, width, channels)."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for start in range(0, len(images), 1000):  # bincount widens what it counts to 8 bytes
        for channel, count in enumerate(counts):
            count += np.bincount(images[start : start + 1000, ..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = np.array([np.average(values, weights=count) for count in counts])
    variance = [np.average((values - m) ** 2, weights=count) for count, m in zip(counts, mean, strict=True)]
    return mean, np.sqrt(variance)


def near_duplicates(dataset: Dataset, threshold: float = 0.96) -> "pd.DataFrame":
    """Each test image's nearest training image, where the two are as good as the same: train, test, similarity.

    Similarity is the correlation of their grey thumbnails of about 16 × 16; rows from `threshold` on, most similar first.
    The default is strict. On CIFAR-10, judged by eye on 80 of its 117 pairs above 0.96, about six in seven are one photograph
    or one product shot, the rest mostly ships on plain sea; at 0.93 to 0.95 fewer than half are. It misses twins that were
    cropped or moved: 1.2 % of the test images, where Barz & Denzler (2020, "Do we train on test data?") report 3.3 %.
    """
    import pandas as pd

    train, test = _thumbnails(dataset.x_train), _thumbnails(dataset.x_test)
    nearest, similarity = np.empty(len(test), int), np.empty(len(test), np.float32)
    for start in range(0, len(test), 500):
        here = slice(start, start + 500)
        scores = test[here] @ train.T
        nearest[here], similarity[here] = scores.argmax(axis=1), scores.max(axis=1)
    table = pd.DataFrame({"train": nearest, "test": np.arange(len(test)), "similarity": similarity})
    table = table[table["similarity"] >= threshold]
    return table.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def by_similarity(images: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Numbers of `images`, the one most like `image` first, by the correlation of grey thumbnails as in `near_duplicates`."""
    return np.argsort(-(_thumbnails(images) @ _thumbnails(image[None])[0]), kind="stable")


def _thumbnails(images):
    step = max(1, images.shape[1] // 16), max(1, images.shape[2] // 16)
    rows, columns = images.shape[1] // step[0], images.shape[2] // step[1]
    images = images[:, : rows * step[0], : columns * step[1]]
    blocks = images.reshape(len(images), rows, step[0], columns, step[1], -1)
    grey = blocks.mean(axis=(2, 4, 5), dtype=np.float32).reshape(len(images), -1)
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)


def _resized(dataset, size):
    """The data set with images (Pillow, antialiased) and masks of size (height, width)."""
    masks = [
        None if masks is None else _scale(masks[..., None] * np.uint8(255), size)[..., 0] > 127
        for masks in (dataset.masks_train, dataset.masks_test)
    ]
    x_train, x_test = _scale(dataset.x_train, size), _scale(dataset.x_test, size)
    return replace(dataset, x_train=x_train, x_test=x_test, masks_train=masks[0], masks_test=masks[1])


def _scale(images, size):
    channels = [
        [Image.fromarray(image[..., c]).resize(size[::-1], Image.Resampling.LANCZOS) for image in images]
        for c in range(images.shape[-1])
    ]
    return np.stack([np.stack([np.asarray(image) for image in channel]) for channel in channels], axis=-1)


def _split(name, images, labels, class_names, seed):
    from sklearn.model_selection import train_test_split

    # the whole set in both parts: labels are checked before scikit-learn sees them
    whole = Dataset(name, images, labels, images, labels, tuple(class_names))
    counts = np.bincount(labels, minlength=whole.num_classes)
    fewest = counts.argmin()
    if counts[fewest] < 2 or len(labels) <= 5 * (whole.num_classes - 1):
        raise ValueError(
            f"{name} has no test part and too few images to split: {len(labels)} in {whole.num_classes} classes, "
            f"{counts[fewest]} of {whole.class_names[fewest]!r}; give 5 or more of each class, or a train and a test folder"
        )
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
    return replace(whole, x_train=images[train], y_train=labels[train], x_test=images[test], y_test=labels[test])


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
    y_train, y_test = (labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels for labels in (y_train, y_test))
    if class_names is None:
        known = [labels.max(initial=0) for labels in (y_train, y_test) if np.issubdtype(labels.dtype, np.integer)]
        class_names = range(int(max(known, default=0)) + 1)
    return Dataset(name, x_train, y_train, x_test, y_test, tuple(map(str, class_names)))


def _read(name, path, size, seed):
    if path.suffix == ".npz":
        return _read_npz(name, path, seed)
    if (path / "train.zip").exists():
        archives = [path / f"{part}.zip" for part in ("train", "test") if (path / f"{part}.zip").exists()]
        parts = [_Folder(archive).parts()[0] for archive in archives]
    else:
        parts = _Folder(path).parts()
    images, labels, names = _decode(parts[0], size)
    if len(parts) == 1:
        return _split(name, images, labels, names, seed)
    x_test, y_test, test_names = _decode(parts[1], size)
    if names != test_names:
        differ = ", ".join(map(repr, sorted(set(names) ^ set(test_names))))
        raise ValueError(f"the training and test parts of {path} have different classes: only one of them has {differ}")
    channels = max(images.shape[-1], x_test.shape[-1])  # one part may be grey where the other has colour
    images, x_test = (x if x.shape[-1] == channels else np.repeat(x, channels, axis=-1) for x in (images, x_test))
    return Dataset(name, images, labels, x_test, y_test, names)


def _read_npz(name, path, seed):
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file (or it is cut short); make one with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                key: file[key] for key in ("x_train", "y_train", "x_test", "y_test", "x", "y", "class_names") if key in file
            }
            held = ", ".join(file)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    class_names = arrays.get("class_names", DOWNLOADS.get(name))
    parts = [key for key in ("x_train", "y_train", "x_test", "y_test") if key in arrays]
    if len(parts) == 4:
        return _from_arrays(name, *(arrays[key] for key in parts), class_names)
    if "x" in arrays and "y" in arrays:
        whole = _from_arrays(name, arrays["x"], arrays["y"], arrays["x"], arrays["y"], class_names)
        return _split(name, whole.x_train, whole.y_train, whole.class_names, seed)
    raise ValueError(f"{path} must hold x_train, y_train, x_test, y_test, or x and y; it holds {held}")


class _Folder:
    """The files below a folder or inside a .zip: one view of both. Hidden files are left out."""

    def __init__(self, path):
        self.path, self.below = path, ""
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is not a folder, a .zip or an .npz (or it is cut short); images go in a folder a class")
        if path.is_file():
            with zipfile.ZipFile(path) as archive:  # some tools write .\\cat\\1.png, or ./cat/1.png
                raw = {name.replace("\\", "/").removeprefix("./"): name for name in archive.namelist()}
        else:
            raw = {}
            for root, folders, files in os.walk(path, followlinks=True):
                inside = Path(root).relative_to(path).as_posix() + "/"
                for name in (*files, *(f"{folder}/" for folder in folders)):
                    raw[(inside + name).removeprefix("./")] = inside + name
        visible = (
            name for name in raw if not name.startswith((".", "__MACOSX")) and "/." not in name and "/__MACOSX" not in name
        )
        self.names = {name: raw[name] for name in sorted(visible)}  # relative to `below` -> relative to `path`

    def __str__(self):
        return str(self.path / self.below)

    def images(self):
        return [name for name in self.names if name.lower().endswith(SUFFIXES)]

    def parts(self):
        """[training, test], or [everything] where there is no such split; a folder that only wraps others is opened."""
        heads = {name.partition("/")[0] for name in self.names if "/" in name}
        if {"train", "test"} <= heads:
            return [self._inside("train"), self._inside("test")]
        images = self.images()
        if len(heads) == 1 and images and all(name.count("/") > 1 for name in images):
            return self._inside(*heads).parts()
        return [self]

    def _inside(self, head):
        start = f"{head}/"
        inner = copy.copy(self)  # of the same listing: an archive's 50,000 names are read once
        inner.below += start
        inner.names = {name[len(start) :]: raw for name, raw in self.names.items() if name.startswith(start) and name != start}
        return inner

    @contextlib.contextmanager
    def reader(self):
        """A function from a file's name to its bytes."""
        if self.path.is_dir():
            yield lambda name: (self.path / self.names[name]).read_bytes()
        else:
            with zipfile.ZipFile(self.path) as archive:
                yield lambda name: archive.read(self.names[name])

    def fingerprint(self, files):
        """Changes with the files' names, sizes and times."""
        stats = [(self.path / self.names[name]).stat() for name in files] if self.path.is_dir() else [self.path.stat()]
        return "\n".join([str(self.path.resolve()), self.below, *files, *(f"{s.st_size} {s.st_mtime_ns}" for s in stats)])


def _decode(folder, size):
    """(images, labels, class names) of a folder, from the cache where it has been decoded before."""
    files = [name for name in folder.images() if "/" in name]
    classes = [name.partition("/")[0] for name in files]
    names = tuple(sorted(set(classes)))
    if not folder.images():
        raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    empty = sorted({name.partition("/")[0] for name in folder.names if "/" in name} - set(names))
    if names and empty:
        raise ValueError(f"{folder}: the class folder {empty[0]!r} holds no images ({', '.join(SUFFIXES)}); fill or remove it")
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class folders"
        raise ValueError(f"{folder} holds {found}; a classifier needs two or more folders of images, one a class")
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[name] for name in classes])
    key = hashlib.blake2b(f"{folder.fingerprint(files)}\n{size}".encode(errors="surrogateescape"), digest_size=16).hexdigest()
    cache = Path(os.environ.get("DECONVLIB_CACHE") or user_cache_dir("deconvlib")) / f"{key}.npy"
    with contextlib.suppress(Exception):  # not there yet, cut short, or not an array at all: decoded anew
        with cache.open("rb") as file:
            images = np.load(file, allow_pickle=False)
        if images.dtype == np.uint8 and images.ndim == 4 and len(images) == len(files):
            return images, labels, names
    images = _stack(folder, files, size)
    _store(cache, images)
    return images, labels, names


def _store(cache, images):
    part = cache.with_suffix(f".{uuid.uuid4().hex}.part")
    with contextlib.suppress(OSError):  # a full or read-only disk costs time next time, nothing else
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.save(file, images)
            os.replace(part, cache)
        finally:
            part.unlink(missing_ok=True)


def _stack(folder, files, size, resampling=Image.Resampling.LANCZOS):
    """The images `files` in one array (n, height, width, channels)."""

    def decode(name):
        try:
            image = Image.open(io.BytesIO(read(name)))
            if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion makes all above 255 white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode not in ("L", "RGB"):
                image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
            return np.asarray(image if size is None else image.resize(size[::-1], resampling))
        except Exception as error:
            raise ValueError(f"{folder.path}: {folder.names[name]} is not a readable image ({error})") from error

    with folder.reader() as read, ThreadPoolExecutor() as pool:
        decoded = pool.map(decode, files)
        images = list(progress.steps(decoded, f"decoding {folder.path.name}", "image", len(files)))
    seen = {}
    for image, name in zip(images, files, strict=True):
        seen.setdefault(image.shape[:2], name)
    if len(seen) > 1:
        (first, one), (second, other) = list(seen.items())[:2]
        raise ValueError(
            f"images of {folder} differ in size: {one} is {first[0]} × {first[1]}, {other} {second[0]} × {second[1]} pixels; "
            "pass image_size=(height, width)"
        )
    channels = 3 if any(image.ndim == 3 for image in images) else 1
    stacked = np.empty((len(images), *images[0].shape[:2], channels), np.uint8)
    for index, image in enumerate(images):
        stacked[index] = image if image.ndim == 3 else image[..., None]
    return stacked


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
    radius = rng.uniform(10, 14, n)
    centre = rng.uniform(np.minimum(radius, 15.9), np.maximum(32 - radius, 16.1), (2, n))
    cover = _cover(labels, radius, centre, rng.uniform(0, 2 * np.pi, n), 32)[..., None]
    ground, colour = _colours(n, rng)
    texture = _texture(n, 32, rng)
    image = (ground[:, None, None] + texture[..., None]) * (1 - cover) + colour[:, None, None] * cover
    image += rng.normal(0, 0.02, image.shape)
    return np.clip(image * 255, 0, 255).astype(np.uint8), cover[..., 0] > 0.5


def _compose(count, objects, side, rng):
    """`count` images of several shapes, and the class of each pixel, in chunks that keep memory small."""
    images, classes = np.empty((count, side, side, 3), np.uint8), np.zeros((count, side, side), np.uint8)
    for start in range(0, count, 200):
        here = slice(start, min(start + 200, count))
        n = here.stop - start
        ground = rng.uniform(0.05, 0.95, (n, 3)).astype(np.float32)
        image = ground[:, None, None] + _texture(n, side, rng)[..., None]
        for _ in range(objects):
            labels, radius = rng.integers(len(SHAPES), size=n), rng.uniform(side / 6, side / 4.2, n)
            cover = _cover(labels, radius, rng.uniform(radius, side - radius, (2, n)), rng.uniform(0, 2 * np.pi, n), side)
            colour = _unlike(ground, rng)
            image = image * (1 - cover[..., None]) + colour[:, None, None] * cover[..., None]
            classes[here] = np.where(cover > 0.5, labels[:, None, None] + 1, classes[here])
        image += rng.normal(0, 0.02, image.shape)
        images[here] = np.clip(image * 255, 0, 255).astype(np.uint8)
    return images, classes


def _cover(labels, radius, centre, angle, side):
    """Share of each pixel that a shape covers, (n, side, side); centre: (2, n), row and column, in pixels as radius is."""
    n = len(labels)
    grid = (np.arange(2 * side) + 0.5) / 2  # two samples a pixel: edges are smooth
    v, u = (grid[None, :, None] - centre[0][:, None, None]), (grid[None, None, :] - centre[1][:, None, None])
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = (cos * u + sin * v) / radius[:, None, None], (cos * v - sin * u) / radius[:, None, None]
    inside = np.empty((n, 2 * side, 2 * side), bool)
    for label, name in enumerate(SHAPES):
        inside[labels == label] = _inside(name, u[labels == label], v[labels == label])
    return inside.reshape(n, side, 2, side, 2).mean(axis=(2, 4), dtype=np.float32)


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
    """Colours of ground and object, (n, 3) in [0, 1], 0.9 or more apart, so that the object is seen."""
    ground, colour = rng.uniform(0.05, 0.95, (2, n, 3)).astype(np.float32)
    # drawn again, not pushed apart: clipping to [0, 1] would bring them together again
    while (near := np.linalg.norm(colour - ground, axis=1) < 0.9).any():
        ground[near], colour[near] = rng.uniform(0.05, 0.95, (2, near.sum(), 3))
    return ground, colour


def _unlike(ground, rng):
    """Colours 0.5 or more from those of the ground."""
    colour = rng.uniform(0, 1, ground.shape).astype(np.float32)
    while (near := np.linalg.norm(colour - ground, axis=1) < 0.5).any():
        colour[near] = rng.uniform(0, 1, (near.sum(), 3))
    return colour


def _texture(n, side, rng):
    """A sum of three random waves, (n, side, side)."""
    v, u = np.mgrid[:side, :side].astype(np.float32)
    texture = np.zeros((n, side, side), np.float32)
    for _ in range(3):
        frequency = rng.uniform(-1.2, 1.2, (2, n, 1, 1)).astype(np.float32)
        phase, strength = rng.uniform(0, 2 * np.pi, (n, 1, 1)), rng.uniform(0.01, 0.03, (n, 1, 1))
        texture += strength * np.sin(frequency[0] * u + frequency[1] * v + phase)
    return texture
