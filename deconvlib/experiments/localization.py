"""Does a map lie on the object? The pointing game of Zhang et al. 2016, energy, and boxes."""

import numpy as np
import pandas as pd
from scipy import ndimage

from deconvlib import figures
from deconvlib.experiments import saliency, statistics

THRESHOLD = 0.4  # of a map's maximum; on `shapes` the best of five, from 0.15 to 0.5, for each of the three rules


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether each map's maximum lies in the object: bool (n,). Zhang et al. 2016, without their tolerance of 15 pixels.

    masks: bool (n, height, width). All pixels with the maximum must lie in the object, so a constant map does not
    hit. Raises ValueError for maps that do not fit the masks or hold NaN, and for an empty mask.
    """
    maps, masks = _check_masks(maps, masks)
    outside = np.where(masks, -np.inf, maps).max(axis=(1, 2))
    return np.where(masks, maps, -np.inf).max(axis=(1, 2)) > outside


def energy_in_mask(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The share of each map's energy, the sum of its values, that lies in the object: (n,), in [0, 1].

    The energy-based pointing game of Wang et al. 2020 (Score-CAM), with the object's mask in place of its box. Values below
    0 count as 0; the share of a map without energy is 0. Raises ValueError as `pointing_game`.
    """
    maps, masks = _check_masks(maps, masks)
    energy = np.maximum(maps, 0).astype(float)
    inside, whole = (energy * masks).sum(axis=(1, 2)), energy.sum(axis=(1, 2))
    return np.divide(inside, whole, out=np.zeros(len(whole)), where=whole > 0)


def boxes(maps: np.ndarray) -> np.ndarray:
    """A box for each map's object: integers (n, 4), first row, first column, and the row and column after the last.

    Pixels of at least THRESHOLD times the map's maximum are kept (Zhou et al. 2016), and the box holds their connected
    component with the most energy. A gap of up to a quarter of the smaller side still connects two pixels, because
    projections are fine-grained, and one of their specks is no object. A constant map gives the whole image. Raises
    ValueError for NaN.
    """
    maps = np.maximum(saliency.check_maps(maps, np.shape(maps)), 0)
    return np.array([_box(_component(values, values >= THRESHOLD * values.max())) for values in maps])


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of boxes, (n,), in [0, 1]. one, other: (n, 4) as `boxes` gives them."""
    first, last = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.maximum(last - first, 0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def measure(maps: dict[str, np.ndarray], masks: np.ndarray) -> pd.DataFrame:
    """How well the maps of each method lie on the object: one row for each method and measure, with value, low, high.

    maps: {method: (n, height, width)}; masks: bool of the same shape. Each measure is a mean over the images with its 95 %
    confidence interval (Wilson's for a share of images, else Student's t):
    - "pointing game": share of images in which the map's maximum lies in the object
    - "energy in mask": share of the map's energy in the object
    - "box IoU": of `boxes` with the box around the whole mask
    - "box IoU ≥ 0.5": share of images, known as GT-known localization accuracy (Choe et al. 2020)
    By chance the first two give the mask's share of the image. Raises ValueError as the functions above.
    """
    rows = []
    for method, values in maps.items():
        try:
            hits, energy = pointing_game(values, masks), energy_in_mask(values, masks)
        except ValueError as error:
            raise ValueError(f"{method}: {error}") from error
        overlap = box_iou(boxes(values), np.array([_box(mask) for mask in masks]))
        rows.append((method, "pointing game", *statistics.share(hits)))
        rows.append((method, "energy in mask", *statistics.mean(energy)))
        rows.append((method, "box IoU", *statistics.mean(overlap)))
        rows.append((method, "box IoU ≥ 0.5", *statistics.share(overlap >= 0.5)))
    return pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high"])


def _component(values, chosen):
    """The component of the chosen pixels with the largest sum of values."""
    reach = min(values.shape) // 8
    labels, count = ndimage.label(ndimage.maximum_filter(chosen, 2 * reach + 1), np.ones((3, 3)))
    energy = ndimage.sum(values * chosen, labels, np.arange(1, count + 1))
    return chosen & (labels == 1 + np.argmax(energy))


def _box(region):
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def _check_masks(maps, masks):
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype != bool:
        raise ValueError(f"masks must be bool (n, height, width), not {masks.dtype} {masks.shape}")
    maps, empty = saliency.check_maps(maps, masks.shape), np.flatnonzero(~masks.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"mask {empty[0]} is empty; leave out images without an object")
    return maps, masks


def figure(table):
    """How well each method's maps lie on the object, a table from `measure`: value and 95 % interval, one panel a measure."""
    measures, methods = table["measure"].unique(), table["method"].unique()
    fig, axs = figures.panels(len(measures), 0.28 * len(methods) + 0.9)
    for ax, measure in zip(axs, measures, strict=True):
        rows = table[table["measure"] == measure]
        spread = np.clip([rows["value"] - rows["low"], rows["high"] - rows["value"]], 0, None)
        ax.errorbar(rows["value"], rows["method"], xerr=spread, fmt="o", markersize=4, capsize=2)
        ax.set(xlabel=measure, xlim=(0, 1.03), xticks=(0, 0.5, 1))
        ax.margins(y=0.1)
        ax.grid(axis="x", color="0.9")
    axs[0].invert_yaxis()
    return fig
