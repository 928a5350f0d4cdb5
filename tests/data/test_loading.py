"""What load, sample and load_scenes find by a name or a path, and what they refuse."""

import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from deconvlib import data


def test_digits_are_split_with_every_class():
    digits = data.load("digits")
    assert digits.image_shape == (8, 8, 1) and digits.x_train.max() == 255
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert set(digits.y_test) == set(range(10))


def test_train_and_test_parts_are_kept(tmp_path, write_images):
    write_images(tmp_path / "pets/train", count=7)
    write_images(tmp_path / "pets/test", count=3)
    dataset = data.load(tmp_path / "pets")
    assert (len(dataset.x_train), len(dataset.x_test)) == (14, 6)
    write_images(tmp_path / "pets/test", count=3, classes=("cow",))
    with pytest.raises(ValueError, match="only one of them has 'cow'"):
        data.load(tmp_path / "pets")


def test_names_are_looked_for_in_the_folder_that_the_environment_names(tmp_path, monkeypatch, write_images, zipped):
    train, test = write_images(tmp_path / "a", count=4), write_images(tmp_path / "b", count=2, seed=1)
    (tmp_path / "cifar10").mkdir()
    zipped(train, tmp_path / "cifar10/train.zip")
    zipped(test, tmp_path / "cifar10/test.zip")
    monkeypatch.setenv("DECONVLIB_DATA", str(tmp_path))
    assert repr(data.load("cifar10")) == "cifar10: 8 training and 4 test images of 8 × 6 × 3, 2 classes"
    monkeypatch.delenv("DECONVLIB_DATA")
    assert len(data.load("cifar10", data_dir=tmp_path).x_train) == 8


def test_arrays(tmp_path):
    x, y = np.zeros((10, 4, 4), np.uint8), np.arange(10) % 2
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    assert data.load("mnist", data_dir=tmp_path).class_names == data.loading.DIGITS
    np.savez(tmp_path / "own.npz", x=x, y=y, class_names=["a", "b"])
    dataset = data.load(tmp_path / "own.npz")
    assert dataset.class_names == ("a", "b") and dataset.image_shape == (4, 4, 1) and len(dataset.x_test) == 2
    np.savez(tmp_path / "odd.npz", images=x)
    with pytest.raises(ValueError, match="must hold x_train, y_train, x_test, y_test, or x and y; it holds images"):
        data.load(tmp_path / "odd.npz")
    np.savez(tmp_path / "code.npz", x=np.array([{}], object), y=y)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.load(tmp_path / "code.npz")


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"'cifar'.*did you mean 'cifar10'.*'shapes', 'digits'"):
        data.load("cifar")


def stand_in(monkeypatch, load_data):
    """Keras' data sets replaced: no test may download, and TensorFlow takes ten seconds to import."""
    datasets = types.SimpleNamespace(mnist=types.SimpleNamespace(load_data=load_data))
    datasets.cifar100 = datasets.mnist
    backend = types.ModuleType("deconvlib.backend")
    backend.keras = types.SimpleNamespace(datasets=datasets)
    monkeypatch.setitem(sys.modules, "deconvlib.backend", backend)


def test_without_files_or_network_says_where_it_looks(tmp_path, monkeypatch):
    def offline():
        raise OSError("no network")

    stand_in(monkeypatch, offline)
    with pytest.raises(FileNotFoundError, match=r"no network.*train.zip.*mnist.npz"):
        data.load("mnist", data_dir=tmp_path)


def test_what_keras_downloads_has_flat_labels_and_class_names(monkeypatch):
    part = np.zeros((100, 4, 4, 3), np.uint8), np.arange(100)[:, None]
    stand_in(monkeypatch, lambda: (part, part))
    dataset = data.load("cifar100")
    assert dataset.y_train.shape == (100,) and dataset.num_classes == 100
    # numbers of the original's fine labels: 0 apple, 19 cattle, 99 worm
    assert [dataset.class_names[k] for k in (0, 19, 99)] == ["apple", "cattle", "worm"]
    assert list(data.loading.CIFAR100) == sorted(set(data.loading.CIFAR100))


