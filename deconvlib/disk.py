"""Files that are whole or not there: a process that is killed leaves no half of one. And where the cache is."""

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir


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
