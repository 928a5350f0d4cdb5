"""Controls over functions that already work without them. The only import of ipywidgets.

JupyterLab runs a widget's callback on one of several threads, so a callback here only notes what is wanted; one worker
thread computes and draws, without pyplot and without an Output widget, and hands the picture to an Image widget.
"""

import base64
import html
import io
import math
import threading
import time

import ipywidgets as widgets
import pandas as pd
from ipyevents import Event

from deconvlib import progress
from deconvlib.backend import keras

DPI = 90


_panels = {}  # of each place in the notebook the newest, so that a cell that runs again leaves no old error


_training = threading.Lock()  # one training at a time in a kernel, whichever panel starts it


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
    panel's `error`, and raised by `check`.
    """
    return Explorer(draw, _controls(controls, start, about), clicked, actions or {})


def train(fit, draw, *, histories=None, examine=None, start=None, about=None, **controls) -> "Trainer":
    """A panel that trains in the background: Start, Pause, Stop, time left, and curves that grow.

    fit: fit(callback, **values) -> (model, history); it gives `callback` to Keras, whose training it then watches, pauses
        and stops. One training runs at a time in a kernel.
    draw: draw(histories, examined) -> Figure, for {name of a run: one row an epoch}; the epoch at work is in it.
    histories: of runs that were made before. examine: examine(model) -> anything that `draw` shows of it, after each epoch.
    start, about, controls: as for `explore`.

    The panel's `model` and `histories` are those of the runs; a run that was stopped keeps its weights.
    """
    return Trainer(fit, draw, dict(histories or {}), examine, _controls(controls, start, about))


def check():
    """Raise the error that a panel shows, after it has drawn what is asked of it: no run succeeds with a broken panel."""
    for panel in list(_panels.values()):
        panel.wait()
        if panel.error:
            raise panel.error


class _Panel(widgets.VBox):
    """A picture with what is said of it, drawn by one worker thread; `error` is the last exception, or None."""

    def __init__(self, controls, first):
        self.controls, self.error, self.figure = controls, None, None
        self._messages = {name: widgets.HTML() for name in controls}
        self._picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", height="auto"))
        self._below, self._status = widgets.HTML(), widgets.HTML()
        self._bar = widgets.FloatProgress(max=1.0, layout=widgets.Layout(width="12em", display="none"))
        self._wanted, self._busy, self._lock = None, False, threading.Condition()
        # once here, where an error fails the cell: in a callback, papermill would call the run a success
        self._show(first)
        super().__init__(self._layout())
        self.add_class("deconvlib-panel")
        threading.Thread(target=self._work, daemon=True).start()
        _panels[self.draw.__qualname__, *controls] = self

    def _controls_grid(self):
        boxes = [widgets.VBox([control, self._messages[name]]) for name, control in self.controls.items()]
        columns = "repeat(auto-fill, minmax(min(20em, 100%), 1fr))"  # as many as the page is wide enough for
        return widgets.GridBox(boxes, layout=widgets.Layout(grid_template_columns=columns, grid_gap="0 1em"))

    def _repr_mimebundle_(self, **keywords):
        # for where no widget can be shown: exports, pages on the web
        return super()._repr_mimebundle_(**keywords) | {"image/png": base64.b64encode(self._picture.value).decode()}

    @property
    def values(self):
        """{name: value} of the controls."""
        return {name: control.value for name, control in self.controls.items()}

    def wait(self, timeout=60):
        """Until everything asked for is drawn; False where that takes longer than `timeout` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._wanted is None and not self._busy, timeout)

    def _want(self, wanted):
        with self._lock:
            self._wanted = wanted
            self._lock.notify_all()

    def _work(self):
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._wanted is not None)
                wanted, self._wanted, self._busy = self._wanted, None, True  # of a burst of moves only the last is drawn
            try:
                self._draw(wanted)
            except Exception as error:
                self._fail(error)
            with self._lock:
                self._busy = False
                self._lock.notify_all()

    def _show(self, drawn):
        self.figure, *rest = drawn if isinstance(drawn, tuple) else (drawn,)
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI)
        self._picture.value = buffer.getvalue()
        self._below.value = "".join(
            _table(part) if hasattr(part, "to_html") else f"<p>{html.escape(part)}</p>" for part in rest
        )

    def _forget(self):
        for message in self._messages.values():
            message.value = ""

    def _fail(self, error, beside=None):
        self.error = error
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        place = self._messages.get(beside, self._status)
        place.value = f'<span style="color:#b00020; line-height:1.3">{html.escape(said)}</span>'


