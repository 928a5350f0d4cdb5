"""Folders and archives: what is read from them, what the cache keeps, and what is refused."""

import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from deconvlib import data


@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip"])
def test_class_folders_are_split(tmp_path, form, write_images, zipped):
    folder = write_images(tmp_path / "pets", count=10)
    (folder / ".hidden.png").write_bytes(b"no image")
    path = folder if form == "folder" else zipped(folder if form == "zip" else folder.parent, tmp_path.parent / f"{form}.zip")
    dataset = data.load(path)
    assert dataset.class_names == ("cat", "dog") and dataset.image_shape == (8, 6, 3)
    assert (len(dataset.x_train), len(dataset.x_test)) == (16, 4)
    path = folder / "cat" / "0003.png"
    assert any(np.array_equal(np.asarray(Image.open(path)), image) for image in (*dataset.x_train, *dataset.x_test))


def test_a_decoded_folder_is_cached_until_it_changes(tmp_path, cache, monkeypatch, write_images):
    folder = write_images(tmp_path / "pets")
    first = data.load(folder)
    monkeypatch.setattr(data.decoding, "stack", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(data.load(folder).x_train, first.x_train)
    monkeypatch.undo()
    monkeypatch.setenv("DECONVLIB_CACHE", str(cache))
    Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(folder / "cat/9999.png")
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:50])  # cut short
    assert len(data.load(folder).x_train) + len(data.load(folder).x_test) == 11


def test_images_of_several_sizes_ask_for_one(tmp_path, write_images):
    folder = write_images(tmp_path / "pets")
    write_images(folder, count=1, size=(4, 4))
    with pytest.raises(ValueError, match=r"0000.png is 4 × 4.*8 × 6 pixels; pass image_size"):
        data.load(folder)
    assert data.load(folder, image_size=5).image_shape == (5, 5, 3)
    assert data.load(folder, image_size=(5, 7)).image_shape == (5, 7, 3)


def test_grey_images_have_one_channel(tmp_path, write_images):
    assert data.load(write_images(tmp_path / "grey", mode="L")).image_shape == (8, 6, 1)


