"""Loops that say how far they are: on the terminal, or to a panel, which may end them."""

import contextlib
import contextvars
import os

from tqdm import tqdm

_told = contextvars.ContextVar("told", default=None)


def steps(items, what: str, unit: str = "batch", total: int | None = None):
    """Yields `items`; shows progress where it takes longer than two seconds. total: of an iterable that has no length."""
    tell = _told.get()
    if tell is None:
        yield from tqdm(items, desc=what, unit=unit, total=total, delay=2, leave=False)
        return
    total = len(items) if hasattr(items, "__len__") else total
    for done, item in enumerate(items):
        tell(what, done, total)
        yield item


def say(text: str) -> None:
    """Prints a line, but not where bars are turned off (TQDM_DISABLE=1): the outputs stored there are to be the same again."""
    if os.environ.get("TQDM_DISABLE", "0") in ("", "0"):
        print(text, flush=True)


@contextlib.contextmanager
def to(tell):
    """Within, the loops of this thread call `tell(what, done, total)` before each step instead; what it raises ends them."""
    token = _told.set(tell)
    try:
        yield
    finally:
        _told.reset(token)
