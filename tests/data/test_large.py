"""Folders that need not fit in memory: decoded into a file once, read from there, and to the byte the same as in memory."""

import errno
import functools
import io
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small import same as same_history
from small import small

from deconvlib import data, deconvnet, disk, training
from deconvlib.data import decoding, files
from deconvlib.deconvnet import activations

LARGE = 300  # bytes, in these tests
FORMS = {"folder": None, "parts": None, "zip": None, "several sizes": (5, 6), "grey and colours": None, "deep": None}


@pytest.fixture
def make(tmp_path, write_images, zipped):
    """A function that makes a collection of 60 images of two classes; FORMS says with which image_size it is loaded."""

    @functools.cache  # the cache goes by the times of files
    def pets(form):
        folder = write_images(tmp_path / form / "pets", count=30, mode="L" if form == "deep" else "RGB")
        if form == "parts":
            folder = folder.rename(folder.with_name("train")).parent
            write_images(folder / "test", count=10, seed=1)
        if form == "several sizes":
            write_images(folder, count=4, size=(9, 7))
        if form == "grey and colours":
            write_images(folder, count=4, mode="L")
        if form == "deep":
            Image.fromarray(np.full((8, 6), 4000, np.uint16)).save(folder / "dog/0007.png")
        return zipped(folder, folder.with_suffix(".zip")) if form == "zip" else folder

    return pets


@pytest.fixture
def both(make, cache, monkeypatch, request):
    """A data set in memory, and the same in a file."""
    form = getattr(request, "param", "folder")
    whole = data.load(make(form), image_size=FORMS[form])
    monkeypatch.setattr(disk, "LARGE", LARGE)
    return whole, data.load(make(form), image_size=FORMS[form])


every_form = pytest.mark.parametrize("both", FORMS, indirect=True)


def same(whole, other):
    assert whole.class_names == other.class_names
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(whole, name), np.asarray(getattr(other, name)), name)


def file_of(images):
    return Path((images.array if isinstance(images, disk.Rows) else images).filename)


@every_form
def test_images_are_the_same_in_a_file_as_in_memory(both, make, cache, request):
    whole, mapped = both
    assert type(whole.x_train) is type(whole.x_test) is np.ndarray
    (file,) = {file_of(mapped.x_train), file_of(mapped.x_test)}
    assert file.parent == cache
    same(whole, mapped)
    file.unlink()
    same(whole, mapped)  # its bytes are there for as long as somebody reads them


@pytest.mark.parametrize("form", FORMS)
def test_decoding_into_the_file_says_and_gives_the_same_as_into_memory(make, cache, capsys, form):
    folder = files.Folder(make(form))
    parts = [(folder, folder.images())]
    images, said = decoding.stack(parts, FORMS[form])
    decoding.decode(parts, FORMS[form], "crop")
    expected = io.BytesIO()
    np.save(expected, images)
    np.save(expected, np.array(said))
    assert bool(said) == (form in ("several sizes", "deep"))
    (file,) = cache.iterdir()
    assert file.read_bytes() == expected.getvalue()


SUBSETS = {
    "take": lambda dataset: dataset.take(30, 9, seed=1),
    "take_per_class": lambda dataset: dataset.take_per_class(10, seed=1),
    "take_classes": lambda dataset: dataset.take_classes(["dog", "cat"]),
    "long_tail": lambda dataset: dataset.long_tail(2),
    "hold_out": lambda dataset: dataset.hold_out(0.25),
    "hold_out and take": lambda dataset: dataset.hold_out(0.25).take(20).take_per_class(5),
    "resized": lambda dataset: data.resized(dataset, 4, "squeeze", channels=3),
}


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("both", ["folder", "parts", "deep"], indirect=True)
def test_subsets_are_the_same_and_stay_in_the_file(both, cache, subset):
    whole, mapped = (SUBSETS[subset](dataset) for dataset in both)
    same(whole, mapped)
    if subset != "resized":
        assert isinstance(mapped.x_train, disk.Rows) and [file_of(mapped.x_train)] == list(cache.iterdir())


