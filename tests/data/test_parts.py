"""Which part of a folder trains and which tests, what is left out and said, and labels that stand in a table."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from deconvlib import data


def sizes(dataset):
    return len(dataset.x_train), len(dataset.x_test), dataset.class_names


@pytest.mark.parametrize("form", ["folder", "zip", "wrapped"])
@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("training", "testing"), ("TRAINING", "test"), ("training_set", "test_set")]
)
def test_parts_are_known_by_their_usual_names(tmp_path, capsys, form, train, test, write_images, zipped):
    place = tmp_path / "all" / "pets"
    write_images(place / train, count=4)
    write_images(place / test, count=2, seed=1)
    given = {"folder": place, "zip": tmp_path / "pets.zip", "wrapped": tmp_path / "all"}[form]
    path = zipped(place, given) if form == "zip" else given
    assert sizes(data.load(path)) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == ""
    got = data.sample(path, (8, 6, 3), 99)
    assert len(got.images) == 4 and got.class_names == ("cat", "dog")


@pytest.mark.parametrize("val", ["val", "Valid", "validation"])
def test_the_part_for_validation_tests_where_no_other_does(tmp_path, capsys, val, write_images):
    write_images(tmp_path / "pets/train", count=4)
    write_images(tmp_path / "pets" / val, count=2, seed=1)
    assert sizes(data.load(tmp_path / "pets")) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == f"pets: {val!r} is the test part\n"
    assert len(data.sample(tmp_path / "pets", (8, 6, 3), 99).images) == 4


def test_of_three_parts_the_test_part_tests_and_a_line_says_what_is_left_out(tmp_path, capsys, write_images):
    for part, count in (("train", 4), ("val", 3), ("test", 2)):
        write_images(tmp_path / "pets" / part, count=count, seed=count)
    dataset = data.load(tmp_path / "pets")
    assert sizes(dataset) == (8, 4, ("cat", "dog"))
    first = np.asarray(Image.open(tmp_path / "pets/test/cat/0000.png"))
    assert any(np.array_equal(first, image) for image in dataset.x_test)
    assert capsys.readouterr().out == "pets: 'test' is the test part; left out: 6 files: 6 .png in 'val'\n"


def test_archives_are_parts_by_the_same_names(tmp_path, write_images, zipped):
    (tmp_path / "cifar10").mkdir()
    for part, count in (("Train", 4), ("val", 3)):
        zipped(write_images(tmp_path / part, count=count), tmp_path / "cifar10" / f"{part}.zip")
    assert sizes(data.load("cifar10", data_dir=tmp_path)) == (8, 6, ("cat", "dog"))


def test_refuses_two_parts_of_one_kind_and_none_to_train_on(tmp_path, write_images):
    for part in ("train", "Training", "test"):
        write_images(tmp_path / "two" / part)
    with pytest.raises(ValueError, match="holds both 'Training' and 'train'; keep one"):
        data.load(tmp_path / "two")
    for part in ("val", "test"):
        write_images(tmp_path / "none" / part)
    with pytest.raises(ValueError, match="holds test and val, but no part to train on"):
        data.load(tmp_path / "none")


def test_every_usual_format_is_read_and_the_rest_counted(tmp_path, capsys, write_images):
    folder = write_images(tmp_path / "pets", count=2)
    pixels = np.asarray(Image.open(folder / "cat/0000.png"))
    for suffix in ("webp", "bmp", "gif", "tif", "TIFF", "jpg", "ppm"):
        Image.fromarray(pixels).save(folder / "cat" / f"1.{suffix}", lossless=True)
        Image.fromarray(pixels).save(folder / "dog" / f"1.{suffix}", lossless=True)
    frames = [Image.fromarray(np.full((8, 6, 3), value, np.uint8)) for value in (0, 255)]
    frames[0].save(folder / "dog/moving.gif", save_all=True, append_images=frames[1:])
    for number in range(3):
        (folder / "cat" / f"{number}.heic").write_bytes(b"not read")
    (folder / "cat/notes.txt").write_text("no image")
    Image.fromarray(pixels).save(folder / "cover.png")
    dataset = data.load(folder)
    assert len(dataset.x_train) + len(dataset.x_test) == 2 * 2 + 7 * 2 + 1
    images = [*dataset.x_train, *dataset.x_test]
    assert sum(np.array_equal(pixels, image) for image in images) >= 1 + 2 * 5, "lossless formats keep the pixels"
    assert any((image == 0).all() for image in images), "the first frame of several"
    said = "pets: left out: 5 files: 3 .heic, 1 .txt, 1 .png beside the folders\n"
    moving = "pets: 1 of 19 files hold several frames: the first is read\n"
    assert capsys.readouterr().out == said + moving
    data.load(folder)
    assert capsys.readouterr().out == said + moving, "said from the cache as well"
    data.sample(folder, (8, 6, 3), 19)
    assert capsys.readouterr().out == said + moving


def test_links_are_followed_once(tmp_path, capsys, write_images):
    folder = write_images(tmp_path / "pets", count=4)
    (folder / "cat/up").symlink_to("..")
    (folder / "a").symlink_to("dog")
    assert sizes(data.load(folder)) == (6, 2, ("cat", "dog"))
    assert "left out: 2 folders: " in capsys.readouterr().out
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    (tmp_path / "whole").symlink_to(folder)
    for place in ("linked", "whole"):
        assert sizes(data.load(tmp_path / place)) == (6, 2, ("cat", "dog"))


def test_a_folder_that_cannot_be_read_is_told(tmp_path, capsys, monkeypatch, write_images):
    folder = write_images(tmp_path / "pets", classes=("cat", "dog", "cat/more"))
    scan = os.scandir

    def refusing(path):  # an administrator, as in a container, could read it
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert sizes(data.load(folder)) == (8, 2, ("cat", "dog"))
    assert re.search(r"^pets: left out: 1 folder: .*Permission denied: .*cat/more'$", capsys.readouterr().out)


def flat(folder, count=10):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(folder / f"{number:02d}.png")
    return folder


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,label", "{:02d}.png,{}"),
        ("id;Class;note", "{:02d};{};x"),
        ("x\tImage Name\ttarget", "1\timages/{:02d}.png\t{}"),
        ("label,path", "{1},.\\images\\{0:02d}.png"),
        ('"filename", "label"', '"{:02d}.png", "{}"'),
        ("sep=;\nfilename;label", "{:02d}.png;{}"),
        ("\nfilename,label", "{:02d}.png,{}"),
        ("ImageId,Width,ClassId", "{:02d}.png,8,{}"),
        ("lesion_id,image_id,dx", "x{0:02d},{0:02d},{1}"),
        ("id,breed", "{:02d},{}"),
        ("class id,filepaths,labels", "7,images/{:02d}.png,{}"),
        ("id_code,diagnosis", "{:02d},{}"),
    ],
)
def test_a_table_tells_the_labels(tmp_path, capsys, header, row):
    flat(tmp_path / "pets/images")
    lines = [row.format(number, ("dog", "cat")[number % 2]) for number in range(10)]
    (tmp_path / "pets/labels.csv").write_text("\n".join([header, *lines]), encoding="utf-8-sig")
    for path in (tmp_path / "pets", tmp_path / "pets/labels.csv"):
        dataset = data.load(path)
        assert sizes(dataset) == (8, 2, ("cat", "dog"))
        assert (dataset.x_train[:, 0, 0, 0] % 2 == 1 - dataset.y_train).all()
        got = data.sample(path, (4, 4, 3), 10)
        assert (got.images[:, 0, 0, 0] % 2 == 1 - got.labels).all()
    assert capsys.readouterr().out == ""


def test_a_table_beside_parts_and_classes_that_are_numbers(tmp_path, capsys):
    flat(tmp_path / "pets/train")
    flat(tmp_path / "pets/test", 5)
    for part, count in (("train", 10), ("test", 5)):
        rows = [f"{number:02d},{(2, 10)[number % 2]}" for number in range(count)]
        (tmp_path / f"pets/{part}.csv").write_text("\n".join(["id,label", *rows, "99,2"]))
    dataset = data.load(tmp_path / "pets")
    assert sizes(dataset) == (10, 5, ("2", "10")) and (dataset.x_test[:, 0, 0, 0] % 2 == dataset.y_test).all()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "pets/train/new.png")
    assert len(data.load(tmp_path / "pets").x_train) == 10
    assert "left out: 1 file: 1 .png in 'train'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "filename,cat,dog\n00.png,1,0",
            "no class folders.*or a labels.csv.* with the columns filename and label",
        ),
        ("filename,label\nother.png,cat", "labels.csv names none of its images; it names 'other.png'"),
        ("filename,label\n00.png,cat\n00.png,dog", "gives 00.png two labels, 'cat' and 'dog'"),
        ("filename,label\n00.png,caf\xe9", "no table of labels: it is not UTF-8, at byte 25; mend or remove it"),
        ("00.png,cat\n01.png,dog", "with the columns filename and label; labels.csv has other columns"),
    ],
)
def test_refuses_a_table_that_does_not_tell(tmp_path, text, told):
    flat(tmp_path / "pets")
    (tmp_path / "pets/labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=told) as error:
        data.load(tmp_path / "pets")
    assert "\n" not in str(error.value)


def test_refuses_a_table_that_could_mean_two_files_and_two_tables(tmp_path):
    flat(tmp_path / "pets/train")
    flat(tmp_path / "pets/test")
    rows = "\n".join(["file,label", *(f"{number:02d}.png,{number % 2}" for number in range(10))])
    (tmp_path / "pets/labels.csv").write_text(rows)
    with pytest.raises(ValueError, match=r"labels.csv names 00.png, and there are 2 of it; give their folders too"):
        data.load(tmp_path / "pets")
    flat(tmp_path / "two")
    for name in ("a.csv", "b.csv"):
        (tmp_path / "two" / name).write_text(rows)
    with pytest.raises(ValueError, match=r"several tables of labels, a.csv, b.csv: give the path of one"):
        data.load(tmp_path / "two")
    assert data.load(tmp_path / "two/b.csv").class_names == ("0", "1")
    (tmp_path / "two/c.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="its columns are a, b; call one filename, one label"):
        data.load(tmp_path / "two/c.csv")


def test_a_class_of_nothing_but_what_is_not_read_is_refused_with_what_it_holds(tmp_path, write_images):
    folder = write_images(tmp_path / "pets")
    (folder / "emu").mkdir()
    (folder / "emu/1.heic").write_bytes(b"not read")
    with pytest.raises(ValueError, match=r"class folder 'emu' holds no images .*; left out: 1 file: 1 .heic"):
        data.load(folder)
