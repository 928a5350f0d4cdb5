"""Maps of what matters in an image: of projections, and the baselines that know no network.

Deconvnet and guided back-propagation are known to recover the image in part, whatever the network decides (Nie et al.
2018): they show what drives a unit, not why a class. Maps are (n, height, width), of any method; larger is more important.
"""

import numpy as np
from skimage.filters import sobel

from deconvlib import checks
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, inputs, projection
from deconvlib.deconvnet.activations import Units
from deconvlib.deconvnet.rules import RULES, known_rule


def measure(projections: np.ndarray) -> np.ndarray:
    """How much a projection says at each pixel: the sum over its channels of the absolute values.

    projections: signed, (..., height, width, channels). Returns (..., height, width). The sign goes, as in Simonyan et al.
    2014: of a channel below zero, less of that colour would excite the unit. Raises ValueError for NaN or infinity.
    """
    projections = np.asarray(projections)
    if not np.isfinite(projections).all():
        raise ValueError("a projection holds NaN or infinity")
    return np.abs(projections).sum(axis=-1)


def edges(images: np.ndarray) -> np.ndarray:
    """The baseline that knows no network: float32 (n, height, width), Sobel's magnitude summed over the channels.

    images: (n, height, width, channels), uint8 or float. The scale of the maps is that of the pixels.
    """
    images = np.asarray(images, np.float32)
    return np.stack([sum(sobel(image[..., channel]) for channel in range(image.shape[-1])) for image in images])


def baselines(images: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """{"edge detector": `edges`, "random": a number in [0, 1) for each pixel}: what a map must beat to say anything."""
    return {"edge detector": edges(images), "random": np.random.default_rng(seed).random(images.shape[:3], np.float32)}


def class_projections(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, rules: tuple[str, ...] = RULES
) -> dict[str, np.ndarray]:
    """{rule: float32 of the shape of `images`}: each image's class score, projected back to the pixels.

    classes: integers (n,), of which class for each image. The score is taken before the softmax. It is seeded with 1, not
    with its value as in `deconvnet.project`: the score of a class may be negative, and a rectified negative signal shows
    another map.

    Raises ValueError for a class that the model does not have, and where `deconvnet.project` does.
    """
    images = inputs.as_input(model, images)
    layer, classes = graph.steps(model)[-1].name, checks.labels(model, classes, len(images))
    nothing = np.zeros(len(images), int)
    units = Units(np.arange(len(images)), nothing, nothing, classes, nothing)
    return {
        rule: projection.project_units(model, images, layer, units, rule, signal=1.0).projections for rule in known_rules(rules)
    }


def known_rules(rules):
    if isinstance(rules, str) or not rules:
        raise ValueError(f"rules must be several names of {', '.join(map(repr, RULES))}, not {rules!r}")
    return [known_rule(rule) for rule in rules]


def check_maps(maps, shape):
    """The maps as an array; ValueError where they have another shape than (n, height, width) of the images, or hold NaN."""
    maps = np.asarray(maps)
    if maps.shape != tuple(shape) or maps.ndim != 3 or not maps.size:
        wanted = tuple(shape) if len(shape) == 3 else "(n, height, width)"
        channels = "; make them of projections with saliency()" if maps.ndim == 4 else ""
        raise ValueError(f"maps must be {wanted}, one an image, not {maps.shape}{channels}")
    check_finite(maps)
    return maps


def check_finite(maps):
    bad = np.flatnonzero(~np.isfinite(maps).reshape(len(maps), -1).all(axis=1))
    if len(bad):
        raise ValueError(f"map {bad[0]} holds NaN or infinity")
