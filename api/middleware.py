"""Layers that every connection passes before its route."""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_body
from api.ids import new_id
from api.request_state import Refusal, state_of
from sockets.read_ahead import ReadAhead

logger = logging.getLogger("omniasr")

Wait = Callable[[], Awaitable[bool]]

# A client's name of a request: short, and harmless in a log and a header.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# Statuses of redirects, and what their bodies say for programs.
_MOVED = (307, 308)
MOVED = Refusal(307, code="moved")

# The messages that carry headers.
_BEGINNINGS = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)


class RequestId:
    """Give every request and socket an id: the client's own, if that is harmless.

    The answer has it in the header `x-request-id`, and so has every line of the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-request-id", b"")
        usable = _REQUEST_ID.fullmatch(sent)
        request_id = sent.decode() if usable else new_id()
        state_of(scope).id = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] in _BEGINNINGS:
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_id)


class UnknownErrors:
    """Answer after an unexpected exception, and log it once.

    It stands inside `RequestId`, so that the answer has the id of the log line; the
    framework's own handler stands outside of all layers.

    Args:
        answer: Sent if nothing was sent before.
    """

    def __init__(self, app: ASGIApp, *, answer: ASGIApp) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except Exception:
            if scope["type"] != "http":
                raise
            logger.exception("Request %s failed.", state_of(scope).id)
            if not started:
                await self._answer(scope, receive, send)


class GetForHead:
    """Answer HEAD as GET; the web server leaves out the body.

    RFC 9110 section 9.3.2 wants the same headers, and clients use it to see whether a
    server is there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class Redirects:
    """Say in words where a redirect leads, for people and for clients that stay.

    The framework redirects paths that differ by a slash at their end, without a body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = None

        async def explain(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                headers = dict(message.get("headers", ()))
                place = headers.get(b"location", b"").decode("latin-1")
                if message["status"] in _MOVED and place:
                    body = json.dumps(error_body(_moved_to(place), MOVED)).encode()
                    headers[b"content-type"] = b"application/json"
                    headers[b"content-length"] = str(len(body)).encode()
                    message["headers"] = [*headers.items()]
            elif body is not None:
                message["body"] = body
            await send(message)

        await self._app(scope, receive, explain)


def _moved_to(place: str) -> str:
    return (
        f"This is at {place}. Send the request there, or let the client follow "
        "redirects (curl: -L)."
    )


class SocketPaths:
    """Take the path of a WebSocket with or without a slash at its end.

    Requests are redirected there; clients of sockets do not follow.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


class SocketReadAhead:
    """Read sockets ahead, so that waiting ones notice if their client has left.

    Args:
        max_bytes: Most that is kept of one.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            receive = ReadAhead(receive, self._max_bytes)
            state_of(scope).ahead = receive
        await self._app(scope, receive, send)


class SocketGate:
    """Let WebSockets wait for the model for a while, then refuse them with 503.

    After a 503 clients try again; after 403, the framework's default, they give up.

    Args:
        wait_until_ready: Waits for the model, within limits; returns whether it is
            ready.
        refusal: Answers the handshake if it is not.
        patient: Paths of routes that accept their clients and wait themselves.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        wait_until_ready: Wait,
        refusal: ASGIApp,
        patient: Collection[str] = (),
    ) -> None:
        self._app = app
        self._wait_until_ready = wait_until_ready
        self._refusal = refusal
        self._patient = patient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        waits = scope["type"] == "websocket" and scope["path"] not in self._patient
        if waits and not await self._wait_until_ready():
            await self._refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
