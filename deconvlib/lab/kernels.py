"""Kernels whose every reply is heard, or missed: papermill's client may wait for ever for one that has come, or never does.

jupyter_client sends through a second face of the socket on which its client waits. A reply that comes just then wakes that
face alone: seen with widgets, whose state nbclient sends while a cell runs. And a kernel may say that it is idle again, and
yet send no reply.
"""

import time
from queue import Empty

from jupyter_client import AsyncKernelManager
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

LOOK = 1.0  # seconds after which it is looked anew whether there is a message
GRACE = 20.0  # seconds that a reply may come later than the word that its cell has ended, which kernels send after it


class NoReply(Empty):
    """The kernel is idle, and the reply to a cell has not come. nbclient takes it for the end of the time that a cell has."""


class Channel(AsyncZMQSocketChannel):
    async def get_msg(self, timeout: float | None = None):
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            try:
                return await super().get_msg(max(0.0, min(LOOK, end - time.monotonic())))
            except Empty:
                self.miss()
                if time.monotonic() >= end:
                    raise

    def miss(self):
        """Called where no message has come for a while."""


class Reports(Channel):
    """Where the kernel publishes what it does. ended: (the last request that it has ended, when that was heard)."""

    ended = (None, 0.0)

    async def get_msg(self, timeout: float | None = None):
        message = await super().get_msg(timeout)
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            self.ended = message["parent_header"].get("msg_id"), time.monotonic()
        return message


class Replies(Channel):
    """Where replies come. Raises `lost` where `reports` said GRACE seconds ago that the request `asked` has ended."""

    asked = reports = None
    lost: type[Exception] = NoReply

    async def get_msg(self, timeout: float | None = None):
        message = await super().get_msg(timeout)
        if message["parent_header"].get("msg_id") == self.asked:
            self.asked = None
        return message

    def miss(self):
        if self.asked and self.reports.ended[0] == self.asked and time.monotonic() - self.reports.ended[1] > GRACE:
            raise self.lost(f"the kernel has been idle for {GRACE:.0f} s, and its reply has not come")


class Client(AsyncKernelClient):
    shell_channel_class = Type(Replies)
    iopub_channel_class = Type(Reports)

    def execute(self, *arguments, **keywords):
        request = super().execute(*arguments, **keywords)
        self.shell_channel.asked, self.shell_channel.reports = request, self.iopub_channel
        return request

    def kernel_info(self, *arguments, **keywords):
        request = super().kernel_info(*arguments, **keywords)
        if self.shell_channel.reports:  # asked of a kernel whose cells have ended
            self.shell_channel.asked, self.iopub_channel.ended = request, (request, time.monotonic())
            self.shell_channel.lost = RuntimeError  # for this reply nbclient would go on to wait
        return request


class Manager(AsyncKernelManager):
    client_factory = Type(Client)
