"""Folders and archives of images -> arrays: listing, decoding, the cache on disk."""

import contextlib
import copy
import hashlib
import io
import os
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from platformdirs import user_cache_dir

from deconvlib import progress

SUFFIXES = (".png", ".jpg", ".jpeg")


class Folder:
    """The files below a folder or inside a .zip, without hidden files: one view of both."""

    def __init__(self, path):
        self.path, self.below = path, ""
        listed = _in_folder(path) if path.is_dir() else _in_archive(path)
        shown = [name for name in listed if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
        # {name relative to `below`: name relative to `path`}; the name of a folder ends in /
        self.names = {name: listed[name] for name in sorted(shown)}

    def __str__(self):
        return str(self.path / self.below)

    def images(self):
        return [name for name in self.names if name.lower().endswith(SUFFIXES)]

    def parts(self):
        """[training, test], or [everything] without such a split; a folder that only wraps others is opened."""
        heads = {name.partition("/")[0] for name in self.names if "/" in name}
        if {"train", "test"} <= heads:
            return [self._inside("train"), self._inside("test")]
        images = self.images()
        if len(heads) == 1 and images and all(name.count("/") > 1 for name in images):
            return self._inside(*heads).parts()
        return [self]

    def _inside(self, head):
        start = f"{head}/"
        inner = copy.copy(self)  # with the same listing: an archive's 50,000 names are read once
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
        """A text that changes with the files' names, sizes and times."""
        stats = [(self.path / self.names[name]).stat() for name in files] if self.path.is_dir() else [self.path.stat()]
        return "\n".join([str(self.path.resolve()), self.below, *files, *(f"{s.st_size} {s.st_mtime_ns}" for s in stats)])


def _in_folder(path):
    listed = {}
    for root, folders, files in os.walk(path, followlinks=True):
        inside = Path(root).relative_to(path).as_posix() + "/"
        for name in (*files, *(f"{folder}/" for folder in folders)):
            listed[(inside + name).removeprefix("./")] = inside + name
    return listed


def _in_archive(path):
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a folder, a .zip or an .npz (or it is cut short); images go in a folder a class")
    with zipfile.ZipFile(path) as archive:  # some tools write .\\cat\\1.png, or ./cat/1.png
        return {name.replace("\\", "/").removeprefix("./"): name for name in archive.namelist()}


def classes_of(files):
    """(labels, class names) of files in class folders; a label is the number of a name in alphabetical order."""
    names, labels = np.unique([name.partition("/")[0] for name in files], return_inverse=True)
    return labels, tuple(names.tolist())


def decode(folder, size):
    """(images, labels, class names) of class folders, from the cache if they were decoded before."""
    files = [name for name in folder.images() if "/" in name]
    labels, names = classes_of(files)
    _check_classes(folder, names)
    key = hashlib.blake2b(f"{folder.fingerprint(files)}\n{size}".encode(errors="surrogateescape"), digest_size=16).hexdigest()
    cache = Path(os.environ.get("DECONVLIB_CACHE") or user_cache_dir("deconvlib")) / f"{key}.npy"
    with contextlib.suppress(Exception):  # not there yet, cut short, or not an array: decode again
        with cache.open("rb") as file:
            images = np.load(file, allow_pickle=False)
        if images.dtype == np.uint8 and images.ndim == 4 and len(images) == len(files):
            return images, labels, names
    images = stack(folder, files, size)
    _store(cache, images)
    return images, labels, names


def _check_classes(folder, names):
    if not folder.images():
        raise ValueError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    empty = sorted({name.partition("/")[0] for name in folder.names if "/" in name} - set(names))
    if names and empty:
        raise ValueError(f"{folder}: the class folder {empty[0]!r} holds no images ({', '.join(SUFFIXES)}); fill or remove it")
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class folders"
        raise ValueError(f"{folder} holds {found}; a classifier needs two or more folders of images, one a class")


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


def stack(folder, files, size, resampling=Image.Resampling.LANCZOS):
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
    sizes = [" × ".join(map(str, image.shape[:2])) for image in images]
    other = next((index for index, one in enumerate(sizes) if one != sizes[0]), None)
    if other is not None:
        differ = f"{files[0]} is {sizes[0]}, {files[other]} {sizes[other]} pixels"
        raise ValueError(f"images of {folder} differ in size: {differ}; pass image_size=(height, width)")
    shape = (*images[0].shape[:2], 3 if any(image.ndim == 3 for image in images) else 1)
    return np.stack([np.broadcast_to(np.atleast_3d(image), shape) for image in images])


def scale(images, size):
    """Images (n, height, width, channels), resized to (height, width) with antialiasing."""
    channels = np.moveaxis(images, 3, 0)
    resized = [[Image.fromarray(one).resize(size[::-1], Image.Resampling.LANCZOS) for one in channel] for channel in channels]
    return np.stack(resized, axis=-1)
