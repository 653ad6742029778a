"""The routes below `/v1/audio`: a form comes in, a transcript goes out.

A request holds one of the server's places from its first byte to its last, and
gives it back however it ends: answered, refused, or abandoned by its client.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.types import Message, Receive, Scope, Send

import schemas
from api.access_log import CLIENT_LEFT, record_of
from api.errors import BadRequest, error_body, refusal_of
from api.forms import TranscriptionForm, parse_form, read_form
from api.openapi import document
from api.service import Service, require_model, service_of
from audio import frames
from audio.samples import seconds
from engine.interface import NotReady, QueueFull
from languages import codes
from text import subtitles
from text.transcript import Segment, Transcript

logger = logging.getLogger("omniasr")

T = TypeVar("T")

# An event stream begins with its first event, so that an error before it can
# still be a status. Where there is none for so long, it begins without.
_FIRST_EVENT_WITHIN_S = 5.0
# A comment now and then tells proxies and clients that the connection lives.
_COMMENT_EVERY_S = 10.0


def add_routes(app: FastAPI) -> None:
    """Add the routes below `/v1/audio`."""

    @app.post(
        "/v1/audio/transcriptions",
        tags=["audio"],
        operation_id="createTranscription",
        summary="Transcribe a recording",
        responses={200: document.TRANSCRIPT, **document.TRANSCRIPTION_ERRORS},
        openapi_extra=document.FORM,
    )
    async def transcriptions(request: Request) -> Response:
        """Write what is said, in the language in which it is said."""
        return await _transcribe(request)

    @app.post(
        "/v1/audio/transcriptions/stream",
        tags=["audio"],
        operation_id="streamTranscription",
        summary="Transcribe a recording, as events",
        response_class=StreamingResponse,
        responses={200: document.EVENTS, **document.TRANSCRIPTION_ERRORS},
        openapi_extra=document.FORM,
    )
    async def stream(request: Request) -> Response:
        """Send the text as it is found: the same as `stream=true`."""
        return await _transcribe(request, stream=True)

    @app.post(
        "/v1/audio/translations",
        tags=["audio"],
        operation_id="createTranslation",
        summary="Not offered",
        status_code=400,
        responses=document.TRANSLATION_ERRORS,
    )
    async def translations(request: Request) -> Response:
        """Refuse: these models write what was said, in the language it was said in."""
        raise BadRequest(
            "omniASR models do not translate. POST /v1/audio/transcriptions writes "
            "the text in the language that is spoken.",
            code="translation_not_supported",
        )


@dataclass(slots=True)
class _Job:
    """A request whose form is read and checked."""

    request: Request
    service: Service
    form: TranscriptionForm
    hint: str | None

    @property
    def id(self) -> str:
        return str(self.request.scope["request_id"])

    def note_end(self, n_samples: int, n_words: int) -> None:
        record = record_of(self.request.scope)
        record.audio_s = seconds(n_samples)
        record.n_words = n_words


async def _transcribe(request: Request, *, stream: bool = False) -> Response:
    service = service_of(request)
    record_of(request.scope).transcription = True
    if not service.ready:
        raise NotReady("The model is still loading; GET /ready tells how far.")
    if service.n_requests >= service.settings.max_requests:
        raise QueueFull(retry_after_s=1)
    async with AsyncExitStack() as cleanup:
        service.n_requests += 1
        cleanup.callback(_leave, service)
        job = await _read(request, service, cleanup)
        if stream or job.form.stream:
            events = _EventStream(job, cleanup.pop_all())
            return await events.response()
        transcript = await _unless_disconnected(
            request, service.files.transcribe(job.form.file.file)
        )
        if transcript is None:
            return Response(status_code=CLIENT_LEFT)
        job.note_end(transcript.n_samples, len(transcript.words))
        # Hours of words take seconds to cut into subtitles.
        return await asyncio.to_thread(_answer, job, transcript)


def _leave(service: Service) -> None:
    service.n_requests -= 1


async def _read(request: Request, service: Service, cleanup: AsyncExitStack) -> _Job:
    """Read and check the form; `cleanup` deletes what was spooled."""
    form_data = await read_form(
        request,
        max_bytes=service.settings.max_upload_bytes,
        max_field_bytes=service.settings.max_field_bytes,
        idle_s=service.settings.max_idle_s,
    )
    cleanup.push_async_callback(form_data.close)
    form = parse_form(form_data)
    require_model(service, form.model)
    hint = codes.resolve_language(form.language)
    return _Job(request, service, form, hint)


def _answer(job: _Job, transcript: Transcript) -> Response:
    """Write a transcript in the format that was asked for."""
    form = job.form
    if form.response_format == "text":
        return PlainTextResponse(transcript.text + "\n")
    if form.response_format in ("srt", "vtt"):
        cues = subtitles.cues(transcript.words, n_samples=transcript.end)
        if form.response_format == "srt":
            return PlainTextResponse(subtitles.srt(cues))
        return PlainTextResponse(subtitles.vtt(cues), media_type="text/vtt")
    language = _language(job, transcript.text)
    if form.response_format == "verbose_json":
        return JSONResponse(
            schemas.verbose_transcription(
                transcript,
                language=language or "und",
                granularities=form.granularities,
            )
        )
    return JSONResponse(
        schemas.transcription(transcript, language=language, logprobs=form.logprobs)
    )


def _language(job: _Job, text: str) -> str | None:
    """Return the BCP-47 tag of a text's language, where it is known."""
    default = job.service.settings.default_lang or None
    found = codes.infer_language(text, hint=job.hint, default=default)
    return codes.to_bcp47(found) if found else None


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


