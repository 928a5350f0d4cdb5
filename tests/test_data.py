"""Data sets: what load finds, what subsets hold, and what is refused."""

import subprocess
import sys
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


def test_shapes_are_hard_for_a_linear_model():
    dataset = data.shapes(5000, 1000)
    flat = [images.reshape(len(images), -1) / 255 for images in (dataset.x_train, dataset.x_test)]
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
    with pytest.raises(ValueError, match="cow is only in one of them"):
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
    assert data.load("mnist", data_dir=tmp_path).class_names == data.DIGITS
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


def test_without_files_or_network_says_where_it_looks(tmp_path, monkeypatch):
    from deconvlib.backend import keras

    def offline():
        raise OSError("no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", offline)
    with pytest.raises(FileNotFoundError, match=r"no network.*train.zip"):
        data.load("mnist", data_dir=tmp_path)


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


def test_masks_and_labels_follow_their_images(shapes):
    subset = shapes.take(50, 20, seed=3)
    for image, label, mask in zip(subset.x_train, subset.y_train, subset.masks_train, strict=True):
        (index,) = np.flatnonzero((shapes.x_train == image).all(axis=(1, 2, 3)))
        assert shapes.y_train[index] == label
        np.testing.assert_array_equal(shapes.masks_train[index], mask)
    with pytest.raises(ValueError, match="3000 training images asked of shapes, which has 2000"):
        shapes.take(3000, 10)


def test_channel_statistics(shapes):
    mean, std = data.channel_statistics(shapes.x_train)
    pixels = shapes.x_train.reshape(-1, 3) / 255
    np.testing.assert_allclose([mean, std], [pixels.mean(axis=0), pixels.std(axis=0)])


def test_near_duplicates_finds_the_planted_ones(shapes):
    planted = shapes.x_test.copy()
    planted[3] = shapes.x_train[40]
    planted[5] = np.clip(shapes.x_train[41] * 0.8 + 10, 0, 255).astype(np.uint8)  # darker: still the same picture
    pairs = data.near_duplicates(
        data.Dataset("p", shapes.x_train, shapes.y_train, planted, shapes.y_test, shapes.class_names), 0.99
    )
    assert set(zip(pairs["train"], pairs["test"], strict=True)) == {(40, 3), (41, 5)}


def test_loading_imports_no_tensorflow():
    code = "import sys; from deconvlib import data; data.load('digits'); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
