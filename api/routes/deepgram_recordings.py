"""Serve recordings in Deepgram's form: the body is the file, the URL has the options.

The format of a file is found by its content; only bytes without a container have the
format that the URL states. A URL in the body is refused: this server downloads no
recordings.
"""

import asyncio
import hashlib
import uuid
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from api import deepgram_errors
from api.access_log import CLIENT_LEFT
from api.bodies import discard_rest, limited, pace_of, read, too_large
from api.errors import BadRequest
from api.models import ServedModel
from api.openapi import deepgram as described
from api.request_state import state_of
from api.routes.deepgram_live import model_info, model_uuid, now
from api.service import Service, require_model, service_of
from api.spool import NoRoom, SpoolUnavailable, spooling
from api.uploads import hold_place, unless_disconnected
from audio.container import recognise
from audio.decoder import Channels
from audio.samples import seconds
from audio.wav_header import WAV_HEADER_BYTES, wav_header
from languages.detection import detect
from languages.hints import Hints, read_hints
from protocols import warnings
from protocols.deepgram import messages as wire
from protocols.deepgram import parameters
from protocols.deepgram.parameters import (
    AudioFormat,
    BadParameter,
    RecordingParameters,
)
from protocols.deepgram.recordings import (
    ListenMetadata,
    ListenResponse,
    results_of,
)
from schemas import AnswerWarning
from text.transcript import Transcript

# Bytes of a body that are checked before it is spooled, and that stay in memory.
_HEAD_BYTES = 64 * 1024
_SPOOL_BYTES = 1024 * 1024

# A JSON body is not a recording, so it is short.
_MAX_JSON_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Body:
    """A received recording.

    Attributes:
        file: The spooled file.
        sha256: Hash of the body, in hexadecimal.
    """

    file: UploadFile
    sha256: str


def add_routes(app: FastAPI) -> None:
    """Add the route to the application."""

    @app.post(
        deepgram_errors.LISTEN,
        tags=["audio"],
        summary="Transcribe a recording, as Deepgram does",
        responses={200: described.LISTENED, **described.LISTEN_ERRORS},
        openapi_extra=described.RECORDING,
    )
    async def listen(request: Request) -> Response:
        """Transcribe the recording in the body."""
        return await _transcribe(request)


async def _transcribe(request: Request) -> Response:
    service = service_of(request)
    state = state_of(request.scope)
    state.transcription = True
    asked = _asked(request, service)
    model = require_model(service, asked.model)
    hints = read_hints(asked.language, strict=service.settings.language_strict)
    async with AsyncExitStack() as cleanup:
        cleanup.enter_context(hold_place(request, service))
        await _refuse_forms(request, service)
        body = await _read_body(request, service, asked.audio, cleanup)
        transcript = await unless_disconnected(
            request,
            model.files.transcribe(
                body.file.file,
                keywords=asked.keyterms,
                scripts=hints.scripts,
                channels=Channels.EACH if asked.multichannel else Channels.MIXED,
            ),
        )
        if transcript is None:
            return Response(status_code=CLIENT_LEFT)
        state.audio_s = seconds(transcript.n_heard)
        state.n_words = len(transcript.words)
        # Hours of words take seconds to write.
        return await asyncio.to_thread(
            _answer, request, service, model, asked, hints, body.sha256, transcript
        )


def _asked(request: Request, service: Service) -> RecordingParameters:
    try:
        return parameters.read_recording(
            request.query_params.multi_items(),
            known_model=lambda name: service.find_model(name) is not None,
            max_keyterms=service.settings.max_keywords,
        )
    except BadParameter as error:
        raise BadRequest(str(error), param=error.name) from error