def test_resized_shapes_keep_their_masks():
    large = data.shapes(20, 10)
    for fitting, seen in (("squeeze", slice(None)), ("crop", slice(5, 27))):  # 32 · 16 / 24 rows, in the middle
        small = data.resized(large, (16, 24), fitting)
        assert small.image_shape == (16, 24, 3) and small.masks_train.shape == (20, 16, 24)
        expected = large.masks_train[:, seen].mean(axis=(1, 2))
        np.testing.assert_allclose(small.masks_train.mean(axis=(1, 2)), expected, atol=0.03)
    assert data.load("digits", image_size=16).image_shape == (16, 16, 1)


def test_arrays_are_cropped_or_squeezed_as_files_are_and_a_line_says_which(tmp_path, capsys):
    pixels = np.zeros((10, 4, 8, 3), np.uint8)
    pixels[:, :, 2:6] = 200  # the middle square
    np.savez(tmp_path / "own.npz", x=pixels, y=np.arange(10) % 2)
    for fitting, said in (("crop", "cropped in the middle"), ("squeeze", "squeezed")):
        line = f"own{{}}: fitting={fitting!r}: 10 of 10 images are {said} to 4 × 4 pixels\n"
        dataset = data.load(tmp_path / "own.npz", image_size=4, fitting=fitting)
        assert capsys.readouterr().out == line.format("")
        got = data.sample(tmp_path / "own.npz", (4, 4, 3), 10, fitting=fitting)
        assert capsys.readouterr().out == line.format(".npz")
        assert ((dataset.x_train == 200).all(), (got.images == 200).all()) == ((fitting == "crop",) * 2)
        assert got.images[:, :, 0].max() < 200 or fitting == "crop", "the dark margins are squeezed in"
    for read in (data.load, lambda name, **given: data.sample(name, (4, 4, 1), 3, **given)):
        with pytest.raises(ValueError, match="fitting 'crops' is not known; did you mean 'crop'"):
            read("digits", fitting="crops")


@pytest.mark.parametrize("image_size", [0, True, (8, -8), (8, True), (8,), (8, 8, 3), 8.0, "8", "88"])
def test_refuses_an_image_size_that_is_none(image_size):
    with pytest.raises(ValueError, match="image_size must be a side or"):
        data.load("digits", image_size=image_size)


@pytest.mark.parametrize("shape", [8, (8, 8), (8, 8, 2), (8, 0, 3), (8, 8.0, 3), "883", None])
def test_refuses_an_image_shape_that_is_none(shape):
    with pytest.raises(ValueError, match=r"image_shape must be \(height, width, 1 or 3\), in whole pixels, not"):
        data.sample("digits", shape, 3)


def test_a_path_may_be_a_name_and_a_folder_that_is_there_is_read(tmp_path, monkeypatch, write_images):
    monkeypatch.chdir(tmp_path)
    assert data.load(Path("digits")).class_names == data.loading.DIGITS
    assert data.sample(Path("digits"), (8, 8, 1), 3).class_names == data.loading.DIGITS
    write_images(tmp_path / "digits")
    for place, names in (("digits", data.loading.DIGITS), (Path("digits"), ("cat", "dog"))):
        assert data.load(place).class_names == data.sample(place, (8, 6, 1), 3).class_names == names