def test_statistics_and_figures_are_the_same(both):
    np.testing.assert_array_equal(*(data.channel_statistics(dataset.x_train) for dataset in both))
    pairs = [data.near_duplicates(dataset, threshold=0.2) for dataset in both]
    assert len(pairs[0])
    np.testing.assert_array_equal(*pairs)
    np.testing.assert_array_equal(*(data.by_similarity(dataset.x_train, both[0].x_test[0]) for dataset in both))
    drawn = [io.BytesIO() for _ in both]
    for dataset, picture in zip(both, drawn, strict=True):
        data.class_sheet(dataset.x_train, dataset.y_train, dataset.class_names, per_class=5).savefig(picture)
    assert drawn[0].getvalue() == drawn[1].getvalue()


def test_networks_find_the_same_and_no_more_than_a_batch_is_read(both, tmp_path, monkeypatch, capsys):
    """A part of the file that comes into memory is below LARGE, or `numpy.asarray` made it: so that is watched."""
    read, array = [], disk.Rows.__array__
    monkeypatch.setattr(disk.Rows, "__array__", lambda rows, *how, **more: read.append(len(rows)) or array(rows, *how, **more))
    monkeypatch.setattr(disk, "LARGE", 9 * 8 * 6 * 3)
    shape = both[0].image_shape
    monkeypatch.setattr(activations, "MEMORY", 2 * 8 * 4 * np.prod(shape[:2]) * 8)  # of eight images
    found = []
    for dataset in both:
        model = small(dataset)
        history = training.fit(model, dataset, epochs=2, batch_size=8, backup_dir=tmp_path)
        strongest = deconvnet.strongest(model, dataset.x_train, "conv1", k=3)
        patches = deconvnet.project_units(model, dataset.x_train, "conv1", strongest)
        vectors = activations.over(model, ["flatten"], activations.maps, dataset.x_train, "features")[0]
        found.append((history, training.evaluate(model, dataset), strongest, patches, vectors))
    (history, result, strongest, patches, vectors), other = found
    same_history(history, other[0])
    assert "resumed after epoch 2 of 2" in capsys.readouterr().out, "it is known to be the same training"
    np.testing.assert_array_equal(result.confidence, other[1].confidence)
    np.testing.assert_array_equal(strongest.image, other[2].image)
    for part in ("pixels", "projections"):
        np.testing.assert_array_equal(getattr(patches, part), getattr(other[3], part))
    np.testing.assert_array_equal(vectors, other[4])
    assert max(read, default=0) <= 24 < len(both[1].x_train), "units of one batch"


def test_a_large_sample_is_the_same_and_decoded_once(make, cache, monkeypatch, capsys):
    folder, told = make("deep"), []

    def sample(seed):
        found = data.sample(folder, (8, 6, 1), 20, seed=seed)
        told.append(capsys.readouterr().out)
        return found

    for seed in range(3):  # the deep image is in some of them
        monkeypatch.setattr(disk, "LARGE", 2**28)
        whole = sample(seed)
        monkeypatch.setattr(disk, "LARGE", LARGE)
        mapped = sample(seed)
        np.testing.assert_array_equal(whole.images, mapped.images)
        assert whole.source == mapped.source and file_of(mapped.images).parent == cache and told[-1] == told[-2]
    Image.fromarray(np.full((8, 6), 16000, np.uint16)).save(folder / "dog/0007.png")
    assert (sample(0).images != mapped.images).any(), "the depth is that of the whole collection"
    monkeypatch.setattr(decoding, "stack", lambda *_, **__: pytest.fail("decoded again"))
    sample(0)


def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("when", ["before", "on the way", "at the end"])
def test_a_full_disk_costs_memory_and_says_so(both, make, cache, monkeypatch, capsys, when):
    for file in cache.iterdir():
        file.unlink()
    if when == "before":
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=8000))
    if when == "on the way":
        write = decoding._Written.__setitem__
        monkeypatch.setattr(
            decoding._Written, "__setitem__", lambda self, n, item: refuse() if n == 7 else write(self, n, item)
        )
    if when == "at the end":
        monkeypatch.setattr(disk.os, "fsync", refuse)
    dataset = data.load(make("folder"))
    same(both[0], dataset)
    assert type(dataset.x_train) is np.ndarray and not list(cache.iterdir())
    said = capsys.readouterr().out
    assert said.startswith("pets: no room in the cache ([Errno 28] No space left on device") and said.count("\n") == 1
    assert said.endswith("): decoded into memory, and again the next time\n")


