"""Keep live sessions whose connection is lost, until their clients come back.

A session runs in a task of its own. The request of each of its connections ends with
the connection, so that quotas count what is open; a session that waits for its client
counts for none. It keeps its place among the streams, but the server gives it up when
someone else needs the place.

A session is found by its token, which only its client knows, and only with the key with
which it began. Tokens appear in no log.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.datastructures import QueryParams
from starlette.types import Scope
from starlette.websockets import WebSocket

from api.request_state import RequestState, state_of
from protocols.actions import Send
from protocols.native.query import Resume
from protocols.resumption import NotResumable, Received, Resumption, Waiting
from sockets.client_socket import ClientSocket
from sockets.lasting import Connection, LastingSocket, dismiss
from sockets.session import Stream

logger = logging.getLogger("omniasr")

# Most sessions that wait for their clients at once. Each holds a place among the
# streams, and some hundred kilobytes at most beside it.
_MOST_WAITING = 64

_TOKEN_BYTES = 32

PROTOCOL = "omniasr"

# Runs a session over a socket; the function returns the state of its newest connection.
Carry = Callable[[ClientSocket, Callable[[], RequestState]], Coroutine[Any, Any, None]]


class Counts(Protocol):
    """Counts lost connections and sessions; see `api.metrics.Metrics`."""

    def connection_lost(self, what: str) -> None: ...

    def session_ended(self, protocol: str, outcome: str, *, n_unsent: int) -> None: ...


@dataclass(slots=True, eq=False)
class _Session:
    """One session.

    Attributes:
        holder: Name of its client's key; None without keys.
        waits: Whether it waits for its client.
        expiry: Ends the wait.
    """

    token: str
    name: str
    holder: str | None
    stream: Stream
    resumption: Resumption
    socket: LastingSocket = field(init=False)
    task: asyncio.Task[None] = field(init=False)
    waits: bool = False
    expiry: asyncio.TimerHandle | None = None

    @property
    def finished(self) -> bool:
        """Whether it has ended, so that only its last messages are kept."""
        return self.resumption.close is not None

    def state(self) -> RequestState:
        """Return the state of the newest connection."""
        return state_of(self.socket.connection.socket.scope)


class LastingSessions:
    """The sessions that may be resumed. Make and use it in the event loop.

    Args:
        window_s: How long they wait for their clients, in seconds; 0: not at all.
        counts: Counts what becomes of them.
    """

    def __init__(self, *, window_s: float, counts: Counts) -> None:
        self.window_s = window_s
        self._counts = counts
        self._sessions: dict[str, _Session] = {}
        self._waiting = Waiting(_MOST_WAITING)
        self._stopping = False

    @property
    def n_waiting(self) -> int:
        """Sessions that wait for their clients and hold a place among the streams."""
        return self._waiting.n_open

    @property
    def n_kept(self) -> int:
        """All that is kept, also of sessions that have ended."""
        return len(self._sessions)

    def new_token(self) -> str:
        """Return a token that cannot be guessed."""
        return secrets.token_urlsafe(_TOKEN_BYTES)

    async def begin(
        self,
        socket: WebSocket,
        carry: Carry,
        *,
        token: str,
        name: str,
        stream: Stream,
        greet_again: Callable[[Received], Send],
    ) -> None:
        """Run a new session, until its first connection or itself is over.

        Args:
            socket: The first connection, accepted.
            carry: Runs it.
            token: Its token.
            name: Its name in the log.
            stream: Its stream, which is told whether its client is away.
            greet_again: Writes the first message to a client that comes back.
        """
        session = _Session(
            token,
            name,
            state_of(socket.scope).key_name,
            stream,
            Resumption(window_s=self.window_s),
        )
        session.socket = LastingSocket(
            socket,
            session.resumption,
            greet_again=greet_again,
            on_lost=lambda: self._lost(session),
            on_back=lambda: session.stream.set_away(False),
        )
        session.task = asyncio.create_task(self._run(session, carry), name=name)
        self._sessions[token] = session
        await self._attend(session, session.socket.connection)

    async def resume(self, socket: WebSocket, wanted: Resume) -> bool:
        """Go on with a session, until this connection or the session is over.

        Args:
            socket: The new connection, accepted.
            wanted: What its client wants.

        Returns:
            Whether there is such a session; if not, nothing was sent.
        """
        state = state_of(socket.scope)
        session = self._sessions.get(wanted.token)
        if session is None or session.holder != state.key_name:
            self._counts.connection_lost("unknown")
            return False
        older = session.state()
        try:
            connection = session.socket.take_over(
                socket, number=wanted.number, position=wanted.position
            )
        except NotResumable as error:
            logger.info("Stream %s cannot be resumed: %s.", session.name, error)
            self._counts.connection_lost("unknown")
            return False
        self._counts.connection_lost("resumed")
        logger.info("Stream %s goes on over another connection.", session.name)
        older.protocol = None  # the session is not over, or it was counted
        self._release(session)
        if session.task.done():
            state.protocol = None
            try:
                await session.socket.catch_up(connection, wanted.number)
            finally:
                self._keep(session, finished=True)
        else:
            await self._attend(session, connection, after=wanted.number)
        return True

    def replaces_open(self, scope: Scope) -> bool:
        """Whether a socket goes on with a session whose connection seems to be open."""
        token = QueryParams(scope["query_string"]).get("resume", "")
        session = self._sessions.get(token)
        return (
            session is not None
            and session.holder == state_of(scope).key_name
            and not session.waits
        )

    def make_room(self) -> bool:
        """Give up the session that has waited longest; return whether there was one."""
        token = self._waiting.give_up_oldest()
        if token is None:
            return False
        self._give_up(self._sessions[token], "given_up")
        return True

    def stop(self) -> None:
        """Wait for no client any more: the server stops."""
        self._stopping = True
        while self.make_room():
            pass
        for session in [*self._sessions.values()]:
            if session.finished:
                self._forget(session)

    # --- one session ---

    async def _run(self, session: _Session, carry: Carry) -> None:
        try:
            await carry(session.socket, session.state)
        finally:
            state = session.state()
            if session.finished and not self._stopping:
                self._keep(session, finished=True)
            else:
                self._forget(session)
            if state.protocol is None:  # no request is there to be counted
                self._counts.session_ended(
                    PROTOCOL, state.outcome or "abandoned", n_unsent=state.n_unsent
                )

    async def _attend(
        self, session: _Session, connection: Connection, *, after: int | None = None
    ) -> None:
        """Wait for the end of a connection, or of its session.

        Args:
            after: Number of the last message that the client has, if it lacks some.
        """
        left = asyncio.create_task(connection.left.wait(), name=f"{session.name} left")
        try:
            if after is not None:
                await session.socket.catch_up(connection, after)
            await asyncio.wait({session.task, left}, return_when="FIRST_COMPLETED")
            if not (connection.replaced or session.waits):
                await session.task
        except asyncio.CancelledError:
            if not connection.replaced:
                session.task.cancel()
            raise
        finally:
            left.cancel()
        if connection.replaced:
            await dismiss(connection)

    def _lost(self, session: _Session) -> None:
        """Called when a session's client is away."""
        if session.task.done():
            return  # `resume` keeps it
        if self._stopping:
            session.socket.stop_waiting()
            return
        session.state().protocol = None  # it is not over
        session.stream.set_away(True)
        self._counts.connection_lost("kept")
        logger.info(
            "Stream %s lost its connection; it waits %g s for its client.",
            *(session.name, self.window_s),
        )
        self._keep(session, finished=False)

    def _keep(self, session: _Session, *, finished: bool) -> None:
        self._release(session)
        if session.token not in self._sessions:
            return
        session.waits = True
        session.expiry = asyncio.get_running_loop().call_later(
            self.window_s, self._give_up, session, "expired"
        )
        for token in self._waiting.keep(
            session.token, holder=session.holder, finished=finished
        ):
            self._give_up(self._sessions[token], "given_up")

    def _release(self, session: _Session) -> None:
        session.waits = False
        if session.expiry is not None:
            session.expiry.cancel()
            session.expiry = None
        self._waiting.release(session.token)

    def _give_up(self, session: _Session, why: str) -> None:
        """Wait no more for a client; its session ends by itself if it has not."""
        self._waiting.release(session.token)
        if session.finished:
            self._forget(session)
            return
        self._counts.connection_lost(why)
        session.socket.stop_waiting()

    def _forget(self, session: _Session) -> None:
        self._release(session)
        self._sessions.pop(session.token, None)
