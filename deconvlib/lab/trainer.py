"""A panel that trains in the background, and what it hears from Keras meanwhile."""

import functools
import threading
import time

import ipywidgets as widgets
import pandas as pd

from deconvlib.backend import keras
from deconvlib.lab.background import Background, left
from deconvlib.lab.controls import widgets_of


def train(fit, draw, *, histories=None, examine=None, start=None, about=None, **controls) -> "Trainer":
    """A panel that trains in the background: Start, Pause, Stop, time left, and curves that grow.

    fit: fit(callback, **values) -> (model, history); it gives `callback` to Keras, whose training it then watches, pauses
        and stops.
    draw: draw(histories, examined) -> Figure, for {name of a run: one row an epoch}; the epoch at work is in it.
    histories: of runs that were made before. examine: examine(model) -> anything that `draw` shows of it, after each epoch.
    start, about, controls: as for `explore`.

    The panel's `model` and `histories` are those of the runs; a run that was stopped keeps its weights.
    """
    return Trainer(fit, draw, dict(histories or {}), examine, widgets_of(controls, start, about))


class Trainer(Background):
    """Start, Pause and Stop over `fit(callback, **values)`; see `train`. `model` is that of the newest run."""

    def __init__(self, fit, draw, histories, examine, controls):
        self.fit, self.draw, self.histories, self.examine = fit, draw, histories, examine
        self.model, self.examined, self.runs, self._watch = None, None, 0, None
        self._shown = widgets.SelectMultiple(
            options=list(histories), value=list(histories), rows=4, layout=widgets.Layout(width="auto"),
            tooltip="Runs whose curves are drawn; several with Ctrl or Shift",
        )  # fmt: skip
        buttons = (
            ("Start", "play", "Train a new network with these settings", self.start),
            ("Pause", "pause", "Wait; the same button goes on", self.pause),
            ("Stop", "stop", "End here, and keep the weights", self.stop),
        )
        super().__init__(controls, draw(histories, None), buttons)
        self._first = self.values
        self._shown.observe(lambda _change: self.want(True), "value")

    def rows(self):
        return [*super().rows(), widgets.Label("Runs to compare"), self._shown]

    def __repr__(self):
        return f"train({', '.join(self.controls)})"

    def begin(self, values):
        self.runs += 1
        # as text: a logarithmic slider's value is rounded in the browser to where its handle can stand
        first, now = (
            {name: f"{value:.2g}" if isinstance(value, float) else str(value) for name, value in some.items()}
            for some in (self._first, values)
        )
        changed = ", ".join(f"{name} {said}" for name, said in now.items() if said != first[name])
        name = f"run {self.runs}" + (f": {changed}" if changed else "")
        self._watch = Watch(self.say, functools.partial(self._put, name))
        return functools.partial(self._train, self._watch, name, values)

    def pause(self):
        """Wait before the next batch; once more goes on."""
        if self._watch:
            self._buttons["Pause"].description = "Pause" if self._watch.pause() else "Go on"

    def stop(self):
        """End after the batch at work; the weights stay."""
        if self._watch:
            self._watch.stop()

    def at_work(self, working):
        super().at_work(working)
        self._buttons["Pause"].description = "Pause"

    def _train(self, watch, name, values):
        self.model, history = self.fit(watch, **values)
        self._put(name, history)
        return f"{'stopped' if watch.stopped else 'done'} after {watch.spent():.0f} s"

    def _put(self, name, history, model=None):
        if model and self.examine:
            self.examined = self.examine(model)
        self.histories[name] = history
        if name not in self._shown.options:
            self._shown.options, self._shown.value = list(self.histories), (*self._shown.value, name)
        self.want(True)

    def redraw(self, _wanted):
        every = dict(self.histories)  # a copy: the training puts its rows there meanwhile
        chosen = {name: history for name, history in every.items() if name in self._shown.value}
        self.show(self.draw(chosen, self.examined))


class Watch(keras.callbacks.Callback):
    """Tells how far Keras is, and Keras when to pause and when to stop.

    say(text, share of all steps): five times a second. put(history): one row an epoch, the one at work included, once a
    second; and put(history, model) after each epoch.
    """

    def __init__(self, say, put):
        super().__init__()
        self.say, self.put, self.rows = say, put, []
        self.stopped, self._go = False, threading.Event()
        self._go.set()
        self.begun = self.told = self.drawn = time.perf_counter()
        self.paused, self.epoch = 0.0, 0

    def pause(self):
        """Wait after the batch at work, or go on; whether it goes on now."""
        (self._go.clear if self._go.is_set() else self._go.set)()
        return self._go.is_set()

    def stop(self):
        """End after the batch at work, also out of a pause."""
        self.stopped = True
        self._go.set()

    def spent(self):
        """Seconds of training, without pauses."""
        return time.perf_counter() - self.begun - self.paused

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        epochs = self.params["epochs"]
        share = (self.epoch + (batch + 1) / self.params["steps"]) / epochs
        if not self._go.is_set():
            begun = time.perf_counter()
            self.say(f"paused in epoch {self.epoch + 1} of {epochs}", share)
            self._go.wait()
            self.paused += time.perf_counter() - begun
        self.model.stop_training |= self.stopped
        now = time.perf_counter()
        if now - self.told > 0.2:
            self.told = now
            self.say(f"epoch {self.epoch + 1} of {epochs}, {left(self.spent(), share)}", share)
        if now - self.drawn > 1 and self.rows:  # the first epoch has nothing yet that a line could begin at
            self.drawn = now
            row = {"epoch": share * epochs, "loss": logs["loss"], "accuracy": logs["accuracy"]}
            self.put(pd.DataFrame([*self.rows, row]).astype(float))

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **logs})
        self.put(pd.DataFrame(self.rows), self.model)
