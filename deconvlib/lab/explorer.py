"""A panel over a function that draws: it is drawn anew when a control moves."""

import threading
import time

import ipywidgets as widgets
from ipyevents import Event

from deconvlib import progress
from deconvlib.lab.controls import DPI, Panel, widgets_of


def explore(draw, *, start=None, about=None, clicked=None, actions=None, **controls) -> "Explorer":
    """A panel that shows `draw(**values)` and draws it anew when a control moves.

    draw: returns a Figure, or a tuple of one and of tables and texts to stand under it. Loops of `progress.steps` in it
        move the panel's bar, and end where a newer move or Cancel makes them vain.
    controls: for each argument of `draw` (low, high) or (low, high, step) for a slider, of floats where the step is one;
        ("log", low, high) for a logarithmic one; a list of choices, True or False, a text, or a widget.
    start: {name: value} to begin with; without it a control begins at its lowest or first.
    about: {name: "label" or "label: what it does"}; the label, with its unit, stands at the control, the rest is shown when
        the pointer rests there. Without it the label is the name.
    clicked: called as clicked(axes, x, y, values) for a click into axes of the figure that have a label, with that label
        and the point in their data coordinates; returns {name: value} of the controls to move.
    actions: {button's label: function(**values) -> text}; the text is shown, and can be copied.

    An error of the first drawing is raised. Later ones are shown under the control that was moved last, kept as the
    panel's `error`, and raised by `panels.check`.
    """
    return Explorer(draw, widgets_of(controls, start, about), clicked, actions or {})


class Explorer(Panel):
    """Controls over `draw(**values)`; see `explore`."""

    def __init__(self, draw, controls, clicked, actions):
        self.draw, self.clicked = draw, clicked
        self._moved, self._cancelled = None, False
        self._cancel = widgets.Button(description="Cancel", layout=widgets.Layout(display="none"))
        self._cancel.on_click(lambda _button: self.cancel())
        self._buttons, self._text = [], widgets.Textarea(layout=widgets.Layout(width="100%", height="12em", display="none"))
        for label, action in actions.items():
            button = widgets.Button(description=label, layout=widgets.Layout(width="auto"))
            button.on_click(lambda _button, action=action: self._act(action))
            self._buttons.append(button)
        values = {name: control.value for name, control in controls.items()}
        begun = time.perf_counter()
        super().__init__(controls, draw(**values))
        self.status.value = _seconds(begun)
        for name, control in controls.items():
            control.observe(lambda _change, name=name: self._note(name), "value")
        if clicked:
            self._events = Event(source=self.picture, watched_events=["click"])
            self._events.on_dom_event(lambda event: self.click(event["dataX"], event["dataY"]))

    def rows(self):
        status = widgets.HBox([self.status, self.bar, self._cancel])
        rows = [self.grid(), self.picture, self.below, status]
        return [*rows, widgets.HBox(self._buttons), self._text] if self._buttons else rows

    def __repr__(self):
        # nbval compares it: the default holds the picture's bytes
        return f"explore({', '.join(self.controls)})"

    def click(self, x, y):
        """As a click on the picture's pixel (x, y), from its upper left."""
        for ax in self.figure.axes:
            scale = self.figure.dpi / DPI
            point = x * scale, self.figure.bbox.height - y * scale
            if ax.get_label() and ax.bbox.contains(*point):
                at = ax.transData.inverted().transform(point)
                for name, value in (self.clicked(ax.get_label(), *at, self.values) or {}).items():
                    self.controls[name].value = value

    def cancel(self):
        """End the computation at work; the picture stays."""
        self._cancelled = True

    def _note(self, name):
        self._moved = name
        self.want(self.values)

    def _act(self, action):
        try:
            self._text.value, self._text.layout.display = action(**self.values), None
        except Exception as error:
            self.fail(error)

    def redraw(self, values):
        begun, self._cancelled, moved = time.perf_counter(), False, self._moved
        slow = threading.Timer(0.3, self._computing)
        slow.start()
        said = ""
        try:
            with progress.to(self._tell):
                self.show(self.draw(**values))
            self.error, said = None, _seconds(begun)
            self.forget()
        except _Vain:
            said = "cancelled" if self._cancelled else ""
        except Exception as error:
            self.forget()
            self.fail(error, moved)
        slow.cancel()
        slow.join()
        self.bar.layout.display = self._cancel.layout.display = "none"
        self.status.value = said

    def _computing(self):
        self.status.value = "computing …"
        self._cancel.layout.display = None

    def _tell(self, what, done, total):
        if self._cancelled or self.superseded():
            raise _Vain
        if self._cancel.layout.display is None:
            self.status.value = f"{what} …"
            self.bar.value, self.bar.layout.display = done / (total or 1), None if total else "none"


class _Vain(Exception):
    """A newer move or Cancel: nobody waits for what is being computed."""


def _seconds(begun):
    return f'<span style="color:#666">drawn in {1000 * (time.perf_counter() - begun):.0f} ms</span>'