class Explorer(_Panel):
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
        self._status.value = _seconds(begun)
        for name, control in controls.items():
            control.observe(lambda _change, name=name: self._note(name), "value")
        if clicked:
            self._events = Event(source=self._picture, watched_events=["click"])
            self._events.on_dom_event(lambda event: self.click(event["dataX"], event["dataY"]))

    def _layout(self):
        status = widgets.HBox([self._status, self._bar, self._cancel])
        rows = [self._controls_grid(), self._picture, self._below, status]
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
        self._want(self.values)

    def _act(self, action):
        try:
            self._text.value, self._text.layout.display = action(**self.values), None
        except Exception as error:
            self._fail(error)

    def _draw(self, values):
        begun, self._cancelled, moved = time.perf_counter(), False, self._moved
        slow = threading.Timer(0.3, lambda: self._working("computing …"))
        slow.start()
        said = ""
        try:
            with progress.to(self._tell):
                self._show(self.draw(**values))
            self.error, said = None, _seconds(begun)
            self._forget()
        except _Vain:
            said = "cancelled" if self._cancelled else ""
        except Exception as error:
            self._forget()
            self._fail(error, moved)
        slow.cancel()
        slow.join()
        self._bar.layout.display = self._cancel.layout.display = "none"
        self._status.value = said

    def _working(self, what):
        self._status.value = what
        self._cancel.layout.display = None

    def _tell(self, what, done, total):
        if self._cancelled or self._wanted is not None:
            raise _Vain
        if self._cancel.layout.display is None:
            self._status.value = f"{what} …"
            self._bar.value, self._bar.layout.display = done / (total or 1), None if total else "none"


class _Vain(Exception):
    """A newer move or Cancel: nobody waits for what is being computed."""


class Trainer(_Panel):
    """Start, Pause and Stop over `fit(callback, **values)`; see `train`. `model` is that of the newest run."""

    def __init__(self, fit, draw, histories, examine, controls):
        self.fit, self.draw, self.histories, self.examine = fit, draw, histories, examine
        self.model, self.examined, self.runs = None, None, 0
        self._thread, self._go, self._stopping = None, threading.Event(), False
        self._buttons = {}
        for label, icon, tooltip, clicked in (
            ("Start", "play", "Train a new network with these settings", self.start),
            ("Pause", "pause", "Wait; the same button goes on", self.pause),
            ("Stop", "stop", "End here, and keep the weights", self.stop),
        ):
            button = widgets.Button(description=label, icon=icon, tooltip=tooltip, disabled=label != "Start")
            button.on_click(lambda _button, clicked=clicked: clicked())
            self._buttons[label] = button
        self._shown = widgets.SelectMultiple(
            options=list(histories), value=list(histories), rows=4, layout=widgets.Layout(width="auto"),
            tooltip="Runs whose curves are drawn; several with Ctrl or Shift",
        )  # fmt: skip
        super().__init__(controls, draw(histories, None))
        self._first = self.values
        self._shown.observe(lambda _change: self._want(True), "value")

    def _layout(self):
        row = widgets.HBox([*self._buttons.values(), self._bar, self._status], layout=widgets.Layout(flex_flow="row wrap"))
        return [self._controls_grid(), row, self._picture, widgets.Label("Runs to compare"), self._shown]

    def __repr__(self):
        return f"train({', '.join(self.controls)})"

    def start(self):
        """Train with the values of the controls, in the background. While a training is at work it says so, and no more."""
        if not _training.acquire(blocking=False):
            self._status.value = "A training is at work in this kernel: stop it first."
            return
        self._go.set()
        self._stopping = False
        self._at_work(True)
        self._thread = threading.Thread(target=self._run, args=(self.values,), daemon=True)
        self._thread.start()

    def pause(self):
        """Wait before the next batch; once more goes on."""
        (self._go.clear if self._go.is_set() else self._go.set)()
        self._buttons["Pause"].description = "Pause" if self._go.is_set() else "Go on"

    def stop(self):
        """End after the batch at work; the weights stay."""
        self._stopping = True
        self._go.set()

    def join(self, timeout=60):
        """Until the training has ended and is drawn; False where that takes longer than `timeout` seconds."""
        if self._thread:
            self._thread.join(timeout)
        return not (self._thread and self._thread.is_alive()) and self.wait(timeout)

    def _at_work(self, working):
        for label, button in self._buttons.items():
            button.disabled = working == (label == "Start")
        self._buttons["Pause"].description = "Pause"
        self._bar.value, self._bar.layout.display = 0.0, None if working else "none"

    def _run(self, values):
        self.runs += 1
        first, now = (({name: _said(value) for name, value in some.items()}) for some in (self._first, values))
        changed = ", ".join(f"{name} {said}" for name, said in now.items() if said != first[name])
        watch = _Watch(self, f"run {self.runs}" + (f": {changed}" if changed else ""))
        self.error, self._status.value = None, "building the network …"
        try:
            self.model, history = self.fit(watch, **values)
            self._put(watch.name, history)
            self._status.value = f"{'stopped' if self._stopping else 'done'} after {watch.spent():.0f} s"
        except Exception as error:
            self._fail(error)
        self._at_work(False)
        _training.release()

    def _put(self, name, history):
        self.histories[name] = history
        if name not in self._shown.options:
            self._shown.options, self._shown.value = list(self.histories), (*self._shown.value, name)
        self._want(True)

    def _draw(self, _wanted):
        every = dict(self.histories)  # a copy: the training puts its rows there meanwhile
        chosen = {name: history for name, history in every.items() if name in self._shown.value}
        self._show(self.draw(chosen, self.examined))


