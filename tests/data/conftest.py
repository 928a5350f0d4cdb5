"""Generated shapes, and folders of images to load."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from deconvlib import data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DECONVLIB_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def shapes():
    return data.shapes(2000, 500)


@pytest.fixture
def write_images():
    """A function that fills a folder of class folders; size is (height, width)."""

    def write(folder, count=5, size=(8, 6), classes=("cat", "dog"), mode="RGB", seed=0):
        rng = np.random.default_rng(seed)
        for name in classes:
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (*size, 3) if mode == "RGB" else size, np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number:04d}.png")
        return folder

    return write


@pytest.fixture
def zipped():
    """A function that puts a folder's files into an archive."""

    def pack(folder, archive):
        with zipfile.ZipFile(archive, "w") as file:
            for path in folder.rglob("*"):
                file.write(path, path.relative_to(folder))
        return archive

    return pack
