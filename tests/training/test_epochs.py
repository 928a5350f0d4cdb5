"""Epochs on the device, under JAX: the same trainings as by Keras' own calls, on one device and on two.

Under another backend a test starts these under JAX; `KERAS_BACKEND=jax pytest` runs them here.
"""

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from small import settings, small

from deconvlib import backend, networks, training
from deconvlib.backend import keras
from deconvlib.lab.trainer import Watch
from deconvlib.training import device as on_device

under_jax = pytest.mark.skipif(backend.NAME != "jax", reason="JAX alone has epochs on the device")
HERE = Path(__file__).parent


def start(command, folder, devices=1, **variables):
    """Run `command` under JAX, with a cache of its own and so many devices."""
    if backend.NAME == "jax" or importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is the backend" if backend.NAME == "jax" else "JAX is not installed")
    flags = f"--xla_force_host_platform_device_count={devices}"
    paths = os.pathsep.join([str(HERE.parents[1]), *sys.path])
    own = {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "DECONVLIB_CACHE": str(folder), "PYTHONPATH": paths}
    return subprocess.run([sys.executable, *command], env=os.environ | own | variables, capture_output=True, text=True)


@pytest.mark.parametrize("devices", [1, 2])
def test_under_jax(tmp_path, devices):
    which = ["-k", "device or pairs"] if devices == 2 else []
    done = start(["-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", __file__, *which], tmp_path, devices)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """The processor, which does not tell its memory, taken for a device that has some; three steps a call, however slow."""
    for name, value in {"UNTOLD": 2**30, "CALL": 1e9, "AHEAD": 3}.items():
        monkeypatch.setattr(on_device, name, value)


@pytest.fixture
def few(digits):
    """Five batches, and test images for one."""
    return digits.take(320, 100)


@pytest.fixture
def made(monkeypatch):
    """Every step that was made to be computed on the device."""
    found, init = [], on_device._Resident.__init__
    monkeypatch.setattr(on_device._Resident, "__init__", lambda self, *given: found.append(self) or init(self, *given))
    return found


def train(digits, *callbacks, **how):
    """(history but for the seconds, weights, [(epoch, step, loss, accuracy)] that a callback hears)."""
    weight = {"decoder": "resize", "decoder_filters": (4,), "reconstruction_weight": 1.0} if "unlabelled" in how else {}
    model, heard = small(digits, dropout=0.2, normalization="batch", **weight), []

    class Hearing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            heard.append((self.epoch, batch, logs["loss"], logs["accuracy"]))

    how = {"epochs": 2, "verbose": False} | how
    history = training.fit(model, digits, callbacks=(Hearing(), *callbacks), **how)
    return history.drop(columns="seconds"), np.concatenate([weight.ravel() for weight in model.get_weights()]), np.array(heard)


def same(one, other, tolerance=1e-4):
    for array, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)


HOWS = {
    # the last batch of an epoch is smaller
    "drawn": settings() | {"class_weight": "balanced", "images_per_epoch": 350},
    "unlabelled": {
        "unlabelled": np.random.default_rng(0).integers(256, size=(90, 8, 8, 1)).astype(np.uint8),
        **{"optimizer": "sgd", "label_smoothing": 0.1},
    },
}


@under_jax
@pytest.mark.parametrize("how", HOWS)
def test_the_training_is_that_of_kerass_own_calls(few, made, monkeypatch, how):
    found = train(few, **HOWS[how])
    assert len(made) == 2
    monkeypatch.setattr(on_device, "UNTOLD", 4 * few.x_train.nbytes)  # the test images are too many
    expected = train(few, **HOWS[how])
    assert len(made) == 2, "they do not fit"
    same(found, expected)


@under_jax
def test_one_call_computes_many_steps_and_each_is_heard_of(few, made, monkeypatch):
    calls, ahead = [], on_device._Resident._ahead
    monkeypatch.setattr(on_device._Resident, "_ahead", lambda self, state: calls.append(self.data.seed) or ahead(self, state))
    _, _, heard = train(few, epochs=2, batch_size=40)
    assert heard[:, :2].tolist() == [[epoch, step] for epoch in range(2) for step in range(8)]
    assert calls.count(0) == 2 * 3  # of three, three and two steps
    assert made[0].program._cache_size() == 1, "one for any number of steps"


@under_jax
def test_what_is_no_number_is_told_with_its_step(few, made, monkeypatch):
    told = []
    for memory in (2**30, 0):
        monkeypatch.setattr(on_device, "UNTOLD", memory)
        with pytest.raises(FloatingPointError, match="at step") as raised:
            train(few, optimizer="sgd", learning_rate=1e30)
        told.append(str(raised.value))
    assert made and told[0] == told[1]


class Stop(keras.callbacks.Callback):
    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if self.params["steps"] // 2 == batch:
            self.model.stop_training = True
            if self.error:
                raise self.error


@under_jax
def test_a_stop_within_an_epoch_ends_it_and_leaves_a_model(few):
    history, weights, heard = train(few, Stop(), epochs=5)
    assert len(history) == 1 and heard[:, 1].tolist() == [0, 1, 2] and np.isfinite(weights).all()


