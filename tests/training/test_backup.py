"""A training that was stopped goes on from its backup, and ends as if it had not been."""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from small import same, settings, small

from deconvlib import backend, disk, experiments, training
from deconvlib.backend import keras
from deconvlib.training import backup


def equal(one, other):
    for weight, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


def begin(digits):
    return small(digits, dropout=0.2)


@pytest.fixture(scope="module")
def left(digits, interrupted, tmp_path_factory):
    """The backups that a training left which was interrupted in its third epoch."""
    folder = tmp_path_factory.mktemp("left")
    interrupted(lambda: training.fit(begin(digits), digits, epochs=4, **settings(), backup_dir=folder, verbose=False))
    return folder


@pytest.fixture
def folder(left, tmp_path):
    return shutil.copytree(left, tmp_path / "backup")


def test_an_interrupted_training_goes_on_and_one_that_ended_is_not_repeated(digits, whole, folder, capsys):
    for done in (2, 4):
        model = begin(digits)
        history = training.fit(model, digits, epochs=4, **settings(), backup_dir=folder)
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"resumed after epoch {done} of 4" and len(said) == 1 + 4 - done
        same(history, whole[1])
        equal(model, whole[0])


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_loss_scale_is_kept_too(digits, interrupted, tmp_path, precision):
    expected, model = begin(digits), begin(digits)
    how = {"epochs": 4, "precision": precision, "verbose": False}
    whole = training.fit(expected, digits, **how)
    interrupted(lambda: training.fit(begin(digits), digits, **how, backup_dir=tmp_path))
    same(training.fit(model, digits, **how, backup_dir=tmp_path), whole)
    equal(model, expected)


def stop():
    # only the first epoch is better than those before it
    return keras.callbacks.EarlyStopping("val_loss", patience=3, min_delta=1e9, restore_best_weights=True)


def test_an_early_stop_comes_when_it_would_have_and_is_not_undone(digits, interrupted, tmp_path):
    expected, how = begin(digits), {"epochs": 9, "verbose": False}
    whole = training.fit(expected, digits, **how, callbacks=(stop(),))
    assert len(whole) == 4
    interrupted(lambda: training.fit(begin(digits), digits, **how, callbacks=(stop(),), backup_dir=tmp_path))
    for _ in ("goes on", "had ended"):
        model = begin(digits)
        same(training.fit(model, digits, **how, callbacks=(stop(),), backup_dir=tmp_path), whole)
        equal(model, expected)  # the best weights, of the first epoch


def test_copies_of_the_weights_survive(digits, interrupted, tmp_path):
    def train(**where):
        kept = experiments.evolution.Snapshots((0, 1, 3))
        training.fit(begin(digits), digits, epochs=4, verbose=False, callbacks=(kept,), **where)
        return kept.weights

    interrupted(lambda: train(backup_dir=tmp_path))
    resumed, expected = train(backup_dir=tmp_path), train()
    assert list(resumed) == list(expected) == [0, 1, 3, 4]
    for epoch, weights in expected.items():
        for one, other in zip(resumed[epoch], weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def pairs(images):
    def make(numbers, rng):
        return images[numbers] + rng.normal(0, 0.1, (len(numbers), 16, 16, 3)).astype(np.float32), images[numbers]

    noisy = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(0))(noisy)
    model = keras.Model(noisy, keras.layers.Dropout(0.2, seed=0)(keras.layers.BatchNormalization(momentum=0.9)(maps)))
    return model, len(images), make


def test_a_training_on_pairs_goes_on_too(images, interrupted, tmp_path, capsys):
    how = {"epochs": 4, "batch_size": 20, "loss": training.psnr_loss}
    whole, count, make = pairs(images)
    expected = training.fit_pairs(whole, count, make, **how)
    interrupted(lambda: training.fit_pairs(*pairs(images), **how, backup_dir=tmp_path))
    for done in (2, 4):
        model = pairs(images)[0]
        history = training.fit_pairs(model, count, make, **how, backup_dir=tmp_path)
        assert f"resumed after epoch {done} of 4" in capsys.readouterr().out
        same(history, expected)
        equal(model, whole)
    training.fit_pairs(pairs(images)[0], count, lambda *drawn: make(*drawn)[::-1], **how, backup_dir=tmp_path)
    assert "resumed" not in capsys.readouterr().out, "another damage"


