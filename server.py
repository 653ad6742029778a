"""Serve omniASR over HTTP, in the shape of OpenAI's API.

This is the edge: it owns the process, wires the parts together, and turns what
they raise into answers. The event loop only ever moves bytes; decoding runs in
worker threads and the model in its own.

The server listens at once. While the model loads, `/health` and `/ready` tell
how far it is, and transcriptions are refused with a time to come back.
"""

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

import schemas
from api.access_log import CLIENT_LEFT, Journal, start_logging
from api.auth import ApiKeyGate
from api.ephemeral import EphemeralKeys
from api.errors import (
    REFUSALS,
    RETRY_S,
    UNAUTHORISED,
    UNAUTHORISED_TEXT,
    UNKNOWN,
    BadRequest,
    Refusal,
    error_response,
    refusal_response,
)
from api.http_connection import HttpConnection
from api.middleware import RequestId, SocketGate, UnknownErrors
from api.openapi import document
from api.routes import client_secrets, live, page, realtime, subtitles, transcriptions
from api.service import LoadModel, Service, load_model, require_model, service_of
from config import Settings, describe_errors
from engine.interface import NotReady
from languages import codes
from schemas import UNKNOWN_TEXT
from weights.downloads import cached_bytes

VERSION = "0.1.0"
DESCRIPTION = "Speech to text in 1600+ languages behind OpenAI's API."

logger = logging.getLogger("omniasr")

# Where systemd puts the sockets that it hands over.
_FIRST_HANDED_OVER = 3

# Voice clients keep idle connections for two minutes and send on them again.
_KEEP_ALIVE_S = 125

ModelName = Annotated[
    str,
    Path(description="A model's name or an alias of it.", examples=["whisper-1"]),
]
Wanted = Annotated[
    str,
    Query(
        description="Part of an id, a tag or a name, in any case; empty: all.",
        examples=["bambara"],
    ),
]

# About as long as a partial's window.
_REHEARSAL_S = 4


# --- the application ------------------------------------------------------------


def create_app(
    settings: Settings,
    *,
    load: LoadModel = load_model,
    rehearsal_s: int = _REHEARSAL_S,
    on_load_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Wire the server together.

    Args:
        settings: What the operator chose.
        load: Builds the model.
        rehearsal_s: Seconds of silence that the model is given before it serves.
        on_load_failure: Called in the event loop if the model cannot be served.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, load, rehearsal_s=rehearsal_s)
        app.state.service = service
        service.start(on_load_failure)
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="omniASR Streaming Server",
        version=VERSION,
        description=document.DESCRIPTION,
        openapi_tags=document.TAGS,
        responses=document.EVERYWHERE,
        lifespan=lifespan,
    )
    document.describe(app, asks_for_keys=bool(settings.keys()))
    _add_error_handlers(app)
    _add_status_routes(app)
    _add_catalogue_routes(app)
    transcriptions.add_routes(app)
    subtitles.add_routes(app)
    live.add_routes(app)
    realtime.add_routes(app)
    ephemeral = client_secrets.new_keys()
    client_secrets.add_routes(app, ephemeral)
    _add_middleware(app, settings, ephemeral)
    return app


def _add_error_handlers(app: FastAPI) -> None:
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
        return Response(status_code=CLIENT_LEFT)  # which nobody reads

    kinds: list[type[Exception]] = [BadRequest, *REFUSALS]
    for kind in kinds:
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, left)


def _add_middleware(app: FastAPI, settings: Settings, ephemeral: EphemeralKeys) -> None:
    """Wrap the routes; what is added last is met first."""
    app.add_middleware(
        SocketGate,
        wait_until_ready=lambda: app.state.service.wait_until_ready(),
        refusal=refusal_response(NotReady("The model is still loading; try again.")),
        patient=(realtime.PATH,),
    )
    app.add_middleware(
        ApiKeyGate,
        keys=settings.keys(),
        ephemeral=ephemeral,
        refusal=error_response(
            UNAUTHORISED_TEXT, UNAUTHORISED, headers={"www-authenticate": "Bearer"}
        ),
    )
    app.add_middleware(UnknownErrors, answer=error_response(UNKNOWN_TEXT, UNKNOWN))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", "retry-after-ms"],
        )
    app.add_middleware(Journal, counts=lambda: app.state.service.metrics)
    app.add_middleware(RequestId)


