"""Write subtitles as SubRip (SRT) and as WebVTT.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterable, Iterator, Sequence

from audio.samples import SAMPLE_RATE
from text.subtitles import Cue


def srt(cues: Sequence[Cue]) -> str:
    """Write cues as SubRip, a format without escapes and header.

    Players read a line with `-->` as times, so the text gets another arrow.
    """
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n"
        f"{cue.text.replace('-->', '→')}\n\n"
        for number, (cue, (start, end)) in enumerate(
            zip(cues, _times_ms(cues), strict=True), start=1
        )
    )


def vtt(cues: Sequence[Cue]) -> str:
    """Write cues as WebVTT."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(cue.text)}\n\n"
        for cue, (start, end) in zip(cues, _times_ms(cues), strict=True)
    )


def _times_ms(cues: Iterable[Cue]) -> Iterator[tuple[int, int]]:
    """Round times so that every cue lasts at least 1 ms and no two overlap."""
    earliest = 0
    for cue in cues:
        start = max(_milliseconds(cue.start), earliest)
        earliest = max(_milliseconds(cue.end), start + 1)
        yield start, earliest


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