def test_refuses_a_corrupt_image_by_its_name(tmp_path, write_images, zipped):
    folder = write_images(tmp_path / "pets")
    (folder / "dog/0002.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match=r"dog/0002.png is not a readable image"):
        data.load(folder)
    with pytest.raises(ValueError, match=r"dog/0002.png is not a readable image"):
        data.load(zipped(folder, tmp_path / "pets.zip"))


def test_refuses_a_single_class_and_an_empty_folder(tmp_path, write_images):
    with pytest.raises(ValueError, match=r"only the class 'cat'.*two or more"):
        data.load(write_images(tmp_path / "one", classes=("cat",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        data.load(tmp_path / "empty")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_refuses_an_empty_class_folder(tmp_path, form, write_images, zipped):
    folder = write_images(tmp_path / "pets")
    (folder / "emu").mkdir()
    (folder / "emu/readme.txt").write_text("none yet")
    with pytest.raises(ValueError, match="class folder 'emu' holds no images"):
        data.load(folder if form == "folder" else zipped(folder, tmp_path / "pets.zip"))


def test_hidden_files_and_other_files_are_left_out(tmp_path, write_images, zipped):
    folder = write_images(tmp_path / "pets")
    for name in ("__MACOSX/cat/._0000.png", "cat/.DS_Store", ".git/x.png", "cat/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no image")
    for path in (folder, zipped(folder, tmp_path / "pets.zip")):
        dataset = data.load(path)
        assert dataset.class_names == ("cat", "dog") and len(dataset.x_train) + len(dataset.x_test) == 10


def test_a_zip_with_backslashes_is_read_and_nothing_is_unpacked(tmp_path, write_images):
    write_images(tmp_path / "pets")
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        for path in sorted((tmp_path / "pets").rglob("*.png")):
            file.write(path, "\\".join(path.relative_to(tmp_path / "pets").parts))
            file.write(path, f"../{path.name}")
    before = sorted(tmp_path.rglob("*"))
    assert data.load(tmp_path / "pets.zip").class_names == ("cat", "dog")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and "cache" not in path.parts] == []


def test_16_bit_images_keep_their_upper_8_bits(tmp_path, write_images):
    folder = write_images(tmp_path / "deep", mode="L", size=(2, 2))
    Image.fromarray(np.array([[0, 255], [256 * 7, 65535]], np.uint16)).save(folder / "cat/0000.png")
    dataset = data.load(folder)
    found = [*dataset.x_train[..., 0].tolist(), *dataset.x_test[..., 0].tolist()]
    assert [[0, 0], [7, 255]] in found


def test_one_colour_image_makes_all_of_them_colour(tmp_path, write_images):
    folder = write_images(tmp_path / "pets/train", mode="L")
    write_images(tmp_path / "pets/test", mode="RGB")
    dataset = data.load(tmp_path / "pets")
    assert dataset.image_shape == (8, 6, 3) and (dataset.x_train == dataset.x_train[..., :1]).all()
    write_images(folder, count=1, mode="RGB")
    assert data.load(folder).image_shape == (8, 6, 3)


def test_a_short_load_is_silent(tmp_path, capfd, write_images):
    data.load(write_images(tmp_path / "pets"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("broken", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00v\x00{'descr'", "floats", "scalar"])
def test_a_broken_cache_is_made_again(tmp_path, cache, broken, write_images):
    folder = write_images(tmp_path / "pets")
    first = data.load(folder)
    (file,) = cache.iterdir()
    if isinstance(broken, bytes):
        file.write_bytes(broken)
    else:
        np.save(file, np.zeros((10, 8, 6, 3)) if broken == "floats" else np.uint8(1))
    np.testing.assert_array_equal(data.load(folder).x_train, first.x_train)
    assert [path.suffix for path in cache.iterdir()] == [".npy"] and np.load(file).shape == (10, 8, 6, 3)


def test_the_cache_knows_the_image_size_the_fitting_and_the_times(tmp_path, cache, write_images):
    folder = write_images(tmp_path / "pets")
    data.load(folder)
    squeezed, cropped = (data.load(folder, image_size=4, fitting=fitting).x_train for fitting in ("squeeze", "crop"))
    assert squeezed.shape == cropped.shape == (8, 4, 4, 3) and not np.array_equal(squeezed, cropped)
    path = folder / "cat/0000.png"
    pixels = np.asarray(Image.open(path))
    Image.fromarray(255 - pixels).save(path, compress_level=0)
    dataset = data.load(folder)
    assert len(list(cache.iterdir())) == 4
    assert any(np.array_equal(255 - pixels, image) for image in (*dataset.x_train, *dataset.x_test))


def test_names_of_another_encoding_are_read_and_can_be_printed(tmp_path, capsys, write_images):
    """Files of an old archive: their bytes are no UTF-8, which a name in Python shows as half a character."""
    folder = write_images(tmp_path / "pets")
    os.rename(folder / "cat", os.fsencode(folder) + b"/caf\xe9")
    for name in (b"\xe8.png", b"x.caf\xe9"):
        with open(os.fsencode(folder) + b"/dog/" + name, "wb") as file:
            file.write(b"no image")
    with pytest.raises(ValueError, match=r"dog/\\udce8.png is not a readable image") as error:
        data.load(folder)
    str(error.value).encode()
    os.unlink(os.fsencode(folder) + b"/dog/\xe8.png")
    dataset = data.load(folder)
    assert dataset.class_names == (r"caf\udce9", "dog") and len(dataset.x_train) == 8
    assert capsys.readouterr().out.encode().endswith(rb"left out: 1 file: 1 .caf\udce9" + b"\n")


def test_a_home_that_nobody_has_is_no_folder():
    for read in (data.load, data.load_scenes, lambda path: data.sample(path, (8, 8, 3), 1)):
        with pytest.raises((ValueError, FileNotFoundError), match="there is no folder"):
            read("~nobody-of-this-name/pets")


def test_an_unwritable_cache_costs_only_time(tmp_path, monkeypatch, write_images):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "file/cache"))
    assert data.load(write_images(tmp_path / "pets")).num_classes == 2


def test_refuses_damaged_and_foreign_files(tmp_path, write_images, zipped):
    archive = zipped(write_images(tmp_path / "pets"), tmp_path / "pets.zip")
    stored = bytearray(archive.read_bytes())
    stored[stored.index(b"IDAT") + 8] ^= 255  # the first image's checksum no longer fits
    archive.write_bytes(stored)
    with pytest.raises(ValueError, match=r"(cat|dog)/0\d+.png is not a readable image \(Bad CRC"):
        data.load(archive)
    (tmp_path / "cifar10").mkdir()
    for name in ("own.npz", "own.tar", "cifar10/train.zip"):
        (tmp_path / name).write_bytes(stored[:100])
        with pytest.raises(ValueError, match="cut short"):
            data.load("cifar10" if "cifar10" in name else tmp_path / name, data_dir=tmp_path)


def test_what_is_no_regular_file_is_refused_by_its_name(tmp_path, write_images):
    folder = write_images(tmp_path / "pets")
    (folder / "cat/gone.png").symlink_to("nowhere.png")
    for read in (data.load, lambda path: data.sample(path, (8, 6, 3), 99)):
        with pytest.raises(ValueError, match=r"cat/gone.png is not a readable image \(.*No such file"):
            read(folder)
    (folder / "cat/gone.png").unlink()
    os.mkfifo(folder / "cat/pipe.png")
    for read in (data.load, lambda path: data.sample(path, (8, 6, 3), 99)):
        with pytest.raises(ValueError, match=r"cat/pipe.png is not a readable image \(it is not a regular file"):
            read(folder)
    for name in ("pipe.zip", "pipe.npz", "pipe.npy"):
        os.mkfifo(tmp_path / name)
        for read in (data.load, lambda path: data.sample(path, (8, 6, 3), 99)):
            with pytest.raises(ValueError, match=f"{name} (cannot be read: it )?is not"):
                read(tmp_path / name)
    with pytest.raises(ValueError, match=r"pipe.zip is not"):
        data.load_scenes(tmp_path / "pipe.zip")
    (folder / "cat/pipe.png").unlink()
    (folder / "labels.csv").symlink_to("nowhere.csv")
    with pytest.raises(ValueError, match=r"labels.csv is no table of labels: .*No such file"):
        data.load(folder)
