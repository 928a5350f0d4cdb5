"""Folders as public data sets lay them out: parts by the words of their names, archives beside folders, tables that win."""

import numpy as np
import pytest
from PIL import Image

from deconvlib import data


def sizes(dataset):
    return len(dataset.x_train), len(dataset.x_test), dataset.class_names


def flat(folder, count=10, start=0):
    """A folder of images without classes; the value of each is its number."""
    folder.mkdir(parents=True)
    for number in range(start, start + count):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def table(path, rows, header="id,label"):
    path.write_text("\n".join([header, *rows]))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train_data", "test_data"),
        ("trainset", "testset"),
        ("training-set", "test-set"),
        ("TrainingData", "TestingData"),
        ("TRAINING_IMAGES", "TEST_IMAGES"),
        ("01_train", "02_test"),
        ("train", "test1"),
        ("train", "tests"),
        ("trainval", "test"),
        ("train", "test_images"),
        ("pets train", "pets test"),
    ],
)
def test_parts_are_known_by_the_words_of_their_names(tmp_path, capsys, train, test, write_images):
    write_images(tmp_path / "pets" / train, count=4)
    write_images(tmp_path / "pets" / test, count=2, seed=1)
    assert sizes(data.load(tmp_path / "pets")) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == ""
    assert len(data.sample(tmp_path / "pets", (8, 6, 3), 99).images) == 4


@pytest.mark.parametrize("val", ["dev", "eval", "evaluation", "holdout", "val_images"])
def test_a_part_for_validation_has_many_names(tmp_path, capsys, val, write_images):
    write_images(tmp_path / "pets/train", count=4)
    write_images(tmp_path / "pets" / val, count=2, seed=1)
    assert sizes(data.load(tmp_path / "pets")) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == f"pets: {val!r} is the test part\n"


@pytest.mark.parametrize("rest", ["predict", "predictions", "unlabeled", "sample_images"])
def test_images_to_predict_are_no_class(tmp_path, capsys, rest, write_images):
    write_images(tmp_path / "pets/train", count=5)
    flat(tmp_path / "pets" / rest, 3)
    assert sizes(data.load(tmp_path / "pets")) == (8, 2, ("cat", "dog"))
    assert capsys.readouterr().out == f"pets: left out: 3 files: 3 .png in {rest!r}\n"
    assert data.sample(tmp_path / "pets", (8, 6, 3), 99).class_names == ("cat", "dog")


def test_two_parts_beside_images_to_predict(tmp_path, capsys, write_images):
    for part, count in (("seg_train", 4), ("seg_test", 2)):
        write_images(tmp_path / "scenery" / part / part, count=count)
    flat(tmp_path / "scenery/seg_pred/seg_pred", 3)
    assert sizes(data.load(tmp_path / "scenery")) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == "scenery: left out: 3 files: 3 .png in 'seg_pred'\n"


def test_a_test_part_without_labels_is_left_out_and_said(tmp_path, capsys, write_images):
    name = "asl_alphabet_{}/asl_alphabet_{}"
    write_images(tmp_path / "asl" / name.format("train", "train"), count=5, classes=("A", "B"))
    flat(tmp_path / "asl" / name.format("test", "test"), 3)
    assert sizes(data.load(tmp_path / "asl")) == (8, 2, ("A", "B"))
    said = "'asl_alphabet_test' has no labels; left out: 3 files: 3 .png in 'asl_alphabet_test'"
    assert capsys.readouterr().out == f"asl: {said}\n"
    assert data.sample(tmp_path / "asl", (4, 4, 3), 3).labels is None, "the folder around them is no class"
    capsys.readouterr()
    write_images(tmp_path / "asl/asl_alphabet_val", count=3, classes=("A", "B"))
    assert sizes(data.load(tmp_path / "asl")) == (10, 6, ("A", "B"))
    assert "'asl_alphabet_val' is the test part" in capsys.readouterr().out


