"""Keep messages that were not sent yet, up to the most that a client may leave unread.

The session never waits for the client to read, because it would stop taking audio. So
messages wait here. Of several droppable ones in a row only the newest is kept, and all
droppable ones are dropped before the limit is reached; other messages never are. If
they exceed the limit, the client does not read at all.

Not safe for use from several threads.
"""

import asyncio
from collections import deque

from protocols.actions import Close, Send


class OutboxFull(Exception):
    """The client leaves more unread than its limit."""


class Outbox:
    """Messages in order, and at their end the close.

    Args:
        max_bytes: Most bytes of waiting messages, in UTF-8.

    Attributes:
        n_dropped: Messages that were dropped so far.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Send | Close] = deque()
        self._n_bytes = 0
        self.n_dropped = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def n_bytes(self) -> int:
        """Length of all waiting messages."""
        return self._n_bytes

    def put(self, message: Send, *, beyond_limit: bool = False) -> None:
        """Add a message; after the close it is dropped.

        Raises:
            OutboxFull: There is no room; the message was not added.
        """
        if self._closed:
            return
        last = self._waiting[-1] if self._waiting else None
        if message.droppable and isinstance(last, Send) and last.droppable:
            self._take_last()
        if not beyond_limit and self._n_bytes + _length(message) > self._max_bytes:
            self._drop_droppable()
            if self._n_bytes + _length(message) > self._max_bytes:
                raise OutboxFull
        self._waiting.append(message)
        self._n_bytes += _length(message)
        self._changed.set()

    def close(self, close: Close) -> None:
        """Add the close; only the first counts."""
        if self._closed:
            return
        self._closed = True
        self._waiting.append(close)
        self._changed.set()

    async def get(self) -> Send | Close:
        """Take the oldest, or wait for one. Cancelling is safe."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        oldest = self._waiting.popleft()
        if isinstance(oldest, Send):
            self._n_bytes -= _length(oldest)
        return oldest

    def _take_last(self) -> None:
        last = self._waiting.pop()
        assert isinstance(last, Send)
        self.n_dropped += 1
        self._n_bytes -= _length(last)

    def _drop_droppable(self) -> None:
        kept = [m for m in self._waiting if isinstance(m, Close) or not m.droppable]
        self.n_dropped += len(self._waiting) - len(kept)
        self._waiting = deque(kept)
        self._n_bytes = sum(_length(m) for m in kept if isinstance(m, Send))


def _length(message: Send) -> int:
    return len(message.text.encode())
