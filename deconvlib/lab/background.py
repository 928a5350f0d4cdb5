"""Panels whose work goes on in the background, between Start and Stop: the kernel answers meanwhile."""

import functools
import threading
import time

import ipywidgets as widgets

from deconvlib import progress
from deconvlib.lab.controls import Panel, widgets_of

_working = threading.Lock()  # one work at a time in a kernel, whichever panel starts it


class Background(Panel):
    """Start and Stop over work that takes long, with how far it is.

    buttons: (label, icon, tooltip, function) of each, Start and Stop among them. Its kinds have `begin(values)`, which is told
    what stands in the controls and returns a function that does the work, on a thread of its own, and says how it ended; and
    `stop()`.
    """

    def __init__(self, controls, first, buttons):
        self._thread, self._buttons = None, {}
        for label, icon, tooltip, clicked in buttons:
            button = widgets.Button(description=label, icon=icon, tooltip=tooltip, disabled=label != "Start")
            button.on_click(lambda _button, clicked=clicked: clicked())
            self._buttons[label] = button
        super().__init__(controls, first)

    def rows(self):
        row = widgets.HBox([*self._buttons.values(), self.bar, self.status], layout=widgets.Layout(flex_flow="row wrap"))
        return [self.grid(), row, self.picture]

    def start(self):
        """Work with the values of the controls, in the background. While a panel is at work it says so, and no more."""
        if not _working.acquire(blocking=False):
            self.status.value = "A panel is at work in this kernel: stop it first."
            return
        self.error, self.status.value = None, "begins …"
        work = self.begin(self.values)
        self.at_work(True)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def wait(self, timeout=300):
        """Until the work has ended and all is drawn; False where that takes longer than `timeout` seconds."""
        if self._thread:
            self._thread.join(timeout)
        return not (self._thread and self._thread.is_alive()) and super().wait(timeout)

    def at_work(self, working):
        for label, button in self._buttons.items():
            button.disabled = working == (label == "Start")
        self.bar.value, self.bar.layout.display = 0.0, None if working else "none"

    def say(self, text, share):
        """Show a text, and the share of the work that is done."""
        self.bar.value, self.status.value = share, text

    def _run(self, work):
        try:
            self.status.value = work()
        except Exception as error:
            self.fail(error)
        self.at_work(False)
        _working.release()


def left(spent: float, share: float) -> str:
    """The time left, in words, where a share above 0 took `spent` seconds."""
    return f"about {spent * (1 - share) / share:.0f} s left"


def grow(make, draw, *, start=None, about=None, **controls) -> "Grower":
    """A panel over what is made step by step: Start, Stop, time left, and the picture of what there is so far.

    make: make(watch, **values) -> what it made. On the way it calls watch(made, done, steps), and where that returns True it
        ends with what there is.
    draw: draw(made) -> Figure.
    start, about, controls: as for `explore`.

    What the controls begin with is made at once. `made` is the newest.
    """
    return Grower(make, draw, widgets_of(controls, start, about))


class Grower(Background):
    """Start and Stop over `make(watch, **values)`; see `grow`."""

    def __init__(self, make, draw, controls):
        self.make, self.draw, self._stopped = make, draw, False
        self.made = make(lambda *told: False, **{name: control.value for name, control in controls.items()})
        buttons = (
            ("Start", "play", "Make it anew with these settings", self.start),
            ("Stop", "stop", "End here, and keep what there is", self.stop),
        )
        super().__init__(controls, draw(self.made), buttons)

    def __repr__(self):
        return f"grow({', '.join(self.controls)})"

    def begin(self, values):
        self._stopped, self._begun, self._drawn = False, time.perf_counter(), 0.0
        return functools.partial(self._make, values)

    def stop(self):
        """End after the step at work, and keep what there is."""
        self._stopped = True

    def _make(self, values):
        with progress.to(lambda *told: None):  # the bar here says it
            self._put(self.make(self._watch, **values))
        return f"{'stopped' if self._stopped else 'done'} after {time.perf_counter() - self._begun:.1f} s"

    def _watch(self, made, done, steps):
        now = time.perf_counter()
        if now - self._drawn > 0.5:  # seconds; a picture takes a fifth of one
            self._drawn = now
            self.say(f"step {done} of {steps}, {left(now - self._begun, done / steps)}", done / steps)
            self._put(made)
        return self._stopped

    def _put(self, made):
        self.made = made
        self.want(True)

    def redraw(self, _wanted):
        self.show(self.draw(self.made))
