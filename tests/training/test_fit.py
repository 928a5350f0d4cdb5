"""Training: it learns, repeats, resumes and stops as it says."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from deconvlib import backend, data, deconvnet, networks, training
from deconvlib.backend import keras


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def small(dataset, seed=0, **settings):
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(8,), seed=seed, **settings)


def test_learns_and_says_so(digits, capsys):
    model = small(digits)
    history = training.fit(model, digits, epochs=4)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].is_monotonic_decreasing and history["val_accuracy"].iloc[-1] > 0.85
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("epoch 1/4   loss ") and lines[0].endswith(" left")
    result = training.evaluate(model, digits)
    assert result.accuracy == pytest.approx(history["val_accuracy"].iloc[-1], abs=1e-6)


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(digits, optimizer):
    rate = 0.01 if optimizer == "sgd" else 1e-3
    history = training.fit(small(digits), digits, epochs=2, optimizer=optimizer, learning_rate=rate, weight_decay=1e-4)
    assert history["loss"].iloc[1] < history["loss"].iloc[0]


def same(one, other):
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    pd.testing.assert_frame_equal(one[columns], other[columns], rtol=1e-6)


def settings():
    """Everything that draws at random while training."""
    return {"augmentation": training.augmentation(), "schedule": "cosine", "optimizer": "adamw", "weight_decay": 0.01}


def test_repeats_from_its_seed(digits):
    runs = [training.fit(small(digits, dropout=0.2), digits, epochs=2, **settings(), seed=seed) for seed in (0, 0, 1)]
    same(runs[0], runs[1])
    assert not np.isclose(runs[0]["loss"], runs[2]["loss"]).all()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_fit import *

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # in the third epoch, after the second was saved

fit = keras.Sequential.fit
keras.Sequential.fit = lambda self, *a, callbacks, **k: fit(self, *a, callbacks=[*callbacks, Kill()], **k)
digits = data.load("digits")
training.fit(small(digits, dropout=0.2), digits, epochs=4, **settings(), backup_dir=sys.argv[1])
"""


def test_a_killed_training_resumes_and_ends_with_the_same_history(digits, tmp_path, capsys):
    folder = tmp_path / "backup"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), os.path.dirname(__file__)])
    assert killed.returncode == -signal.SIGKILL and folder.exists()
    model = small(digits, dropout=0.2)
    resumed = training.fit(model, digits, epochs=4, **settings(), backup_dir=folder)
    assert "resumed after epoch 2 of 4" in capsys.readouterr().out
    whole = small(digits, dropout=0.2)
    same(resumed, training.fit(whole, digits, epochs=4, **settings()))
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert not folder.exists()


def test_a_backup_of_other_settings_is_not_taken_up(digits, tmp_path, capsys):
    folder = tmp_path / "backup"
    subprocess.run([sys.executable, "-c", KILLED, str(folder), os.path.dirname(__file__)])
    history = training.fit(small(digits, seed=5), digits, epochs=1, backup_dir=folder)
    assert "resumed" not in capsys.readouterr().out and len(history) == 1