def test_refuses_what_fits_neither_on_the_disk_nor_into_memory(make, monkeypatch, capsys):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=8000))
    monkeypatch.setattr(decoding.os, "sysconf", lambda _: 10, raising=False)
    with pytest.raises(ValueError, match=r"60 images of 8 × 6 pixels take .*pass a smaller image_size"):
        data.load(make("folder"))
    assert "no room in the cache" in capsys.readouterr().out


def test_an_image_that_cannot_be_decoded_leaves_no_file(make, cache, monkeypatch):
    monkeypatch.setattr(disk, "LARGE", LARGE)
    folder = make("folder")
    path = folder / "dog/0003.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"dog/0003.png is not a readable image"):
        data.load(folder)
    assert not list(cache.iterdir())


def process(code, folder):
    return subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)


KILLED = """
import os, signal, sys
from deconvlib import data
from deconvlib.data import decoding
decoding._Written.__setitem__ = lambda self, number, image: os.kill(os.getpid(), signal.SIGKILL) if number == 7 else None
data.load(sys.argv[1])
"""


def test_a_killed_decoding_is_not_taken_for_a_whole_one(both, make, cache):
    for file in cache.iterdir():
        file.unlink()
    assert process(KILLED, make("folder")).returncode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.name.endswith(".part.npy")
    dataset = data.load(make("folder"))
    same(both[0], dataset)
    assert set(cache.iterdir()) == {left, file_of(dataset.x_train)}


def test_two_may_decode_the_same_at_once(both, make, cache, monkeypatch):
    for file in cache.iterdir():
        file.unlink()
    begin, others = decoding._Written.__init__, []

    def begun(self, *how):
        begin(self, *how)
        if not others:
            others.append(None)
            others.append(data.load(make("folder")))

    monkeypatch.setattr(decoding._Written, "__init__", begun)
    dataset = data.load(make("folder"))
    assert len(list(cache.iterdir())) == 1
    for each in (dataset, others[1]):
        same(both[0], each)
        assert isinstance(each.x_train, disk.Rows)


def test_what_was_used_last_is_what_the_cache_keeps(make, cache, monkeypatch):
    data.load(make("folder"))
    (first,) = cache.iterdir()
    disk.os.utime(first, (0, 0))
    data.load(make("folder"))
    assert first.stat().st_mtime > 0, "used again"
    monkeypatch.setattr(disk, "KEPT", 60 * 8 * 6 * 3 + 1000)
    data.load(make("zip"))
    assert len(list(cache.iterdir())) == 1 and not first.exists()


ANONYMOUS = """
import sys, threading, time
from pathlib import Path
import sklearn.model_selection
from deconvlib import data, disk

def anonymous():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)

disk.LARGE = int(sys.argv[1].partition(":")[0])
before = anonymous()
peak = [before]
threading.Thread(target=watch, daemon=True).start()
dataset = data.load(sys.argv[1].partition(":")[2])
subset = dataset.hold_out(0.2).take(150)
data.channel_statistics(subset.x_train)
print(peak[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what memory is a process' own")
def test_memory_does_not_hold_them(tmp_path):
    """300 images of 224 × 224, 45 MB decoded; once with all of them in memory, which shows that it would be seen."""
    image = io.BytesIO()
    Image.fromarray(data.shapes(1, 1).x_train[0]).resize((224, 224)).save(image, "JPEG")
    for number in range(300):
        path = tmp_path / "pets" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.getvalue())
    grown = {}
    for large in (2**21, 2**30):  # the second finds them in the cache
        done = process(ANONYMOUS, f"{large}:{tmp_path / 'pets'}")
        assert not done.returncode, done.stderr
        grown[large] = float(done.stdout)
    assert grown[2**30] > 43 and grown[2**21] < 25, grown
