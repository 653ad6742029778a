"""Serve omniASR over HTTP, in the shape of OpenAI's API.

This is the edge: it owns the process, wires the parts together, and turns what
they raise into answers. The event loop only ever moves bytes; decoding runs in
worker threads and the model in its own.

The server listens at once. While the model loads, `/health` and `/ready` tell
how far it is, and transcriptions are refused with a time to come back.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import audio_decoder
import languages
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

import schemas
from cards import cached_bytes
from config import Settings, describe_errors
from forms import FORM_SCHEMA, BadRequest, TranscriptionForm, parse_form, read_form
from middleware import RequestId, SocketGate
from scheduler import NotReady, QueueFull
from service import Service
from transcript import Transcript

VERSION = "0.1.0"

logger = logging.getLogger("omniasr")

T = TypeVar("T")

# How long clients are told to wait for a model that is loading.
_LOADING_RETRY_S = 5

# Voice clients keep idle connections for two minutes and send on them again.
_KEEP_ALIVE_S = 125


# --- errors ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an exception is told to an HTTP client."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


# The one table: what the parts raise, and what clients are told.
REFUSALS: dict[type[Exception], Refusal] = {
    audio_decoder.EmptyAudio: Refusal(400, code="empty_audio", param="file"),
    audio_decoder.UnsupportedAudio: Refusal(
        400, code="unsupported_audio", param="file"
    ),
    audio_decoder.CorruptAudio: Refusal(400, code="corrupt_audio", param="file"),
    audio_decoder.NoAudioStream: Refusal(400, code="no_audio_stream", param="file"),
    audio_decoder.AudioTooLong: Refusal(400, code="audio_too_long", param="file"),
    audio_decoder.TooManyChannels: Refusal(400, code="too_many_channels", param="file"),
    audio_decoder.UnsupportedSampleRate: Refusal(
        400, code="unsupported_sample_rate", param="file"
    ),
    languages.UnknownLanguage: Refusal(
        400, code="unsupported_language", param="language"
    ),
    QueueFull: Refusal(503, type="server_error", code="overloaded"),
    NotReady: Refusal(503, type="server_error", code="model_not_ready"),
}


def error_response(
    message: str,
    *,
    status: int,
    type: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Write an error in OpenAI's shape."""
    error = schemas.ErrorBody(message=message, type=type, param=param, code=code)
    body = schemas.ErrorResponse(error=error)
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def refusal_response(error: Exception) -> Response:
    """Answer with what the table says of an exception."""
    refusal = REFUSALS[type(error)]
    headers = {}
    if refusal.status == 503:
        wait = error.retry_after_s if isinstance(error, QueueFull) else _LOADING_RETRY_S
        headers["retry-after"] = str(wait)
    return error_response(
        str(error),
        status=refusal.status,
        type=refusal.type,
        code=refusal.code,
        param=refusal.param,
        headers=headers,
    )


def _add_error_handlers(app: FastAPI) -> None:
    async def bad_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, BadRequest)
        return error_response(
            str(error), status=error.status, code=error.code, param=error.param
        )

    async def refused(request: Request, error: Exception) -> Response:
        return refusal_response(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{error.detail}: {request.method} {request.url.path}"
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return error_response(
            message,
            status=error.status_code,
            code=code,
            headers=dict(error.headers or {}),
        )

    async def unknown(request: Request, error: Exception) -> Response:
        logger.error(
            "Request %s failed.", request.scope.get("request_id"), exc_info=error
        )
        return error_response(
            "Something went wrong in the server; its log has the details.",
            status=500,
            type="server_error",
            code="internal_error",
        )

    app.add_exception_handler(BadRequest, bad_request)
    for kind in REFUSALS:
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unknown)


# --- the application ------------------------------------------------------------


