"""Values become the widgets that were meant."""

import ipywidgets as widgets
import pytest

from deconvlib import figures
from deconvlib.lab import panels


def test_controls_are_what_was_asked_for():
    own = widgets.IntText(4)
    panel = panels.explore(
        lambda **_: figures.figure(1),
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