def test_parts_without_classes_are_refused_and_do_not_become_the_classes(tmp_path):
    flat(tmp_path / "pets/train")
    flat(tmp_path / "pets/test1")
    with pytest.raises(ValueError, match="train holds no class folders; a classifier needs two or more"):
        data.load(tmp_path / "pets")


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("bus", "car", "train"), "'train'"),
        (("holdback", "train"), "'train'"),
        (("car", "test_tube", "train"), "'test_tube', 'train'"),
        (("test_noisy", "train_clean"), "'test_noisy', 'train_clean'"),
        (("bus", "train_station"), ""),
    ],
)
def test_a_class_that_is_called_as_a_part_is_told(tmp_path, capsys, classes, told, write_images):
    folder = write_images(tmp_path / "traffic", classes=classes)
    for read in (data.load, lambda path: data.sample(path, (8, 6, 3), 3)):
        assert read(folder).class_names == classes
        assert capsys.readouterr().out == (f"traffic: read as classes, not as parts: {told}\n" if told else "")


def test_archives_and_folders_are_parts_alike(tmp_path, capsys, write_images, zipped):
    place = tmp_path / "pets"
    write_images(place / "test", count=2, seed=1)
    zipped(write_images(tmp_path / "a", count=4), place / "Train_Set.zip")
    assert sizes(data.load(place)) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == ""
    assert len(data.sample(place, (8, 6, 3), 99).images) == 4
    (place / "notes.txt").write_text("no image")
    zipped(write_images(tmp_path / "b", count=3), place / "more.zip")
    assert sizes(data.load(place)) == (8, 4, ("cat", "dog"))
    assert capsys.readouterr().out == "pets: left out: 2 files: 1 .zip, 1 .txt\n"
    zipped(tmp_path / "b", place / "tests.zip")
    with pytest.raises(ValueError, match=r"holds both 'test' and 'tests.zip'; keep one"):
        data.load(place)


def test_an_archive_beside_what_was_unpacked_of_it_is_refused(tmp_path, write_images, zipped):
    zipped(write_images(tmp_path / "pets/train"), tmp_path / "pets/train.zip")
    with pytest.raises(ValueError, match=r"holds both 'train' and 'train.zip'; keep one"):
        data.load(tmp_path / "pets")


@pytest.mark.parametrize("name", ["labels.csv", "train.csv", "train_labels.csv"])
def test_a_table_beside_an_archive_tells_its_labels(tmp_path, capsys, name, zipped):
    (tmp_path / "pets").mkdir()
    zipped(flat(tmp_path / "flat"), tmp_path / "pets/train.zip")
    table(tmp_path / "pets" / name, [f"{number:02d},{('dog', 'cat')[number % 2]}" for number in range(10)])
    dataset = data.load(tmp_path / "pets")
    assert sizes(dataset) == (8, 2, ("cat", "dog"))
    assert (dataset.x_train[:, 0, 0, 0] % 2 == 1 - dataset.y_train).all()
    assert capsys.readouterr().out == ""


def test_a_table_beside_two_archives_names_their_files_as_those_of_folders(tmp_path, zipped):
    (tmp_path / "pets").mkdir()
    for part, count in (("train", 10), ("test", 4)):
        zipped(flat(tmp_path / part, count), tmp_path / f"pets/{part}.zip")
    rows = [f"{{}}{number:02d}.png,{('dog', 'cat')[number % 2]}" for number in range(10)]
    table(tmp_path / "pets/labels.csv", [row.format(part) for part in ("train/", "test/") for row in rows])
    assert sizes(data.load(tmp_path / "pets")) == (10, 4, ("cat", "dog"))
    table(tmp_path / "pets/labels.csv", [row.format("") for row in rows])
    with pytest.raises(ValueError, match=r"names 00.png, and there are 2 of it; give their folders too"):
        data.load(tmp_path / "pets")


