"""Read a socket ahead of its session, to notice that its client has left.

While a client waits for room, no session takes its messages. Then the web server stops
reading, and does not notice the end of the connection. This module keeps messages for
later, up to a bound, so that a client that has left loses its place in line at once.
"""

import asyncio
from collections import deque

from starlette.types import Message, Receive

from sockets.inbox import MESSAGE_BYTES


class ReadAhead:
    """ASGI's `receive`, with messages that are read before the session needs them.

    Args:
        receive: The socket's `receive`.
        max_bytes: Once so many bytes are kept, no more are read.
    """

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._kept: deque[Message] = deque()
        self._n_bytes = 0

    async def __call__(self) -> Message:
        """Return the oldest message. Cancelling is safe."""
        if self._kept:
            message = self._kept.popleft()
            self._n_bytes -= _length(message)
            return message
        return await self._receive()

    async def until_left(self) -> int:
        """Read until the client has left; return its close code.

        Nothing else may read meanwhile. Cancelling is safe. If the client sends more
        than `max_bytes`, this never returns.
        """
        while self._n_bytes < self._max_bytes:
            message = await self._receive()
            self._kept.append(message)
            self._n_bytes += _length(message)
            if message["type"] == "websocket.disconnect":
                return int(message["code"])
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")


def _length(message: Message) -> int:
    return MESSAGE_BYTES + len(message.get("bytes") or message.get("text") or b"")
