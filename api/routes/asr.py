"""The route of whisper-asr-webservice, to which subtitle programs send recordings.

All options are in the URL. Answers are plain text, except JSON, which has the form of
Whisper's own program.
"""

import asyncio
import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import FormData, UploadFile

from api import asr
from api.access_log import CLIENT_LEFT
from api.errors import BadRequest
from api.forms import n_files
from api.openapi import answers
from api.request_state import state_of
from api.routes.transcriptions import TRANSLATION_REFUSED, subtitles_of
from api.service import service_of
from api.uploads import (
    Upload,
    checked,
    hold_place,
    language_of,
    read_fields,
    unless_disconnected,
)
from audio.container import recognise
from audio.encoding import Encoding
from audio.samples import SAMPLE_RATE
from audio.wav_header import wav_header
from protocols.warnings import in_header
from text.transcript import Transcript

PATH = "/asr"

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")

_PIECE_BYTES = 1024 * 1024

# Names of the part with the recording; the first one goes before the other.
_FILE_NAMES = ("audio_file", "file")

Wanted = Annotated[
    str,
    Query(
        description="Format of the answer: `txt` (a line for each segment), `json`, "
        "`srt`, `vtt` or `tsv`.",
        examples=["srt"],
    ),
]
Task = Annotated[
    str,
    Query(description="Only `transcribe`.", examples=["transcribe"]),
]
Language = Annotated[
    str,
    Query(description="As in `/v1/audio/transcriptions`.", examples=["en"]),
]
Encode = Annotated[
    str,
    Query(
        description="`false`: the recording may be bare samples, 16 kHz, 16 bits, "
        "mono, little-endian.",
        examples=["true"],
    ),
]
WordTimestamps = Annotated[
    str,
    Query(description="`true`: segments in `json` have words.", examples=["false"]),
]


def add_routes(app: FastAPI) -> None:
    """Add the route to the application."""

    @app.post(
        PATH,
        tags=["audio"],
        summary="Transcribe a recording, as whisper-asr-webservice does",
        response_class=Response,
        responses={200: answers.ASR, **answers.ASR_ERRORS},
        openapi_extra=answers.ASR_FORM,
    )
    async def create_asr_transcription(
        request: Request,
        output: Wanted = "txt",
        task: Task = "transcribe",
        language: Language = "",
        encode: Encode = "true",
        word_timestamps: WordTimestamps = "false",
    ) -> Response:
        """Transcribe a recording; the answer has the form of Whisper's own program."""
        if output not in asr.OUTPUTS:
            raise BadRequest(
                f"output {output!r} is not supported; choose one of "
                f"{', '.join(asr.OUTPUTS)}.",
                param="output",
            )
        if task != "transcribe":
            raise BadRequest(
                TRANSLATION_REFUSED, param="task", code="translation_not_supported"
            )
        with_words = _switch("word_timestamps", word_timestamps)
        is_file = _switch("encode", encode)
        service = service_of(request)
        state_of(request.scope).transcription = True
        async with AsyncExitStack() as cleanup:
            cleanup.enter_context(hold_place(request, service))
            sent = await read_fields(request, service, cleanup)
            file = _audio_file(sent)
            if not is_file and recognise(file.file) is None:
                file = await asyncio.to_thread(_as_wav, file)
                cleanup.push_async_callback(file.close)
            fields = FormData([("file", file), ("language", language)])
            job = checked(request, service, fields)
            job.form = replace(job.form, n_files=n_files(sent, *_FILE_NAMES))
            transcript = await unless_disconnected(
                request,
                job.model.files.transcribe(file.file, scripts=job.hints.scripts),
            )
            if transcript is None:
                return Response(status_code=CLIENT_LEFT)
            job.note_end(transcript.n_samples, len(transcript.words))
            return await asyncio.to_thread(
                _answer, job, transcript, output, with_words=with_words
            )


def _switch(name: str, value: str) -> bool:
    if value.lower() not in _TRUE + _FALSE:
        raise BadRequest(f"{name} {value!r} must be true or false.", param=name)
    return value.lower() in _TRUE


def _audio_file(fields: FormData) -> UploadFile:
    found = [fields.get(name) for name in _FILE_NAMES]
    file = next((each for each in found if each), None)
    if not isinstance(file, UploadFile):
        raise BadRequest(
            "The form has no file named 'audio_file' (curl: -F audio_file=@audio.wav).",
            param="audio_file",
            code="missing_required_parameter",
        )
    return file


def _as_wav(samples: UploadFile) -> UploadFile:
    """Put a header before bare samples; the caller closes the returned file."""
    spooled = tempfile.SpooledTemporaryFile(max_size=_PIECE_BYTES)
    n_bytes = samples.file.seek(0, os.SEEK_END)
    samples.file.seek(0)
    spooled.write(wav_header(Encoding.S16LE, SAMPLE_RATE, n_bytes))
    shutil.copyfileobj(samples.file, spooled, _PIECE_BYTES)
    return UploadFile(spooled, filename="samples.wav")  # type: ignore[arg-type]


def _answer(
    job: Upload, transcript: Transcript, output: str, *, with_words: bool
) -> Response:
    """Write a transcript in a format of whisper-asr-webservice."""
    warnings = job.warnings_about(transcript)
    headers = in_header(warnings)
    if output in ("srt", "vtt"):
        return PlainTextResponse(subtitles_of(transcript, output), headers=headers)
    if output == "json":
        body = asr.json(
            transcript,
            language=language_of(job, transcript.text).tag or "und",
            with_words=with_words,
            warnings=warnings,
        )
        return JSONResponse(body, headers=headers)
    write = asr.tsv if output == "tsv" else asr.txt
    return PlainTextResponse(write(transcript.segments), headers=headers)