@pytest.fixture
def begun(monkeypatch):
    """The number of epochs after which each training goes on; none is done."""
    found = []
    monkeypatch.setattr(keras.Model, "fit", lambda *a, initial_epoch, **k: found.append(initial_epoch))
    return found


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": 1}, {"epochs": 5}, {"batch_size": 63}, {"learning_rate": 2e-3}, {"schedule": "constant"}),
        *({"optimizer": "adam"}, {"weight_decay": 0.02}, {"augmentation": training.augmentation(shift=0.2)}),
        *({"class_weight": "balanced"}, {"label_smoothing": 0.1}, {"images_per_epoch": 99}, {"gradient_norms": True}),
        *({"precision": "mixed_bfloat16"}, {"callbacks": (stop(),)}, {"learning_rate": np.float32(3e-3)}, {"verbose": False}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_backup_of_other_settings_is_not_taken_up_and_stays(digits, folder, begun, change):
    before = sorted(folder.iterdir())
    training.fit(begin(digits), digits, **{"epochs": 4} | settings() | change, backup_dir=folder)
    assert begun == [2 if "verbose" in change else 0] and sorted(folder.iterdir()) == before


@pytest.mark.parametrize("other", ["weights", "architecture", "images", "labels", "test images"])
def test_a_backup_of_another_network_or_other_data_is_not_taken_up(digits, folder, begun, other):
    model = small(digits, **{"dropout": 0.3 if other == "architecture" else 0.2, "seed": int(other == "weights")})
    changed = {"images": {"x_train": digits.x_train[:, ::-1]}, "labels": {"y_train": digits.y_train[::-1]}}
    changed["test images"] = {"x_test": digits.x_test[:, ::-1]}
    training.fit(model, replace(digits, **changed.get(other, {})), epochs=4, **settings(), backup_dir=folder)
    assert begun == [0]


def test_callbacks_are_told_apart_by_class_and_arguments(digits):
    def told(callback):
        return backup.fingerprint(small(digits), [], [], (callback,))

    used = stop()
    used.on_train_begin()
    used.wait, used.best = 2, 0.5
    others = keras.callbacks.TerminateOnNaN(), keras.callbacks.EarlyStopping("val_loss", patience=4)
    schedules = [keras.callbacks.LearningRateScheduler(lambda epoch: 0.1) for _ in range(2)]
    assert told(stop()) == told(used) and told(schedules[0]) == told(schedules[1])
    assert len({told(callback) for callback in (stop(), *others, schedules[0])}) == 4


@pytest.mark.parametrize("damaged", [1, 2])
def test_an_unreadable_backup_is_put_aside_and_the_one_before_it_taken(digits, whole, folder, capsys, damaged):
    newest, before = sorted(folder.iterdir(), key=lambda file: -file.stat().st_mtime_ns)
    for file in [newest, before][:damaged]:
        os.truncate(file, file.stat().st_size // 2)
    model = begin(digits)
    history = training.fit(model, digits, epochs=4, **settings(), backup_dir=folder)
    said = capsys.readouterr().out.splitlines()
    assert sum("is unreadable" in line for line in said) == damaged and all(str(folder) in line for line in said[:damaged])
    assert ("resumed after epoch 1 of 4" in said) == (damaged == 1) and len(list(folder.glob("*.unreadable"))) == damaged
    same(history, whole[1])
    equal(model, whole[0])


def test_a_training_that_other_code_began_is_begun_anew(digits, monkeypatch, tmp_path):
    model, names = small(digits), {file.name for file in backup.CODE}
    assert {"backend.py", "inputs.py", "classifier.py", "fit.py"} <= names
    before = backup.fingerprint(model, [], [])
    (tmp_path / "fit.py").write_text("# other code")
    monkeypatch.setattr(backup, "CODE", [*backup.CODE[1:], tmp_path / "fit.py"])
    assert backup.fingerprint(model, [], []) != before


def flipped(data, place):
    """Other bytes from `place` on; of a single one, the date of a file in the archive for one, nobody needs to know."""
    return data[:place] + bytes(byte ^ 255 for byte in data[place : place + 64]) + data[place + 64 :]


def test_damage_of_every_kind_is_told(folder, capsys):
    file, _ = folder.iterdir()
    data = file.read_bytes()
    assert backup._read(file)["epoch"] in (1, 2)
    others = (b"", b"no archive", data[:100], data[:-1], *(flipped(data, len(data) * share // 8) for share in range(1, 8)))
    for other in others:
        file.write_bytes(other)
        assert backup._read(file) is None and not file.exists()
        assert capsys.readouterr().out.count("\n") == 1


def test_two_trainings_share_a_folder(digits, whole, tmp_path):
    """One within the other, as where a callback trains."""

    class Inner(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            training.fit(small(digits), digits, epochs=1, verbose=False, backup_dir=tmp_path)

    same(training.fit(begin(digits), digits, epochs=4, **settings(), callbacks=(Inner(),), backup_dir=tmp_path), whole[1])
    assert len(list(tmp_path.iterdir())) == 2 + 1


def test_a_full_disk_costs_a_backup_and_not_the_training(digits, whole, tmp_path, monkeypatch, capsys):
    written, fsync = [], os.fsync

    def full(file):
        written.append(file)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(disk.os, "fsync", full)
    same(training.fit(begin(digits), digits, epochs=4, **settings(), backup_dir=tmp_path), whole[1])
    said = capsys.readouterr().out
    assert said.count("No space left on device. The training goes on") == 3 and len(list(tmp_path.iterdir())) == 1


def test_a_backup_holds_plain_data_of_every_kind():
    state = {
        "a": [1, 2.5, None, True, "x", (float("inf"),)],
        3: {"b": np.arange(6).reshape(2, 3)},
        "c": np.float64(0.1),
        "d": {},
    }
    arrays = []
    back = backup._unpacked(backup._packed(state, arrays), arrays)
    np.testing.assert_equal(back, state)
    assert type(back["a"][5]) is tuple and list(back) == list(state)
    (half,) = backup._unpacked(backup._packed([np.ones(2, ml_dtypes.bfloat16)], arrays := []), arrays)
    assert half.dtype == np.float32 and half.tolist() == [1, 1]
    with pytest.raises(TypeError, match="cannot hold function"):
        backup._packed([flipped], [])


RESUMED = """
import sys
import numpy as np
from small import Interrupt, settings, small
from deconvlib import data, training
from deconvlib.backend import keras
from deconvlib.training import device

device.UNTOLD = 2**30  # under JAX, epochs on the device
digits = data.load("digits").take(train=200, test=50)
first = small(digits, dropout=0.2).get_weights()  # initial weights may come from the process' seed


def train(**how):
    model = small(digits, dropout=0.2)
    model.set_weights(first)
    return training.fit(model, digits, epochs=4, verbose=False, **settings(), **how), model


def end():
    raise KeyboardInterrupt


expected, whole = train()
fit = keras.Model.fit
keras.Model.fit = lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, Interrupt(end)], **k)
try:
    train(backup_dir=sys.argv[1])
    sys.exit("it was not interrupted")
except KeyboardInterrupt:
    keras.Model.fit = fit
for _ in ("goes on", "had ended"):
    history, model = train(backup_dir=sys.argv[1])
    seconds = history.pop("seconds")
    np.testing.assert_allclose(history, expected.drop(columns="seconds"), rtol=1e-5)
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
again, _ = train(backup_dir=sys.argv[1])
assert list(again["seconds"]) == list(seconds), "it was trained again"
"""


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_it_goes_on_under_every_backend(tmp_path, name):
    if name == backend.NAME or importlib.util.find_spec(name) is None:
        pytest.skip("tested above" if name == backend.NAME else f"{name} is not installed")
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"KERAS_BACKEND": name, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", RESUMED, str(tmp_path)], check=True, env=environment)