@under_jax
@pytest.mark.parametrize("where", ["callback", "waiting"])
def test_an_interruption_leaves_a_model(few, monkeypatch, where):
    """Keras gives the state of the step before to the next one, which takes its memory, and goes on without a number."""

    def interrupted(self):
        raise KeyboardInterrupt

    if where == "waiting":
        monkeypatch.setattr(on_device._Later, "__float__", interrupted)
    model = small(few)
    with pytest.raises(KeyboardInterrupt):
        training.fit(model, few, callbacks=(Stop(KeyboardInterrupt()),), verbose=False)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@under_jax
def test_it_pauses_goes_on_and_stops(few):
    said, done = [], threading.Event()
    watch = Watch(lambda text, share: said.append(text), lambda history, model=None: None)
    found = []
    thread = threading.Thread(target=lambda: found.append(train(few, watch, epochs=1000)) or done.set())
    thread.start()

    def wait(text):
        for _ in range(1200):
            if any(text in line for line in said):
                return
            done.wait(0.05)
        raise AssertionError(f"it never said {text}")

    wait("left")
    watch.pause()
    wait("paused")
    count = len(said)
    assert not done.wait(0.5) and len(said) == count
    said.clear()
    watch.pause()
    wait("left")
    watch.stop()
    assert done.wait(60)
    thread.join()
    assert 1 <= len(found[0][0]) < 1000


@under_jax
def test_a_callback_may_evaluate_the_model_on_other_images(few):
    found = []

    class Other(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            images = few.x_train[:100] / np.float32(255)
            accuracy = self.model.evaluate(images, few.y_train[:100], verbose=0)[1]
            answers = self.model.predict(images, verbose=0).argmax(axis=1)
            found.append((accuracy, np.mean(answers == few.y_train[:100]), logs["val_accuracy"]))

    train(few, Other())
    for accuracy, expected, val_accuracy in found:
        assert accuracy == pytest.approx(expected) != pytest.approx(val_accuracy)


# Several devices


def two():
    return backend.NAME == "jax" and len(keras.distribution.list_devices()) == 2


on_two = pytest.mark.skipif(not two(), reason="there are not two devices")


@on_two
@pytest.mark.parametrize(("how", "resident"), [("drawn", True), ("drawn", False), ("unlabelled", True)])
def test_two_devices_compute_what_one_does(few, made, monkeypatch, how, resident):
    monkeypatch.setattr(on_device, "UNTOLD", on_device.UNTOLD * resident)
    found = train(few, **HOWS[how])
    assert bool(made) == resident
    if resident:
        images = made[0].whole
        assert images.sharding.shard_shape(images.shape)[0] == len(images) // 2
    monkeypatch.setattr(on_device, "_data_parallel", lambda batch_size: None)
    same(found, train(few, **HOWS[how]))


@on_two
def test_pairs_are_divided_too(images, monkeypatch):
    def fit():
        model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 3, padding="same")])
        model.set_weights([np.random.default_rng(0).normal(0, 0.1, weight.shape) for weight in model.weights])
        make = lambda numbers, rng: (images[numbers], 1 - images[numbers])  # noqa: E731
        return training.fit_pairs(model, len(images), make, epochs=3, verbose=False).drop(columns="seconds")

    found = fit()
    monkeypatch.setattr(on_device, "_data_parallel", lambda batch_size: None)
    np.testing.assert_allclose(found, fit(), rtol=1e-4)


@on_two
def test_an_odd_batch_stays_on_one_device_and_the_model_comes_back(few):
    assert on_device._data_parallel(63) is None and on_device._data_parallel(64).num_model_replicas == 2
    model = networks.classifier(few.image_shape, 10, filters=(4,))
    training.fit(model, few, epochs=1, verbose=False)
    assert {len(weight.value.devices()) for weight in model.weights} == {1}
    with keras.distribution.DataParallel().scope():  # of a user's own
        with on_device.epochs(None, None) as callbacks:
            assert callbacks == []


# What was compiled once

PROGRAM = """
import collections
import jax

events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rpartition("/")[2]]))
from small import small
from deconvlib import data, training

digits = data.load("digits").take(200, 50)
training.fit(small(digits), digits, epochs=1, verbose=False, augmentation=training.augmentation())
print(events["compile_requests_use_cache"], events["cache_hits"], events["cache_misses"])
"""


def test_a_second_training_compiles_nothing(tmp_path):
    done = [start(["-c", PROGRAM], tmp_path) for _ in range(2)]
    (asked, hits, misses), again = (list(map(int, each.stdout.split())) for each in done)
    assert misses > 2 and asked == hits + misses and again == [asked, asked, 0]
    assert not done[1].stderr


def test_the_users_own_cache_is_taken_and_none_where_it_cannot_be_written(tmp_path):
    all_kept = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    start(["-c", PROGRAM], tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"), **all_kept)
    assert list((tmp_path / "theirs").iterdir()) and not (tmp_path / "ours").exists()
    (tmp_path / "file").touch()
    done = start(["-c", PROGRAM], tmp_path / "file")
    assert done.stdout.split()[1:] == ["0", "0"] and not done.stderr  # no hits and no misses
