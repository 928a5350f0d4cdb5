"""Trainings in the background: started, paused, stopped and compared as a user does it."""

import threading

import numpy as np
import pandas as pd
import pytest

from deconvlib import figures
from deconvlib.backend import keras
from deconvlib.lab import controls, panels


def trainer(examine=None):
    """A panel that trains a network of one dense layer on sixteen images of noise, a batch at a time."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((16, 4, 4, 1), np.float32), rng.integers(2, size=16)

    def fit(callback, epochs, learning_rate):
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
        model.compile(keras.optimizers.SGD(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        data = {"batch_size": 1, "validation_data": (images, labels), "verbose": 0}
        history = model.fit(images, labels, epochs=epochs, callbacks=[callback], **data).history
        return model, pd.DataFrame({"epoch": np.arange(len(history["loss"])) + 1, **history})

    def draw(histories, examined):
        drawn.append((list(histories), examined))
        return figures.figure(1)

    drawn = []
    panel = panels.train(fit, draw, examine=examine, epochs=(1, 10_000), learning_rate=("log", 1e-4, 1.0))
    return panel, drawn


def wait_for(condition):
    for _ in range(600):
        if condition():
            return True
        threading.Event().wait(0.05)
    return False


def test_start_trains_in_the_background_and_keeps_model_and_history():
    panel, drawn = trainer(examine=lambda model: model.count_params())
    panel.controls["epochs"].value = 3
    panel._buttons["Start"].click()
    assert panel._buttons["Start"].disabled and not panel._buttons["Stop"].disabled
    assert panel.wait()
    assert panel.model.count_params() == 34 and list(panel.histories) == ["run 1: epochs 3"]
    assert len(panel.histories["run 1: epochs 3"]) == 3 and "done after" in panel.status.value
    assert drawn[-1] == (["run 1: epochs 3"], 34)
    assert not panel._buttons["Start"].disabled and panel._buttons["Stop"].disabled


def test_pause_waits_and_stop_keeps_the_weights():
    panel, _ = trainer()
    panel.controls["epochs"].value = 10_000
    panel.start()
    assert wait_for(lambda: "left" in panel.status.value)
    panel._buttons["Pause"].click()
    assert wait_for(lambda: "paused" in panel.status.value) and panel._buttons["Pause"].description == "Go on"
    share = panel.bar.value
    threading.Event().wait(0.5)
    assert panel.bar.value == share
    panel._buttons["Pause"].click()
    assert wait_for(lambda: panel.bar.value > share)
    panel._buttons["Stop"].click()
    assert panel.wait() and "stopped" in panel.status.value
    (history,) = panel.histories.values()
    assert 1 <= len(history) < 10_000 and panel.model is not None and panel.error is None


def test_two_starts_do_not_run_two_trainings():
    panel, _ = trainer()
    other, _ = trainer()
    panel.controls["epochs"].value = 10_000
    panel.start()
    other.start()
    assert "stop it first" in other.status.value and other.runs == 0
    panel.stop()
    assert panel.wait()
    other.start()
    assert other.wait() and len(other.histories) == 1


def test_runs_lie_over_each_other_and_can_be_chosen():
    panel, drawn = trainer()
    panel.start()
    assert panel.wait()
    panel.controls["learning_rate"].value = 0.1
    panel.start()
    assert panel.wait()
    first, second = panel.histories
    assert (first, second) == ("run 1", "run 2: learning_rate 0.1") and drawn[-1][0] == [first, second]
    panel._shown.value = (second,)
    assert panel.wait() and drawn[-1][0] == [second]


def test_a_training_that_fails_says_so_and_the_next_one_runs():
    controls.newest.clear()  # of other tests
    panel, _ = trainer()
    good, panel.fit = panel.fit, lambda callback, **values: 1 / 0
    panel.start()
    with pytest.raises(ZeroDivisionError):
        panels.check()
    assert "division by zero" in panel.status.value and isinstance(panel.error, ZeroDivisionError)
    panel.fit = good
    panel.start()
    assert panel.wait() and panel.error is None
