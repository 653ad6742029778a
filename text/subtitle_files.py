"""Write subtitles as SubRip (SRT) and as WebVTT.

Cues of one speaker do not overlap; those of different speakers may, and players show
both. A speaker's name is a voice span in WebVTT. SubRip has no such thing, so there it
stands before the text, as subtitlers write it; it is not counted as part of the line.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audio.samples import SAMPLE_RATE
from text.subtitles import Cue


@dataclass(frozen=True, slots=True)
class _Written:
    """A cue and its times in milliseconds."""

    start_ms: int
    end_ms: int
    cue: Cue


def srt(cues: Sequence[Cue]) -> str:
    """Write cues as SubRip, a format without escapes and header.

    Players read a line with `-->` as times, so the text gets another arrow.
    """
    return "".join(
        f"{number}\n{_clock(own.start_ms, ',')} --> {_clock(own.end_ms, ',')}\n"
        f"{_named(own.cue).replace('-->', '→')}\n\n"
        for number, own in enumerate(_in_order(cues), start=1)
    )


def vtt(cues: Sequence[Cue]) -> str:
    """Write cues as WebVTT."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(own.start_ms, '.')} --> {_clock(own.end_ms, '.')}\n"
        f"{_voiced(own.cue)}\n\n"
        for own in _in_order(cues)
    )


def _named(cue: Cue) -> str:
    return cue.text if cue.speaker is None else f"{cue.speaker}: {cue.text}"


def _voiced(cue: Cue) -> str:
    text = _escaped(cue.text)
    return text if cue.speaker is None else f"<v {_escaped(cue.speaker)}>{text}</v>"


def _in_order(cues: Iterable[Cue]) -> list[_Written]:
    """Round times, and sort by them.

    Every cue lasts at least 1 ms, and no two of one speaker overlap.
    """
    found: list[_Written] = []
    earliest: dict[str | None, int] = {}
    for cue in cues:
        start = max(_milliseconds(cue.start), earliest.get(cue.speaker, 0))
        end = earliest[cue.speaker] = max(_milliseconds(cue.end), start + 1)
        found.append(_Written(start, end, cue))
    return sorted(found, key=lambda own: own.start_ms)


def _milliseconds(position: int) -> int:
    return (position * 1000 + SAMPLE_RATE // 2) // SAMPLE_RATE


def _clock(time_ms: int, point: str) -> str:
    """Write a time as 00:00:00.000, with more digits for many hours."""
    seconds, ms = divmod(time_ms, 1000)
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:02}:{m:02}:{s:02}{point}{ms:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
