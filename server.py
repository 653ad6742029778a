"""Serve omniASR over HTTP, in the shape of OpenAI's API.

This is the edge: it owns the process, connects the parts, and turns their exceptions
into answers. The event loop only moves bytes; decoding runs in worker threads and the
model in its own thread.

The server listens at once. While the model loads, `/health` and `/ready` show the
progress, and transcriptions are refused with a time to try again.
"""

import asyncio
import gc
import logging
import os
import platform
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.middleware.cors import CORSMiddleware

from api import deepgram_errors, error_handlers, startup
from api.access_log import AccessLog, keep_handshakes_out_of_logs
from api.auth import ApiKeyGate
from api.drain import Drain, Draining, stop_listening
from api.ephemeral import EphemeralKeys
from api.errors import UNKNOWN, error_response, refusal_response
from api.http_connection import HttpConnection
from api.keys import KeyRing
from api.loading import LoadModel, ModelLoader
from api.log_lines import QueuedLines, start_logging
from api.middleware import (
    GetForHead,
    Redirects,
    RequestId,
    SocketGate,
    SocketPaths,
    SocketReadAhead,
    UnknownErrors,
)
from api.openapi import answers, document
from api.origins import OriginGate
from api.proxies import TrustedProxies
from api.quotas import QuotaGate, Quotas
from api.routes import (
    asr,
    catalogue,
    client_secrets,
    deepgram_live,
    deepgram_recordings,
    docs,
    live,
    realtime,
    status,
    subtitles,
    transcriptions,
)
from api.routes.status import VERSION
from api.service import Service
from api.upkeep import look_after
from api.ws_connection import WebSocketConnection
from config import Settings, describe_errors, misspelt
from engine.interface import NotReady
from engine.scheduler import SHUTTING_DOWN
from network.cores import limit_kernels, set_waiting
from schemas import UNKNOWN_TEXT
from weights import heap
from weights.places import public_name

logger = logging.getLogger("omniasr")

# The first descriptor of the sockets that systemd hands over.
_FIRST_HANDED_OVER = 3

# Voice clients keep idle connections for two minutes and send on them again.
_KEEP_ALIVE_S = 125

# About as long as a partial's window.
_REHEARSAL_S = 4


# --- the application ------------------------------------------------------------


