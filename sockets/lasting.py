"""Carry one session over several connections, one after the other.

To its session this is one socket. While there is no connection, `receive` waits, and
what is sent is kept. A client that comes back gets what it lacks first, and then what
is new; `protocols/resumption.py` decides what that is.

A network may break a connection without a sign of it to the server. So a client may
come back while its old connection still seems to be there: then the new one takes over,
and whatever waits for the old one goes on at once.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Message
from starlette.websockets import (
    WebSocket,
    WebSocketDisconnect,
    WebSocketDisconnected,
)

from protocols.actions import Close, CloseCode, Send
from protocols.resumption import (
    LOST,
    TAKEN_OVER,
    NotResumable,
    Received,
    Resumption,
)

# The longest time for telling an old connection that another has taken over.
_FAREWELL_S = 1.0

T = TypeVar("T")


class Connection:
    """One connection of a session, from its beginning until it is left.

    Args:
        socket: The accepted socket. Nothing else may receive from it or send to it.

    Attributes:
        socket: The same.
        left: Set once the session goes on without it.
        replaced: Whether another connection has taken over.
    """

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.left = asyncio.Event()
        self.replaced = False
        self._waits: set[asyncio.Task[Any]] = set()

    def leave(self) -> None:
        """Go on without it; whatever waits for it returns."""
        if self.left.is_set():
            return
        self.left.set()
        for wait in self._waits:
            wait.cancel()

    async def receive(self) -> Message | None:
        """Return the next message; None once it is left. Cancelling is safe."""
        return await self._until_left(self.socket.receive())

    async def send(self, text: str) -> None:
        """Send a message, unless it is left.

        Raises:
            WebSocketDisconnect: The client has left.
        """
        await self._until_left(self.socket.send_text(text))

    async def close(self, close: Close) -> None:
        """Close it, unless it is left."""
        await self._until_left(self.socket.close(close.code, close.reason))

    async def _until_left(self, doing: Coroutine[Any, Any, T]) -> T | None:
        """Do something; give it up once the connection is left.

        What is done must let a cancellation through, and must not leave the connection.
        """
        if self.left.is_set():
            doing.close()
            return None
        # As asyncio.timeout(None), which takes a good part of the time of a message.
        task = asyncio.current_task()
        assert task is not None
        n_cancelled = task.cancelling()
        self._waits.add(task)
        try:
            done = await doing
        except asyncio.CancelledError:
            if not self.left.is_set() or task.uncancel() > n_cancelled:
                raise
            return None
        finally:
            self._waits.discard(task)
        return done


class LastingSocket:
    """The connections of one session; see `sockets.client_socket.ClientSocket`.

    Args:
        socket: The first, accepted.
        resumption: Decides what a client that comes back lacks.
        greet_again: Writes the first message to such a client.
        on_lost: Called when the client is away, and is waited for.
        on_back: Called when it is back.

    Attributes:
        connection: The newest connection, which may be left.
        code: Code with which the session's last connection ended.
    """

    def __init__(
        self,
        socket: WebSocket,
        resumption: Resumption,
        *,
        greet_again: Callable[[Received], Send],
        on_lost: Callable[[], None],
        on_back: Callable[[], None],
    ) -> None:
        self._resumption = resumption
        self._greet_again = greet_again
        self._on_lost = on_lost
        self._on_back = on_back
        self._now = asyncio.get_running_loop().time
        self.connection = Connection(socket)
        self._open: Connection | None = self.connection  # what comes and goes over it
        self._deaf = False  # what is sent over it does not arrive
        self._waits = True  # for a client that is away
        self._over = False
        self._news = asyncio.Event()
        self.code: int = CloseCode.ABNORMAL_CLOSURE

    @property
    def away(self) -> bool:
        """Whether there is no connection."""
        return self.connection.left.is_set()

    # --- for the session ---

    async def receive(self) -> Message:
        """Return the client's next message. Cancelling is safe."""
        while not self._over:
            connection = self._open
            if connection is None:
                self._news.clear()
                await self._news.wait()
                continue
            message = await connection.receive()
            if message is None or connection is not self._open:
                continue
            if message["type"] == "websocket.disconnect":
                self._lose(message["code"])
                continue
            text: str | None = message.get("text")
            sent = text if text is not None else message.get("bytes") or b""
            if (new := self._resumption.take(sent)) is not None:
                key = "text" if isinstance(new, str) else "bytes"
                return {"type": "websocket.receive", key: new}
        return {"type": "websocket.disconnect", "code": self.code}

    async def send(self, message: Send) -> None:
        """Send a message, now or when the client is back."""
        sent = self._resumption.note_sent(message)
        connection = self._open
        if connection is None or self._deaf:
            return
        try:
            await connection.send(sent.text)
        except WebSocketDisconnect:
            # `receive` learns how it ended, as soon as its messages are read.
            self._deaf = self._deaf or connection is self._open

    async def close(self, close: Close) -> None:
        """End the session; its last messages and the close are kept for a while.

        Raises:
            WebSocketDisconnect: The client is away.
        """
        self._resumption.finish(close, self._now())
        connection, self._open = self._open, None
        try:
            if connection is None or self._deaf:
                raise WebSocketDisconnect(CloseCode.ABNORMAL_CLOSURE)
            await connection.close(close)
        finally:
            if connection is not None:
                connection.leave()
            self._end(close.code)

    def stop_waiting(self) -> None:
        self._waits = False
        if self.away:
            self._end(CloseCode.ABNORMAL_CLOSURE)

    # --- for connections ---

    def take_over(
        self, socket: WebSocket, *, number: int, position: int | None
    ) -> Connection:
        """Go on over another connection, from `catch_up` on.

        Args:
            socket: Its socket, accepted.
            number: Number of the last message that the client has; 0: none.
            position: Where the client goes on sending, in bytes; None: where the
                server says.

        Raises:
            NotResumable: The session cannot go on from there; it is as it was.
        """
        if self._over and self._resumption.close is None:
            raise NotResumable("it has ended")
        self._resumption.resume(self._now(), number=number, position=position)
        older, self.connection = self.connection, Connection(socket)
        older.replaced = not older.left.is_set()
        self._open, self._deaf = None, False
        older.leave()
        return self.connection

    async def catch_up(self, connection: Connection, number: int) -> None:
        """Send what the client lacks; from then on the session sends by itself."""
        try:
            await self._catch_up(connection, number)
        except (WebSocketDisconnect, NotResumable) as error:
            if connection.left.is_set():
                return
            gone = isinstance(error, WebSocketDisconnect)
            self._open = connection
            self._lose(
                CloseCode.ABNORMAL_CLOSURE if gone else CloseCode.POLICY_VIOLATION
            )

    async def _catch_up(self, connection: Connection, number: int) -> None:
        greeting = self._greet_again(self._resumption.received)
        await connection.send(greeting.text)
        while (following := self._resumption.next_after(number)) is not None:
            await connection.send(following.text)
            number = following.number
        if connection.left.is_set():  # another has taken over
            return
        if (close := self._resumption.close) is not None:
            self._resumption.finish(close, self._now())
            await connection.close(close)
            connection.leave()
            return
        self._open = connection
        self._news.set()
        self._on_back()

    def _lose(self, code: int) -> None:
        """Note that the open connection has ended."""
        assert self._open is not None
        connection, self._open = self._open, None
        connection.leave()
        if self._waits and code in LOST:
            self._resumption.lose(self._now())
            self._on_lost()
        else:
            self._end(code)

    def _end(self, code: int) -> None:
        self._over = True
        self.code = code
        self._news.set()


async def dismiss(connection: Connection) -> None:
    """Tell a connection that another has taken over, if it can still be told."""
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await connection.socket.close(
                TAKEN_OVER, "Another connection goes on with the session."
            )
    except (TimeoutError, WebSocketDisconnect, WebSocketDisconnected):
        pass