class Poison(keras.layers.Layer):
    """Adds NaN, to the images or to the loss, from the fifth step of the third epoch on; an epoch of digits has 23."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x, training=False):
        if not training:
            return x
        self.count.assign_add(1.0)
        poison = keras.ops.where(self.count > 2 * 23 + 4, float("nan"), 0.0)
        if self.where == "images":
            return x + poison
        self.add_loss(poison)
        return x


@pytest.mark.parametrize(
    ("where", "said"),
    # with rectifiers that make NaN 0, as oneDNN's do, only the weights tell
    [("loss", "the loss is nan at step 5 of epoch 3"), ("images", "at step 5 of epoch 3|at the end of epoch 3")],
)
def test_what_is_no_number_stops_and_the_last_good_weights_come_back(digits, where, said):
    model = small(digits)
    with pytest.raises(FloatingPointError, match=f"({said}); the model has its weights of the end of epoch 2 again"):
        training.fit(model, digits, epochs=4, augmentation=(Poison(where),))
    good = small(digits)
    training.fit(good, digits, epochs=2)
    for one, other in zip(model.get_weights(), good.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_patience_stops_by_the_held_out_images(digits, capsys):
    history = training.fit(small(digits), digits, epochs=40, learning_rate=0.02, validation=0.2, patience=2)
    assert len(history) < 40
    assert history["val_loss"].argmin() == len(history) - 3
    assert "validation" in capsys.readouterr().out


def test_balanced_weights_help_the_rare_class(digits):
    tail = digits.long_tail(60)
    rare = []
    for class_weight in (None, "balanced"):
        model = small(digits)
        training.fit(model, tail, epochs=6, class_weight=class_weight)
        rare.append(training.evaluate(model, tail).per_class[-3:].mean())
    assert rare[1] > rare[0]


def test_few_images_come_again_until_the_epoch_is_as_long_as_asked(digits):
    few = digits.take_per_class(3)
    batches = training.fit.Batches(few.x_train, few.y_train, 8, seed=0, images_per_epoch=70)
    batches.shuffle(1)
    assert len(batches) == 9 and sum(len(batches[index][1]) for index in range(9)) == 70
    counts = np.bincount(batches.order)
    assert len(counts) == 30 and set(counts) == {2, 3}  # all twice before any a third time
    assert np.bincount(batches.order[:30]).tolist() == [1] * 30
    history = training.fit(small(digits), few, epochs=2, images_per_epoch=600)
    assert history["val_accuracy"].iloc[-1] > 0.5


def test_a_smoothed_label_is_divided_among_all_classes(digits):
    model = small(digits)
    history = training.fit(model, digits, epochs=1, learning_rate=1e-12, label_smoothing=0.2)
    probabilities = model.predict(deconvnet.inputs.as_input(model, digits.x_test), verbose=0)
    wanted = 0.8 * np.eye(10)[digits.y_test] + 0.2 / 10
    expected = -(wanted * np.log(probabilities)).sum(axis=1).mean()
    assert history["val_loss"].iloc[0] == pytest.approx(expected, rel=1e-4)


def branched(dataset, weight):
    settings = {"decoder": "resize", "decoder_filters": (4,), "reconstruction_weight": weight}
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(8, 8), **settings)


def test_images_without_labels_count_in_the_reconstruction_alone(digits):
    few = digits.take_per_class(5)
    settings = {"epochs": 2, "optimizer": "sgd", "learning_rate": 0.05}
    with_them, without = (branched(digits, 1e-9) for _ in range(2))
    history = training.fit(with_them, few, **settings, unlabelled=digits.x_train)
    plain = training.fit(without, few, **settings)
    for one, other in zip(with_them.get_weights()[:4], without.get_weights()[:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history[["loss", "accuracy"]], plain[["loss", "accuracy"]], rtol=1e-4)
    # and there they do count
    errors = []
    for unlabelled in (None, digits.x_train):
        model = branched(digits, 10.0)
        training.fit(model, few.take(train=4), epochs=60, learning_rate=5e-3, unlabelled=unlabelled)
        _, reconstruction, original = model.get_layer("reconstruction").input
        inside = keras.Model(model.inputs, [reconstruction, original])
        made, true = inside.predict(deconvnet.inputs.as_input(model, digits.x_test), verbose=0)
        errors.append(np.square(made - true).mean())
    assert errors[1] < 0.9 * errors[0]


def test_says_nothing_where_it_is_told_so(digits, capsys):
    training.fit(small(digits), digits, epochs=1, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("precision", training.fit.PRECISIONS)
def test_the_model_is_float32_after_any_precision(digits, precision):
    model = small(digits)
    training.fit(model, digits, epochs=1, precision=precision)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert training.evaluate(model, digits).accuracy > 0.3


def test_gradient_norms_are_the_norms_of_the_gradient(digits):
    model = small(digits)
    history = training.fit(model, digits, epochs=1, gradient_norms=True)
    images, labels = deconvnet.inputs.as_input(model, digits.x_train[:256]), digits.y_train[:256]
    gradients = backend.gradients(model, images, labels)
    paths = [weight.path for weight in model.trainable_variables]
    expected = np.linalg.norm(gradients[paths.index("logits/kernel")])
    assert history["gradient/logits"].iloc[0] == pytest.approx(expected, rel=1e-4)
    # the gradient at the bias of the logits is known: mean of probabilities minus one-hot labels
    difference = model.predict(images, verbose=0) - np.eye(10)[labels]
    np.testing.assert_allclose(gradients[paths.index("logits/bias")], difference.mean(axis=0), atol=1e-5)


def test_evaluation_by_hand():
    entry = keras.Input((1, 1, 2))  # the two channels are the probabilities
    model = keras.Model(entry, keras.layers.Reshape((2,))(entry))
    pixels = np.array([[230, 25], [204, 51], [51, 204], [153, 102]], np.uint8).reshape(4, 1, 1, 2)  # 0.9, 0.8, 0.2, 0.6
    labels = np.array([0, 1, 1, 0])
    result = training.evaluate(model, data.Dataset("hand", pixels, labels, pixels, labels, ("a", "b")))
    assert result.accuracy == 0.75 and result.confusion.tolist() == [[2, 0], [1, 1]]
    assert result.per_class.tolist() == [1, 0.5] and result.balanced_accuracy == 0.75
    assert result.mistakes.tolist() == [1]
    # one bin each: |0.902 - 1|, {0.8, 0.8} with accuracy 0.5, |0.6 - 1|
    assert result.calibration_error == pytest.approx((0.098 + 2 * 0.3 + 0.4) / 4, abs=1e-3)


def test_mirrored_evaluation_averages_an_image_and_its_mirror_image():
    entry = keras.Input((1, 2, 2))
    left = keras.layers.Cropping2D(((0, 0), (0, 1)))(entry)  # the network looks at the left pixel alone
    model = keras.Model(entry, keras.layers.Reshape((2,))(left))
    pixels = np.array([[230, 25], [51, 204]], np.uint8).reshape(1, 1, 2, 2)
    result = training.evaluate(
        model, data.Dataset("hand", pixels, np.array([0]), pixels, np.array([0]), ("a", "b")), mirrored=True
    )
    assert result.confidence[0] == pytest.approx((230 + 51) / 2 / 255, abs=1e-6)


def test_speed_is_told_and_the_model_stays_as_it_was():
    model = networks.classifier((8, 8, 1), 3, filters=(4,), normalization="batch")
    before = model.get_weights()
    assert training.images_per_second(model, batch_size=8, steps=2) > 0
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"optimizer": "adams"}, "optimizer 'adams' is not known; did you mean 'adam'"),
        ({"schedule": "step"}, "schedule 'step' is not known"),
        ({"precision": "float16"}, "precision 'float16' is not known"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"epochs": 0}, "must be 1 or more"),
        ({"patience": 2}, "hold images out for it, validation=0.1"),
        ({"validation": 1.5}, r"in \[0, 1\)"),
        ({"label_smoothing": 1.0}, "smoothing of 1.0"),
        ({"images_per_epoch": -1}, "no epoch of -1 images"),
        ({"unlabelled": np.zeros((4, 8, 8, 1), np.uint8)}, "give networks.classifier reconstruction_weight"),
        ({"unlabelled": np.zeros((4, 9, 8, 1), np.uint8)}, "do not fit this model"),
    ],
)
def test_refuses(digits, arguments, said):
    with pytest.raises(ValueError, match=said):
        training.fit(small(digits), digits, **arguments)


def test_refuses_a_model_for_other_data(digits):
    with pytest.raises(ValueError, match=r"takes images of \(16, 16, 1\), digits has \(8, 8, 1\)"):
        training.fit(networks.classifier((16, 16, 1), 10), digits)
    with pytest.raises(ValueError, match="the model has 3 classes, digits has 10"):
        training.evaluate(networks.classifier((8, 8, 1), 3, filters=(4,)), digits)


def test_the_first_epoch_of_a_long_training_announces_its_length(digits, capsys, monkeypatch):
    clock = iter(np.arange(0, 1e6, 2.0))  # two seconds a look
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    training.fit(small(digits), digits, epochs=1)
    assert "an epoch" in capsys.readouterr().out.splitlines()[0]
