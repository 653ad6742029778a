"""Read a socket ahead of whoever works on it, to notice that its client has left.

While a client waits for room nobody takes its messages. The server below then stops
reading, and with that it does not hear of a connection that ends. Here messages are
kept for later, up to a bound, so that a client which has left gives up its place in
line at once.
"""

import asyncio
from collections import deque

from starlette.types import Message, Receive

# What one message costs, however short it is.
_MESSAGE_BYTES = 100


class ReadAhead:
    """ASGI's `receive`, of which messages may be taken before anybody asks for them.

    Args:
        receive: That of the socket.
        max_bytes: Once so many are kept, no more are taken.
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
        """Read until the client has left; return what it closed with.

        Nothing else may read meanwhile. Cancelling is safe. If the client sends more
        than may be kept, this never returns.
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
    return _MESSAGE_BYTES + len(message.get("bytes") or message.get("text") or b"")