async def _refuse_forms(request: Request, service: Service) -> None:
    """Refuse bodies that are not recordings."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        raise BadRequest(
            "Send the recording itself as the body (curl: --data-binary @audio.wav), "
            "not in a form.",
            code="invalid_content_type",
        )
    if kind != "application/json":
        return
    body = await read(
        request, max_bytes=_MAX_JSON_BYTES, pace=pace_of(service.settings)
    )
    if b'"url"' in body:
        raise BadRequest(
            "This server downloads no URLs; send the file itself as the body.",
            code="remote_content_error",
        )
    raise BadRequest(
        "The body is JSON; send the recording itself as the body.",
        code="invalid_content_type",
    )


async def _read_body(
    request: Request,
    service: Service,
    raw: AudioFormat | None,
    cleanup: AsyncExitStack,
) -> _Body:
    """Spool the body; bytes without a container get the header of a WAV file."""
    settings = service.settings
    within = limited(
        request,
        settings.max_upload_bytes,
        pace=pace_of(settings),
        refusal=too_large(settings.max_upload_bytes),
    )
    file = UploadFile(cast(BinaryIO, SpooledTemporaryFile(max_size=_SPOOL_BYTES)))
    cleanup.push_async_callback(_close, file)
    try:
        sha256 = await _keep(within, file, raw)
    except (NoRoom, SpoolUnavailable):
        await discard_rest(within)
        raise
    return _Body(file, sha256)


async def _keep(within: Request, file: UploadFile, raw: AudioFormat | None) -> str:
    """Write the body to a file; return its hash."""
    sha256 = hashlib.sha256()
    head = b""
    header: bytes | None = None
    n_bytes = 0
    async for piece in within.stream():
        sha256.update(piece)
        n_bytes += len(piece)
        if header is None:
            head += piece
            if len(head) < _HEAD_BYTES:
                continue
            header = _header(raw, head)
            piece = header + head
        with spooling():
            await file.write(piece)
    with spooling():
        if header is None:
            header = _header(raw, head)
            await file.write(header + head)
        if header and raw is not None:
            await file.seek(0)
            await file.write(
                wav_header(
                    raw.encoding, raw.sample_rate, n_bytes, n_channels=raw.n_channels
                )
            )
        await file.seek(0)
    return sha256.hexdigest()


async def _close(file: UploadFile) -> None:
    with suppress(OSError):  # what could not be written is thrown away
        await file.close()


def _header(raw: AudioFormat | None, head: bytes) -> bytes:
    """Return room for a header, if there is none and the URL states the format."""
    bare = raw is not None and head and not head.startswith(b"ID3")
    if bare and recognise(BytesIO(head)) is None:
        return bytes(WAV_HEADER_BYTES)
    return b""


def _metadata(
    request: Request,
    model: ServedModel,
    asked: RecordingParameters,
    hints: Hints,
    sha256: str,
    transcript: Transcript,
) -> ListenMetadata:
    return ListenMetadata(
        request_id=deepgram_errors.request_id_of(request.scope),
        sha256=sha256,
        created=now(),
        duration=seconds(transcript.n_samples),
        channels=transcript.n_channels,
        models=(model_uuid(model.name),),
        model_info={model_uuid(model.name): model_info(model.name)},
        tags=asked.tags or None,
        extra=dict(asked.extra) or None,
        warnings=wire.warnings_of(
            asked.ignored,
            unheard=model.keywords.left_out(asked.keyterms),
            others=(
                *model.warnings,
                *_cut_off(transcript),
                *warnings.languages_left_out(hints),
            ),
        ),
    )


def _cut_off(transcript: Transcript) -> tuple[AnswerWarning, ...]:
    return warnings.recording_cut_off(
        stated=transcript.stated, missing=transcript.missing
    )


def _warning_header(
    model: ServedModel, asked: RecordingParameters, transcript: Transcript
) -> dict[str, str]:
    """Write the warnings in the header that all doors have."""
    left_out = model.keywords.left_out(asked.keyterms)
    return warnings.in_header(
        (
            *model.warnings,
            *warnings.parameters_ignored(asked.ignored),
            *warnings.keywords_left_out(left_out),
            *_cut_off(transcript),
        )
    )


def _answer(
    request: Request,
    service: Service,
    model: ServedModel,
    asked: RecordingParameters,
    hints: Hints,
    sha256: str,
    transcript: Transcript,
) -> Response:
    metadata = _metadata(request, model, asked, hints, sha256, transcript)
    default = service.settings.default_lang or None
    results = results_of(
        transcript,
        asked,
        language_of=lambda text: detect(text, hints, default=default),
        new_id=lambda: str(uuid.uuid4()),
    )
    answer = ListenResponse(metadata=metadata, results=results)
    return Response(
        answer.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers=deepgram_errors.request_id_header(request.scope)
        | _warning_header(model, asked, transcript),
    )
