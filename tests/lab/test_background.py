"""Work in the background: it grows, ends, fails, and never runs beside another panel's."""

import threading

import pandas as pd
import pytest

from deconvlib import figures
from deconvlib.lab import controls, panels


@pytest.fixture(autouse=True)
def forget():
    yield
    controls.newest.clear()  # errors that are shown on purpose


def counter(go=None):
    """A panel that counts to a number; what it made is how far it came. go: an Event before which the second step waits."""

    def make(watch, to):
        for done in range(1, to + 1):
            if watch(done, done, to):
                break
            if go and done == 1:
                go.wait(10)
        return done

    def draw(made):
        drawn.append(made)
        return figures.figure(1)

    drawn = []
    return panels.grow(make, draw, to=(1, 10_000_000)), drawn


def test_what_the_controls_begin_with_is_made_at_once():
    panel, drawn = counter()
    assert panel.made == 1 and drawn == [1] and repr(panel) == "grow(to)"
    panel.controls["to"].value = 5
    assert panel.wait() and panel.made == 1, "it begins without Start"


def test_it_shows_what_there_is_so_far_and_how_long_it_takes():
    go = threading.Event()
    panel, drawn = counter(go)
    panel.controls["to"].value = 4
    panel._buttons["Start"].click()
    assert panel._buttons["Start"].disabled and not panel._buttons["Stop"].disabled
    while len(drawn) < 2:
        threading.Event().wait(0.01)
    assert drawn[1] == 1 and panel.status.value.startswith("step 1 of 4, about ") and panel.status.value.endswith(" s left")
    assert panel.bar.value == 0.25 and panel.bar.layout.display is None
    go.set()
    assert panel.wait() and panel.made == drawn[-1] == 4 and "done after" in panel.status.value
    assert not panel._buttons["Start"].disabled and panel.bar.layout.display == "none"


def test_stop_keeps_what_there_is_and_the_next_start_begins_anew():
    panel, drawn = counter()
    panel.controls["to"].value = 10_000_000
    panel.start()
    panel._buttons["Stop"].click()
    assert panel.wait() and 1 <= panel.made < 10_000_000 and "stopped after" in panel.status.value
    assert drawn[-1] == panel.made and panel.error is None
    panel.controls["to"].value = 3
    panel.start()
    assert panel.wait() and panel.made == 3 and "done after" in panel.status.value


def test_one_panel_works_at_a_time_of_whatever_kind():
    go = threading.Event()
    panel, _ = counter(go)
    panel.controls["to"].value = 2
    trainer = panels.train(lambda callback, epochs: (None, pd.DataFrame()), lambda *shown: figures.figure(1), epochs=(1, 2))
    panel.start()
    trainer.start()
    assert "stop it first" in trainer.status.value and trainer.runs == 0
    go.set()
    assert panel.wait()
    trainer.start()
    assert trainer.wait() and trainer.runs == 1 and trainer.error is None


def test_work_that_fails_says_so_and_the_next_one_runs():
    panel, _ = counter()
    good, panel.make = panel.make, lambda watch, to: 1 / 0
    panel.start()
    with pytest.raises(ZeroDivisionError):
        panels.check()
    assert "division by zero" in panel.status.value and panel.made == 1
    panel.make = good
    panel.start()
    assert panel.wait() and panel.error is None
