"""Panels, driven from Python as a browser would: by setting values."""

import gc
import threading
import tracemalloc

import ipywidgets as widgets
import pytest
from matplotlib.figure import Figure

from deconvlib import panels


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


def test_an_error_of_the_first_drawing_fails_the_cell():
    with pytest.raises(ZeroDivisionError):
        panels.explore(lambda rank: 1 / rank, rank=(0, 3))


def test_a_later_error_is_shown_escaped_and_the_panel_goes_on():
    def draw(rank):
        if rank == 1:
            raise ValueError("<b>no rank 1</b>")
        return figure()

    panel = panels.explore(draw, rank=(0, 3))
    panel.controls["rank"].value = 1
    assert panel.wait() and isinstance(panel.error, ValueError)
    assert "ValueError: &lt;b&gt;no rank 1" in panel._status.value
    panel.controls["rank"].value = 2
    assert panel.wait() and panel.error is None and panel._status.value == ""


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
    panel = panels.explore(lambda **_: figure(), top_k=(1, 9), own=own)
    assert panel.controls["top_k"].description == "top k" and panel.controls["own"] is own
    assert repr(panel) == "explore(top_k, own)"
