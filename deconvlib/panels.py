"""Sliders over functions that already work without them. The only import of ipywidgets.

JupyterLab runs a widget's callback on one of several threads, so a callback here only notes the newest values; one worker
thread draws, without pyplot and without an Output widget, and hands the picture to an Image widget.
"""

import html
import io
import threading

import ipywidgets as widgets


class Explorer(widgets.VBox):
    """Controls over `draw(**values) -> Figure`; see `explore`. `error` is the exception of the last drawing, or None."""

    def __init__(self, draw, controls):
        self.draw, self.controls, self.error = draw, controls, None
        self._picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", object_fit="contain"))
        self._status = widgets.HTML()
        self._wanted, self._lock = None, threading.Condition()
        # once here, where an error fails the cell: in a callback, papermill would call the run a success
        self._picture.value = _png(draw(**self.values))
        row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self._picture, self._status])
        self._busy = False
        for control in controls.values():
            control.observe(self._note, "value")
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def values(self):
        """{name: value} of the controls."""
        return {name: control.value for name, control in self.controls.items()}

    def wait(self, timeout=30):
        """Until everything asked for is drawn; False where that takes longer than `timeout` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._wanted is None and not self._busy, timeout)

    def __repr__(self):
        # nbval compares it: the default holds the picture's bytes
        return f"explore({', '.join(self.controls)})"

    def _note(self, _change):
        with self._lock:
            self._wanted = self.values
            self._lock.notify_all()

    def _work(self):
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._wanted is not None)
                values, self._wanted, self._busy = self._wanted, None, True  # of a burst of moves only the last is drawn
            slow = threading.Timer(0.3, lambda: setattr(self._status, "value", "drawing…"))
            slow.start()
            try:
                picture, self.error, status = _png(self.draw(**values)), None, ""
                self._picture.value = picture
            except Exception as error:
                self.error = error
                status = f'<span style="color:#b00020">{html.escape(f"{type(error).__name__}: {error}")}</span>'
            slow.cancel()
            slow.join()
            self._status.value = status
            with self._lock:
                self._busy = False
                self._lock.notify_all()


def explore(draw, **controls) -> Explorer:
    """A panel that shows `draw(**values)`, a Figure, and draws it anew when a control moves.

    controls: for each argument of `draw` (low, high) for a slider of whole numbers, (low, high, step) for one of floats, a
    list of choices, True or False, a text, or a widget. The first value of each is the lowest or the first.

    An error of the first drawing is raised; later ones are shown in the panel, and kept as its `error`.
    """
    return Explorer(draw, {name: _control(name, control) for name, control in controls.items()})


def _control(name, control):
    if isinstance(control, widgets.Widget):
        return control
    settings = {
        "description": name.replace("_", " "),
        "style": {"description_width": "initial"},
        "layout": widgets.Layout(width="auto", min_width="16em", flex="1 1 16em", max_width="28em"),
    }
    if isinstance(control, bool):
        return widgets.Checkbox(control, indent=False, **settings)
    if isinstance(control, str):
        return widgets.Text(control, continuous_update=False, **settings)
    if isinstance(control, list):
        return widgets.Dropdown(options=control, **settings)
    if len(control) == 2:
        return widgets.IntSlider(control[0], *control, **settings)
    low, high, step = control
    return widgets.FloatSlider(low, min=low, max=high, step=step, **settings)


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
