"""Read an upload, hold its place, and notice if its client leaves.

A request holds one of the server's places from its first byte to its end, and gives it
back in any case: answered, refused, or abandoned by its client.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from fastapi import Request
from starlette.datastructures import FormData

from api.bodies import pace_of
from api.envelopes import read_form
from api.errors import BadRequest
from api.forms import TranscriptionForm, parse_form
from api.models import ServedModel
from api.request_state import state_of
from api.service import Service, require_model
from audio.samples import seconds
from languages.detection import Detected, detect
from languages.hints import Hints, TooManyLanguages, read_hints
from protocols import warnings
from schemas import AnswerWarning
from text.transcript import Transcript

T = TypeVar("T")


@dataclass(slots=True)
class Upload:
    """A request with its checked form."""

    request: Request
    service: Service
    model: ServedModel
    form: TranscriptionForm
    hints: Hints

    @property
    def id(self) -> str:
        return state_of(self.request.scope).id

    @property
    def warnings(self) -> tuple[AnswerWarning, ...]:
        """What is known before the transcription."""
        return (
            *self.model.warnings,
            *warnings.files_left_out(self.form.n_files),
            *warnings.keywords_left_out(
                self.model.keywords.left_out(self.form.keywords)
            ),
            *warnings.languages_left_out(self.hints),
        )

    def warnings_about(self, transcript: Transcript) -> tuple[AnswerWarning, ...]:
        """What was not done as asked, or should be known."""
        return (
            *self.warnings,
            *warnings.recording_cut_off(
                stated=transcript.stated, missing=transcript.missing
            ),
        )

    def note_end(self, n_samples: int, n_words: int) -> None:
        state = state_of(self.request.scope)
        state.audio_s = seconds(n_samples)
        state.n_words = n_words


@contextmanager
def hold_place(request: Request, service: Service) -> Iterator[None]:
    """Hold one of the places for recordings.

    Raises:
        NotReady, NoRoom, SpoolUnavailable: No recordings are taken at present.
        QueueFull: There is no place for this client.
    """
    service.require_open()
    with service.places.one(state_of(request.scope).client):
        yield


async def read_fields(
    request: Request, service: Service, cleanup: AsyncExitStack
) -> FormData:
    """Read the form; `cleanup` deletes the spooled file."""
    form_data = await read_form(
        request,
        max_bytes=service.settings.max_upload_bytes,
        max_field_bytes=service.settings.max_field_bytes,
        max_keywords=service.settings.max_keywords,
        pace=pace_of(service.settings),
        turn=service.json_turn,
    )
    cleanup.push_async_callback(form_data.close)
    return form_data


def checked(
    request: Request, service: Service, fields: FormData, *, model: str | None = None
) -> Upload:
    """Check a form.

    Args:
        model: Goes before the model that the form names.

    Raises:
        BadRequest: Something in it cannot be honoured.
    """
    form = parse_form(fields, max_keywords=service.settings.max_keywords)
    if model is not None:
        form = replace(form, model=model)
    served = require_model(service, form.model)
    hints = _hints(form, strict=service.settings.language_strict)
    return Upload(request, service, served, form, hints)


def _hints(form: TranscriptionForm, *, strict: bool) -> Hints:
    """Read the languages of a form.

    Raises:
        BadRequest: One that would restrict the text is unknown, or there are too many.
    """
    try:
        hints = read_hints(form.language, form.languages, strict=strict)
    except TooManyLanguages as error:
        raise BadRequest(str(error), param="languages") from error
    for unknown in hints.unknown:
        param = "languages" if form.languages else "language"
        raise BadRequest(str(unknown), param=param, code="unsupported_language")
    return hints


def language_of(job: Upload, text: str) -> Detected:
    """Return what is known about the language of a text."""
    default = job.service.settings.default_lang or None
    return detect(text, job.hints, default=default)


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T | None:
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
