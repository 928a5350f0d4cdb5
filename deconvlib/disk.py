"""Files that are whole or not there: a process that is killed leaves no half of one."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def whole(path: str | Path):
    """A path to write to, beside `path` and with its suffix; the file written there then takes the place of `path`.

    A kill, an error or a full disk leaves `path` as it was. The folder must exist.
    """
    path = Path(path)
    part = path.with_stem(f"{path.stem}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name without the bytes
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
