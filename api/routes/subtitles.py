"""The route that makes subtitles from words that a client already has.

A recording's subtitles come with its transcription. Those of a live stream cannot: its
words come one utterance at a time, and where a subtitle ends depends on the words after
it. So a client that has kept the words sends them here, as our page does, and gets the
same subtitles as with `response_format=srt`. No model takes part, and nothing is kept.

Hours of words take seconds to divide, in a thread, one request after another: several
at once would only take the event loop's time from live streams.
"""

import asyncio
import re

from fastapi import FastAPI, Request
from fastapi.responses import Response

from api import bodies
from api.errors import BadRequest
from api.openapi import answers
from api.places import Places
from api.request_state import state_of
from api.service import service_of
from audio.samples import SAMPLE_RATE
from schemas import SubtitleRequest, SubtitleWord
from text import subtitles
from text.ctc import Word
from text.subtitle_files import srt, vtt

PATH = "/v1/audio/subtitles"

# Four hours, the longest session, of a script without spaces, whose every character is
# a word with times of its own, spoken at 15 a second: 216 000 of 75 bytes each.
MAX_BODY_BYTES = 20_000_000

# Most requests that are read or wait for their turn; each holds its body meanwhile.
MAX_AT_ONCE = 8

_MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}

# Characters that would end a line of a subtitle, or the subtitle.
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def add_routes(app: FastAPI) -> None:
    """Add the route to the application."""
    places = Places(MAX_AT_ONCE)
    turn = asyncio.Lock()

    @app.post(
        PATH,
        tags=["audio"],
        summary="Make subtitles from words",
        response_class=Response,
        responses={200: answers.SUBTITLES, **answers.SUBTITLE_ERRORS},
        openapi_extra=answers.SUBTITLE_REQUEST,
    )
    async def create_subtitles(request: Request) -> Response:
        """Write words and their times as SRT or WebVTT."""
        with places.one(state_of(request.scope).client):
            body = await bodies.read(
                request,
                max_bytes=MAX_BODY_BYTES,
                pace=bodies.pace_of(service_of(request).settings),
            )
            async with turn:
                return await asyncio.to_thread(answer, body)


def answer(body: bytes) -> Response:
    """Make the subtitles for a body.

    Raises:
        BadRequest: It names the first wrong field.
    """
    asked = bodies.parse(body, SubtitleRequest)
    n_samples = None if asked.duration is None else _position(asked.duration)
    cues = subtitles.cues(_words(asked.words), n_samples=n_samples)
    text = srt(cues) if asked.format == "srt" else vtt(cues)
    media_type = f"{_MEDIA_TYPES[asked.format]}; charset=utf-8"
    return Response(text, media_type=media_type)


def _words(asked: list[SubtitleWord]) -> tuple[Word, ...]:
    """Check words beyond what their types say.

    Raises:
        BadRequest: It names the first wrong field.
    """
    earliest = 0.0
    for number, word in enumerate(asked):
        where = f"words.{number}"
        if not word.word.strip() or _BREAKS.search(word.word):
            raise BadRequest(
                f"{where}.word has to be text without line breaks or other control "
                "characters.",
                param=f"{where}.word",
            )
        if word.end < word.start:
            raise BadRequest(
                f"{where}.end: the word ends ({word.end:g} s) before it starts "
                f"({word.start:g} s).",
                param=f"{where}.end",
            )
        if word.start < earliest:
            raise BadRequest(
                f"{where}.start: the word starts ({word.start:g} s) before the one "
                f"before it ({earliest:g} s). Send words in the order of their "
                "starts.",
                param=f"{where}.start",
            )
        earliest = word.start
    return tuple(
        Word(
            word.word,
            _position(word.start),
            _position(word.end),
            confidence=1.0,  # subtitles do not show it
            space_before=word.space_before,
        )
        for word in asked
    )


def _position(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