class _Watch(keras.callbacks.Callback):
    """Tells the panel how far Keras is, and Keras when the panel wants to pause or stop."""

    def __init__(self, panel, name):
        super().__init__()
        self.panel, self.name, self.rows = panel, name, []
        self.begun = self.told = self.drawn = time.perf_counter()
        self.paused, self.epoch = 0.0, 0

    def spent(self):
        """Seconds of training, without pauses."""
        return time.perf_counter() - self.begun - self.paused

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        panel, epochs = self.panel, self.params["epochs"]
        share = (self.epoch + (batch + 1) / self.params["steps"]) / epochs
        if not panel._go.is_set():
            begun = time.perf_counter()
            panel._status.value = f"paused in epoch {self.epoch + 1} of {epochs}"
            panel._go.wait()
            self.paused += time.perf_counter() - begun
        self.model.stop_training |= panel._stopping
        now = time.perf_counter()
        if now - self.told > 0.2:
            self.told, panel._bar.value = now, share
            left = self.spent() * (1 - share) / share
            panel._status.value = f"epoch {self.epoch + 1} of {epochs}, about {left:.0f} s left"
        if now - self.drawn > 1 and self.rows:  # the first epoch has nothing yet that a line could begin at
            self.drawn = now
            row = {"epoch": share * epochs, "loss": logs["loss"], "accuracy": logs["accuracy"]}
            panel._put(self.name, pd.DataFrame([*self.rows, row]).astype(float))

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **logs})
        if self.panel.examine:
            self.panel.examined = self.panel.examine(self.model)
        self.panel._put(self.name, pd.DataFrame(self.rows))


def _table(rows):
    table = rows.to_html(border=0, index=False, justify="left")
    return f'<div style="line-height: 1.5; max-height: 15em; overflow: auto">{table}</div>'


def _seconds(begun):
    return f'<span style="color:#666">drawn in {1000 * (time.perf_counter() - begun):.0f} ms</span>'


def _said(value):
    # a logarithmic slider's value is rounded in the browser to where its handle can stand
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _controls(controls, start, about):
    made = {}
    for name, control in controls.items():
        label, _, tooltip = (about or {}).get(name, name.replace("_", " ")).partition(": ")
        made[name] = _control(control, label, tooltip)
        if name in (start or {}):
            made[name].value = start[name]
    return made


def _control(control, label, tooltip):
    if isinstance(control, widgets.Widget):
        control.description = control.description or label
        control.tooltip = control.tooltip or tooltip
        return control
    settings = {
        "description": label,
        "tooltip": tooltip or label,
        "style": {"description_width": "initial"},
        "layout": widgets.Layout(width="auto"),
    }
    if isinstance(control, bool):
        return widgets.Checkbox(control, indent=False, **settings)
    if isinstance(control, str):
        return widgets.Text(control, continuous_update=False, **settings)
    if isinstance(control, list):
        return widgets.Dropdown(options=control, **settings)
    if control[0] == "log":
        ends = {"min": math.log10(control[1]), "max": math.log10(control[2]), "step": 0.05}
        return widgets.FloatLogSlider(control[1], **ends, readout_format=".1e", **settings)
    low, high, step = (*control, 1)[:3]
    slider = widgets.FloatSlider if isinstance(step, float) else widgets.IntSlider
    return slider(low, min=low, max=high, step=step, **settings)
