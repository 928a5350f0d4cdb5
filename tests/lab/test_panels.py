"""Panels, driven from Python as a browser would: by setting values."""

import base64
import gc
import subprocess
import sys
import threading
import tracemalloc

import ipywidgets as widgets
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from deconvlib import progress
from deconvlib.backend import keras
from deconvlib.lab import panels, run


def figure(text=""):
    fig = Figure(figsize=(1, 1))
    fig.text(0, 0, text)
    return fig


def test_a_move_draws_anew():
    seen = []

    def draw(**values):
        seen.append(values)
        return figure(str(values["channel"]))

    panel = panels.explore(draw, layer=["conv1", "conv2"], channel=(0, 7), rate=(0.0, 1.0, 0.1), flip=True, name="x")
    first = bytes(panel._picture.value)
    assert first.startswith(b"\x89PNG")
    assert seen == [{"layer": "conv1", "channel": 0, "rate": 0.0, "flip": True, "name": "x"}]
    panel.controls["channel"].value = 3
    assert panel.wait() and seen[-1]["channel"] == 3 and bytes(panel._picture.value) != first
    assert "drawn in" in panel._status.value and "ms" in panel._status.value


def test_tables_and_texts_stand_under_the_figure_escaped():
    panel = panels.explore(lambda n: (figure(), "a < b", pd.DataFrame({"layer": ["conv1"]})), n=(0, 3))
    assert "a &lt; b" in panel._below.value and "conv1" in panel._below.value


def test_where_no_widget_can_be_shown_the_picture_is():
    panel = panels.explore(lambda rank: figure(), rank=(0, 3))
    shown = panel._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]) == bytes(panel._picture.value)
    assert shown["text/plain"] == "explore(rank)" and any("widget-view" in name for name in shown)


def test_an_error_of_the_first_drawing_fails_the_cell():
    with pytest.raises(ZeroDivisionError):
        panels.explore(lambda rank: 1 / rank, rank=(0, 3))


def fails_at(rank, error):
    def draw(rank, other):
        if rank == wanted:
            raise error
        return figure()

    wanted = rank
    return panels.explore(draw, rank=(0, 3), other=(0, 3))


def test_a_later_error_stands_escaped_at_the_control_that_was_moved_and_the_panel_goes_on():
    panel = fails_at(1, ValueError("<b>no rank 1</b>"))
    panel.controls["rank"].value = 1
    assert panel.wait() and isinstance(panel.error, ValueError)
    assert "&lt;b&gt;no rank 1" in panel._messages["rank"].value and not panel._messages["other"].value
    panel.controls["rank"].value = 2
    assert panel.wait() and panel.error is None and panel._messages["rank"].value == ""


def test_no_run_succeeds_with_a_panel_that_shows_an_error():
    panel = fails_at(1, KeyError("rank"))
    panels.check()
    panel.controls["rank"].value = 1
    with pytest.raises(KeyError):
        panels.check()
    panel.controls["rank"].value = 2
    panels.check()
    panel.controls["rank"].value = 1
    fails_at(3, KeyError("rank"))  # its cell runs again
    panels.check()


def test_of_a_burst_of_moves_only_the_last_is_drawn():
    seen, go = [], threading.Event()

    def draw(rank):
        seen.append(rank)
        if rank == 1:
            go.wait(10)
        return figure()

    panel = panels.explore(draw, rank=(0, 99))
    for rank in range(1, 60):
        panel.controls["rank"].value = rank
    go.set()
    assert panel.wait() and seen[-1] == 59 and len(seen) <= 4


def stepping(steps, halfway):
    """A panel that takes a hundred steps, and calls halfway() after the third once it was moved."""

    def draw(rank):
        for number in progress.steps(range(100), "counting"):
            steps.append((rank, number))
            if rank == 1 and number == 2:
                halfway()
        return figure(str(rank))

    return panels.explore(draw, rank=(0, 9))


