"""What is said while a network trains, and what stops it."""

import time

import numpy as np
import pytest
from small import small

from deconvlib import backend, deconvnet, networks, training
from deconvlib.backend import keras
from deconvlib.deconvnet import graph


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


def test_says_nothing_where_it_is_told_so(digits, capsys, monkeypatch):
    training.fit(small(digits), digits, epochs=1, verbose=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    training.fit(small(digits), digits, epochs=1)
    assert capsys.readouterr().out == ""


def test_the_first_epoch_of_a_long_training_announces_its_length(digits, capsys, monkeypatch):
    clock = iter(np.arange(0, 1e6, 2.0))  # two seconds a look
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    training.fit(small(digits), digits, epochs=1)
    assert "an epoch" in capsys.readouterr().out.splitlines()[0]


def test_the_generators_of_dropout_and_augmentation_are_found(digits):
    """By the name that Keras gives their variables, which is private."""
    flip, shift = training.augmentation()
    model = keras.Sequential([keras.Input(digits.image_shape), flip, shift, small(digits, dropout=0.2)])
    found = graph.generators(model)
    assert len(found) == 4, "Keras names the state of a generator otherwise now: see graph.generators"
    assert all(tuple(variable.shape) == (2,) for variable in found)
    assert graph.generators(networks.tutorial((32, 32, 3), 10)) == []
