"""Images and labels: what the loaders return."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from deconvlib import allowed, checks, disk


@dataclass(frozen=True, repr=False)
class _Images:
    """Training and test images, and what `y_train` and `y_test` say of them, in numbers of `class_names`."""

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self):
        for part, images, labels in (("training", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if images.dtype != np.uint8 or images.ndim != 4:
                raise ValueError(f"{part} images must be uint8 (n, height, width, channels), not {_form(images)}")
            if not len(images):
                raise ValueError(f"{self.name}: there are no {part} images")
            self._check_labels(part, images, labels)
            wrong = np.argwhere((labels < 0) | (labels >= self.num_classes))
            if len(wrong):
                place, value, count = ", ".join(map(str, wrong[0])), labels[tuple(wrong[0])], self.num_classes
                raise ValueError(f"{part} label {place} is {value}; the {count} classes have the numbers 0 to {count - 1}")
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
        size, of = " × ".join(map(str, self.image_shape)), f"{self.num_classes} classes"
        return f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test images of {size}, {of}"


@dataclass(frozen=True, repr=False)
class Dataset(_Images):
    """Training and test images with their labels.

    x_train, x_test: uint8 (n, height, width, channels). y_train, y_test: integers (n,), numbers of `class_names`.
    masks_train, masks_test: bool (n, height, width), True on the object; None if it is not known.
    Images that `load` has left in a file are a numpy.memmap or `disk.Rows`. What is taken of them is `disk.Rows`, or an array
    in memory where it has fewer than disk.LARGE bytes. Both are indexed as an array is; numpy.asarray reads all.
    Raises ValueError for arrays that disagree, and for a label out of range.
    """

    masks_train: np.ndarray | None = None
    masks_test: np.ndarray | None = None

    def __post_init__(self):
        super().__post_init__()
        for part, images, masks in (("training", self.x_train, self.masks_train), ("test", self.x_test, self.masks_test)):
            if masks is not None and (masks.dtype != bool or masks.shape != images.shape[:3]):
                raise ValueError(f"{part} masks must be bool {images.shape[:3]}, one an image, not {_form(masks)}")

    def _check_labels(self, part, images, labels):
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{part} labels must be {len(images)} integers, one an image, not {_form(labels)}")

    def class_counts(self) -> np.ndarray:
        """Training images of each class, (classes,)."""
        return np.bincount(self.y_train, minlength=self.num_classes)

    def take(self, train: int | None = None, test: int | None = None, seed: int = 0) -> "Dataset":
        """A random subset of so many training and test images; None keeps all. Where there are fewer, all; a line says so."""
        for part, wanted, labels in (("training", train, self.y_train), ("test", test, self.y_test)):
            if wanted is not None and wanted < 1:
                raise ValueError(f"{wanted} {part} images asked of {self.name}: ask for 1 or more")
            if wanted is not None and wanted > len(labels):
                print(f"{self.name}: {wanted} {part} images asked, all {len(labels)} taken", flush=True)
        allowed.check(seed=seed)
        rng = np.random.default_rng(seed)
        # draw both in any case: the training images must not depend on how many test images are kept
        in_test, in_train = (rng.permutation(len(labels)) for labels in (self.y_test, self.y_train))
        subset = self if test is None else self._only("test", in_test[:test])
        return subset if train is None else subset._only("train", in_train[:train])

    def take_per_class(self, n: int, seed: int = 0) -> "Dataset":
        """Few labels: n random training images of each class. Of a class with fewer, all; a line says so."""
        if n < 1:
            raise ValueError(f"{n} training images of each class asked of {self.name}: ask for 1 or more")
        sizes = self.class_counts()
        if fewer := np.count_nonzero(sizes < n):
            least = f"down to {sizes.min()} of {self.class_names[sizes.argmin()]!r}"
            said = f"fewer in {fewer} of {self.num_classes} classes, {least}: all of theirs are taken"
            print(f"{self.name}: {n} training images a class asked; {said}", flush=True)
        return self._of_each_class([n] * self.num_classes, seed)

    def take_classes(self, names: list[str]) -> "Dataset":
        """The images of these classes alone, which have the numbers 0, 1, ... in the order of `names`.

        Raises ValueError for fewer than two, one that is named twice, or one that is not here.
        """
        numbers = [self.class_names.index(checks.known("class", name, self.class_names)) for name in names]
        if len(set(numbers)) < max(2, len(numbers)):
            raise ValueError(f"take two or more different classes, not {list(names)}")
        renumbered = np.full(self.num_classes, -1)
        renumbered[numbers] = range(len(numbers))
        kept = self._only("train", np.isin(self.y_train, numbers))._only("test", np.isin(self.y_test, numbers))
        labels = {name: renumbered[getattr(kept, name)] for name in ("y_train", "y_test")}
        return replace(kept, class_names=tuple(names), **labels)

    def long_tail(self, imbalance: float, seed: int = 0) -> "Dataset":
        """Class sizes fall exponentially, the first is `imbalance` times the last; the test set stays (Cui et al. 2019).

        Class k of K keeps n · imbalance^(-k / (K - 1)) training images, n the size of the smallest class, rounded down,
        and 1 at least.
        """
        allowed.check(imbalance=imbalance)
        largest = self.class_counts().min()
        if not largest:
            raise ValueError(f"{self.name}: some of the {self.num_classes} classes have no training images")
        steps = max(self.num_classes - 1, 1)
        # divide, don't multiply by a negative power: 4900 * 49**-1.0 is a little less than 100
        sizes = [max(int(largest / imbalance ** (k / steps)), 1) for k in range(self.num_classes)]
        return self._of_each_class(sizes, seed)

    def hold_out(self, share: float, seed: int = 0) -> "Dataset":
        """A dataset whose test images are that share of the training images, every class in proportion; the rest trains.

        Choose a learning rate by it, and the real test images stay unseen. Raises ValueError for a class of one image.
        """
        from sklearn.model_selection import train_test_split

        allowed.check(seed=seed)
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, not {share}")
        present, count = len(np.unique(self.y_train)), math.ceil(share * len(self.y_train))
        if count < present:
            said = f"{share:g} of {len(self.y_train)} training images are {count}, fewer than the {present} classes"
            raise ValueError(f"{self.name}: {said}: a share of {present / len(self.y_train):.2g} or more can be held out")
        numbers = np.arange(len(self.y_train))
        kept, held = train_test_split(numbers, test_size=share, stratify=self.y_train, random_state=seed)
        test = self._only("train", held)
        return replace(self._only("train", kept), x_test=test.x_train, y_test=test.y_train, masks_test=test.masks_train)

    def _of_each_class(self, sizes, seed):
        allowed.check(seed=seed)
        rng, chosen = np.random.default_rng(seed), []
        for label, size in enumerate(sizes):
            chosen.append(rng.permutation(np.flatnonzero(self.y_train == label))[:size])
        return self._only("train", rng.permutation(np.concatenate(chosen)))

    def _only(self, part, chosen):
        """The dataset with these images of "train" or "test"; the other part stays."""
        arrays = {name: getattr(self, name) for name in (f"x_{part}", f"y_{part}", f"masks_{part}")}
        return replace(self, **{name: None if array is None else disk.rows(array, chosen) for name, array in arrays.items()})


class Sample(NamedTuple):
    """Some images of a collection, for a model that exists already.

    images: uint8 (n, height, width, channels). labels: integers (n,), numbers of `class_names`; None, and no names, if
    the collection has no classes. source: each image's file, or its number in its array or data set.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    source: tuple[str, ...]

    def in_classes_of(self, classes: int, class_names=()) -> tuple[list[str], np.ndarray | None]:
        """(names, labels) as a model of so many classes numbers them. labels: (n,), or None where they cannot be told.

        class_names: the model's, in its order; none: those of the images, where their number is the model's.
        """
        fits = len(self.class_names) == classes
        names = list(class_names) or (list(self.class_names) if fits else [f"class {index}" for index in range(classes)])
        if self.labels is None:
            return names, None
        if not set(self.class_names) <= set(names):
            print(f"the images have {len(self.class_names)} classes, the model {classes}: their labels are left aside")
            return names, None
        return names, np.array([names.index(name) for name in self.class_names])[self.labels]


@dataclass(frozen=True, repr=False)
class Scenes(_Images):
    """Training and test images, and the class of each of their pixels.

    x_train, x_test: uint8 (n, height, width, channels). y_train, y_test: uint8 (n, height, width), numbers of `class_names`.
    Raises ValueError for arrays that disagree, and for a number out of range.
    """

    def _check_labels(self, part, images, masks):
        if masks.dtype != np.uint8 or masks.shape != images.shape[:3]:
            raise ValueError(f"{part} masks must be uint8 {images.shape[:3]}, not {_form(masks)}")

    def __repr__(self):
        return f"{super().__repr__()} of pixels"


def _form(array):
    return f"{array.dtype} of shape {array.shape}"
