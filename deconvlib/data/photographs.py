"""Photographs that come with scikit-image and scikit-learn: whole ones, and a data set of their tiles."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deconvlib import allowed, checks
from deconvlib.data import decoding, files
from deconvlib.data.dataset import Dataset

# what it shows: scikit-image's function, or scikit-learn's file
PHOTOGRAPHS = {
    "astronaut": "astronaut",
    "cat": "chelsea",
    "coffee": "coffee",
    "flower": "flower.jpg",
    "galaxies": "hubble_deep_field",
    "motorcycle": "stereo_motorcycle",
    "rocket": "rocket",
    "temple": "china.jpg",
    "tissue": "immunohistochemistry",
}
SIDE = 96  # pixels of a tile, where no other size is asked
TRAINED = 0.6  # of a photograph's width, from the left


def photograph(name: str | Path, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """A photograph, uint8 (height, width, 3): one of PHOTOGRAPHS by its name, or a file, upright by EXIF and opaque.

    image_size: (height, width), to which it is resized, antialiased; what is too wide or too high is cut off at both sides.
    Raises ValueError for an unknown name, and for a file that is no image.
    """
    path = Path(name).expanduser()
    if name in PHOTOGRAPHS:
        image = Image.fromarray(_of_a_package(PHOTOGRAPHS[name]))
    elif path.is_file():
        image = Image.fromarray(decoding.stack([(files.Folder(path), [path.name])], None)[0][0].squeeze())
    else:
        raise ValueError(f"there is no file {path}, and photograph {checks.not_known(str(name), tuple(PHOTOGRAPHS))}")
    return np.array(decoding.fitted(image, image_size, "crop").convert("RGB"))


def tiles(train: int = 900, test: int = 300, image_size: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> Dataset:
    """Square tiles of the photographs, RGB; the class is the photograph that a tile is of.

    A tile's side is a quarter to a half of its photograph's height, its place random; one in two is mirrored. Training tiles
    lie in the left 60 % of a photograph, test tiles in the rest: no pixel is in both. So it is real photographs' texture,
    light and detail, and an easy task: a photograph is recognized, not a kind of thing.
    """
    allowed.check(seed=seed)
    wholes, parts = [photograph(name) for name in PHOTOGRAPHS], []
    for part, count in enumerate((train, test)):
        rng = np.random.default_rng([seed, part])
        labels = rng.permutation(np.arange(count) % len(wholes))
        parts += [np.stack([_tile(wholes[label], part, image_size, rng) for label in labels]), labels]
    return Dataset("photographs", *parts, tuple(PHOTOGRAPHS))


def _tile(whole, part, image_size, rng):
    height, width = whole.shape[:2]
    border = int(TRAINED * width)
    low, high = ((0, border), (border, width))[part]
    side = min(int(height * rng.uniform(0.25, 0.5)), high - low)
    row, column = rng.integers(height - side + 1), rng.integers(low, high - side + 1)
    tile = Image.fromarray(whole[row : row + side, column : column + side])
    if rng.random() < 0.5:
        tile = ImageOps.mirror(tile)
    return np.array(tile.resize(image_size[::-1], Image.Resampling.LANCZOS))


def _of_a_package(name):
    if name.endswith(".jpg"):
        from sklearn.datasets import load_sample_image

        return load_sample_image(name)
    import skimage.data

    found = getattr(skimage.data, name)()
    return found[0] if isinstance(found, tuple) else found  # of a stereo pair the left one
