"""A reader fills its inbox, and knows why it takes no more."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from starlette.types import Message

from benchmarks.streams.paced import SimulatedLoop
from protocols.actions import Close, Send, Stop
from sockets.inbox import Inbox
from sockets.reader import Limits, SocketReader

# Longer than any test takes.
NEVER_S = 600.0

T = TypeVar("T")


class ScriptedSocket:
    """A client that sends its messages at once, and then nothing.

    Attributes:
        all_read: Set once all are read.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)
        self.all_read = asyncio.Event()

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        if not self._texts:
            self.all_read.set()
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": self._texts.pop(0)}

    async def send(self, message: Send) -> None:
        raise AssertionError("a reader does not send")

    async def close(self, close: Close) -> None:
        raise AssertionError("a reader does not close")

    def stop_waiting(self) -> None:
        raise AssertionError("a reader does not end the session")


def limits(**values: Any) -> Limits:
    usual = {"idle_s": NEVER_S, "session_s": NEVER_S, "ahead_bytes": 1_000_000}
    return Limits(**usual | {"unread_bytes": 1_000_000} | values)


async def take_all(inbox: Inbox) -> list[str | bytes | Stop]:
    """Return the messages, the last of which is a reason to stop."""
    taken = [await inbox.get()]
    while not isinstance(taken[-1], Stop):
        taken.append(await inbox.get())
    return taken


def in_simulated_time(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(coroutine)


def read(texts: Sequence[str], **values: Any) -> list[str | bytes | Stop]:
    """Read a client's messages until the reader takes no more."""

    async def run() -> list[str | bytes | Stop]:
        own = limits(**values)
        inbox = Inbox(own.ahead_bytes)
        socket = ScriptedSocket(texts)
        reader = SocketReader(socket, inbox, limits=own)
        task = asyncio.create_task(reader.read())
        if own.idle_s == NEVER_S:
            await socket.all_read.wait()
            reader.stop()
        taken = await take_all(inbox)
        task.cancel()
        return taken

    return in_simulated_time(run())


def test_messages_come_in_order_and_then_the_reason() -> None:
    """Those that fit at once, and those that wait for room."""
    texts = [str(n) for n in range(50)]

    assert read(texts) == [*texts, Stop.SHUTDOWN]
    assert read(texts, idle_s=0.05, ahead_bytes=300) == [*texts, Stop.IDLE]


def test_many_messages_take_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer for each message would take as long as reading it."""
    made = []

    def note(when: float) -> asyncio.Timeout:
        made.append(when)
        return asyncio.Timeout(when)

    monkeypatch.setattr("asyncio.timeout_at", note)
    taken = read(["audio"] * 1000)

    assert len(taken) == 1001
    assert len(made) <= 2


def test_a_message_keeps_a_client_from_being_idle() -> None:
    """The timer ends where the first wait began, but a message has come since."""

    async def run() -> list[str | bytes | Stop]:
        inbox, now = Inbox(1_000_000), asyncio.get_running_loop().time
        socket = LateSocket()
        began = now()
        reader = SocketReader(socket, inbox, limits=limits(idle_s=0.2))
        task = asyncio.create_task(reader.read())
        taken = await take_all(inbox)
        task.cancel()
        assert now() - began == pytest.approx(0.1 + 0.2)
        return taken

    assert in_simulated_time(run()) == ["late", Stop.IDLE]


class LateSocket(ScriptedSocket):
    """A client that sends one message after a tenth of a second."""

    def __init__(self) -> None:
        super().__init__(["late"])

    async def receive(self) -> Message:
        if self._texts:
            await asyncio.sleep(0.1)
        return await super().receive()