def create_app(
    settings: Settings, *, on_load_failure: Callable[[], None] = lambda: None
) -> FastAPI:
    """Wire the server together.

    Args:
        settings: What the operator chose.
        on_load_failure: Called in the event loop if the model cannot be served.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings)
        app.state.service = service
        service.start(on_load_failure)
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="omniASR Streaming Server",
        version=VERSION,
        description="Speech to text in 1600+ languages behind OpenAI's API.",
        lifespan=lifespan,
    )
    _add_error_handlers(app)
    _add_status_routes(app)
    _add_transcription_routes(app)
    app.add_middleware(
        SocketGate,
        wait_until_ready=lambda: app.state.service.wait_until_ready(),
        refusal=refusal_response(NotReady("The model is still loading; try again.")),
    )
    app.add_middleware(RequestId)
    return app


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def _add_status_routes(app: FastAPI) -> None:
    @app.get("/", tags=["status"])
    async def about(request: Request) -> schemas.About:
        """Say what this is and what it offers."""
        service = _service(request)
        return schemas.About(
            name=app.title,
            version=VERSION,
            description=app.description,
            model=service.settings.model_card,
            ready=service.ready,
            endpoints={
                "POST /v1/audio/transcriptions": "transcribe a recording",
                "GET /v1/models": "the model that is served",
                "GET /health": "what the process is doing",
                "GET /ready": "whether requests are served yet",
                "GET /docs": "the API, to try out",
            },
        )

    @app.get("/health", tags=["status"])
    async def health(request: Request) -> schemas.Health:
        """Say that the process is alive, and what it is doing."""
        service = _service(request)
        model = service.model if service.ready else None
        return schemas.Health(
            ready=service.ready,
            model=service.settings.model_card,
            device=str(model.device) if model else None,
            dtype=str(model.dtype).removeprefix("torch.") if model else None,
            requests=service.n_requests,
            streams=0,
            queued=service.scheduler.n_queued,
            uptime_s=round(time.monotonic() - service.loading.began, 1),
        )

    @app.get("/ready", tags=["status"], responses={503: {"model": schemas.Readiness}})
    async def ready(request: Request) -> Response:
        """Answer 200 once the model is loaded and checked, 503 before."""
        service = _service(request)
        loading = service.loading
        fetching = loading.stage.startswith("fetching")
        body = schemas.Readiness(
            ready=service.ready,
            stage=loading.stage,
            elapsed_s=loading.elapsed_s,
            downloaded_bytes=cached_bytes() if fetching else None,
        )
        return JSONResponse(
            body.model_dump(exclude_none=True),
            status_code=200 if service.ready else 503,
            headers={} if service.ready else {"retry-after": str(_LOADING_RETRY_S)},
        )

    def the_model(service: Service) -> schemas.Model:
        return schemas.Model(
            id=service.settings.model_card, created=service.created, owned_by="omniasr"
        )

    @app.get("/v1/models", tags=["models"])
    async def models(request: Request) -> schemas.ModelList:
        """List the model that is served."""
        return schemas.ModelList(data=[the_model(_service(request))])

    @app.get("/v1/models/{name:path}", tags=["models"], responses=_ERRORS)
    async def model(request: Request, name: str) -> schemas.Model:
        """Describe the model that is served, by its name or an alias."""
        service = _service(request)
        _require_model(service, name)
        return the_model(service)


def _require_model(service: Service, name: str | None) -> None:
    if not service.known_model(name):
        settings = service.settings
        raise BadRequest(
            f"The model {name!r} is not served here. This server runs "
            f"{settings.model_card}, which also answers to: "
            f"{', '.join(settings.model_aliases) or 'no other name'}.",
            param="model",
            code="model_not_found",
            status=404,
        )


# --- transcriptions -------------------------------------------------------------

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorResponse} for status in (400, 404, 413, 500, 503)
}


def _add_transcription_routes(app: FastAPI) -> None:
    @app.post(
        "/v1/audio/transcriptions",
        tags=["audio"],
        responses={**_ERRORS, 200: {"model": schemas.Transcription}},
        openapi_extra=FORM_SCHEMA,
    )
    async def transcriptions(request: Request) -> Response:
        """Transcribe a recording."""
        service = _service(request)
        if not service.ready:
            raise NotReady("The model is still loading; GET /ready tells how far.")
        if service.n_requests >= service.settings.max_requests:
            raise QueueFull(retry_after_s=1)
        service.n_requests += 1
        try:
            return await _transcribe(service, request)
        finally:
            service.n_requests -= 1


async def _transcribe(service: Service, request: Request) -> Response:
    began = time.monotonic()
    settings = service.settings
    form_data = await read_form(
        request,
        max_bytes=settings.max_upload_bytes,
        max_field_bytes=settings.max_field_bytes,
    )
    try:
        form = parse_form(form_data)
        _require_model(service, form.model)
        hint = languages.resolve_language(form.language)
        transcript = await _unless_disconnected(
            request, service.files.transcribe(form.file.file)
        )
    finally:
        await form_data.close()
    if transcript is None:
        logger.info("Request %s: the client left.", request.scope["request_id"])
        return Response(status_code=499)  # nobody reads it
    logger.info(
        "Request %s: %.1f s of audio, %d words, %.3f s.",
        request.scope["request_id"],
        schemas.seconds(transcript.n_samples),
        len(transcript.words),
        time.monotonic() - began,
    )
    return _answer(form, transcript, hint=hint, default=settings.default_lang or None)


def _answer(
    form: TranscriptionForm,
    transcript: Transcript,
    *,
    hint: str | None,
    default: str | None,
) -> Response:
    """Write a transcript in the format that was asked for."""
    if form.response_format == "text":
        return PlainTextResponse(transcript.text + "\n")
    language = languages.infer_language(transcript.text, hint=hint, default=default)
    tag = languages.to_bcp47(language) if language else None
    if form.response_format == "verbose_json":
        return JSONResponse(
            schemas.verbose_transcription(
                transcript, language=tag or "und", granularities=form.granularities
            )
        )
    return JSONResponse(
        schemas.transcription(transcript, language=tag, logprobs=form.logprobs)
    )


async def _unless_disconnected(request: Request, work: Awaitable[T]) -> T | None:
    """Await `work`, but cancel it and return None if the client goes away."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working = asyncio.ensure_future(work)
    watching = asyncio.create_task(disconnected(), name="watch for disconnect")
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


# --- the process ----------------------------------------------------------------


def main() -> int:
    """Run the server until it is told to stop; return the exit status."""
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"This needs Python 3.11; it was started with {found}.", file=sys.stderr)  # noqa: T201
        return 2
    try:
        settings = Settings()
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return _serve(settings)


def _serve(settings: Settings) -> int:
    failed = False

    def give_up() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, on_load_failure=give_up),
            host=settings.host,
            port=settings.port,
            log_level=settings.log_level,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.shutdown_grace_s,
        )
    )
    # uvicorn stops gracefully and then raises the signal again for whoever was
    # there first. That is us, and being told to stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run()
    return 1 if failed else 0


if __name__ == "__main__":
    status = main()
    # A download that hangs in the model's thread must not hold up the exit.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
