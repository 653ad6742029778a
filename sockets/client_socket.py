"""What a session needs of its client's socket, which may be more than one connection.

`sockets/lasting.py` has the other one, which outlives its connections.
"""

from typing import Protocol

from starlette.types import Message
from starlette.websockets import WebSocket

from protocols.actions import Close, Send


class ClientSocket(Protocol):
    """The socket of one session."""

    async def receive(self) -> Message:
        """Return the client's next message. Cancelling is safe."""

    async def send(self, message: Send) -> None:
        """Send a message.

        Raises:
            WebSocketDisconnect: The client has left.
        """

    async def close(self, close: Close) -> None:
        """Close it, after all that was sent."""

    def stop_waiting(self) -> None:
        """Do not wait any more for a client that is away; the server ends the session.

        A client that is there is not affected.
        """


class PlainSocket:
    """One connection, with which the session ends.

    Args:
        socket: The accepted socket.
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.receive = socket.receive

    async def send(self, message: Send) -> None:
        await self._socket.send_text(message.text)

    async def close(self, close: Close) -> None:
        await self._socket.close(close.code, close.reason)

    def stop_waiting(self) -> None:
        pass  # without a connection there is no session