class _EventStream:
    """Server-sent events of one transcription, as OpenAI sends them.

    Only `data:` lines: deltas, which joined are the text of the last event, and
    that event. A failure in mid-stream is an event too, which SDKs raise.

    Args:
        job: What to transcribe.
        cleanup: Closed when the stream ends, however it does.
    """

    def __init__(self, job: _Job, cleanup: AsyncExitStack) -> None:
        self._job = job
        self._cleanup = cleanup
        self._text: list[str] = []
        self._n_tokens = 0
        self._n_words = 0
        self._generator = self._events()
        self._coming: asyncio.Future[str] | None = None

    @property
    def id(self) -> str:
        return self._job.id

    async def response(self) -> Response:
        """Begin to transcribe; answer once there is something to say.

        Raises:
            What transcribing raises before the first event.
        """
        self._coming = asyncio.ensure_future(anext(self._generator))
        try:
            await asyncio.wait({self._coming}, timeout=_FIRST_EVENT_WITHIN_S)
            if self._coming.done():
                self._coming.result()
        except BaseException:
            await self.close()
            raise
        return _EventStreamResponse(self, self._job.service.settings.max_idle_s)

    async def body(self) -> AsyncIterator[str]:
        """Send events as they come, comments while none does, errors at last."""
        assert self._coming is not None
        try:
            while True:
                done, _ = await asyncio.wait({self._coming}, timeout=_COMMENT_EVERY_S)
                if not done:
                    yield ": still at work\n\n"
                    continue
                yield self._coming.result()
                self._coming = asyncio.ensure_future(anext(self._generator))
        except StopAsyncIteration:
            pass
        except Exception as error:
            logger.exception("Request %s failed in mid-stream.", self.id)
            message, refusal = refusal_of(error)
            self._job.request.scope["refusal"] = refusal
            yield _event(error_body(message, refusal))

    async def close(self) -> None:
        """Stop what is going on and give everything back."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        await self._generator.aclose()
        await self._cleanup.aclose()

    async def _events(self) -> AsyncGenerator[str]:
        job = self._job
        n_samples = end = 0
        async with aclosing(
            job.service.files.transcribe_stream(job.form.file.file)
        ) as advances:
            async for advance in advances:
                end = advance.position
                n_samples = end - advance.start
                for passage in advance.passages:
                    yield self._delta(passage.part)
        text = "".join(self._text)
        job.note_end(n_samples, self._n_words)
        n_frames = frames.n_frames(n_samples)
        yield _event(
            {
                "type": "transcript.text.done",
                "text": text,
                **self._summary(text, end),
                "usage": {
                    "type": "tokens",
                    "input_tokens": n_frames,
                    "output_tokens": self._n_tokens,
                    "total_tokens": n_frames + self._n_tokens,
                },
            }
        )

    def _delta(self, part: Segment) -> str:
        space = " " if self._text and part.words[0].space_before else ""
        self._text.append(space + part.text)
        self._n_tokens += len(part.tokens)
        self._n_words += len(part.words)
        return _event(
            {
                "type": "transcript.text.delta",
                "delta": self._text[-1],
                "end": seconds(part.end),
                **self._words(part),
            }
        )

    def _words(self, part: Segment) -> dict[str, Any]:
        """Give a delta the times of its words, if they were asked for."""
        if not self._job.form.wants_words:
            return {}
        return {"words": [word.model_dump() for word in schemas.words(part.words)]}

    def _summary(self, text: str, end: int) -> dict[str, Any]:
        """Give the last event what `verbose_json` has besides words."""
        if self._job.form.response_format != "verbose_json":
            return {}
        language = _language(self._job, text)
        return {
            "duration": seconds(end),
            "languages": [{"code": language}] if language else [],
        }


class _EventStreamResponse(StreamingResponse):
    """Closes its stream however it ends, also before its body was begun.

    A client that reads nothing for `idle_s` has gone away.
    """

    def __init__(self, stream: _EventStream, idle_s: float) -> None:
        super().__init__(
            stream.body(),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
        self._stream = stream
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stalled = False

        async def send_in_time(message: Message) -> None:
            nonlocal stalled
            try:
                async with asyncio.timeout(self._idle_s):
                    await send(message)
            except TimeoutError:
                stalled = True
                raise

        try:
            await super().__call__(scope, receive, send_in_time)
        except Exception:
            if not stalled:
                raise
            logger.warning("Request %s: nobody reads the answer.", self._stream.id)
        finally:
            await self._stream.close()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
