"""A file is whole or not there."""

import errno
import os

import numpy as np
import pytest

from deconvlib import disk


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.b.csv").write_text("old")
    return tmp_path / "a.b.csv"


def test_the_file_takes_its_place_when_it_is_written(path):
    with disk.whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old" and part.suffixes[-2:] == [".b", ".csv"]  # Keras and Matplotlib go by the suffix
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ValueError("no number"), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_error_leaves_what_was_there(path, error):
    with pytest.raises(type(error)), disk.whole(path) as part:
        part.write_text("ne")
        raise error
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_nothing_takes_a_place_before_its_bytes_are_on_the_disk(path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda file: done.append("bytes"))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("name"))
    with disk.whole(path) as part:
        part.write_text("new")
    assert done == ["bytes", "name"]


def test_a_kill_leaves_what_the_next_writing_replaces(path):
    path.with_name("a.part.b.csv").write_text("half")
    with disk.whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_two_may_write_the_same_file_at_once(path):
    with disk.whole(path, shared=True) as one, disk.whole(path, shared=True) as other:
        one.write_text("one")
        other.write_text("other")
    assert one != other and path.read_text() == "one" and list(path.parent.iterdir()) == [path]


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path))
    assert disk.cache() == tmp_path
    monkeypatch.delenv("DECONVLIB_CACHE")
    assert disk.cache().name == "deconvlib"


def test_arrays_are_made_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "cache"))
    made = []

    def make():
        made.append(1)
        return np.arange(3), np.ones((2, 2), bool)

    for told in ("é", "é", "other"):
        one, other = disk.kept(told, make)
        assert one.tolist() == [0, 1, 2] and other.dtype == bool and other.shape == (2, 2)
    assert len(made) == 2
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "file/cache"))
    assert len(disk.kept("é", make)) == 2, "a cache that cannot be written costs only time"