def _add_status_routes(app: FastAPI) -> None:
    files = page.add_routes(app)

    @app.get(
        "/",
        tags=["status"],
        operation_id="about",
        summary="What this is",
        response_model=schemas.About,
        responses={200: document.ABOUT},
    )
    async def about(request: Request, response: Response) -> Response | schemas.About:
        """Say what this is and what it offers; to browsers, show it."""
        if page.is_wanted(request):
            return await files.index(request)
        response.headers["vary"] = "accept"
        service = service_of(request)
        return schemas.About(
            name=app.title,
            version=VERSION,
            description=DESCRIPTION,
            model=service.settings.model_card,
            ready=service.ready,
            limits=schemas.UploadLimits(
                max_upload_bytes=service.settings.max_upload_bytes,
                max_audio_s=service.settings.max_audio_seconds,
            ),
            endpoints={
                "GET /": "this, or the live page for browsers",
                "POST /v1/audio/transcriptions": "transcribe a recording",
                "WS /v1/audio/transcriptions": "transcribe a live stream",
                "POST /v1/audio/subtitles": "make subtitles of words",
                "GET /v1/models": "the model that is served",
                "GET /v1/languages": "the languages it knows",
                "GET /health": "what the process is doing",
                "GET /ready": "whether requests are served yet",
                "GET /metrics": "how the server is doing, for Prometheus",
                "GET /docs": "the API, to try out",
            },
        )

    @app.get(
        "/health",
        tags=["status"],
        operation_id="health",
        summary="What the process is doing",
        responses={200: document.HEALTH},
    )
    async def health(request: Request) -> schemas.Health:
        """Say that the process is alive, and what it is doing."""
        service = service_of(request)
        model = service.scheduler.model if service.ready else None
        return schemas.Health(
            ready=service.ready,
            model=service.settings.model_card,
            device=model.device_name if model else None,
            dtype=model.dtype_name if model else None,
            requests=service.n_requests,
            streams=service.live.n_streams,
            queued=service.scheduler.n_queued,
            overload_level=service.scheduler.overload.level,
            uptime_s=round(time.monotonic() - service.loading.began, 1),
        )

    @app.get(
        "/ready",
        tags=["status"],
        operation_id="ready",
        summary="Whether work may come",
        responses=document.READY,
    )
    async def ready(request: Request) -> Response:
        """Answer 200 if work may come; 503 before, and while no results come."""
        service = service_of(request)
        loading = service.loading
        fetching = loading.stage.startswith("fetching")
        if trouble := service.trouble:
            service.try_again()
        ready = service.ready and trouble is None
        body = schemas.Readiness(
            ready=ready,
            stage=loading.stage,
            elapsed_s=loading.elapsed_s,
            downloaded_bytes=cached_bytes() if fetching else None,
            reason=trouble,
        )
        return JSONResponse(
            body.model_dump(exclude_none=True),
            status_code=200 if ready else 503,
            headers={} if ready else {"retry-after": str(RETRY_S)},
        )

    @app.get(
        "/metrics",
        tags=["status"],
        operation_id="metrics",
        summary="Series for Prometheus",
        response_class=PlainTextResponse,
        responses={200: document.METRICS},
    )
    async def metrics(request: Request) -> Response:
        """Tell Prometheus how the server is doing."""
        text, media_type = service_of(request).metrics.exposition()
        return Response(text, media_type=media_type)


def _add_catalogue_routes(app: FastAPI) -> None:
    def the_model(service: Service) -> schemas.Model:
        return schemas.Model(
            id=service.settings.model_card, created=service.created, owned_by="omniasr"
        )

    @app.get(
        "/v1/models",
        tags=["catalogue"],
        operation_id="listModels",
        summary="The model that is served",
        responses={200: document.MODELS, **document.KEYED},
    )
    async def models(request: Request) -> schemas.ModelList:
        """List the model that is served."""
        return schemas.ModelList(data=[the_model(service_of(request))])

    @app.get(
        "/v1/models/{name:path}",
        tags=["catalogue"],
        operation_id="retrieveModel",
        summary="One model",
        responses={
            200: document.MODEL,
            **document.errors("model_not_found"),
            **document.KEYED,
        },
    )
    async def model(request: Request, name: ModelName) -> schemas.Model:
        """Describe the model that is served, by its name or an alias."""
        service = service_of(request)
        require_model(service, name)
        return the_model(service)

    @app.get(
        "/v1/languages",
        tags=["catalogue"],
        operation_id="listLanguages",
        summary="Languages, to choose from",
        responses={200: document.LANGUAGES, **document.KEYED},
    )
    async def known_languages(q: Wanted = "") -> schemas.LanguageList:
        """List the languages, or those whose id, tag or name has `q` in it."""
        found = codes.search_languages(q) if q else codes.all_languages()
        return schemas.LanguageList(data=[schemas.language(entry) for entry in found])


# --- the process ----------------------------------------------------------------


class Server(uvicorn.Server):
    """Serve the application; at shutdown, let live streams come to their end first.

    uvicorn itself would close all WebSockets before the application hears of it.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_level=settings.log_level,
                log_config=None,
                access_log=False,  # the journal says more
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=settings.shutdown_grace_s,
                ws_max_size=settings.max_frame_bytes,
                http=HttpConnection,
                # A client that sends a long file before it reads answers no ping;
                # MAX_IDLE_S finds those that are gone.
                ws_ping_timeout=None,
                # Audio does not get smaller, and inflating holds up everybody.
                ws_per_message_deflate=False,
            )
        )
        self._app = app
        self._grace_s = settings.shutdown_grace_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, end the streams, then what uvicorn does."""
        began = time.monotonic()
        for listener in self.servers:
            listener.close()
        ended = await self._app.state.service.connections.stop(within_s=self._grace_s)
        if not ended:
            logger.warning("Some live streams did not end within the grace time.")
        left_s = self._grace_s - (time.monotonic() - began)
        self.config.timeout_graceful_shutdown = max(0, math.ceil(left_s))
        await super().shutdown(sockets)


def main() -> int:
    """Run the server until it is told to stop; return the exit status."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)  # noqa: T201
        return 2
    start_logging(level=settings.log_level, style=settings.log_format)
    if not settings.keys():
        logger.warning("No API_KEYS are set: whoever reaches the port may use it.")
    return _serve(settings)


def _serve(settings: Settings) -> int:
    failed = False

    def give_up() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    server = Server(create_app(settings, on_load_failure=give_up), settings)
    # uvicorn stops gracefully and then raises the signal again for whoever was
    # there first. That is us, and being told to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(_handed_over() or None)
    return 1 if failed else 0


def _handed_over() -> list[socket.socket]:
    """Return the sockets that a supervisor listens on in our place.

    While one process stops and another starts, they stay open, so no client is
    refused; LiveKit's gives up for good when it is.
    Source: sd_listen_fds(3), systemd's socket activation.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    n = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_HANDED_OVER + k) for k in range(n)]


if __name__ == "__main__":
    status = main()
    # A download that hangs in the model's thread must not hold up the exit.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
