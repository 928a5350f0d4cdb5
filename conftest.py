"""The workers of `make test` end together; nbval 0.11 compares figures too, and does what its documentation says.

That is to honour a trailing `;`, and to notice a dead kernel at once.
"""

import base64
import os
import re
import tempfile
import time
from queue import Empty

import pytest

# a kernel under test keeps its history (see below), and not in the user's own
os.environ.setdefault("IPYTHONDIR", tempfile.mkdtemp(prefix="ipython-"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one worker, but for the browser's tests: the longest ones, of which each takes what worker is free.

    Notebooks that look at notebook 03's network come after it, as when their outputs were stored.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            if nodeid.startswith("tests/browser/"):
                return nodeid
            path = super()._split_scope(nodeid)
            if path.endswith(".ipynb"):
                code = (config.rootpath / path).read_text(encoding="utf-8")
                return "notebooks" if re.search(r"classifier\.keras|network_of\(", code) else path
            return path

    return ByFile(config, log)


try:
    from nbval import kernel, plugin
except ImportError:
    kernel = None

if kernel:
    import likeness

    class Figure(str):
        """A stored PNG, equal to another one that is as alike to it as its cell asks."""

        __hash__ = str.__hash__

        def __ne__(self, other):
            self.found = likeness.likeness(base64.b64decode(self), base64.b64decode(other))
            return self.found < self.least

    def sanitize(self, text, sanitize=plugin.IPyNbCell.sanitize):
        if not (isinstance(text, str) and text.startswith("iVBORw0KGgo")):
            return sanitize(self, text)
        figure = Figure(text)
        figure.least = likeness.least(self.cell)
        return figure

    def format_output_compare(self, key, stored, new, say=plugin.IPyNbCell.format_output_compare):
        if not isinstance(stored, Figure):
            return say(self, key, stored, new)
        drawn = os.path.join(tempfile.gettempdir(), f"{self.path.stem}, cell {self.cell_num}.png")
        with open(drawn, "wb") as file:
            file.write(base64.b64decode(new))
        said = f"the figure, now {drawn}, is like the stored one by {stored.found:.2f}; at least {stored.least} is asked"
        self.comparison_traceback.append(said)

    def collect(self, collect=plugin.IPyNbFile.collect):
        # nbval leaves figures out, which it would compare by their bytes
        self.skip_compare = tuple(kind for kind in self.skip_compare if kind != "image/png")
        for cell in collect(self):
            cell.checked, cell.options["check"] = cell.options["check"], True
            yield cell

    def compare_outputs(self, new, stored, skip_compare=None, compare=plugin.IPyNbCell.compare_outputs):
        if not self.checked:  # nbval-ignore-output is for texts
            new, stored = ([output for output in each if likeness.pngs([output])] for each in (new, stored))
            skip_compare = (*self.parent.skip_compare, "text/plain")
        return compare(self, new, stored, skip_compare)

    plugin.IPyNbCell.sanitize = sanitize
    plugin.IPyNbCell.compare_outputs = compare_outputs
    plugin.IPyNbCell.format_output_compare = format_output_compare
    plugin.IPyNbFile.collect = collect

    def execute_cell_input(self, cell_input, allow_stdin=None):
        # IPython ignores a trailing `;` unless history is stored.
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id, timeout=None, wait=kernel.RunningKernel.await_reply):
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return wait(self, msg_id, timeout=1)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died") from None
                if end is not None and time.monotonic() > end:
                    raise

    def start_new_kernel(start=kernel.start_new_kernel, **settings):
        # bars of progress appear on a slow machine and not on a fast one
        return start(env=os.environ | {"TQDM_DISABLE": "1"}, **settings)

    kernel.start_new_kernel = start_new_kernel
    kernel.RunningKernel.execute_cell_input = execute_cell_input
    kernel.RunningKernel.await_reply = await_reply
