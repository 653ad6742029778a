"""Answer exceptions of routes, and paths without a route."""

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from api.access_log import CLIENT_LEFT
from api.errors import REFUSALS, BadRequest, error_response, refusal_response
from api.request_state import Refusal


def add_to(app: FastAPI) -> None:
    """Add the handlers to the application."""

    async def refused(request: Request, error: Exception) -> Response:
        return refusal_response(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return error_response(
            f"{error.detail}: {request.method} {request.url.path}",
            Refusal(error.status_code, code=code),
            headers=dict(error.headers or {}),
        )

    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_LEFT)  # no route reads it

    kinds: list[type[Exception]] = [BadRequest, *REFUSALS]
    for kind in kinds:
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, left)

    async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise HTTPException(404)
        # The framework would answer 403, which means a wrong key.
        sockets = [r.path for r in app.routes if isinstance(r, WebSocketRoute)]
        await error_response(
            f"There is no WebSocket at {scope['path']}. There is one at each of these: "
            f"{', '.join(sockets)}.",
            Refusal(404, code="not_found"),
        )(scope, receive, send)

    app.router.default = nowhere