def test_a_table_wins_over_folders_that_are_no_classes(tmp_path, capsys):
    flat(tmp_path / "skin/part_1", 6)
    flat(tmp_path / "skin/part_2", 6, start=6)
    table(tmp_path / "skin/labels.csv", [f"{n:02d},{('mel', 'nv')[n % 2]}" for n in range(12)], "image_id,label")
    told = "skin: the classes are those of the table, not the folders\n"
    for read in (data.load, lambda path: data.sample(path, (4, 4, 3), 9)):
        assert read(tmp_path / "skin").class_names == ("mel", "nv")
        assert capsys.readouterr().out == told
    dataset = data.load(tmp_path / "skin")
    assert (dataset.x_train[:, 0, 0, 0] % 2 == dataset.y_train).all()
    table(tmp_path / "skin/labels.csv", [f"{n:02d},part_{1 + (n > 5)}" for n in range(11)])
    capsys.readouterr()
    assert sizes(data.load(tmp_path / "skin")) == (9, 3, ("part_1", "part_2")), "they agree: the folders name all images"
    assert capsys.readouterr().out == ""
    table(tmp_path / "skin/labels.csv", ["more,1", "others,2"])
    assert data.load(tmp_path / "skin").class_names == ("part_1", "part_2")
    assert capsys.readouterr().out == "skin: left out: 1 file: 1 .csv\n"


def test_a_table_that_contradicts_class_folders_for_some_images_is_refused(tmp_path, write_images):
    folder = write_images(tmp_path / "pets")
    table(folder / "wrong.csv", ["cat/0000.png,dog"])
    with pytest.raises(ValueError, match="names 1 of 10 images, unlike the class folders; give the path of the table, or"):
        data.load(folder)
    table(folder / "wrong.csv", ["0000.png,dog"])
    with pytest.raises(ValueError, match=r"wrong.csv names 0000.png, and there are 2 of it; give their folders too, or remove"):
        data.load(folder)
    (folder / "wrong.csv").write_bytes("filename,label\n0.png,caf\xe9".encode("latin-1"))
    with pytest.raises(ValueError, match=r"wrong.csv is no table of labels: .*; mend or remove it"):
        data.load(folder)
    (folder / "wrong.csv").write_text("a,b\n1,2")
    assert sizes(data.load(folder)) == (8, 2, ("cat", "dog")), "columns that tell nothing"


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "train.csv"])
def test_parts_stay_where_the_path_of_a_table_is_given(tmp_path, capsys, name):
    flat(tmp_path / "pets/train")
    flat(tmp_path / "pets/test", 5, start=10)
    rows = [f"{number:02d},{('dog', 'cat')[number % 2]}" for number in range(15)]
    for count, expected in ((10, (8, 2)), (15, (10, 5))):
        text = "\n".join(["id,label", *rows[:count]])
        (tmp_path / "pets" / name).write_text(text.replace(",", "\t") if name.endswith("tsv") else text)
        got = data.sample(tmp_path / "pets" / name, (4, 4, 3), 99)
        if name == "train.csv":  # it is none of the test part
            assert sizes(data.load(tmp_path / "pets" / name))[:2] == (8, 2) and len(got.images) == 10
            continue
        assert sizes(data.load(tmp_path / "pets" / name))[:2] == expected
        assert got.class_names == ("cat", "dog") and len(got.images) == (10 if count == 10 else 5)
    assert "'test' has no labels; left out: 5 files: 5 .png in 'test'" in capsys.readouterr().out


def test_traffic_signs_have_a_table_a_part_and_one_of_what_is_no_image_to_classify(tmp_path, capsys, write_images):
    """As GTSRB lies: Train/<class>, Test without class folders, Meta with one picture of each class."""
    place = tmp_path / "signs"
    for part, count in (("Train", 4), ("Meta", 1)):
        write_images(place / part, count=count, classes=("0", "1", "10"))
    flat(place / "Test", 6)
    header = "Width,Height,Roi.X1,ClassId,Path"
    rows = [f"6,8,1,{name},Train/{name}/{number:04d}.png" for name in (0, 1, 10) for number in range(4)]
    table(place / "Train.csv", rows, header)
    table(place / "Test.csv", [f"4,4,1,{(0, 1, 10)[number % 3]},Test/{number:02d}.png" for number in range(6)], header)
    table(place / "Meta.csv", ["Meta/0/0000.png,0"], "Path,ClassId")
    dataset = data.load(place, image_size=4)
    assert sizes(dataset) == (12, 6, ("0", "1", "10"))
    assert (dataset.x_test[:, 0, 0, 0] % 3 == dataset.y_test).all()
    assert "3 .png in 'Meta'" in capsys.readouterr().out