@pytest.mark.parametrize("shape", [(10, 3, 8, 8), (10, 8, 8, 2), (10, 64)])
def test_refuses_arrays_that_are_no_images(tmp_path, shape):
    x, y = np.zeros(shape, np.uint8), np.arange(10) % 2
    np.savez(tmp_path / "own.npz", x=x, y=y)
    np.savez(tmp_path / "parts.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    for name in ("own.npz", "parts.npz"):
        for read in (data.load, lambda path: data.sample(path, (8, 8, 3), 3)):
            with pytest.raises(ValueError, match=r"\(n, height, width, 1 or 3\), not uint8 of shape \(10, "):
                read(tmp_path / name)


def test_arrays_of_floats_are_read_as_by_a_sample(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=pixels / 255, y_train=np.arange(10) % 2, x_test=pixels, y_test=np.arange(10) % 2)
    np.testing.assert_array_equal(data.load(tmp_path / "own.npz").x_train, pixels)


def test_refuses_too_few_images_to_split(tmp_path, write_images):
    folder = write_images(tmp_path / "pets", count=9)
    write_images(folder, count=1, classes=("emu",))
    with pytest.raises(ValueError, match=r"too few images to split: 19 in 3 classes, 1 of 'emu'"):
        data.load(folder)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.eye(10, dtype=int), r"must be 10 integers, one an image, not int64 of shape \(10, 10\)"),
        (np.full(10, "cat"), "must be 10 integers"),
        (np.arange(10) % 2 - 1, "training label 0 is -1"),
    ],
)
def test_refuses_an_npz_with_labels_of_another_kind(tmp_path, labels, told):
    np.savez(tmp_path / "own.npz", x=np.zeros((10, 4, 4), np.uint8), y=labels)
    with pytest.raises(ValueError, match=told):
        data.load(tmp_path / "own.npz")


def test_importing_is_light_and_loading_needs_no_tensorflow():
    code = """if True:
        import sys
        from deconvlib import data
        assert not {"sklearn", "pandas", "keras", "tensorflow"} & set(sys.modules)
        data.load("digits")
        assert not {"keras", "tensorflow"} & set(sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_sample_of_a_folder_has_the_models_shape_and_the_folders_classes(tmp_path, write_images):
    write_images(tmp_path / "a", size=(9, 7))
    write_images(tmp_path / "a", size=(12, 12), mode="L", classes=("owl",))
    got = data.sample(tmp_path / "a", (6, 5, 3), 9, seed=1)
    assert got.images.shape == (9, 6, 5, 3) and got.images.dtype == np.uint8
    assert got.class_names == ("cat", "dog", "owl")
    assert [file.partition("/")[0] for file in got.source] == [got.class_names[label] for label in got.labels]
    assert data.sample(tmp_path / "a", (6, 5, 1), 99).images.shape == (15, 6, 5, 1)


def test_a_sample_of_a_flat_folder_or_zip_has_no_labels(tmp_path, write_images):
    write_images(tmp_path / "a", classes=("x",))
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        for file in (tmp_path / "a" / "x").iterdir():
            archive.write(file, file.name)
    for place in (tmp_path / "a" / "x", tmp_path / "flat.zip"):
        got = data.sample(place, (8, 6, 3), 3)
        assert got.labels is None and got.class_names == () and len(got.images) == len(got.source) == 3
        with Image.open(tmp_path / "a" / "x" / got.source[0]) as image:
            assert np.array_equal(got.images[0], np.asarray(image)), "not resized where the size is right"


def test_a_sample_of_arrays(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    got = data.sample(tmp_path / "a.npy", (8, 8, 3), 2, seed=3)
    assert np.array_equal(got.images, np.repeat(pixels[[int(i) for i in got.source]][..., None], 3, axis=-1))
    np.savez(tmp_path / "a.npz", x=pixels / 255, y=np.arange(6) % 3)
    got = data.sample(tmp_path / "a.npz", (8, 8, 1), 6)
    assert np.array_equal(got.images[..., 0], pixels) and got.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert got.class_names == ("0", "1", "2")
    np.savez(tmp_path / "b.npz", z=pixels)
    np.save(tmp_path / "c.npy", pixels * 2.0)
    for name, said in (("b.npz", "it holds z"), ("c.npy", "uint8, or floats")):
        with pytest.raises(ValueError, match=said):
            data.sample(tmp_path / name, (8, 8, 1), 2)


def test_a_sample_of_a_data_set_is_of_its_test_images():
    got = data.sample("digits", (8, 8, 1), 5, seed=2)
    whole = data.load("digits", seed=2)
    chosen = [int(number) for number in got.source]
    assert np.array_equal(got.images, whole.x_test[chosen]) and np.array_equal(got.labels, whole.y_test[chosen])


def test_a_folder_without_images_gives_no_sample(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(ValueError, match="holds no images"):
        data.sample(tmp_path, (8, 8, 3), 5)


@pytest.fixture
def painted(tmp_path):
    """Ten photographs with masks in three colours, in a folder."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    colours = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 90]], np.uint8)
    for index in range(10):
        numbers = rng.integers(3, size=(12, 16))
        Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(colours[numbers]).save(tmp_path / "masks" / f"{index}.png")
        np.save(tmp_path / f"{index}.npy", numbers)
    return tmp_path


