"""Panels, driven from Python as a browser would: by setting values."""

import base64
import gc
import subprocess
import sys
import threading
import tracemalloc

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from deconvlib import progress
from deconvlib.lab import controls, panels, run


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
    first = bytes(panel.picture.value)
    assert first.startswith(b"\x89PNG")
    assert seen == [{"layer": "conv1", "channel": 0, "rate": 0.0, "flip": True, "name": "x"}]
    panel.controls["channel"].value = 3
    assert panel.wait() and seen[-1]["channel"] == 3 and bytes(panel.picture.value) != first
    assert "drawn in" in panel.status.value and "ms" in panel.status.value


def test_tables_and_texts_stand_under_the_figure_escaped():
    panel = panels.explore(lambda n: (figure(), "a < b", pd.DataFrame({"layer": ["conv1"]})), n=(0, 3))
    assert "a &lt; b" in panel.below.value and "conv1" in panel.below.value


def test_where_no_widget_can_be_shown_the_picture_is():
    panel = panels.explore(lambda rank: figure(), rank=(0, 3))
    shown = panel._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]) == bytes(panel.picture.value)
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
    assert "&lt;b&gt;no rank 1" in panel.messages["rank"].value and not panel.messages["other"].value
    panel.controls["rank"].value = 2
    assert panel.wait() and panel.error is None and panel.messages["rank"].value == ""


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
    before = bytes(panel.picture.value)
    panel.controls["rank"].value = 1
    assert panel.wait() and len([rank for rank, _ in steps if rank == 1]) == 3
    assert panel.status.value == "cancelled" and bytes(panel.picture.value) == before and panel.error is None
    panel.controls["rank"].value = 2
    assert panel.wait() and bytes(panel.picture.value) != before


def test_a_long_computation_shows_how_far_it_is():
    shown = []

    def draw(rank):
        for _ in progress.steps(range(2), "counting"):
            if rank:
                threading.Event().wait(0.5)
                shown.append((panel.status.value, panel.bar.value, panel._cancel.layout.display))
        return figure()

    panel = panels.explore(draw, rank=(0, 1))
    panel.controls["rank"].value = 1
    assert panel.wait()
    assert shown[1] == ("counting …", 0.5, None) and panel.bar.layout.display == "none"


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
    width, height = 4 * controls.DPI, 2 * controls.DPI
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
    assert isinstance(panel.error, ZeroDivisionError) and "division" in panel.status.value


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


def test_the_panel_of_operators_says_the_checkerboards_energy():
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)
    panel = panels.operators(images, ["transposed", "resize"])
    panel.controls["weights"].value = "all 1"
    assert panel.wait() and panel.error is None and "19.0 % in the map of the constant" in panel.below.value
    panel.controls["operator"].value = "resize"
    assert panel.wait() and "Checkerboard: 0.0 % in the map of the constant" in panel.below.value
    panel.controls["stride"].value, panel.controls["image"].value = 3, 2
    assert panel.wait() and panel.error is None


def test_the_panel_of_gradients_has_a_line_a_network():
    rng = np.random.default_rng(0)
    panel = panels.gradients(rng.integers(0, 256, (4, 16, 16, 1), np.uint8), np.array([0, 1, 2, 0]), width=2)
    panel.controls["activation"].value, panel.controls["depth"].value = "linear", 3
    assert panel.wait() and panel.error is None
    (ax,) = panel.figure.axes
    assert ax.get_title() == "linear" and [line.get_xdata().tolist() for line in ax.lines] == 5 * [[1, 2, 3]]


def test_the_panel_of_a_study_has_its_regimes():
    rows = [(regime, "plain", [0.1, height]) for regime, height in (("few", 0.2), ("tail", 0.9))]
    panel = panels.study(pd.DataFrame(rows, columns=["regime", "variant", "curve"]))
    assert panel.controls["regime"].options == ("few", "tail")
    panel.controls["regime"].value = "tail"
    assert panel.wait() and panel.figure.axes[0].lines[0].get_ydata().tolist() == [0.1, 0.9]
