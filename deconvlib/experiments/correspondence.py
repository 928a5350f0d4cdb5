"""Does hiding the same part change different images alike? Zeiler & Fergus 2013, figure 8 and table 1."""

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial.distance import pdist

from deconvlib import figures, progress
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.deconvnet import activations, inputs
from deconvlib.experiments import occlusion


def measure(
    model: keras.Model, images: np.ndarray, parts: dict[str, np.ndarray], layers: list[str], draws: int = 10, seed: int = 0
) -> pd.DataFrame:
    """How differently a hidden part changes a layer in different images: Δ, for each part and layer.

    A part is hidden under gray, and ε is the change of a layer's output. Δ is the share of the layer's units in which the
    signs of ε (-1, 0 or 1) differ between two images (Hamming distance), averaged over all pairs of images. The paper sums
    over pairs, without a divisor, and prints 0.07 for parts and 0.11 for random ones.

    images: n ≥ 2, uint8, or float as the model takes them. They are aligned: a part lies at about the same place in all,
    because units are compared place by place. parts: {name: booleans (n, height, width), True on the part; or integers
    (n, 4), boxes of top, left, bottom, right with the last two excluded}. A random part is the part itself, moved in each
    image to a random place, `draws` times; its bounding box stays within the image.

    One row for each part and layer: columns part, layer, delta, deviation, random, random_deviation; a deviation is the
    s.d. over pairs of images. Raises ValueError for an unknown layer, and for a part that is empty or does not fit.
    """
    floats, rng = inputs.as_input(model, images), np.random.default_rng(seed)
    if len(floats) < 2:
        raise ValueError(f"correspondence compares pairs of images; {len(floats)} image has none")
    gray = occlusion.gray(model, floats)
    whole = activations.over(model, layers, activations.vectors, floats, "correspondence")

    def distances(masks):
        """[Hamming distances of every pair] for each layer."""
        hidden = np.where(masks[..., None], gray, floats)
        without = activations.over(model, layers, activations.vectors, hidden, "correspondence")
        return [pdist(_signs(x, y), "hamming") for x, y in zip(whole, without, strict=True)]

    masks = {name: _masks(name, part, floats.shape[:3]) for name, part in parts.items()}
    found = []
    for name, part in progress.steps(masks.items(), "correspondence", "part"):
        same = distances(part)
        drawn = zip(*(distances(_moved(part, rng)) for _ in range(draws)), strict=True)
        for layer, delta, other in zip(layers, same, map(np.concatenate, drawn), strict=True):
            found.append((name, layer, delta.mean(), delta.std(), other.mean(), other.std()))
    return pd.DataFrame(found, columns=["part", "layer", "delta", "deviation", "random", "random_deviation"])


def objects(dataset: Dataset) -> np.ndarray:
    """Where the object of each test image is, booleans (n, height, width): its mask; without masks, the middle of the image."""
    if dataset.masks_test is not None:
        return dataset.masks_test
    row, column = (abs(np.linspace(-0.5, 0.5, length)) < 0.3 for length in dataset.image_shape[:2])
    return np.repeat(np.outer(row, column)[None], len(dataset.x_test), axis=0)


def aligned(masks: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the `count` objects that lie most alike: whose masks, (n, height, width), lie most on the mean of all."""
    overlap = (masks * masks.mean(axis=0)).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))
    return np.argsort(-overlap, kind="stable")[:count]


def halves(masks: np.ndarray) -> dict[str, np.ndarray]:
    """Parts for `measure`: the upper, lower, left and right half of each object, split at its centre of mass."""
    row, column = np.indices(masks.shape[1:])
    y, x = np.array([ndimage.center_of_mass(mask) for mask in masks]).T[:, :, None, None]
    sides = {"upper": row < y, "lower": row > y, "left": column < x, "right": column > x}
    return {f"{name} half": masks & side for name, side in sides.items()}


def _signs(one, other):
    """The signs of one - other; 0 also for a difference by rounding."""
    change = one - other
    return np.where(abs(change) > 1e-6 * max(abs(one).max(), abs(other).max()), np.sign(change), 0)


def _masks(name, part, shape):
    """A part of each image as booleans of `shape`; part: booleans, or boxes."""
    part = np.asarray(part)
    if part.shape == (shape[0], 4) and np.issubdtype(part.dtype, np.integer):
        row, column = np.arange(shape[1])[None, :, None], np.arange(shape[2])[None, None]
        top, left, bottom, right = part.T[:, :, None, None]
        outside = np.flatnonzero((part[:, :2] < 0).any(axis=1) | (part[:, 2:] > shape[1:]).any(axis=1))
        if len(outside):
            box = part[outside[0]].tolist()
            raise ValueError(f"part {name!r} of image {outside[0]}, {box}, reaches out of images of {shape[1:]}")
        part = (top <= row) & (row < bottom) & (left <= column) & (column < right)
    if part.shape != shape or part.dtype != bool:
        wanted = f"booleans {shape} or integers {(shape[0], 4)}"
        raise ValueError(f"part {name!r} must be {wanted}, not {part.dtype} of shape {part.shape}")
    empty = np.flatnonzero(~part.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"part {name!r} is empty in image {empty[0]}; leave that image out")
    return part


def _moved(masks, rng):
    """Each mask at a random place, entirely within the image."""
    moved = np.zeros_like(masks)
    for mask, new in zip(masks, moved, strict=True):
        box = ndimage.find_objects(mask.astype(int))[0]
        size = [side.stop - side.start for side in box]
        top, left = (rng.integers(length - extent + 1) for length, extent in zip(mask.shape, size, strict=True))
        new[top : top + size[0], left : left + size[1]] = mask[box]
    return moved


def figure(table):
    """Δ of each part by layer (filled), and of the same part moved at random (hollow); bars: s.d. over pairs."""
    layers, parts = table["layer"].unique(), table["part"].unique()
    fig, ax = figures.one(0.3 * len(layers) * max(len(parts), 2) + 0.9)
    for index, part in enumerate(parts):
        rows = table[table["part"] == part]
        place = np.arange(len(layers)) + 0.6 * ((index + 0.5) / len(parts) - 0.5)
        style = {"color": f"C{index}", "markersize": 5, "capsize": 2, "linestyle": "none", "marker": "o", "linewidth": 1}
        ax.errorbar(rows["delta"], place, xerr=rows["deviation"], label=part, **style)
        moved = {"label": f"{part}, at random", "fillstyle": "none", "alpha": 0.6}
        ax.errorbar(rows["random"], place + 0.08, xerr=rows["random_deviation"], **style, **moved)
    ax.set_yticks(range(len(layers)), layers)
    ax.set(xlabel="Δ: share of units whose change has another sign", xlim=(0, None))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
