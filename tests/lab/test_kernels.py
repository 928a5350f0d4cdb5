"""A reply is heard also where the news of it was taken by another face of the socket."""

import asyncio
import time
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
        return await asyncio.wait_for(waiting, 120)

    assert asyncio.run(heard())["content"] == {"status": "ok"}


def test_without_a_message_it_ends_when_it_should(ends):
    with pytest.raises(Empty):
        asyncio.run(ends[0].get_msg(timeout=0.05))


def test_the_manager_hands_out_such_a_client():
    client = kernels.Manager().client()
    assert client.shell_channel_class is kernels.Replies and client.iopub_channel_class is kernels.Reports


@pytest.fixture
def asked(ends):
    """A client's channel of replies, by which something was asked, and what its kernel published."""
    reports = kernels.Reports(ends[0].socket, ends[0].session)
    replies = kernels.Replies(ends[0].socket, ends[0].session)
    replies.asked, replies.reports = "request", reports
    return replies, reports


def test_a_reply_is_missed_once_its_request_has_ended_for_a_while(asked, monkeypatch):
    replies, reports = asked
    reports.ended = ("request", time.monotonic())
    monkeypatch.setattr(kernels, "LOOK", 0.01)
    with pytest.raises(Empty):
        asyncio.run(replies.get_msg(timeout=0.1))
    monkeypatch.setattr(kernels, "GRACE", 0.05)
    with pytest.raises(kernels.NoReply, match="its reply has not come"):
        asyncio.run(replies.get_msg(timeout=20))


@pytest.mark.parametrize("ended", [(None, 0.0), ("another", 0.0)])
def test_a_reply_is_not_missed_while_its_request_has_not_ended(asked, monkeypatch, ended):
    replies, reports = asked
    reports.ended = ended
    monkeypatch.setattr(kernels, "GRACE", 0.0)
    with pytest.raises(Empty):
        asyncio.run(replies.get_msg(timeout=0.05))


def test_what_a_kernel_publishes_says_which_request_has_ended_and_a_reply_that_it_came(asked, ends):
    replies, reports = asked
    kernel, session = ends[1], Session(key=b"")
    parent = {"header": {"msg_id": "request"}}
    for state in ("busy", "idle"):
        session.send(kernel, "status", content={"execution_state": state}, parent=parent)
    session.send(kernel, "execute_reply", content={}, parent=parent)

    async def hear():
        await reports.get_msg(timeout=20)
        before = reports.ended
        await reports.get_msg(timeout=20)
        await replies.get_msg(timeout=20)
        return before

    assert asyncio.run(hear()) == (None, 0.0)
    assert reports.ended[0] == "request" and replies.asked is None
