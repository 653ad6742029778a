"""Have the server transcribe one recording, in several formats at once.

The recording is sent once. Its last event has all words and times; the server makes
subtitles from them, by the rules that it has for `response_format=srt`.
"""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import httpx

from client.errors import CommandError
from client.place import Refused, headers, unreachable
from client.rest import Fields, check, events

Json = dict[str, Any]

# What texts are written as; the ending of a file is the same word.
TXT, SRT, VTT, JSON = FORMATS = ("txt", "srt", "vtt", "json")

# A server at work sends a comment every 10 s. Hours of words are long in making.
_SILENCE_S = 60.0
_SUBTITLES_S = 600.0

# How long to wait, in all, for a server that is busy or loads its model.
_PATIENCE_S = 900.0
_MAX_WAIT_S = 60.0


class ForAll(CommandError):
    """Every other recording would fail for the same reason."""


class Stopped(CommandError):
    """The command is ending; nobody waits for this recording any more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of recordings."""

    formats: tuple[str, ...]
    words: bool = False  # whether JSON has times of words
    language: str | None = None
    languages: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Texts:
    """What became of a recording.

    Attributes:
        by_format: Content of a file for each format.
        audio_s: Length of the recording in seconds, by its own clock.
    """

    by_format: dict[str, str]
    audio_s: float
    warnings: tuple[str, ...] = field(default=())


class Progress(Protocol):
    """Is told of text as it is found, and up to which second all is found."""

    def __call__(self, end_s: float, text: str, /) -> None: ...


class Engine(Protocol):
    """Something that transcribes recordings, several at the same time."""

    def transcribe(self, source: IO[bytes], name: str, progress: Progress) -> Texts:
        """Transcribe one, in the thread that calls.

        Raises:
            CommandError: The message says why not.
        """
        ...

    def stop(self) -> None:
        """Let the threads that wait in `transcribe` go."""
        ...


def json_text(body: Json) -> str:
    """Write JSON as people read it."""
    return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


class Remote:
    """The server at an address.

    Args:
        base: Its address, without a slash at the end.
        key: API key, if it has any.
        wanted: What to make of recordings.
    """

    def __init__(self, base: str, key: str | None, wanted: Wanted) -> None:
        self._base = base
        self._wanted = wanted
        self._stopped = threading.Event()
        self._client = httpx.Client(headers=headers(key), timeout=_SILENCE_S)

    def stop(self) -> None:
        self._stopped.set()

    def transcribe(self, source: IO[bytes], name: str, progress: Progress) -> Texts:
        waited_s = 0.0
        while True:
            source.seek(0)
            try:
                return self._texts(self._last_event(source, name, progress))
            except Refused as refused:
                if refused.for_all:
                    raise ForAll(str(refused)) from refused
                wait_s = refused.wait_s
                if wait_s is None or wait_s > _MAX_WAIT_S or waited_s > _PATIENCE_S:
                    raise
                if self._stopped.wait(max(1.0, wait_s)):
                    raise Stopped from refused
                waited_s += max(1.0, wait_s)
            except httpx.ConnectError as error:
                raise ForAll(str(unreachable(self._base, error))) from error
            except httpx.TransportError as error:
                raise CommandError(f"the connection failed: {error}") from error

    def _last_event(self, source: IO[bytes], name: str, progress: Progress) -> Json:
        with self._client.stream(
            "POST",
            f"{self._base}/v1/audio/transcriptions",
            files={"file": (Path(name).name, source)},
            data=self._fields(),
        ) as answer:
            if answer.is_error:
                answer.read()
                check(answer)
            for event in events(answer):
                if self._stopped.is_set():
                    raise Stopped
                if event["type"] == "transcript.text.done":
                    return event
                progress(event["end"], event["delta"])
        raise CommandError("the server's answer has no end")

    def _fields(self) -> Fields:
        granularities = ["segment"]
        if self._wanted.words or {SRT, VTT} & set(self._wanted.formats):
            granularities.append("word")
        fields: Fields = {
            "stream": "true",
            "response_format": "verbose_json",
            "timestamp_granularities[]": granularities,
        }
        if self._wanted.language:
            fields["language"] = self._wanted.language
        if self._wanted.languages:
            fields["languages[]"] = list(self._wanted.languages)
        if self._wanted.model:
            fields["model"] = self._wanted.model
        if self._wanted.keywords:
            fields["keywords[]"] = list(self._wanted.keywords)
        return fields

    def _texts(self, event: Json) -> Texts:
        by_format = {}
        for kind in self._wanted.formats:
            if kind == TXT:
                by_format[kind] = event["text"] + "\n"
            elif kind == JSON:
                by_format[kind] = json_text(self._verbose(event))
            else:
                by_format[kind] = self._subtitles(kind, event)
        warnings = tuple(each["message"] for each in event.get("warnings", ()))
        return Texts(by_format, event["duration"], warnings)

    def _verbose(self, event: Json) -> Json:
        """Return the fields of `verbose_json` that the last event has."""
        heard: Json = next(iter(event["languages"]), {"code": "und"})
        body: Json = {"task": "transcribe", "language": heard["code"]}
        if heard.get("probability") is not None:
            body["language_probability"] = heard["probability"]
        if event.get("script"):
            body["script"] = event["script"]
        body |= {
            "duration": event["duration"],
            "text": event["text"],
            "segments": event["segments"],
        }
        if self._wanted.words:
            return body | {"words": event["words"]}
        body["segments"] = [
            {name: value for name, value in segment.items() if name != "words"}
            for segment in event["segments"]
        ]
        return body

    def _subtitles(self, kind: str, event: Json) -> str:
        body = {
            "words": with_spaces(event["words"], event["text"]),
            "duration": event["duration"],
            "format": kind,
        }
        answer = self._client.post(
            f"{self._base}/v1/audio/subtitles", json=body, timeout=_SUBTITLES_S
        )
        check(answer)
        return answer.text


def with_spaces(words: list[Json], text: str) -> list[Json]:
    """Add to words whether a space stands before each in the text."""
    spaced, at = [], 0
    for word in words:
        found = text.find(word["word"], at)
        space = found > at and text[at:found].isspace()
        at = (at if found < 0 else found) + len(word["word"])
        times = {"start": word["start"], "end": word["end"]}
        spaced.append({"word": word["word"], **times, "space_before": space})
    return spaced