def test_a_folder_of_images_and_masks(painted):
    scenery = data.load_scenes(painted)
    assert scenery.x_train.shape == (8, 12, 16, 3) and scenery.y_test.shape == (2, 12, 16)
    assert scenery.class_names == ("#000000", "#00005a", "#c80000")
    stored = {np.asarray(Image.open(painted / "images" / f"{index}.png")).tobytes(): index for index in range(10)}
    for image, mask in zip(scenery.x_train, scenery.y_train, strict=True):
        numbers = np.load(painted / f"{stored[image.tobytes()]}.npy")
        np.testing.assert_array_equal(mask, np.array([0, 2, 1])[numbers])
    assert data.load_scenes(painted, image_size=(24, 32)).y_train.shape == (8, 24, 32)
    assert len(data.load_scenes(painted, image_size=8).class_names) == 3, "masks were blurred"


def test_masks_of_numbers_are_classes(painted):
    for index in range(10):
        numbers = np.load(painted / f"{index}.npy").astype(np.uint8)
        Image.fromarray(numbers + 5).save(painted / "masks" / f"{index}.png")
    assert data.load_scenes(painted).class_names == ("5", "6", "7")


def test_a_folder_that_cannot_be_segmented(painted, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        data.load_scenes(tmp_path / "none")
    with pytest.raises(ValueError, match="holds 0 images in images/"):
        data.load_scenes(painted / "images")
    (painted / "masks" / "3.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"3\.png is not a readable image"):
        data.load_scenes(painted)
    (painted / "masks" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"3\.png has no mask"):
        data.load_scenes(painted)
    Image.fromarray(np.zeros((5, 16, 3), np.uint8)).save(painted / "masks" / "3.png")
    with pytest.raises(ValueError, match="pass image_size"):
        data.load_scenes(painted)
    for index in range(7):
        (painted / "images" / f"{index}.png").unlink()
    with pytest.raises(ValueError, match="give 5 or more"):
        data.load_scenes(painted)


def test_masks_that_are_photographs_are_refused(painted):
    rng = np.random.default_rng(0)
    for index in range(10):
        Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).save(painted / "masks" / f"{index}.png")
    with pytest.raises(ValueError, match="not 2 to 256"):
        data.load_scenes(painted)


def test_masks_in_which_nothing_differs_are_refused(painted):
    for index in range(10):
        Image.fromarray(np.full((12, 16), 7, np.uint8)).save(painted / "masks" / f"{index}.png")
    with pytest.raises(ValueError, match="hold 1 values"):
        data.load_scenes(painted)
    for index in range(10):
        Image.fromarray(np.zeros((6, 8), np.uint8)).save(painted / "masks" / f"{index}.png")
    with pytest.raises(ValueError, match=r"masks \(6, 8\); give image_size"):
        data.load_scenes(painted)


def test_a_zip_of_images_and_masks_is_read(painted, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for kind in ("images", "masks"):
            for file in (painted / kind).iterdir():
                archive.write(file, f"{kind}/{file.name}")
    np.testing.assert_array_equal(data.load_scenes(tmp_path / "all.zip").y_train, data.load_scenes(painted).y_train)


def test_scenes_in_a_wrapping_folder_and_masks_of_other_formats(painted, tmp_path, capsys):
    expected = data.load_scenes(painted)
    whole = tmp_path / "whole" / "scenes"
    for kind, suffix in (("Images", "webp"), ("Masks", "tif")):
        (whole / kind / "one").mkdir(parents=True)
        for file in sorted((painted / kind.lower()).iterdir()):
            Image.open(file).save(whole / kind / "one" / f"{file.stem}.{suffix}", lossless=True)
    capsys.readouterr()
    np.testing.assert_array_equal(data.load_scenes(tmp_path / "whole").y_train, expected.y_train)
    assert capsys.readouterr().out == ""
    Image.open(painted / "masks/0.png").save(whole / "Masks/one/more.tif")
    (whole / "notes.txt").write_text("no image")
    data.load_scenes(tmp_path / "whole")
    assert capsys.readouterr().out == "whole: left out: 2 files: 1 .tif in 'Masks', 1 .txt\n"


def test_masks_of_the_same_name_in_two_folders_stay_apart(painted, tmp_path):
    place = tmp_path / "two"
    for kind in ("images", "masks"):
        for index in range(10):
            (place / kind / str(index)).mkdir(parents=True)
            shutil.copy(painted / kind / f"{index}.png", place / kind / str(index) / "0.png")
    np.testing.assert_array_equal(data.load_scenes(place).y_train, data.load_scenes(painted).y_train)


def test_masks_of_16_bits_keep_their_numbers_or_are_refused(painted):
    for index in range(10):
        numbers = np.load(painted / f"{index}.npy").astype(np.uint16)
        Image.fromarray(numbers * 100).save(painted / "masks" / f"{index}.png")
    assert data.load_scenes(painted).class_names == ("0", "100", "200")
    Image.fromarray(numbers * 1000).save(painted / "masks" / "9.png")
    with pytest.raises(ValueError, match="has values to 2000; save masks with 8 bits"):
        data.load_scenes(painted)


def turn(painted, orientation, side=None):
    """Every image stored as a camera stores it that was held otherwise; the masks stay as they were stored."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for index in range(10):
        for kind in ("images", "masks") if side else ("images",):
            file = painted / kind / f"{index}.png"
            image = Image.open(file).crop((0, 0, side, side)) if side else Image.open(file)
            image.save(file, exif=exif if kind == "images" else None)


@pytest.mark.parametrize("image_size", [None, 8])
def test_masks_of_images_that_exif_turns_must_stand_as_they_do(painted, capsys, image_size):
    turn(painted, 6)
    with pytest.raises(ValueError, match=r"images/0.png is 16 × 12, .*its mask 12 × 16; save masks that stand as the images"):
        data.load_scenes(painted, image_size)
    for index in range(10):
        Image.open(painted / f"masks/{index}.png").transpose(Image.Transpose.ROTATE_270).save(painted / f"masks/{index}.png")
    assert len(data.load_scenes(painted, image_size).class_names) == 3
    assert "10 images are turned upright by EXIF, their masks must stand so" in capsys.readouterr().out


@pytest.mark.parametrize("orientation", [3, 6])
def test_it_is_said_where_sizes_do_not_tell_whether_a_mask_stands_upright(painted, capsys, orientation):
    turn(painted, orientation, side=10)
    data.load_scenes(painted)
    assert "10 images are turned upright by EXIF, their masks must stand so" in capsys.readouterr().out


def test_masks_of_other_proportions_are_told(painted, capsys):
    Image.fromarray(np.zeros((5, 16, 3), np.uint8)).save(painted / "masks" / "3.png")
    data.load_scenes(painted, image_size=8)
    assert "1 mask of other proportions: images/3.png is 12 × 16, its mask 5 × 16" in capsys.readouterr().out
    Image.fromarray(np.zeros((7, 9, 3), np.uint8)).save(painted / "masks" / "3.png")
    data.load_scenes(painted, image_size=8)
    assert "proportions" not in capsys.readouterr().out, "one pixel is rounding"


@pytest.mark.parametrize("shape", [(8, 32), (8, 8), (4, 16)])
def test_masks_are_cropped_where_their_images_are(tmp_path, shape):
    """Also masks that were squeezed to another size, as a labelling tool may store them."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(5):
        bright = np.zeros((8, 32), np.uint8)
        bright[:, 12 : 16 + 4 * (index % 2)] = 255  # of the middle, 12 to 20, the left half, or all
        Image.fromarray(bright).save(tmp_path / f"images/{index}.png")
        Image.fromarray(bright).resize(shape[::-1], Image.Resampling.NEAREST).save(tmp_path / f"masks/{index}.png")
    scenery = data.load_scenes(tmp_path, 8)
    found = np.concatenate([scenery.y_train, scenery.y_test])
    np.testing.assert_array_equal(found, np.concatenate([scenery.x_train, scenery.x_test])[..., 0] > 127)
    assert sorted(found.mean(axis=(1, 2))) == [0.5, 0.5, 0.5, 1, 1]
    squeezed = data.load_scenes(tmp_path, 8, fitting="squeeze")
    assert squeezed.y_train.mean() == pytest.approx((0.125 * 3 + 0.25 * 2) / 5, abs=0.05)


@pytest.mark.parametrize("layout", ["{kind}/{part}", "{part}/{kind}", "all/{part}/{kind}"])
@pytest.mark.parametrize("test", ["val", "test"])
def test_scenes_keep_their_parts(painted, tmp_path, capsys, layout, test):
    place = tmp_path / "parts"
    for index in range(10):
        for kind in ("images", "masks"):
            inner = place / layout.format(kind=kind, part=test if index > 6 else "train")
            inner.mkdir(parents=True, exist_ok=True)
            shutil.copy(painted / kind / f"{index}.png", inner)
    scenery = data.load_scenes(place)
    assert (len(scenery.x_train), len(scenery.x_test)) == (7, 3)
    np.testing.assert_array_equal(scenery.x_test[0], np.asarray(Image.open(painted / "images/7.png")))
    np.testing.assert_array_equal(scenery.y_test[0], np.array([0, 2, 1])[np.load(painted / "7.npy")])
    assert capsys.readouterr().out == ("parts: 'val' is the test part\n" if test == "val" else "")
    shutil.rmtree(place / layout.format(kind="images", part="train"))
    with pytest.raises(ValueError, match="holds 3 images in images/; give 5 or more"):
        data.load_scenes(place)


def test_scenes_of_three_parts_leave_one_out(painted, tmp_path, capsys):
    for index in range(10):
        for kind in ("images", "masks"):
            inner = tmp_path / "three" / kind / ("train", "val", "test")[min(index // 4, 2)]
            inner.mkdir(parents=True, exist_ok=True)
            shutil.copy(painted / kind / f"{index}.png", inner)
    scenery = data.load_scenes(tmp_path / "three")
    assert (len(scenery.x_train), len(scenery.x_test)) == (4, 2)
    said = "'test' is the test part; left out: 8 files: 4 .png in 'images', 4 .png in 'masks'"
    assert capsys.readouterr().out == f"three: {said}\n"


def test_refuses_a_label_that_no_number_of_classes_explains(tmp_path):
    labels = np.arange(10) % 2
    labels[3] = 10**9
    np.savez(tmp_path / "own.npz", x=np.zeros((10, 4, 4), np.uint8), y=labels)
    for read in (data.load, lambda path: data.sample(path, (4, 4, 1), 3)):
        with pytest.raises(ValueError, match="own: a label is 1000000000; number the classes from 0, below 100,000"):
            read(tmp_path / "own.npz")


def test_a_grey_data_set_in_colour_is_the_same_three_times():
    digits = data.load("digits").take(4, 4)
    coloured = data.resized(digits, 8, channels=3)
    assert coloured.image_shape == (8, 8, 3)
    for channel in range(3):
        np.testing.assert_array_equal(coloured.x_train[..., channel], digits.x_train[..., 0])
    assert data.resized(digits, (16, 12)).image_shape == (16, 12, 1)
    with pytest.raises(ValueError, match="image_size"):
        data.resized(digits, 0)
