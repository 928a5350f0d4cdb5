"""Values -> widgets, and the panel that they stand in: a picture, drawn anew when a control moves.

JupyterLab runs a widget's callback on one of several threads, so a callback here only notes what is wanted; one worker
thread computes and draws, without pyplot and without an Output widget, and hands the picture to an Image widget.
"""

import base64
import html
import math
import threading

import ipywidgets as widgets

from deconvlib import figures

DPI = 90
newest = {}  # of each place in the notebook the newest panel, so that a cell that runs again leaves no old error


def widgets_of(controls: dict, start: dict | None, about: dict | None) -> dict:
    """{name: widget} of the values that `panels.explore` takes."""
    found = {}
    for name, control in controls.items():
        label, _, tooltip = (about or {}).get(name, name.replace("_", " ")).partition(": ")
        found[name] = _control(control, label, tooltip)
        if name in (start or {}):
            found[name].value = start[name]
    return found


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


class Panel(widgets.VBox):
    """A picture with what is said of it, drawn by one worker thread; `error` is the last exception, or None.

    Its kinds have `rows()`, the widgets it consists of, `redraw(wanted)`, which the worker thread calls with what `want` was
    given last, and an attribute `draw`, by which it is told from other panels.
    """

    def __init__(self, controls, first):
        self.controls, self.error, self.figure = controls, None, None
        self.messages = {name: widgets.HTML() for name in controls}
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", height="auto"))
        self.below, self.status = widgets.HTML(), widgets.HTML()
        self.bar = widgets.FloatProgress(max=1.0, layout=widgets.Layout(width="12em", display="none"))
        self._wanted, self._busy, self._lock = None, False, threading.Condition()
        # once here, where an error fails the cell: in a callback, papermill would call the run a success
        self.show(first)
        super().__init__(self.rows())
        self.add_class("deconvlib-panel")
        threading.Thread(target=self._work, daemon=True).start()
        newest[self.draw.__qualname__, *controls] = self

    def grid(self):
        boxes = [widgets.VBox([control, self.messages[name]]) for name, control in self.controls.items()]
        columns = "repeat(auto-fill, minmax(min(20em, 100%), 1fr))"  # as many as the page is wide enough for
        return widgets.GridBox(boxes, layout=widgets.Layout(grid_template_columns=columns, grid_gap="0 1em"))

    def _repr_mimebundle_(self, **keywords):
        # for where no widget can be shown: exports, pages on the web
        return super()._repr_mimebundle_(**keywords) | {"image/png": base64.b64encode(self.picture.value).decode()}

    @property
    def values(self):
        """{name: value} of the controls."""
        return {name: control.value for name, control in self.controls.items()}

    def wait(self, timeout=300):
        """Until everything asked for is drawn; False where that takes longer than `timeout` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._wanted is None and not self._busy, timeout)

    def want(self, wanted):
        """Have `redraw(wanted)` called; of several before that only the last counts."""
        with self._lock:
            self._wanted = wanted
            self._lock.notify_all()

    def _work(self):
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._wanted is not None)
                wanted, self._wanted, self._busy = self._wanted, None, True  # of a burst of moves only the last is drawn
            try:
                self.redraw(wanted)
            except Exception as error:
                self.fail(error)
            with self._lock:
                self._busy = False
                self._lock.notify_all()

    def superseded(self):
        """Whether something newer is wanted than what is being drawn."""
        return self._wanted is not None

    def show(self, drawn):
        """Show a figure, or a tuple of one and of tables and texts to stand under it."""
        self.figure, *rest = drawn if isinstance(drawn, tuple) else (drawn,)
        self.picture.value = figures.png(self.figure, dpi=DPI)
        self.below.value = "".join(_table(part) if hasattr(part, "to_html") else f"<p>{html.escape(part)}</p>" for part in rest)

    def forget(self):
        for message in self.messages.values():
            message.value = ""

    def fail(self, error, beside=None):
        """Keep the error, and show it under the control of that name, or in the panel's last line."""
        self.error = error
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        place = self.messages.get(beside, self.status)
        place.value = f'<span style="color:#b00020; line-height:1.3">{html.escape(said)}</span>'


def _table(rows):
    table = rows.to_html(border=0, index=False, justify="left")
    return f'<div style="line-height: 1.5; max-height: 15em; overflow: auto">{table}</div>'
