"""Kernels whose every reply is heard: papermill's client may wait for ever for one that has long come.

jupyter_client sends through a second face of the socket on which its client waits. A reply that comes just then wakes that
face alone: seen with widgets, whose state nbclient sends while a cell runs.
"""

import time
from queue import Empty

from jupyter_client import AsyncKernelManager
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

LOOK = 1.0  # seconds after which it is looked anew whether there is a message


class Channel(AsyncZMQSocketChannel):
    async def get_msg(self, timeout: float | None = None):
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            try:
                return await super().get_msg(max(0.0, min(LOOK, end - time.monotonic())))
            except Empty:
                if time.monotonic() >= end:
                    raise


class Client(AsyncKernelClient):
    shell_channel_class = Type(Channel)


class Manager(AsyncKernelManager):
    client_factory = Type(Client)
