"""Keep what a client has sent ahead of the stream, up to a bound.

The bound is generous: while the server reads, it also answers the client's pings. A
client that sends ten minutes at once, and gives its connection up when no pong comes
for twenty seconds, is read in one go and worked off afterwards.

Not safe for use from several threads.
"""

import asyncio
from collections import deque

from protocols.actions import Stop

# What one message costs, however short it is.
_MESSAGE_BYTES = 100


class Inbox:
    """Messages in order.

    Args:
        max_bytes: Once so many wait, no more are taken until some are worked off.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[str | bytes | Stop] = deque()
        self._n_bytes = 0
        self._working = False
        self._changed = asyncio.Condition()

    @property
    def busy(self) -> bool:
        """Whether something waits or is being worked on."""
        return self._working or bool(self._waiting)

    async def put(self, message: str | bytes | Stop) -> None:
        """Add a message, once there is room. Cancelling is safe."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._n_bytes < self._max_bytes)
            self._waiting.append(message)
            self._n_bytes += _length(message)
            self._changed.notify_all()

    async def get(self) -> str | bytes | Stop:
        """Take the oldest, or wait for one; the one before it is worked off."""
        async with self._changed:
            self._working = False
            await self._changed.wait_for(lambda: bool(self._waiting))
            self._working = True
            oldest = self._waiting.popleft()
            self._n_bytes -= _length(oldest)
            self._changed.notify_all()
            return oldest


def _length(message: str | bytes | Stop) -> int:
    return _MESSAGE_BYTES + (0 if isinstance(message, Stop) else len(message))
