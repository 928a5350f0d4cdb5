"""A reply is heard also where the news of it was taken by another face of the socket."""

import asyncio
from queue import Empty

import pytest
import zmq
import zmq.asyncio
from jupyter_client.session import Session

from deconvlib.lab import kernels


@pytest.fixture
def ends():
    """A client's channel, and the socket of its kernel."""
    context = zmq.asyncio.Context()
    client, kernel = context.socket(zmq.PAIR), zmq.Context.shadow(context.underlying).socket(zmq.PAIR)
    client.bind("inproc://kernel")
    kernel.connect("inproc://kernel")
    yield kernels.Channel(client, Session(key=b"")), kernel
    for socket in (client, kernel):
        socket.close(linger=0)
    context.term()


def test_a_reply_whose_news_was_taken_is_heard(ends):
    channel, kernel = ends

    async def heard():
        waiting = asyncio.ensure_future(channel.get_msg(timeout=None))
        await asyncio.sleep(0.1)  # it sleeps until the socket tells
        Session(key=b"").send(kernel, "execute_reply", content={"status": "ok"})
        zmq.Socket.shadow(channel.socket.underlying).getsockopt(zmq.EVENTS)  # as jupyter_client does when it sends
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(heard())["content"] == {"status": "ok"}


def test_without_a_message_it_ends_when_it_should(ends):
    with pytest.raises(Empty):
        asyncio.run(ends[0].get_msg(timeout=0.05))


def test_the_manager_hands_out_such_a_client():
    assert kernels.Manager().client().shell_channel_class is kernels.Channel
