"""The two workers of `make test` end together; nbval 0.11 does what its documentation says.

That is to honour a trailing `;`, and to notice a dead kernel at once.
"""

import os
import tempfile
import time
from queue import Empty

import pytest

# a kernel under test keeps its history (see below), and not in the user's own
os.environ.setdefault("IPYTHONDIR", tempfile.mkdtemp(prefix="ipython-"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one worker, but for the browser's tests: the longest ones, of which each takes what worker is free."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith("tests/browser/") else super()._split_scope(nodeid)

    return ByFile(config, log)


try:
    from nbval import kernel
except ImportError:
    kernel = None

if kernel:

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
