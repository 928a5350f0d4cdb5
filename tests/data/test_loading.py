"""Data sets: what load finds, what subsets hold, and what is refused."""

import dataclasses
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from deconvlib import data


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DECONVLIB_DATA", raising=False)
    return tmp_path / "cache"


def write_images(folder, count=5, size=(8, 6), classes=("cat", "dog"), mode="RGB", seed=0):
    """A folder of class folders; size is (height, width)."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (*size, 3) if mode == "RGB" else size, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:04d}.png")
    return folder


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder))
    return archive


@pytest.fixture(scope="module")
def shapes():
    return data.shapes(2000, 500)


def test_shapes_are_images_with_masks_that_repeat_from_a_seed(shapes):
    assert shapes.image_shape == (32, 32, 3) and shapes.num_classes == 10
    assert np.bincount(shapes.y_train).tolist() == [200] * 10
    again = data.shapes(2000, 500)
    np.testing.assert_array_equal(shapes.x_train, again.x_train)
    assert not np.array_equal(shapes.x_train, data.shapes(2000, 500, seed=1).x_train)
    np.testing.assert_array_equal(data.shapes(500, 500).x_test, shapes.x_test)  # streams are independent


def test_masks_lie_on_the_object(shapes):
    share = shapes.masks_train.mean(axis=(1, 2))
    assert share.min() > 0.02 and share.max() < 0.6
    pixels = shapes.x_train[0].astype(float)
    inside, outside = pixels[shapes.masks_train[0]].mean(axis=0), pixels[~shapes.masks_train[0]].mean(axis=0)
    assert np.linalg.norm(inside - outside) > 50


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")  # thirty steps fit the training images well beyond chance
def test_shapes_are_hard_for_a_linear_model():
    # measured with all 10,000 training images and 100 steps: 0.18 on the test images, 0.33 on the training images
    dataset = data.shapes(3000, 1000)
    flat = [images.reshape(len(images), -1) / np.float32(255) for images in (dataset.x_train, dataset.x_test)]
    linear = LogisticRegression(max_iter=30, C=0.01).fit(flat[0], dataset.y_train)
    assert linear.score(flat[1], dataset.y_test) < 0.6


def test_digits_are_split_with_every_class():
    digits = data.load("digits")
    assert digits.image_shape == (8, 8, 1) and digits.x_train.max() == 255
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert set(digits.y_test) == set(range(10))


@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip"])
def test_class_folders_are_split(tmp_path, form):
    folder = write_images(tmp_path / "pets", count=10)
    (folder / ".hidden.png").write_bytes(b"no image")
    path = folder if form == "folder" else zipped(folder if form == "zip" else folder.parent, tmp_path.parent / f"{form}.zip")
    dataset = data.load(path)
    assert dataset.class_names == ("cat", "dog") and dataset.image_shape == (8, 6, 3)
    assert (len(dataset.x_train), len(dataset.x_test)) == (16, 4)
    path = folder / "cat" / "0003.png"
    assert any(np.array_equal(np.asarray(Image.open(path)), image) for image in (*dataset.x_train, *dataset.x_test))


def test_train_and_test_parts_are_kept(tmp_path):
    write_images(tmp_path / "pets/train", count=7)
    write_images(tmp_path / "pets/test", count=3)
    dataset = data.load(tmp_path / "pets")
    assert (len(dataset.x_train), len(dataset.x_test)) == (14, 6)
    write_images(tmp_path / "pets/test", count=3, classes=("cow",))
    with pytest.raises(ValueError, match="only one of them has 'cow'"):
        data.load(tmp_path / "pets")


def test_names_are_looked_for_in_the_folder_that_the_environment_names(tmp_path, monkeypatch):
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


def test_a_decoded_folder_is_cached_until_it_changes(tmp_path, cache, monkeypatch):
    folder = write_images(tmp_path / "pets")
    first = data.load(folder)
    monkeypatch.setattr(data, "_stack", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(data.load(folder).x_train, first.x_train)
    monkeypatch.undo()
    monkeypatch.setenv("DECONVLIB_CACHE", str(cache))
    Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(folder / "cat/9999.png")
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:50])  # cut short
    assert len(data.load(folder).x_train) + len(data.load(folder).x_test) == 11


def test_images_of_several_sizes_ask_for_one(tmp_path):
    folder = write_images(tmp_path / "pets")
    write_images(folder, count=1, size=(4, 4))
    with pytest.raises(ValueError, match=r"0000.png is 4 × 4.*8 × 6 pixels; pass image_size"):
        data.load(folder)
    assert data.load(folder, image_size=5).image_shape == (5, 5, 3)
    assert data.load(folder, image_size=(5, 7)).image_shape == (5, 7, 3)


def test_grey_images_have_one_channel(tmp_path):
    assert data.load(write_images(tmp_path / "grey", mode="L")).image_shape == (8, 6, 1)


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"'cifar'.*did you mean 'cifar10'.*'shapes', 'digits'"):
        data.load("cifar")


def test_refuses_a_corrupt_image_by_its_name(tmp_path):
    folder = write_images(tmp_path / "pets")
    (folder / "dog/0002.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match=r"dog/0002.png is not a readable image"):
        data.load(folder)
    with pytest.raises(ValueError, match=r"dog/0002.png is not a readable image"):
        data.load(zipped(folder, tmp_path / "pets.zip"))


def test_refuses_a_single_class_and_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"only the class 'cat'.*two or more"):
        data.load(write_images(tmp_path / "one", classes=("cat",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        data.load(tmp_path / "empty")


def test_refuses_labels_out_of_range():
    images, names = np.zeros((3, 4, 4, 1), np.uint8), ("a", "b")
    with pytest.raises(ValueError, match="training label 1 is 2; the 2 classes have the numbers 0 to 1"):
        data.Dataset("own", images, np.array([0, 2, 1]), images, np.array([0, 1, 1]), names)
    with pytest.raises(ValueError, match="must be uint8"):
        data.Dataset("own", images / 255, np.zeros(3, int), images, np.zeros(3, int), names)


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


def test_few_labels(shapes):
    few = shapes.take_per_class(7, seed=1)
    assert np.bincount(few.y_train).tolist() == [7] * 10 and few.masks_train.shape == (70, 32, 32)
    assert len(few.x_test) == 500
    np.testing.assert_array_equal(few.x_train, shapes.take_per_class(7, seed=1).x_train)
    with pytest.raises(ValueError, match="201 training images of class 'disk' asked; shapes has 200"):
        shapes.take_per_class(201)


def test_long_tail_by_hand(shapes):
    # 200 · 100^(-k/9)
    sizes = [200, 119, 71, 43, 25, 15, 9, 5, 3, 2]
    assert np.bincount(shapes.long_tail(100).y_train).tolist() == sizes
    with pytest.raises(ValueError, match="1 or more"):
        shapes.long_tail(0.5)
    assert len(shapes.long_tail(100).x_test) == 500
    # the last class is a 49th: 98 / 49 is 2, where 98 · 49^-1 in floating point falls short of it
    full = data.Dataset("two", *[np.zeros((196, 1, 1, 1), np.uint8), np.arange(196) % 2] * 2, ("a", "b"))
    assert np.bincount(full.long_tail(49).y_train).tolist() == [98, 2]


def test_masks_and_labels_follow_their_images(shapes):
    subset = shapes.take(50, 20, seed=3)
    for image, label, mask in zip(subset.x_train, subset.y_train, subset.masks_train, strict=True):
        (index,) = np.flatnonzero((shapes.x_train == image).all(axis=(1, 2, 3)))
        assert shapes.y_train[index] == label
        np.testing.assert_array_equal(shapes.masks_train[index], mask)
    with pytest.raises(ValueError, match="3000 training images asked of shapes, which has 2000"):
        shapes.take(3000, 10)


def test_take_keeps_what_is_not_asked_about(shapes):
    assert shapes.take(train=50).x_test is shapes.x_test
    assert shapes.take(test=20).x_train is shapes.x_train
    np.testing.assert_array_equal(shapes.take(train=50, test=20).x_train, shapes.take(train=50).x_train)
    assert not np.array_equal(shapes.take(50, seed=0).y_train, shapes.take(50, seed=1).y_train)


def test_held_out_images_are_a_share_of_every_class(shapes):
    parts = shapes.hold_out(0.25, seed=1)
    few = np.bincount(shapes.y_train)
    np.testing.assert_allclose(np.bincount(parts.y_test), few / 4, atol=1)
    seen = {image.tobytes() for image in parts.x_train}
    assert not seen & {image.tobytes() for image in parts.x_test}
    assert len(parts.x_train) + len(parts.x_test) == len(shapes.x_train)
    (index,) = np.flatnonzero((shapes.x_train == parts.x_test[-1]).all(axis=(1, 2, 3)))
    np.testing.assert_array_equal(parts.masks_test[-1], shapes.masks_train[index])
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        shapes.hold_out(1.5)


@pytest.mark.parametrize("subset", [lambda d: d.long_tail(10), lambda d: d.take_per_class(3), lambda d: d.take(test=9)])
def test_masks_follow_in_every_subset(shapes, subset):
    small = subset(shapes)
    for part in ("train", "test"):
        images, masks = getattr(small, f"x_{part}"), getattr(small, f"masks_{part}")
        whole, whole_masks = getattr(shapes, f"x_{part}"), getattr(shapes, f"masks_{part}")
        (index,) = np.flatnonzero((whole == images[-1]).all(axis=(1, 2, 3)))
        np.testing.assert_array_equal(whole_masks[index], masks[-1])
        assert len(masks) == len(images)


def test_refuses_masks_that_do_not_fit():
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 1])
    with pytest.raises(ValueError, match=r"test masks must be bool \(3, 4, 4\).*not bool of shape \(2, 4, 4\)"):
        data.Dataset("own", images, labels, images, labels, ("a", "b"), masks_test=np.zeros((2, 4, 4), bool))


def test_resized_shapes_keep_their_masks():
    large, small = data.shapes(20, 10), data.loading._resized(data.shapes(20, 10), (16, 24))
    assert small.image_shape == (16, 24, 3) and small.masks_train.shape == (20, 16, 24)
    np.testing.assert_allclose(small.masks_train.mean(axis=(1, 2)), large.masks_train.mean(axis=(1, 2)), atol=0.03)
    assert data.load("digits", image_size=16).image_shape == (16, 16, 1)


@pytest.mark.parametrize("image_size", [0, (8, -8), (8, 8, 3), 8.0, "8"])
def test_refuses_an_image_size_that_is_none(image_size):
    with pytest.raises(ValueError, match="image_size must be a side or"):
        data.load("digits", image_size=image_size)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_refuses_an_empty_class_folder(tmp_path, form):
    folder = write_images(tmp_path / "pets")
    (folder / "emu").mkdir()
    (folder / "emu/readme.txt").write_text("none yet")
    with pytest.raises(ValueError, match="class folder 'emu' holds no images"):
        data.load(folder if form == "folder" else zipped(folder, tmp_path / "pets.zip"))


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    folder = write_images(tmp_path / "pets")
    for name in ("__MACOSX/cat/._0000.png", "cat/.DS_Store", ".git/x.png", "cat/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no image")
    for path in (folder, zipped(folder, tmp_path / "pets.zip")):
        dataset = data.load(path)
        assert dataset.class_names == ("cat", "dog") and len(dataset.x_train) + len(dataset.x_test) == 10


def test_a_zip_with_backslashes_is_read_and_nothing_is_unpacked(tmp_path):
    write_images(tmp_path / "pets")
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        for path in sorted((tmp_path / "pets").rglob("*.png")):
            file.write(path, "\\".join(path.relative_to(tmp_path / "pets").parts))
            file.write(path, f"../{path.name}")
    before = sorted(tmp_path.rglob("*"))
    assert data.load(tmp_path / "pets.zip").class_names == ("cat", "dog")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and "cache" not in path.parts] == []


def test_16_bit_images_keep_their_upper_8_bits(tmp_path):
    folder = write_images(tmp_path / "deep", mode="L", size=(2, 2))
    Image.fromarray(np.array([[0, 255], [256 * 7, 65535]], np.uint16)).save(folder / "cat/0000.png")
    dataset = data.load(folder)
    found = [*dataset.x_train[..., 0].tolist(), *dataset.x_test[..., 0].tolist()]
    assert [[0, 0], [7, 255]] in found


def test_one_colour_image_makes_all_of_them_colour(tmp_path):
    folder = write_images(tmp_path / "pets/train", mode="L")
    write_images(tmp_path / "pets/test", mode="RGB")
    dataset = data.load(tmp_path / "pets")
    assert dataset.image_shape == (8, 6, 3) and (dataset.x_train == dataset.x_train[..., :1]).all()
    write_images(folder, count=1, mode="RGB")
    assert data.load(folder).image_shape == (8, 6, 3)


def test_a_short_load_is_silent(tmp_path, capfd):
    data.load(write_images(tmp_path / "pets"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("broken", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00v\x00{'descr'", "floats", "scalar"])
def test_a_broken_cache_is_made_again(tmp_path, cache, broken):
    folder = write_images(tmp_path / "pets")
    first = data.load(folder)
    (file,) = cache.iterdir()
    if isinstance(broken, bytes):
        file.write_bytes(broken)
    else:
        np.save(file, np.zeros((10, 8, 6, 3)) if broken == "floats" else np.uint8(1))
    np.testing.assert_array_equal(data.load(folder).x_train, first.x_train)
    assert [path.suffix for path in cache.iterdir()] == [".npy"] and np.load(file).shape == (10, 8, 6, 3)


def test_the_cache_knows_the_image_size_and_the_times(tmp_path, cache):
    folder = write_images(tmp_path / "pets")
    data.load(folder)
    assert data.load(folder, image_size=4).image_shape == (4, 4, 3)
    path = folder / "cat/0000.png"
    pixels = np.asarray(Image.open(path))
    Image.fromarray(255 - pixels).save(path, compress_level=0)
    dataset = data.load(folder)
    assert len(list(cache.iterdir())) == 3
    assert any(np.array_equal(255 - pixels, image) for image in (*dataset.x_train, *dataset.x_test))


def test_an_unwritable_cache_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "file/cache"))
    assert data.load(write_images(tmp_path / "pets")).num_classes == 2


def test_refuses_too_few_images_to_split(tmp_path):
    folder = write_images(tmp_path / "pets", count=9)
    write_images(folder, count=1, classes=("emu",))
    with pytest.raises(ValueError, match=r"too few images to split: 19 in 3 classes, 1 of 'emu'"):
        data.load(folder)


def test_refuses_damaged_and_foreign_files(tmp_path):
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


def test_channel_statistics(shapes):
    mean, std = data.channel_statistics(shapes.x_train)
    pixels = shapes.x_train.reshape(-1, 3) / 255
    np.testing.assert_allclose([mean, std], [pixels.mean(axis=0), pixels.std(axis=0)])


def test_images_by_similarity_begin_with_the_image_itself_and_its_darker_copy(shapes):
    images = shapes.x_train[:50].copy()
    images[30] = images[7] // 2
    assert set(data.by_similarity(images, images[7])[:2]) == {7, 30}


def test_near_duplicates_finds_the_planted_ones(shapes):
    planted = shapes.x_test.copy()
    planted[3] = shapes.x_train[40]
    planted[5] = np.clip(shapes.x_train[41] * 0.8 + 10, 0, 255).astype(np.uint8)  # darker: still the same picture
    pairs = data.near_duplicates(
        data.Dataset("p", shapes.x_train, shapes.y_train, planted, shapes.y_test, shapes.class_names), 0.99
    )
    assert list(zip(pairs["train"], pairs["test"], strict=True)) == [(40, 3), (41, 5)]  # most similar first
    assert pairs["similarity"].is_monotonic_decreasing and pairs["similarity"].between(0.99, 1.00001).all()


def test_importing_is_light_and_loading_needs_no_tensorflow():
    code = """if True:
        import sys
        from deconvlib import data
        assert not {"sklearn", "pandas", "keras", "tensorflow"} & set(sys.modules)
        data.load("digits")
        assert not {"keras", "tensorflow"} & set(sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Samples, for a model that is there already


def test_a_sample_of_a_folder_has_the_models_shape_and_the_folders_classes(tmp_path):
    write_images(tmp_path / "a", size=(9, 7))
    write_images(tmp_path / "a", size=(12, 12), mode="L", classes=("owl",))
    got = data.sample(tmp_path / "a", (6, 5, 3), 9, seed=1)
    assert got.images.shape == (9, 6, 5, 3) and got.images.dtype == np.uint8
    assert got.class_names == ("cat", "dog", "owl")
    assert [file.partition("/")[0] for file in got.source] == [got.class_names[label] for label in got.labels]
    assert data.sample(tmp_path / "a", (6, 5, 1), 99).images.shape == (15, 6, 5, 1)


def test_a_sample_of_a_flat_folder_or_zip_has_no_labels(tmp_path):
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


def test_scenes_know_what_is_at_each_pixel():
    scenery = data.scenes(60, 20, objects=2, side=40)
    assert repr(scenery) == "scenes: 60 training and 20 test images of 40 × 40 × 3, 11 classes of pixels"
    assert scenery.class_names == ("ground", *data.SHAPES)
    counts = [len(np.unique(mask)) - 1 for mask in scenery.y_train]
    assert set(counts) <= {1, 2} and np.mean(counts) > 1.5
    assert 0.1 < (scenery.y_train > 0).mean() < 0.5
    # an object's pixels differ from the ground's by more than the ground's do among themselves
    image, mask = scenery.x_train[0].astype(float), scenery.y_train[0]
    ground = image[mask == 0]
    assert np.linalg.norm(image[mask > 0].mean(axis=0) - ground.mean(axis=0)) > 2 * ground.std(axis=0).max()


def test_scenes_repeat_from_their_seed_and_their_parts_differ():
    one, same, other = data.scenes(10, 10, seed=3), data.scenes(10, 5, seed=3), data.scenes(10, 10, seed=4)
    np.testing.assert_array_equal(one.x_train, same.x_train)
    assert (one.x_train != other.x_train).any() and (one.x_train != one.x_test).any()
    with pytest.raises(ValueError, match="sides from 16 work"):
        data.scenes(10, 10, side=8)


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


def test_scenes_that_disagree_are_refused():
    scenery = data.scenes(4, 4, side=16)
    with pytest.raises(ValueError, match="training masks must be uint8"):
        dataclasses.replace(scenery, y_train=scenery.y_train[:, :8])
    with pytest.raises(ValueError, match="test mask holds 11"):
        dataclasses.replace(scenery, y_test=np.full_like(scenery.y_test, 11))
