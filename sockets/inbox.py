"""Keep messages that a client has sent ahead of the stream, up to a bound.

The bound is large, because the server answers the client's pings only while it reads. A
client may send ten minutes at once, and give its connection up if no pong comes for
twenty seconds: its messages are all read at once, and processed afterwards.

Not safe for use from several threads.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from protocols.actions import Stop

# Bytes that each message counts in addition, however short it is.
MESSAGE_BYTES = 100

# Audio that comes as text is longer than this: 20 ms in Base64.
_SHORTEST_AUDIO = 256


class Inbox:
    """Messages in order.

    Args:
        max_bytes: Once so many bytes wait, no more are taken until some are processed.
        on_request: Called when a message comes that is no audio.
    """

    def __init__(
        self, max_bytes: int, *, on_request: Callable[[], None] = lambda: None
    ) -> None:
        self._max_bytes = max_bytes
        self._on_request = on_request
        self._waiting: deque[str | bytes | Stop] = deque()
        self._n_bytes = 0
        self._working = False
        self._news = asyncio.Event()  # something waits
        self._room = asyncio.Event()  # more may wait

    @property
    def busy(self) -> bool:
        """Whether a message waits or is being processed."""
        return self._working or bool(self._waiting)

    @property
    def waits(self) -> bool:
        """Whether another message waits."""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next message has to wait for room."""
        return self._n_bytes >= self._max_bytes

    async def put(self, message: str | bytes | Stop) -> None:
        """Add a message, once there is room. Cancelling is safe."""
        while self.full:
            self._room.clear()
            await self._room.wait()
        self.put_nowait(message)

    def put_nowait(self, message: str | bytes | Stop) -> None:
        """Add a message even beyond the bound."""
        self._waiting.append(message)
        self._n_bytes += _length(message)
        self._news.set()
        if is_request(message):
            self._on_request()

    async def get(self) -> str | bytes | Stop:
        """Take the oldest message, or wait for one; the last one is processed then."""
        self._working = False
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        self._working = True
        oldest = self._waiting.popleft()
        self._n_bytes -= _length(oldest)
        self._room.set()
        return oldest


def is_request(message: str | bytes | Stop) -> bool:
    """Whether a message asks for something, as far as its length tells."""
    return not isinstance(message, bytes) and _length(message) < (
        MESSAGE_BYTES + _SHORTEST_AUDIO
    )


def _length(message: str | bytes | Stop) -> int:
    return MESSAGE_BYTES + (0 if isinstance(message, Stop) else len(message))
