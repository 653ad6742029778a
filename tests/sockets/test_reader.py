"""A reader fills its inbox, and knows why it takes no more."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
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


def limits(**values: Any) -> Limits:
    usual = {"idle_s": NEVER_S, "session_s": NEVER_S, "ahead_bytes": 1_000_000}
    return Limits(**usual | {"unread_bytes": 1_000_000} | values)


def in_simulated_time(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(coroutine)


def read(texts: Sequence[str], **values: Any) -> list[str | bytes | Stop]:
    """Read messages that are sent at once, until the reader takes no more."""

    async def run() -> list[str | bytes | Stop]:
        talk = Talk(**values)
        for text in texts:
            talk.say(text)
        if "idle_s" not in values:
            talk.at(1, talk.reader.stop)
        return await talk.ended()

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

    async def run() -> None:
        talk = Talk(idle_s=0.2)
        await asyncio.sleep(0.1)
        talk.say("late")

        assert await talk.ended() == ["late", Stop.IDLE]
        assert talk.lasted_s == pytest.approx(0.1 + 0.2)

    in_simulated_time(run())


def test_what_is_on_its_way_is_read_although_the_timer_ends_at_the_stop() -> None:
    """In the same turn of the event loop, before the reader can make another."""

    async def run() -> None:
        talk = Talk(idle_s=0.3)
        talk.at(0.1, lambda: talk.say("before"))
        talk.at(0.3 + 1e-10, talk.reader.stop)
        talk.at(0.35, lambda: talk.say("on its way"))

        assert await talk.ended() == ["before", "on its way", Stop.SHUTDOWN]
        assert talk.lasted_s == pytest.approx(0.35 + 0.1)

    in_simulated_time(run())


@pytest.mark.parametrize("ahead_bytes", [1_000_000, 300])
@pytest.mark.parametrize(
    ("stop_at", "why"), [(None, Stop.TOO_LONG), (5, Stop.SHUTDOWN)]
)
def test_a_flood_ends_as_any_session_does(
    ahead_bytes: int, stop_at: float | None, why: Stop
) -> None:
    """Messages always wait, since there are too many, or no room for them."""

    async def run() -> None:
        talk = Talk(session_s=12, ahead_bytes=ahead_bytes)
        if stop_at is not None:
            talk.at(stop_at, talk.reader.stop)
        flooding = asyncio.create_task(flood(talk))
        *_, last = await talk.ended(each_s=0.05 if ahead_bytes == 300 else 0)
        flooding.cancel()

        assert last is why
        assert talk.lasted_s < (12 if stop_at is None else stop_at + 2) + 1

    in_simulated_time(run())


async def flood(talk: "Talk") -> None:
    while True:
        while talk.n_unread < 50:
            talk.say("{}")
        await asyncio.sleep(0.005)


class Talk:
    """A client that says something now and then, and the reader of its messages."""

    def __init__(self, **values: Any) -> None:
        own = limits(**values)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox = Inbox(own.ahead_bytes)
        self.reader = SocketReader(self, self._inbox, limits=own)
        self._reading = asyncio.create_task(self.reader.read())

    @property
    def n_unread(self) -> int:
        return self._sent.qsize()

    @property
    def lasted_s(self) -> float:
        return self._loop.time() - self._began

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        self._loop.call_at(self._began + seconds, call)

    def say(self, text: str) -> None:
        self._sent.put_nowait({"type": "websocket.receive", "text": text})

    async def ended(self, *, each_s: float = 0.0) -> list[str | bytes | Stop]:
        """Take all messages, each in some time, up to the reason to take no more."""
        taken = [await self._inbox.get()]
        while not isinstance(taken[-1], Stop):
            await asyncio.sleep(each_s)
            taken.append(await self._inbox.get())
        self._reading.cancel()
        return taken

    async def receive(self) -> Message:
        return await self._sent.get()

    async def send(self, message: Send) -> None:
        raise AssertionError("a reader does not send")

    async def close(self, close: Close) -> None:
        raise AssertionError("a reader does not close")

    def stop_waiting(self) -> None:
        raise AssertionError("a reader does not end the session")
