"""Makes nbval 0.11 do what its documentation says: honour a trailing `;`, and notice a dead kernel at once."""

import os
import tempfile
import time
from queue import Empty

# a kernel under test keeps its history (see below), and not in the user's own
os.environ.setdefault("IPYTHONDIR", tempfile.mkdtemp(prefix="ipython-"))

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

    kernel.RunningKernel.execute_cell_input = execute_cell_input
    kernel.RunningKernel.await_reply = await_reply
