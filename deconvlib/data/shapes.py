"""Generated images whose objects are known: ten shapes on textured grounds, and scenes of several of them."""

from pathlib import Path

import numpy as np

from deconvlib import allowed, disk
from deconvlib.data.dataset import Dataset, Scenes

SHAPES = ("disk", "ring", "square", "triangle", "cross", "star", "crescent", "heart", "arrow", "bars")


def shapes(train: int = 10_000, test: int = 2_000, seed: int = 0) -> Dataset:
    """Generated images of ten shapes, 32 × 32 RGB, with the mask of the object.

    Place, size (20 to 28 pixels across), rotation and both colours are random; the ground is a random texture, and every
    pixel has noise. Colour and place say nothing about the class: logistic regression on the pixels tests at 18 %. Training
    and test images come from independent streams of `seed`.
    """
    allowed.check(seed=seed)
    parts = [_draw(count, np.random.default_rng([seed, part])) for part, count in enumerate((train, test))]
    (x_train, y_train, masks_train), (x_test, y_test, masks_test) = parts
    return Dataset("shapes", x_train, y_train, x_test, y_test, SHAPES, masks_train, masks_test)


def kept(seed: int = 0) -> Dataset:
    """`shapes(seed=seed)`, drawn once and then read from the cache: to draw them takes seconds, and most notebooks do."""

    def draw():
        one = shapes(seed=seed)
        return one.x_train, one.y_train, one.x_test, one.y_test, one.masks_train, one.masks_test

    told = f"{seed} {np.__version__} {Path(__file__).read_text(encoding='utf-8')}"
    *parts, masks_train, masks_test = disk.kept(told, draw)
    return Dataset("shapes", *parts, SHAPES, masks_train, masks_test)


def scenes(train: int = 2000, test: int = 400, objects: int = 3, side: int = 48, seed: int = 0) -> Scenes:
    """Generated images of several shapes, side × side RGB; class 0 is the ground, class 1 + k the shape k of SHAPES.

    Each scene has `objects` shapes of random kind, place, rotation and colour, a third to just under half of `side` across;
    later ones cover earlier ones. Ground and noise as in `shapes`; training and test scenes come from independent streams
    of `seed`. Raises ValueError for numbers below 1, or a side below 16.
    """
    if min(train, test, objects) < 1 or side < 16:
        raise ValueError(f"{train} and {test} scenes of {objects} objects, side {side}: numbers from 1, sides from 16 work")
    allowed.check(seed=seed)
    parts = [_compose(count, objects, side, np.random.default_rng([seed, part, 1])) for part, count in enumerate((train, test))]
    return Scenes("scenes", *parts[0], *parts[1], ("ground", *SHAPES))


def _draw(count, rng):
    """`count` images, labels and masks of shapes, in chunks that keep memory small."""
    labels = rng.permutation(np.arange(count) % len(SHAPES))
    images, masks = np.empty((count, 32, 32, 3), np.uint8), np.empty((count, 32, 32), bool)
    for start in range(0, count, 500):
        here = slice(start, min(start + 500, count))
        n = here.stop - start
        radius = rng.uniform(10, 14, n)
        centre = rng.uniform(np.minimum(radius, 15.9), np.maximum(32 - radius, 16.1), (2, n))
        cover = _cover(labels[here], radius, centre, rng.uniform(0, 2 * np.pi, n), 32)[..., None]
        ground, colour = _colours(n, rng)
        image = (ground[:, None, None] + _texture(n, 32, rng)[..., None]) * (1 - cover) + colour[:, None, None] * cover
        image += rng.normal(0, 0.02, image.shape)
        images[here], masks[here] = np.clip(image * 255, 0, 255).astype(np.uint8), cover[..., 0] > 0.5
    return images, labels, masks


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
            image = image * (1 - cover[..., None]) + _unlike(ground, rng)[:, None, None] * cover[..., None]
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
    # draw again, don't push apart: clipping to [0, 1] would bring them together again
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