def create_app(
    settings: Settings,
    *,
    load: LoadModel | None = None,
    others: Mapping[str, LoadModel] | None = None,
    rehearsal_s: int = _REHEARSAL_S,
    on_load_failure: Callable[[], None] = lambda: None,
    lines: QueuedLines | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        settings: The operator's settings.
        load: Builds the model that the settings name; None for their network.
        others: Functions that build further models, by the names of these models.
        rehearsal_s: Seconds of silence that the model hears before it serves.
        on_load_failure: Called in the event loop if the model cannot be served, or is
            lost.
        lines: Writes the log; the metrics show what it drops.
    """

    name = public_name(settings.model_card, model_dir=settings.model_dir)
    keys = KeyRing(settings.keys, file=settings.api_keys_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        models = {name: load or ModelLoader(), **(others or {})}
        service = Service(settings, models, rehearsal_s=rehearsal_s)
        app.state.service = service
        if lines is not None:
            service.count_dropped_lines = lambda: lines.n_dropped
        service.start(on_load_failure)
        tasks = [
            asyncio.create_task(keys.watch(), name="watch over the keys"),
            asyncio.create_task(look_after(service), name="look after the server"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="omniASR Streaming Server",
        version=VERSION,
        description=document.DESCRIPTION,
        openapi_tags=document.TAGS,
        responses=answers.EVERYWHERE,
        generate_unique_id_function=document.operation_id,
        lifespan=lifespan,
        docs_url=None,  # ours need no other host
        redoc_url=None,
    )
    app.state.keys = keys
    document.describe(
        app, asks_for_keys=bool(keys), metrics_open=settings.metrics == "open"
    )
    error_handlers.add_to(app)
    status.add_routes(app, with_metrics=settings.metrics != "off")
    docs.add_routes(app)
    catalogue.add_routes(app)
    transcriptions.add_routes(app)
    asr.add_routes(app)
    subtitles.add_routes(app)
    live.add_routes(app)
    realtime.add_routes(app)
    deepgram_live.add_routes(app)
    deepgram_recordings.add_routes(app)
    ephemeral = client_secrets.keys_of(settings)
    client_secrets.add_routes(app, ephemeral)
    _add_middleware(app, settings, keys, ephemeral)
    return app


def _add_middleware(
    app: FastAPI, settings: Settings, keys: KeyRing, ephemeral: EphemeralKeys
) -> None:
    """Wrap the routes; a request meets the last added layer first."""
    app.add_middleware(Redirects)
    app.add_middleware(GetForHead)
    app.add_middleware(SocketReadAhead, max_bytes=settings.max_ahead_bytes)
    app.add_middleware(
        SocketGate,
        wait_until_ready=lambda: app.state.service.wait_until_ready(),
        refusal=refusal_response(NotReady("The model is still loading; try again.")),
        patient=(realtime.PATH, *deepgram_errors.PATHS),
    )
    app.add_middleware(
        QuotaGate,
        quotas=Quotas(settings.quota, keys.quota_of),
        counts=lambda: app.state.service.metrics,
        replaces_open=lambda scope: (
            scope["path"] == live.PATH
            and app.state.service.lasting.replaces_open(scope)
        ),
    )
    app.add_middleware(
        ApiKeyGate,
        keys=keys,
        ephemeral=ephemeral,
        metrics_open=settings.metrics == "open",
    )
    app.add_middleware(
        OriginGate,
        origins=settings.cors_origins,
        hosts=None if keys else settings.allowed_hosts,
    )
    app.add_middleware(UnknownErrors, answer=error_response(UNKNOWN_TEXT, UNKNOWN))
    app.add_middleware(
        Draining,
        requests=lambda: app.state.service.requests,
        refusal=refusal_response(NotReady(f"{SHUTTING_DOWN} Send it again.")),
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            # Chrome asks before a public page may use a server in a private network.
            allow_private_network=True,
            expose_headers=[
                "x-request-id",
                "x-warnings",
                "retry-after",
                "retry-after-ms",
                "dg-request-id",
                "dg-error",
            ],
        )
    app.add_middleware(AccessLog, counts=lambda: app.state.service.metrics)
    app.add_middleware(RequestId)
    app.add_middleware(TrustedProxies, proxies=settings.trusted_proxies)
    app.add_middleware(SocketPaths)


# --- the process ----------------------------------------------------------------


class Server(uvicorn.Server):
    """Serve the application; at shutdown, end the live streams first.

    uvicorn by itself would close all WebSockets before it tells the application.

    Args:
        app: The application that is served.
        settings: The operator's settings.
        owns_process: Whether the process does nothing else.
    """

    def __init__(
        self, app: FastAPI, settings: Settings, *, owns_process: bool = False
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_level=settings.log_level,
                log_config=None,
                access_log=False,  # our log has more
                proxy_headers=False,  # TrustedProxies reads more of them
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=settings.shutdown_grace_s,
                ws_max_size=settings.max_frame_bytes,
                http=HttpConnection,
                ws=WebSocketConnection,
                # A client that sends a long file before it reads answers no ping;
                # MAX_IDLE_S ends sessions of clients that are gone.
                ws_ping_timeout=None,
                # Compression does not make audio smaller, and delays all clients.
                ws_per_message_deflate=False,
            )
        )
        keep_handshakes_out_of_logs()
        self._app = app
        self._grace_s = settings.shutdown_grace_s
        self._owns_process = owns_process
        self._freezing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self._owns_process:
            self._freezing = asyncio.create_task(self._freeze(), name="freeze")

    async def _freeze(self) -> None:
        """Have the garbage collector leave alone what is there once models are.

        PyTorch and others bring 235,000 objects that stay for good. To look at them
        all takes up to half a second, in which nothing else is done.
        """
        await self._app.state.service.wait_until_settled()
        gc.collect()
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at a signal to stop: from here on every answer says so.

        A second SIGTERM changes nothing; a second SIGINT ends the process at once.
        """
        super().handle_exit(sig, frame)
        if (service := getattr(self._app.state, "service", None)) is not None:
            service.requests.closing = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, end what is open, then shut uvicorn down."""
        drain = Drain(self._grace_s)
        if self._freezing is not None:
            self._freezing.cancel()
        if sockets is None:  # else those who wait find the next process
            await self._accept_the_last()
        for listener in self.servers:
            listener.close()
        await drain.run(self._app.state.service, hurry=lambda: self.force_exit)
        # It is passed to `asyncio.wait_for`, which takes fractions.
        self.config.timeout_graceful_shutdown = drain.left_s  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _accept_the_last(self) -> None:
        """Stop listening, and serve those who had connected before."""
        loop = asyncio.get_running_loop()
        for waiting in [own for each in self.servers for own in stop_listening(each)]:
            with suppress(OSError):  # it has left
                await loop.connect_accepted_socket(self._make_connection, waiting)

    def _make_connection(self) -> HttpConnection:
        return HttpConnection(self.config, self.server_state, self.lifespan.state)


def main(load: LoadModel | None = None) -> int:
    """Run the server until it is told to stop; return the exit status.

    Args:
        load: Builds the model that the settings name; None for their network.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)  # noqa: T201
        return 2
    problem = startup.unknown_card(settings.model_card, settings.model_dir)
    problem = problem or startup.unknown_partials_card(settings)
    if problem is None and not _listens_already():
        problem = startup.port_taken(settings.host, settings.port)
    if problem is not None:
        print(problem, file=sys.stderr)  # noqa: T201
        return 2
    lines = start_logging(level=settings.log_level, style=settings.log_format)
    elsewhere = startup.spools_elsewhere(os.environ.get("TMPDIR"))
    for line in [*misspelt(), *filter(None, [elsewhere])]:
        logger.warning(line)
    # Before PyTorch is imported, which the model's thread does.
    set_waiting(os.environ, platform=sys.platform, machine=platform.machine())
    limit_kernels(os.environ)
    heap.limit_arenas(os.environ)
    if not settings.keys():
        logger.warning(startup.open_to(settings.host, settings.port))
    try:
        return _serve(settings, load, lines)
    finally:
        lines.drain(timeout_s=1.0)


def _serve(settings: Settings, load: LoadModel | None, lines: QueuedLines) -> int:
    failed = False

    def give_up() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    app = create_app(settings, load=load, on_load_failure=give_up, lines=lines)
    server = Server(app, settings, owns_process=True)
    # uvicorn stops gracefully and then raises the signal again for the handler
    # before its own. That is ours, and a request to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: app.state.keys.ask_to_reload())
    server.run(_handed_over() or None)
    return 1 if failed else 0


def _handed_over() -> list[socket.socket]:
    """Return the sockets on which a supervisor listens for us.

    They stay open while one process stops and another starts, so no client is refused;
    LiveKit's client would give up after a refusal.
    Source: sd_listen_fds(3), systemd's socket activation.
    """
    if not _listens_already():
        return []
    n = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_HANDED_OVER + k) for k in range(n)]


def _listens_already() -> bool:
    """Whether a supervisor listens in our place."""
    return os.environ.get("LISTEN_PID") == str(os.getpid())


def end_process(status: int) -> NoReturn:
    """End at once: a thread that hangs, or a full pipe, must not delay that."""
    os._exit(status)


if __name__ == "__main__":
    end_process(main())
