"""Carry one session between a socket and a live stream.

There are four tasks, and none of them waits for the client to read. The reader puts
messages into the inbox, and stops reading while that is full, so that TCP slows the
client down. The worker carries out the protocol's actions for them, as fast as the
stream takes audio (`sockets/intake.py`). The listener takes the stream's events
(`live/events.py`). The writer sends the messages in the outbox.

When a session ends, the client is told why, if it is still there: finals that were made
are sent first, then the reason, then the close. When a client has left, the session
ends at once and frees all that it held.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, assert_never

from starlette.websockets import WebSocketDisconnect

from audio.samples import Samples
from live.events import Cause, LiveEvent, TimedEvent, UtteranceFailed, UtteranceFinal
from live.options import StreamOptions
from protocols.actions import (
    Action,
    Append,
    Clear,
    Close,
    CloseCode,
    Configure,
    End,
    Failure,
    Flush,
    Machine,
    Send,
    Stop,
    Teller,
)
from sockets.client_socket import ClientSocket
from sockets.inbox import Inbox, is_request
from sockets.intake import Intake
from sockets.outbox import Outbox, OutboxFull
from sockets.reader import LAST_READ_S, Gone, Limits, SocketReader

logger = logging.getLogger("omniasr")

# Most flushes that may wait for their finals; then no further message is processed.
_MAX_FLUSHES = 32

# Once no audio is taken any more, the longest time for sending one message.
_SEND_S = 30.0


class Stream(Protocol):
    """The parts of a stream that a session needs; see `streaming.LiveStream`."""

    async def push_audio(self, samples: Samples) -> None: ...

    async def flush(self) -> None: ...

    async def clear(self) -> None: ...

    async def end(self) -> None: ...

    def configure(self, options: StreamOptions) -> None: ...

    def set_hurry(self, on: bool) -> None: ...

    def set_away(self, away: bool) -> None: ...

    def events(self) -> AsyncIterator[TimedEvent]: ...

    async def aclose(self) -> None: ...


class SocketSession:
    """One session, from its greeting to its close.

    Args:
        socket: The client's socket. Nothing else may receive from it or send to it.
        machine: The protocol.
        stream: The stream; closed when the session is over.
        limits: Limits of the session.
        name: Its name in the log.
        tellers: Those who tell of each channel's events, if there are several
            channels; then the stream takes samples of the shape (n_channels, n).

    Attributes:
        n_channels: Number of channels.
        slowest_final_ms: Longest latency of a final.
        close_code: Code with which it ended.
    """

    def __init__(
        self,
        socket: ClientSocket,
        machine: Machine,
        stream: Stream,
        *,
        limits: Limits,
        name: str,
        tellers: Sequence[Teller] = (),
    ) -> None:
        self._socket = socket
        self._machine = machine
        self._tellers = tellers or (machine,)
        self._stream = stream
        self._limits = limits
        self._name = name
        self._now = asyncio.get_running_loop().time
        self._newest_audio = self._now()  # when it came
        self._inbox = Inbox(
            limits.ahead_bytes, on_request=lambda: stream.set_hurry(True)
        )
        self._reader = SocketReader(socket, self._inbox, limits=limits)
        self._outbox = Outbox(limits.unread_bytes)
        self._flushes = asyncio.Semaphore(_MAX_FLUSHES)
        self._sending: asyncio.Timeout | None = None
        self._ended = False  # no audio is taken any more
        self.n_channels = len(self._tellers)
        self._intake = Intake(
            stream, max_s=limits.session_s, n_channels=self.n_channels
        )
        self.slowest_final_ms = 0.0
        self.close_code: int = CloseCode.ABNORMAL_CLOSURE

    @property
    def n_samples(self) -> int:
        """Samples of audio that came, at 16 kHz, on each channel."""
        return self._intake.n_samples

    @property
    def n_unsent(self) -> int:
        """Messages that newer ones replaced before they were sent."""
        return self._outbox.n_dropped

    async def run(self) -> None:
        """Serve the client until it leaves or the session ends. Cancelling is safe."""
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._work(), name=f"{self._name} work")
                await self._write()
                work.cancel()
        except* Gone as gone:
            self.close_code = _code_of(gone)
        except* TimeoutError:  # it has stopped reading for good
            pass
        finally:
            await self._stream.aclose()

    def stop(self, read_s: float = LAST_READ_S) -> None:
        """End the session with its finals; it reads no longer than `read_s` seconds."""
        self._socket.stop_waiting()
        self._reader.stop(read_s)

    async def _work(self) -> None:
        """Read and listen until the stream is over or has failed."""
        failure: Failure | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reader.read(), name=f"{self._name} reader")
                group.create_task(self._work_off(), name=f"{self._name} worker")
                group.create_task(self._listen(), name=f"{self._name} listener")
        except* Gone:
            raise
        except* OutboxFull:
            failure = Failure.SLOW_READER
        except* Exception:
            logger.exception("Stream %s failed.", self._name)
            failure = Failure.INTERNAL
        if failure is not None:
            await self._give_up(failure)

    async def _give_up(self, why: Failure) -> None:
        """Tell the client why, and discard its messages until that is sent.

        Raises:
            Gone: The client has left.
        """
        await self._stream.aclose()
        self._note_end()
        self._send(self._machine.fail(why), beyond_limit=True)
        await self._reader.discard()

    # --- the worker ---

    async def _work_off(self) -> None:
        """Carry out the protocol's actions for the client's messages."""
        await self._do(self._machine.greet())
        while True:
            if not self._inbox.waits:
                await self._intake.push_held()
            message = await self._inbox.get()
            if isinstance(message, Stop):
                await self._do(self._machine.stop(message))
            else:
                await self._do(self._machine.receive(message))
            if self._intake.full:
                await self._do(self._machine.stop(Stop.TOO_LONG))
            if is_request(message):
                self._stream.set_hurry(False)

    async def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send() | Close():
                    self._send([action])
                case Append():
                    self._newest_audio = self._now()
                    await self._intake.append(action)
                case Flush():
                    await self._intake.push_held()
                    for _ in self._tellers:  # each channel answers
                        await self._flushes.acquire()
                    await self._stream.flush()
                case Clear():
                    await self._intake.push_held()
                    await self._stream.clear()
                case Configure():
                    await self._intake.configure(action.encoding, action.sample_rate)
                    self._stream.configure(action.options)
                case End():
                    await self._intake.finish()
                    self._note_end()
                    await self._stream.end()
                case _:
                    assert_never(action)

    def _note_end(self) -> None:
        """Note that the input has ended: from here on the client only has to read."""
        self._ended = self._reader.answering = True
        if self._sending is not None and not self._sending.expired():
            self._sending.reschedule(self._now() + _SEND_S)

    # --- the listener ---

    async def _listen(self) -> None:
        async for told in self._stream.events():
            event = told.event
            actions = self._tellers[told.channel].tell(
                event,
                latency_ms=told.latency_ms,
                audio_position=told.audio_position,
            )
            self._send(actions)
            if isinstance(event, UtteranceFinal):
                slowest_ms = max(self.slowest_final_ms, told.latency_ms)
                self.slowest_final_ms = slowest_ms
            if _answers_a_flush(event):
                self._flushes.release()
        waited_ms = (self._now() - self._newest_audio) * 1000
        # These are the last messages, so they need not fit into the limit.
        self._send(
            self._machine.finish(latency_ms=waited_ms, audio_position=self.n_samples),
            beyond_limit=True,
        )

    def _send(self, actions: Sequence[Action], *, beyond_limit: bool = False) -> None:
        for action in actions:
            if isinstance(action, Close):
                self._outbox.close(action)
            else:
                assert isinstance(action, Send), "no other action comes from events"
                self._outbox.put(action, beyond_limit=beyond_limit)

    # --- the writer ---

    async def _write(self) -> None:
        """Send the messages of the outbox, up to the close.

        Raises:
            Gone: The client has left.
            TimeoutError: The client does not read.
        """
        while True:
            message = await self._outbox.get()
            limit_s = _SEND_S if self._ended else None
            try:
                async with asyncio.timeout(limit_s) as self._sending:
                    if isinstance(message, Close):
                        # Its place is free before the client learns of the close.
                        await self._stream.aclose()
                        await self._socket.close(message)
                        self.close_code = message.code
                        return
                    await self._socket.send(message)
            except WebSocketDisconnect as error:
                raise Gone(error.code) from error
            finally:
                self._sending = None


def _answers_a_flush(event: LiveEvent) -> bool:
    return (
        isinstance(event, UtteranceFinal | UtteranceFailed)
        and event.cause is Cause.FLUSH
    )


def _code_of(group: BaseExceptionGroup[Gone]) -> int:
    """Return the code of the first in a group of groups."""
    first = group.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, Gone)
    return first.code
