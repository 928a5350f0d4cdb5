"""A look at a data set before any training: its statistics, its near-duplicates, and the figures of both."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from deconvlib import disk, figures
from deconvlib.data.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

VALUES = np.arange(256) / 255  # of pixels


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each channel, in [0, 1]. images: uint8 (n, height, width, channels)."""
    shares = _shares(images)
    mean = shares @ VALUES
    return mean, np.sqrt((shares * (VALUES - mean[:, None]) ** 2).sum(axis=1))


def _shares(images):
    """The share of each pixel value in each channel: (channels, 256)."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for piece in disk.pieces(images, 2**22):  # bincount widens what it counts to 8 bytes
        for channel, count in enumerate(counts):
            count += np.bincount(piece[..., channel].ravel(), minlength=256)
    return counts / counts.sum(axis=1, keepdims=True)


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
    return np.concatenate([_thumbnails_of(piece) for piece in disk.pieces(images)])


def _thumbnails_of(images):
    step = max(1, images.shape[1] // 16), max(1, images.shape[2] // 16)
    rows, columns = images.shape[1] // step[0], images.shape[2] // step[1]
    images = images[:, : rows * step[0], : columns * step[1]]
    blocks = images.reshape(len(images), rows, step[0], columns, step[1], -1)
    grey = blocks.mean(axis=(2, 4, 5), dtype=np.float32).reshape(len(images), -1)
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)


def class_sheet(images, labels, class_names, per_class=10, seed=0):
    """A row of random examples for each class."""
    sheet, rng = np.ones((len(class_names), per_class, *images.shape[1:]), np.float32), np.random.default_rng(seed)
    for label, row in enumerate(sheet):
        members = rng.permutation(np.flatnonzero(labels == label))[:per_class]
        if len(members):
            row[: len(members)] = figures.pixels(images[members])
    height, width = images.shape[1:3]
    # smaller than the text: a sheet of photographs at full width is a megabyte
    fig = figures.figure(0.62 * figures.WIDTH * len(class_names) * height / (per_class * width), 0.7 * figures.WIDTH)
    ax, gap = fig.subplots(), max(1, width // 32)  # photographs are drawn smaller, and a gap of one pixel would be lost
    ax.imshow(figures.mosaic(sheet, gap))
    ax.set_yticks(np.arange(len(class_names)) * (height + gap) + height / 2, class_names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def class_sizes(sizes, class_names):
    """Bars of class sizes. sizes: {name of the set: counts (classes,)}; one panel a set."""
    fig, axs = figures.panels(len(sizes), 0.22 * len(class_names) + 0.95)
    for ax, (name, counts) in zip(axs, sizes.items(), strict=True):
        bars = ax.barh(class_names, counts)
        ax.bar_label(bars, padding=2, fontsize=7)
        ax.set(title=f"{name}\n{int(np.sum(counts)):,} images", xlabel="training images")
        ax.margins(x=0.18)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axs[0].invert_yaxis()
    return fig


def channel_histograms(images):
    """How often each pixel value occurs in each channel. images: uint8."""
    fig, axs = figures.panels(images.shape[-1], 2.2)
    colours = {"red": "C1", "green": "C2", "blue": "C0"} if len(axs) == 3 else {"grey": "0.3"}
    statistics = zip(_shares(images), *channel_statistics(images), strict=True)
    for ax, (name, colour), (shares, mean, std) in zip(axs, colours.items(), statistics, strict=True):
        ax.fill_between(VALUES, 100 * shares, color=colour, alpha=0.7, linewidth=0)
        ax.axvline(mean, color="0.2", linewidth=1)
        ax.set(title=f"{name}: mean {mean:.3f}, s.d. {std:.3f}", xlabel="pixel value", xlim=(0, 1))
    axs[0].set_ylabel("share of pixels, %")
    return fig


def image_pairs(left, right, titles, left_name, right_name):
    """Pairs of images, one above the other. Without a pair, a figure that says so."""
    if not len(left):
        return figures.message("no pair found")
    fig, axs = figures.grid(2, max(len(left), 6), row_height=1.1)
    for column, (one, other, title) in enumerate(zip(figures.pixels(left), figures.pixels(right), titles, strict=True)):
        figures.show(axs[0, column], one, title)
        figures.show(axs[1, column], other)
    figures.row_name(axs[0, 0], left_name)
    figures.row_name(axs[1, 0], right_name)
    return fig
