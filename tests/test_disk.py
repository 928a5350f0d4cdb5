"""A file is whole or not there."""

import errno
import os
import shutil
import time
from types import SimpleNamespace

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


def cached(folder, sizes, ending=".npy"):
    """Files of these sizes in a cache, the first of them unused for longest."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number}{ending}" for number in range(len(sizes))]
    for age, (file, size) in enumerate(zip(reversed(files), reversed(sizes), strict=True)):
        file.write_bytes(bytes(size))
        os.utime(file, (time.time() - 60 * age,) * 2)
    return files


@pytest.mark.parametrize(("needed", "left"), [(10, 4), (11, 3), (40, 3), (41, 2), (70, 2), (71, 1), (100, 1), (101, 0)])
def test_room_in_the_cache_is_made_by_what_is_unused_for_longest(tmp_path, monkeypatch, needed, left):
    monkeypatch.setattr(disk, "KEPT", 110)
    files = cached(tmp_path / "cache", [30, 30, 30, 10])
    (tmp_path / "cache/net.weights.h5").write_bytes(bytes(1000))
    disk.make_room(tmp_path / "cache", needed)
    assert [file for file in files if file.exists()] == files[4 - left :]
    assert (tmp_path / "cache/net.weights.h5").exists(), "no array"


def test_what_a_kill_left_in_the_cache_goes_after_a_day_and_what_is_being_written_stays(tmp_path):
    (dead,), (written,) = (cached(tmp_path, [9], ending) for ending in (".dead.part.npy", ".part.npy"))
    os.utime(dead, (time.time() - disk.DEAD - 60,) * 2)
    disk.make_room(tmp_path, 1)
    assert not dead.exists() and written.exists()


@pytest.mark.parametrize(("needed", "left"), [(20, 3), (21, 2), (50, 2), (51, 1), (81, 0), (110, 0), (111, None)])
def test_a_full_disk_costs_arrays_only_where_that_helps(tmp_path, monkeypatch, needed, left):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20))
    files = cached(tmp_path / "cache", [30, 30, 30])
    if left is None:
        with pytest.raises(OSError, match=r"No space left on device: .* GB are needed") as error:
            disk.make_room(tmp_path / "cache", needed)
        assert error.value.errno == errno.ENOSPC
    else:
        disk.make_room(tmp_path / "cache", needed)
    assert [file for file in files if file.exists()] == files[3 - (3 if left is None else left) :]


NUMBERS = np.array([7, 2, 2, 9, 0, 5])


@pytest.fixture
def in_file(tmp_path):
    """An array of 10 rows of 24 bytes, in a file."""
    np.save(tmp_path / "array.npy", np.arange(240, dtype=np.uint8).reshape(10, 4, 2, 3))
    return np.load(tmp_path / "array.npy", mmap_mode="r")


@pytest.mark.parametrize("large", [1, 60, 10_000])
@pytest.mark.parametrize(
    "index",
    [
        *(2, -1, np.int64(3), slice(1, 4), slice(None, None, -2), [0, 5, 5], np.array([], int), np.array([[0, 1], [2, 3]])),
        *(NUMBERS > 3, None, ..., (1, 2), (slice(1, 5), slice(None, 3), 1), (slice(None), [0, 3]), (..., 0), ([0, 1], [1, 2])),
    ],
    ids=str,
)
def test_rows_of_a_file_are_indexed_as_an_array_is(in_file, monkeypatch, large, index):
    monkeypatch.setattr(disk, "LARGE", large)
    rows, expected = disk.Rows(in_file, NUMBERS), in_file[NUMBERS]
    assert (rows.shape, rows.dtype, rows.ndim, len(rows), rows.nbytes) == ((6, 4, 2, 3), np.uint8, 4, 6, 144)
    assert rows[index].shape == expected[index].shape
    np.testing.assert_array_equal(rows[index], expected[index])


def test_large_parts_of_a_file_stay_there_and_small_ones_come_into_memory(in_file, monkeypatch):
    monkeypatch.setattr(disk, "LARGE", 3 * 24)
    for rows in (disk.rows(in_file, NUMBERS), disk.rows(in_file, NUMBERS)[1:], disk.rows(in_file, np.arange(10) > 6)):
        assert isinstance(rows, disk.Rows) and rows.array is in_file
        assert type(rows[:2]) is type(rows[[0, 2]]) is np.ndarray
    assert type(disk.rows(in_file, NUMBERS[:2])) is np.ndarray
    assert type(disk.rows(np.array(in_file), NUMBERS)) is np.ndarray, "it was in memory"


def test_arithmetic_reads_the_rows(in_file):
    rows, expected = disk.Rows(in_file, NUMBERS), in_file[NUMBERS]
    for count in (lambda x: x / 255, lambda x: np.float32(255) - x, lambda x: x / np.float32(255), lambda x: x == 9, np.sqrt):
        np.testing.assert_array_equal(count(rows), count(expected))
    assert (rows == expected).all() and list(map(np.sum, rows)) == list(map(np.sum, expected))


@pytest.mark.parametrize("most", [1, 24, 71, 72, 10_000, None])
def test_pieces_are_the_array_in_its_order(in_file, most):
    for array in (in_file, disk.Rows(in_file, NUMBERS), np.array(in_file), np.array(3.5), np.zeros((0, 2))):
        pieces = [np.asarray(piece) for piece in disk.pieces(array, most)]
        assert b"".join(piece.tobytes() for piece in pieces) == np.asarray(array).tobytes()
        assert all(len(piece) == 1 or piece.nbytes <= (most or disk.LARGE) for piece in pieces)
    assert [len(piece) for piece in disk.pieces(in_file, 72)] == [3, 3, 3, 1]
