"""The routes for recordings: a form comes in, a transcript goes out."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)

import schemas
from api.access_log import CLIENT_LEFT
from api.errors import BadRequest
from api.openapi import answers
from api.request_state import state_of
from api.routes.event_stream import EventStream
from api.service import service_of
from api.uploads import (
    Upload,
    checked,
    hold_place,
    language_of,
    read_fields,
    unless_disconnected,
)
from protocols.warnings import in_header
from text import subtitles
from text.subtitle_files import srt, vtt
from text.subtitles import Cue
from text.transcript import Transcript

TRANSLATION_REFUSED = (
    "omniASR models do not translate. POST /v1/audio/transcriptions writes the text in "
    "the language that is spoken."
)

Deployment = Annotated[
    str,
    Path(description="A model's name or an alias of it.", examples=["whisper-1"]),
]
ApiVersion = Annotated[
    str,
    Query(
        alias="api-version",
        description="Clients of Azure send it; every version is the same here.",
        examples=["2025-04-01-preview"],
    ),
]


def add_routes(app: FastAPI) -> None:
    """Add the routes below `/v1/audio`, and those of Azure."""

    @app.post(
        "/v1/audio/transcriptions",
        tags=["audio"],
        summary="Transcribe a recording",
        responses={200: answers.TRANSCRIPT, **answers.TRANSCRIPTION_ERRORS},
        openapi_extra=answers.FORM,
    )
    async def create_transcription(request: Request) -> Response:
        """Transcribe a recording, in the language that is spoken."""
        return await _transcribe(request)

    @app.post(
        "/v1/audio/transcriptions/stream",
        tags=["audio"],
        summary="Transcribe a recording, as events",
        response_class=StreamingResponse,
        responses={200: answers.EVENTS, **answers.TRANSCRIPTION_ERRORS},
        openapi_extra=answers.FORM,
    )
    async def stream_transcription(request: Request) -> Response:
        """Send the text as it is found: the same as `stream=true`."""
        return await _transcribe(request, stream=True)

    @app.post(
        "/openai/deployments/{name:path}/audio/transcriptions",
        tags=["audio"],
        summary="Transcribe a recording, as Azure has it",
        responses={200: answers.TRANSCRIPT, **answers.TRANSCRIPTION_ERRORS},
        openapi_extra=answers.FORM,
    )
    async def azure_transcription(
        request: Request, name: Deployment, version: ApiVersion = ""
    ) -> Response:
        """Do the same at Azure's URL, which has the model's name in it."""
        return await _transcribe(request, model=name)

    @app.post(
        "/v1/audio/translations",
        tags=["audio"],
        summary="Not offered",
        status_code=400,
        responses=answers.TRANSLATION_ERRORS,
    )
    async def create_translation(request: Request) -> Response:
        """Refuse: these models write text in the language that is spoken."""
        raise BadRequest(TRANSLATION_REFUSED, code="translation_not_supported")


async def _transcribe(
    request: Request, *, stream: bool = False, model: str | None = None
) -> Response:
    service = service_of(request)
    state_of(request.scope).transcription = True
    async with AsyncExitStack() as cleanup:
        cleanup.enter_context(hold_place(request, service))
        fields = await read_fields(request, service, cleanup)
        job = checked(request, service, fields, model=model)
        if stream or job.form.stream:
            events = EventStream(job, cleanup.pop_all())
            return await events.response()
        job.form.check_words()
        transcript = await unless_disconnected(
            request,
            job.model.files.transcribe(
                job.form.file.file,
                keywords=job.form.keywords,
                channels=job.form.channels,
                scripts=job.hints.scripts,
            ),
        )
        if transcript is None:
            return Response(status_code=CLIENT_LEFT)
        job.note_end(transcript.n_heard, len(transcript.words))
        # Hours of words take seconds to cut into subtitles.
        return await asyncio.to_thread(_answer, job, transcript)


def _answer(job: Upload, transcript: Transcript) -> Response:
    """Write a transcript in the requested format."""
    form = job.form
    warnings = job.warnings_about(transcript)
    headers = in_header(warnings)
    if form.response_format == "text":
        return PlainTextResponse(transcript.text + "\n", headers=headers)
    if form.response_format in ("srt", "vtt"):
        media_type = "text/vtt" if form.response_format == "vtt" else "text/plain"
        text = subtitles_of(transcript, form.response_format)
        return PlainTextResponse(text, media_type=media_type, headers=headers)
    if form.is_diarized:
        return JSONResponse(
            schemas.diarized_transcription(transcript, warnings=warnings),
            headers=headers,
        )
    language = language_of(job, transcript.text)
    if form.is_verbose:
        return JSONResponse(
            schemas.verbose_transcription(
                transcript,
                language=language,
                granularities=form.granularities,
                warnings=warnings,
            ),
            headers=headers,
        )
    return JSONResponse(
        schemas.transcription(
            transcript,
            language=language,
            logprobs=form.logprobs,
            warnings=warnings,
        ),
        headers=headers,
    )


def subtitles_of(transcript: Transcript, kind: str) -> str:
    """Write a transcript as `srt` or `vtt`; for hours of words, it takes seconds."""
    found: list[Cue] = []
    for channel in transcript.channels:
        found += subtitles.cues(
            transcript.of_channel(channel).words,
            n_samples=transcript.end,
            speaker=None if channel is None else schemas.speaker(channel),
        )
    return srt(found) if kind == "srt" else vtt(found)