def test_a_newer_move_ends_a_computation_that_nobody_waits_for():
    steps = []
    panel = stepping(steps, lambda: setattr(panel.controls["rank"], "value", 2))
    panel.controls["rank"].value = 1
    assert panel.wait()
    assert [number for rank, number in steps if rank == 1] == [0, 1, 2]
    assert [number for rank, number in steps if rank == 2] == list(range(100))


def test_a_computation_can_be_cancelled_and_its_picture_stays():
    steps = []
    panel = stepping(steps, lambda: panel._cancel.click())
    before = bytes(panel._picture.value)
    panel.controls["rank"].value = 1
    assert panel.wait() and len([rank for rank, _ in steps if rank == 1]) == 3
    assert panel._status.value == "cancelled" and bytes(panel._picture.value) == before and panel.error is None
    panel.controls["rank"].value = 2
    assert panel.wait() and bytes(panel._picture.value) != before


def test_a_long_computation_shows_how_far_it_is():
    shown = []

    def draw(rank):
        for _ in progress.steps(range(2), "counting"):
            if rank:
                threading.Event().wait(0.5)
                shown.append((panel._status.value, panel._bar.value, panel._cancel.layout.display))
        return figure()

    panel = panels.explore(draw, rank=(0, 1))
    panel.controls["rank"].value = 1
    assert panel.wait()
    assert shown[1] == ("counting …", 0.5, None) and panel._bar.layout.display == "none"


def test_a_click_is_told_in_the_coordinates_of_its_axes():
    clicks = []

    def draw(column):
        fig = Figure(figsize=(4, 2), dpi=100)
        left, right = fig.subplots(1, 2)
        left.set(label="image", xlim=(0, 10), ylim=(5, 0), position=(0, 0, 0.5, 1))
        right.set(label="", position=(0.5, 0, 0.5, 1))
        return fig

    def clicked(axes, x, y, values):
        clicks.append((axes, x, y, values))
        return {"column": round(x)}

    panel = panels.explore(draw, column=(0, 10), clicked=clicked)
    width, height = 4 * panels.DPI, 2 * panels.DPI
    panel.click(width * 0.4, height * 0.2)
    assert panel.wait() and panel.controls["column"].value == 8
    axes, x, y, values = clicks[0]
    assert (axes, round(x, 6), round(y, 6), values) == ("image", 8.0, 1.0, {"column": 0})
    panel.click(width * 0.9, height * 0.2)  # axes without a label
    assert len(clicks) == 1


def test_an_action_shows_its_text_or_its_error():
    actions = {"As text": lambda rank: f"rank = {rank}", "Fail": lambda rank: 1 / 0}
    panel = panels.explore(lambda rank: figure(), rank=(0, 3), actions=actions)
    panel.controls["rank"].value = 2
    text, fail = panel._buttons
    text.click()
    assert panel._text.value == "rank = 2" and panel._text.layout.display != "none"
    fail.click()
    assert isinstance(panel.error, ZeroDivisionError) and "division" in panel._status.value


def test_a_thousand_moves_keep_no_memory():
    panel = panels.explore(lambda rank: figure(), rank=(0, 1000))

    def move(values):
        for rank in values:
            panel.controls["rank"].value = rank
            assert panel.wait()

    move(range(1, 100))  # Matplotlib's caches fill
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    move(range(100, 1000))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 500_000  # bytes; 180,000 were measured, and the 900 figures would be tens of millions


