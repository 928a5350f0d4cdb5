"""Files that are whole or not there: a process that is killed leaves no half of one. The cache, and arrays that stay in it."""

import contextlib
import errno
import hashlib
import math
import os
import shutil
import time
import uuid
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir

LARGE = 2**28  # bytes from which on an array stays in its file, mapped into memory
KEPT = 2**35  # bytes of arrays that the cache holds
DEAD = 24 * 3600  # seconds after which a file that nobody wrote to is what a kill left


def cache() -> Path:
    """The folder of what can be made again: the one that DECONVLIB_CACHE names, else the user's cache. It may not exist."""
    return Path(os.environ.get("DECONVLIB_CACHE") or user_cache_dir("deconvlib"))


def kept(told: str, make) -> list[np.ndarray]:
    """The arrays that make() returns, from the cache where they lie there. told: all that they depend on.

    A file that cannot be read is made again; a cache that cannot be written costs time next time, nothing else.
    """
    path = cache() / f"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}.npz"
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as held:  # not there, or cut short: make them
        return [held[name] for name in held.files]
    arrays = list(make())
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, shared=True) as part:
            np.savez(part, *arrays)
    return arrays


@contextlib.contextmanager
def whole(path: str | Path, shared: bool = False):
    """A path to write to, beside `path` and with its suffixes; the file written there then takes the place of `path`.

    A kill, an error or a full disk leaves `path` as it was. The folder must exist. shared: other processes may write `path`
    at the same time, and the last one stays.
    """
    path = Path(path)
    stem, _, suffixes = path.name.partition(".")
    part = path.with_name(f"{stem}{f'.{uuid.uuid4().hex}' if shared else ''}.part.{suffixes}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name without the bytes
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def make_room(folder: Path, needed: int):
    """Remove arrays from the cache `folder`, those unused for longest first, so that it takes `needed` bytes more.

    It then holds KEPT bytes with them, or nothing else where they alone are more. What kills left there goes after a day.
    Raises OSError, and removes no array, where the disk would not take them all the same.
    """
    files = {}
    for file in folder.glob("*.npy"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished or removed it
            stat = file.stat()
            if not file.name.endswith(".part.npy"):
                files[file] = stat
            elif time.time() - stat.st_mtime > DEAD:
                file.unlink()
    held, free = sum(stat.st_size for stat in files.values()), shutil.disk_usage(folder).free
    if held + free < needed:
        said = f"{needed / 1e9:.1f} GB are needed, {(held + free) / 1e9:.1f} are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {said}", str(folder))
    for file, stat in sorted(files.items(), key=lambda entry: entry[1].st_mtime):
        if held + needed <= KEPT and needed <= free:
            break
        file.unlink(missing_ok=True)
        held, free = held - stat.st_size, free + stat.st_size


class Rows(np.lib.mixins.NDArrayOperatorsMixin):
    """Some rows of an array that lies in a file, by their numbers. They are read when they are asked for.

    array: numpy.memmap; numbers: integers (n,). Indexed along the first axis it gives an array in memory, or `Rows` again where
    that would take LARGE bytes or more. numpy.asarray reads all, and so does arithmetic.
    """

    def __init__(self, array, numbers):
        self.array, self.numbers = array, numbers
        self.shape, self.dtype, self.ndim = (len(numbers), *array.shape[1:]), array.dtype, array.ndim

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        if isinstance(index, tuple):
            return np.asarray(self[index[0]])[:, *index[1:]] if isinstance(index[0], slice) else np.asarray(self)[index]
        numbers = self.numbers[index]
        if np.ndim(numbers) == 1 and (found := Rows(self.array, numbers)).nbytes >= LARGE:
            return found
        return self.array[numbers]

    def astype(self, dtype):
        return np.asarray(self, dtype)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array[self.numbers], dtype)

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return getattr(ufunc, method)(*(np.asarray(each) if isinstance(each, Rows) else each for each in inputs), **keywords)


def rows(array: np.ndarray | Rows, numbers: np.ndarray) -> np.ndarray | Rows:
    """array[numbers], along the first axis; of an array in a file `Rows`, where they take LARGE bytes or more."""
    return (Rows(array, np.arange(len(array))) if isinstance(array, np.memmap) else array)[numbers]


def pieces(array: np.ndarray | Rows, most: int | None = None):
    """Yields the rows of an array in order, as many at a time as take `most` bytes, or one: no more of a file is held.

    most: None: a quarter of LARGE.
    """
    array = array if array.ndim else array[None]
    step = max(1, (most or LARGE // 4) * len(array) // max(1, array.nbytes))
    for start in range(0, max(1, len(array)), step):  # once of an empty one
        yield array[start : start + step]
