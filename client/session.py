"""Connect to the server's native socket; see `docs/protocol.md`."""

import argparse
import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from client.audio import BYTES_PER_S
from client.errors import CommandError, with_wait
from client.place import base_url, headers, socket_url, unreachable

Json = dict[str, Any]

PATH = "/v1/audio/transcriptions"

# Most of what was sent that is kept, in case that it has not arrived: what the buffers
# of a network hold, and much more.
_KEPT_BYTES = 120 * BYTES_PER_S

# Pauses between tries to connect again: the first, and the longest.
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0

# Statuses of refusals that may pass.
_MAY_PASS = frozenset({429, 502, 503, 504})


class Socket(Protocol):
    """What takes messages for the server."""

    async def send(self, message: str | bytes) -> None: ...


@asynccontextmanager
async def session(
    options: argparse.Namespace,
    *,
    on_ready: Callable[[Json], None] = lambda ready: None,
) -> AsyncIterator[ClientConnection]:
    """Connect, and wait until the server is ready for audio.

    Args:
        on_ready: Is given the server's first message.

    Raises:
        CommandError: It cannot be reached, or it refuses.
    """
    socket, ready = await _connected(options)
    with _failures():
        async with socket:
            on_ready(ready)
            yield socket


async def _connected(
    options: argparse.Namespace, **parameters: Any
) -> tuple[ClientConnection, Json]:
    """Connect; return the socket and the server's first message.

    Args:
        parameters: Of the URL.

    Raises:
        CommandError: It cannot be reached, or it refuses.
    """
    base = base_url(options)
    query = f"?{urlencode(parameters)}" if parameters else ""
    try:
        socket = await connect(
            socket_url(base) + PATH + query,
            additional_headers=headers(options.key),
            max_size=None,
            compression=None,  # audio does not get smaller
        )
    except InvalidStatus as error:
        body = (error.response.body or b"").decode(errors="replace")
        raise CommandError(
            f"the server answered {error.response.status_code}: {_message_in(body)}"
        ) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise unreachable(base, error) from error
    try:
        with _failures():
            return socket, await receive(socket)
    except BaseException:
        await socket.close()
        raise


@contextmanager
def _failures() -> Iterator[None]:
    """Turn a connection that breaks into an error for the user."""
    try:
        yield
    except ConnectionClosed as error:
        raise CommandError(f"the connection failed: {error}") from error


def _message_in(body: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"]["message"])
    return body[:200]


async def receive(socket: ClientConnection) -> Json:
    """Wait for the next message.

    Raises:
        CommandError: It is an error that ends the session.
    """
    message: Json = json.loads(await socket.recv())
    if message["type"] == "error" and message["fatal"]:
        wait_s = message.get("retry_after_s")
        raise CommandError(with_wait(message["message"], wait_s))
    return message


async def send(socket: Socket, kind: str, **fields: Any) -> None:
    """Send a control message."""
    await socket.send(json.dumps({"type": kind, **fields}))


@asynccontextmanager
async def lasting_session(
    options: argparse.Namespace,
    *,
    on_ready: Callable[[Json], None] = lambda ready: None,
) -> AsyncIterator["LastingSession"]:
    """Connect as `session` does, for a session that outlives its connection."""
    socket, ready = await _connected(options)
    own = LastingSession(options, socket, ready)
    try:
        with _failures():
            on_ready(ready)
            yield own
    finally:
        await own.close()


class LastingSession:
    """A session that goes on over another connection if its own is lost.

    What was sent is kept, up to a bound. After a lost connection the server says how
    many messages it has received, and gets the others again.

    Args:
        options: The server's address and the key.
        socket: The first connection.
        ready: The server's first message.
    """

    def __init__(
        self, options: argparse.Namespace, socket: ClientConnection, ready: Json
    ) -> None:
        self._options = options
        self._socket = socket
        self._token: str | None = ready.get("resume_token")
        self._window_s: float = ready.get("resume_s", 0.0)
        self._seq = 0  # number of the last message that came
        self._kept: deque[str | bytes] = deque()  # what was sent
        self._n_bytes = 0
        self._n_dropped = 0  # messages that are kept no more
        self._connected = asyncio.Event()
        self._connected.set()

    async def send(self, message: str | bytes) -> None:
        """Send a message, once there is a connection.

        Raises:
            ConnectionClosed: The session is over.
        """
        while not self._connected.is_set():
            await self._connected.wait()
        self._keep(message)
        try:
            await self._socket.send(message)
        except ConnectionClosed as closed:
            if not self._lost(closed):
                raise

    async def receive(self) -> Json:
        """Wait for the next message; connect again meanwhile if need be.

        Raises:
            CommandError: It is an error that ends the session, or there is no
                connection any more.
            ConnectionClosed: The session is over.
        """
        while True:
            try:
                message = await receive(self._socket)
            except ConnectionClosed as closed:
                if not self._lost(closed):
                    raise
                await self._come_back()
            else:
                self._seq = message.get("seq", self._seq)
                return message

    async def close(self) -> None:
        """Close the connection."""
        await self._socket.close()

    def _lost(self, closed: ConnectionClosed) -> bool:
        """Whether the session may go on after its connection has ended like this."""
        return self._token is not None and closed.rcvd is None

    def _keep(self, message: str | bytes) -> None:
        self._kept.append(message)
        self._n_bytes += len(message)
        while self._n_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._drop()

    def _drop(self) -> None:
        self._n_bytes -= len(self._kept.popleft())
        self._n_dropped += 1

    async def _come_back(self) -> None:
        """Go on over another connection.

        Raises:
            CommandError: There is none, or the session is over.
        """
        self._connected.clear()
        print("The connection was lost. Connecting again.", file=sys.stderr)
        socket, ready = await self._connect_again()
        await self._socket.close()
        self._socket = socket
        n_received = ready.get("received_messages", 0)
        if not ready.get("resumed") or n_received < self._n_dropped:
            raise CommandError(
                "the connection was lost, and the server cannot go on with the "
                "session; start again"
            )
        while self._kept and self._n_dropped < n_received:
            self._drop()
        with suppress(ConnectionClosed):  # `receive` goes on from there
            for message in tuple(self._kept):
                await socket.send(message)
        self._connected.set()
        print("Connected again.", file=sys.stderr)

    async def _connect_again(self) -> tuple[ClientConnection, Json]:
        now = asyncio.get_running_loop().time
        give_up_at, pause_s = now() + self._window_s, _FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                return await _connected(
                    self._options, resume=self._token, seq=self._seq
                )
            except CommandError as error:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                if not _may_pass(error) or now() + pause_s > give_up_at:
                    raise


def _may_pass(error: CommandError) -> bool:
    """Whether another try to connect may succeed."""
    cause = error.__cause__
    return not isinstance(cause, InvalidStatus) or (
        cause.response.status_code in _MAY_PASS
    )