def test_controls_are_what_was_asked_for():
    own = widgets.IntText(4)
    panel = panels.explore(
        lambda **_: figure(),
        top_k=(1, 9),
        units=(0, 64, 16),
        rate=("log", 1e-5, 1.0),
        own=own,
        start={"units": 32, "rate": 1e-3},
        about={"rate": "learning rate, 1 a step: the largest"},
    )
    assert panel.controls["top_k"].description == "top k" and panel.controls["own"] is own
    assert panel.values == {"top_k": 1, "units": 32, "rate": pytest.approx(1e-3), "own": 4}
    assert type(panel.values["units"]) is int
    assert panel.controls["rate"].description == "learning rate, 1 a step"
    assert panel.controls["rate"].tooltip == "the largest"
    assert repr(panel) == "explore(top_k, units, rate, own)"


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
        return figure(str(len(drawn)))

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
    assert panel.join()
    assert panel.model.count_params() == 34 and list(panel.histories) == ["run 1: epochs 3"]
    assert len(panel.histories["run 1: epochs 3"]) == 3 and "done after" in panel._status.value
    assert drawn[-1] == (["run 1: epochs 3"], 34)
    assert not panel._buttons["Start"].disabled and panel._buttons["Stop"].disabled


def test_pause_waits_and_stop_keeps_the_weights():
    panel, _ = trainer()
    panel.controls["epochs"].value = 10_000
    panel.start()
    assert wait_for(lambda: "left" in panel._status.value)
    panel._buttons["Pause"].click()
    assert wait_for(lambda: "paused" in panel._status.value) and panel._buttons["Pause"].description == "Go on"
    share = panel._bar.value
    threading.Event().wait(0.5)
    assert panel._bar.value == share
    panel._buttons["Pause"].click()
    assert wait_for(lambda: panel._bar.value > share)
    panel._buttons["Stop"].click()
    assert panel.join() and "stopped" in panel._status.value
    (history,) = panel.histories.values()
    assert 1 <= len(history) < 10_000 and panel.model is not None and panel.error is None


def test_two_starts_do_not_run_two_trainings():
    panel, _ = trainer()
    other, _ = trainer()
    panel.controls["epochs"].value = 10_000
    panel.start()
    other.start()
    assert "stop it first" in other._status.value and other._thread is None
    panel.stop()
    assert panel.join()
    other.start()
    assert other.join() and len(other.histories) == 1


def test_runs_lie_over_each_other_and_can_be_chosen():
    panel, drawn = trainer()
    panel.start()
    assert panel.join()
    panel.controls["learning_rate"].value = 0.1
    panel.start()
    assert panel.join()
    first, second = panel.histories
    assert (first, second) == ("run 1", "run 2: learning_rate 0.1") and drawn[-1][0] == [first, second]
    panel._shown.value = (second,)
    assert panel.wait() and drawn[-1][0] == [second]


def test_a_training_that_fails_says_so_and_the_next_one_runs():
    panel, _ = trainer()
    good, panel.fit = panel.fit, lambda callback, **values: 1 / 0
    panel.start()
    panel.join()
    assert "division by zero" in panel._status.value and isinstance(panel.error, ZeroDivisionError)
    panel.fit = good
    panel.start()
    assert panel.join() and panel.error is None


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A notebook whose panel meets an error when its control moves, as it was stored before that error came in."""
    moved = "panel.controls['rank'].value = 1\nassert panel.wait()"
    sources = [
        "rank = 0",
        "from matplotlib.figure import Figure\n\nfrom deconvlib.lab import panels",
        "def draw(rank):\n    1 / (1 - rank)\n    return Figure()\n\n\npanel = panels.explore(draw, rank=(0, 1))",
        moved,
        "panels.check()",
    ]
    cells = [nbformat.v4.new_code_cell(source, execution_count=n) for n, source in enumerate(sources, start=1)]
    cells[0].metadata.tags = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path_factory.mktemp("planted") / "planted.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_an_error_in_a_callback_fails_a_run(planted, tmp_path):
    assert "ZeroDivisionError" in run.execute(planted, tmp_path, {})


def test_an_error_in_a_callback_fails_nbval(planted):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", planted.name]
    done = subprocess.run(command, cwd=planted.parent, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed, 4 passed" in done.stdout and "ZeroDivisionError" in done.stdout