def test_tiny_imagenet_as_it_lies(tmp_path, capsys):
    place, names = tmp_path / "tiny-imagenet-200", ("n01443537", "n01629819")
    for name in names:
        (place / "train" / name / "images").mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(place / f"train/{name}/images/{name}_{number}.JPEG")
        (place / f"train/{name}/{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t10\t63\t58\n")
    flat(place / "val/images", 4)
    rows = [f"{number:02d}.png\t{names[number % 2]}\t0\t32\t44\t62" for number in range(4)]
    (place / "val/val_annotations.txt").write_text("\n".join(rows) + "\n")
    flat(place / "test/images", 2)
    dataset = data.load(place)
    assert sizes(dataset) == (6, 4, names)
    assert (dataset.x_test[:, 0, 0, 0] % 2 == dataset.y_test).all()
    said = "'test' has no labels; 'val' is the test part; left out: 4 files: 2 .png in 'test', 2 .txt"
    assert capsys.readouterr().out == f"tiny-imagenet-200: {said}\n"


def split_rows(count=12):
    """Ten images for training, the rest for testing; the last one of another part."""
    parts = ["train"] * 8 + ["Test"] * (count - 9) + ["valid"]
    return [f"{number:02d},{('a', 'b')[number % 2]},{part}" for number, part in enumerate(parts)]


def test_a_column_of_the_table_divides_the_images(tmp_path, capsys):
    flat(tmp_path / "pets/images", 12)
    table(tmp_path / "pets/labels.csv", split_rows(), "id,label,split")
    for path in (tmp_path / "pets", tmp_path / "pets/labels.csv"):
        dataset = data.load(path)
        assert sorted(dataset.x_train[:, 0, 0, 0]) == list(range(8)) and sorted(dataset.x_test[:, 0, 0, 0]) == [8, 9, 10]
        assert (dataset.x_test[:, 0, 0, 0] % 2 == dataset.y_test).all()
        assert "divided by the table of labels; 'test' is the test part; left out: 1 file" in capsys.readouterr().out
        assert len(data.sample(path, (4, 4, 3), 99).images) == 3
        capsys.readouterr()


def test_tables_of_parts_divide_the_images(tmp_path, capsys):
    flat(tmp_path / "pets/images", 12)
    for part, numbers in (("train", range(8)), ("test", range(8, 12))):
        table(tmp_path / f"pets/{part}.csv", [f"{number:02d},{('a', 'b')[number % 2]}" for number in numbers])
    dataset = data.load(tmp_path / "pets")
    assert sorted(dataset.x_train[:, 0, 0, 0]) == list(range(8)) and sorted(dataset.x_test[:, 0, 0, 0]) == [8, 9, 10, 11]
    assert capsys.readouterr().out == "pets: divided by the table of labels\n"
    assert sizes(data.load(tmp_path / "pets/train.csv")) == (6, 2, ("a", "b"))


@pytest.mark.parametrize("name", ["sample_submission.csv", "gender_submission.csv", "test_predictions.csv"])
@pytest.mark.parametrize("labels", ["train.csv", "labels.csv"])
def test_a_table_to_hand_in_is_no_table_of_labels(tmp_path, capsys, name, labels):
    flat(tmp_path / "pets/train")
    flat(tmp_path / "pets/test", 5, start=10)
    table(tmp_path / "pets" / labels, [f"{number:02d},{('dog', 'cat')[number % 2]}" for number in range(10)])
    table(tmp_path / "pets" / name, [f"{number},{('dog', 'cat')[number > 12]}" for number in range(10, 15)])
    assert sizes(data.load(tmp_path / "pets")) == (8, 2, ("cat", "dog"))
    said = "'test' has no labels; left out: 6 files: 5 .png in 'test', 1 .csv"
    assert capsys.readouterr().out == f"pets: {said}\n"
    assert data.sample(tmp_path / "pets", (4, 4, 3), 9).labels is None
