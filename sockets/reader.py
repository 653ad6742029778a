"""Read a client's messages, until there is a reason to take no more.

Messages go into the inbox, and nothing is read while that is full, so that TCP slows
the client down. The reasons to take no more are an idle client, the longest session,
and a server that stops; the inbox's last message says which.
"""

import asyncio
from dataclasses import dataclass

from protocols.actions import Stop
from sockets.client_socket import ClientSocket
from sockets.inbox import Inbox
from sockets.pace import MessagePace

# When a session is ended, messages on their way are still read: until none comes for
# the first of these times, and no longer than the second. Voice clients send a message
# every 20 to 100 ms.
_LAST_PAUSE_S = 0.1
LAST_READ_S = 2.0

# Messages that are read a second, and before that at once: 200 s in pieces of 20 ms.
_MESSAGES_A_S = 1_000
_MESSAGES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one session.

    Attributes:
        idle_s: Longest time without a message of the client.
        session_s: Longest time of the session, and most audio, in seconds.
        ahead_bytes: Most bytes that are read ahead of the stream.
        unread_bytes: Most bytes of messages that may wait to be sent.
    """

    idle_s: float
    session_s: float
    ahead_bytes: int
    unread_bytes: int


class Gone(Exception):
    """The client has left.

    Attributes:
        code: Code with which the socket was closed.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class SocketReader:
    """Fills the inbox of one session.

    Args:
        socket: The client's socket. Nothing else may receive from it.
        inbox: Gets the messages.
        limits: Limits of the session.

    Attributes:
        answering: Whether the server still answers what came, so that the client waits
            for it and is not idle.
    """

    def __init__(self, socket: ClientSocket, inbox: Inbox, *, limits: Limits) -> None:
        self._socket = socket
        self._inbox = inbox
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._pace = MessagePace(
            self._began, rate=_MESSAGES_A_S, burst=_MESSAGES_AT_ONCE
        )
        self._newest = self._began  # when the last message came, or could have come
        self._receiving: asyncio.Timeout | None = None
        self._stop_at: float | None = None
        self.answering = False

    def stop(self, read_s: float = LAST_READ_S) -> None:
        """Take only what is on its way, and no longer than `read_s` seconds."""
        stop_at = self._now() + min(read_s, LAST_READ_S)
        self._stop_at = min(stop_at, self._stop_at or stop_at)
        self._newest = self._now()
        if self._receiving is not None and not self._receiving.expired():
            self._receiving.reschedule(self._now() + _LAST_PAUSE_S)

    async def read(self) -> None:
        """Fill the inbox; its last message says why no more is taken.

        Raises:
            Gone: The client has left.
        """
        while True:
            received = await self._receive()
            if isinstance(received, Stop):
                break
            message, wait_s = received
            await self._inbox.put(message)
            if wait_s:
                await asyncio.sleep(wait_s)
            self._newest = self._now()
        await self._inbox.put(received)
        await self.discard()

    async def discard(self) -> None:
        """Read and discard: many clients cannot read while they wait to send.

        Raises:
            Gone: The client has left.
        """
        while True:
            await self._next_message()

    async def _receive(self) -> tuple[str | bytes, float] | Stop:
        """Fill the inbox; return a message that has to wait, or a reason to stop.

        One timer serves many messages: it is made anew when it ends, not with each.

        Returns:
            A message for which there is no room, or after which to wait for some
            seconds; or why no more is taken.
        """
        while True:
            # A timer would not get its turn while messages wait without end.
            if self._now() >= self._last():
                return Stop.TOO_LONG if self._stop_at is None else Stop.SHUTDOWN
            try:
                async with asyncio.timeout_at(self._deadline()) as self._receiving:
                    return await self._first_that_waits()
            except TimeoutError:
                if (reason := self._reason()) is not None:
                    return reason
            finally:
                self._receiving = None

    async def _first_that_waits(self) -> tuple[str | bytes, float]:
        """Put messages into the inbox, up to the first that may have to wait."""
        while True:
            message = await self._next_message()
            self._newest = self._now()
            wait_s = self._pace.note_message(self._newest)
            if wait_s or self._inbox.full or self._stop_at is not None:
                return message, wait_s
            self._inbox.put_nowait(message)

    async def _next_message(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise Gone(message["code"])
        text: str | None = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    def _last(self) -> float:
        """Return when to take no more, whatever comes until then."""
        if self._stop_at is not None:
            return self._stop_at
        return self._began + self._limits.session_s

    def _deadline(self) -> float:
        pause_s = self._limits.idle_s if self._stop_at is None else _LAST_PAUSE_S
        return min(self._last(), self._newest + pause_s)

    def _reason(self) -> Stop | None:
        """Return why no more is taken; None if there is no reason yet."""
        now = self._now()
        if now < self._deadline():
            return None  # messages have come since the timer was made
        if self._stop_at is not None:
            return Stop.SHUTDOWN
        if now >= self._last():
            return Stop.TOO_LONG
        # A client that waits for us is not idle.
        if self._inbox.busy or self.answering:
            self._newest = now
            return None
        return Stop.IDLE
