"""End what is open when the server stops, within one grace time.

From the first signal on, no work is taken: `/ready` answers 503, recordings are
refused, and every answer closes its connection, so that clients that keep connections
go elsewhere. Live streams are ended first, with their finals; recordings in progress go
on meanwhile, in the time that finals leave them. What is not done shortly before the
end of the grace time is refused in our words, with a time to try again; the web server
by itself would cancel it with a bare 500.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sockets.connections import Connections

logger = logging.getLogger("omniasr")

Header = tuple[bytes, bytes]

# The share of the grace time that is kept for refusing what is not done, in bounds.
_REFUSING = 0.1
_LEAST_REFUSING_S = 0.2
_MOST_REFUSING_S = 1.0

# Seconds between two checks whether anything is still open.
_LOOK_EVERY_S = 0.05


class OpenRequests:
    """The requests that are being answered; sockets are known elsewhere.

    Make and use it in the event loop.

    Attributes:
        closing: Whether the server stops, so that each answer closes its connection.
        refused: Tasks that were broken off.
    """

    def __init__(self) -> None:
        self.closing = False
        self.refused: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def note_begin(self) -> asyncio.Task[Any]:
        """Note that a request begins; return its task."""
        task = asyncio.current_task()
        assert task is not None, "the web server runs each request in a task"
        self._tasks.add(task)
        return task

    def note_end(self, task: asyncio.Task[Any]) -> None:
        """Note that a request is answered."""
        self._tasks.discard(task)
        self.refused.discard(task)

    def refuse_all(self) -> None:
        """Break off all of them; `Draining` answers in their place."""
        for task in self._tasks - self.refused:
            self.refused.add(task)
            task.cancel()


class Draining:
    """Close connections with their answers, and answer what is broken off.

    Args:
        requests: Knows whether the server stops, and what is broken off.
        refusal: The answer to what is broken off.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests: Callable[[], OpenRequests],
        refusal: ASGIApp,
    ) -> None:
        self._app = app
        self._requests = requests
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requests = self._requests()
        started = False

        async def send_and_close(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if requests.closing:
                    message = {
                        **message,
                        "headers": _closing(message.get("headers", ())),
                    }
            await send(message)

        task = requests.note_begin()
        try:
            await self._app(scope, receive, send_and_close)
        except asyncio.CancelledError:
            if task not in requests.refused:
                raise
            task.uncancel()
            if not started:
                await self._refusal(scope, receive, send_and_close)
        finally:
            requests.note_end(task)


def _closing(headers: Iterable[Header]) -> list[Header]:
    others = [own for own in headers if own[0].lower() != b"connection"]
    return [*others, (b"connection", b"close")]


def stop_listening(listener: asyncio.AbstractServer) -> list[socket.socket]:
    """Close a listener; return the connections that nobody had accepted yet.

    To their clients they are open: what they sent would be answered by a reset, which
    proxies report as a bad gateway and may not send again.

    Args:
        listener: A server of asyncio or of uvloop, which is closed.
    """
    waiting: list[socket.socket] = []
    # A listener is closed with its last descriptor.
    kept = [
        socket.fromfd(own.fileno(), own.family, own.type)
        for own in getattr(listener, "sockets", ())
    ]
    listener.close()
    for own in kept:
        with own, suppress(OSError):  # usually that none is left
            own.setblocking(False)
            while True:
                waiting.append(own.accept()[0])
    return waiting


class Stopping(Protocol):
    """The parts of `api.service.Service` that end with the server."""

    @property
    def connections(self) -> Connections: ...

    @property
    def requests(self) -> OpenRequests: ...

    def stop_taking_work(self, left_s: float) -> None: ...


class Drain:
    """Ends everything within one grace time.

    Args:
        grace_s: The grace time, in seconds, from now on.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._deadline = time.monotonic() + grace_s
        kept_s = max(_LEAST_REFUSING_S, _REFUSING * grace_s)
        self._refusing_s = min(kept_s, _MOST_REFUSING_S)

    @property
    def left_s(self) -> float:
        """Seconds up to the end of the grace time."""
        return max(0.0, self._deadline - time.monotonic())

    async def run(self, service: Stopping, *, hurry: Callable[[], bool]) -> None:
        """End the live streams, and meanwhile the requests.

        Args:
            service: What is open.
            hurry: Whether the operator wants the server to end at once.
        """
        service.stop_taking_work(self.left_s)
        within_s = max(0.0, self.left_s - self._refusing_s)
        waits: list[asyncio.Future[Any]] = [
            asyncio.gather(
                service.connections.stop(within_s=within_s),
                _until(lambda: not len(service.requests)),
            ),
            asyncio.create_task(_until(hurry), name="hurry"),
        ]
        await asyncio.wait(waits, timeout=within_s, return_when="FIRST_COMPLETED")
        for own in waits:
            own.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        if n := len(service.connections):
            logger.warning("Live streams that did not end in the grace time: %d.", n)
        if n := len(service.requests):
            logger.warning("Requests refused at the end of the grace time: %d.", n)
            service.requests.refuse_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._refusing_s):
                    await _until(lambda: not len(service.requests))


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # flags of signal handlers and of requests
        await asyncio.sleep(_LOOK_EVERY_S)
