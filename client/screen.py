"""Show how far many recordings are: a bar for each at work, one for all, a table."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm
from wcwidth import wcswidth

from client.recordings import Recording
from client.rest import stated_length

_ONE = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f} of {total:.0f} s"
_UNKNOWN_LENGTH = "{desc}: {n:.0f} s"
_ALL = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f} of {total:.0f}, {remaining} left"

# Columns of a name in front of a bar.
_NAME_WIDTH = 28


class Bars:
    """Bars on standard error, if that is a terminal.

    Args:
        n_recordings: Recordings in all; 0 for no bar of all of them.
    """

    def __init__(self, n_recordings: int) -> None:
        self._hidden = not sys.stderr.isatty()
        self._each: dict[int, tqdm[NoReturn]] = {}
        self._all: tqdm[NoReturn] | None = None
        if n_recordings:
            self._all = tqdm(
                total=n_recordings,
                desc="All",
                position=0,
                bar_format=_ALL,
                disable=self._hidden,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self._each.values():
            bar.close()
        if self._all is not None:
            self._all.close()

    def advance(
        self, number: int, recording: Recording, end_s: float
    ) -> "tqdm[NoReturn]":
        """Move a recording's bar to a second; return the bar."""
        if number not in self._each:
            self._each[number] = self._begin(recording)
        bar = self._each[number]
        bar.update(max(0.0, end_s - bar.n))
        return bar

    def end(self, number: int) -> None:
        """Take a recording's bar away; the bar of all moves on."""
        bar = self._each.pop(number, None)
        if bar is not None:
            if bar.total:
                bar.update(max(0.0, bar.total - bar.n))
            bar.close()
        if self._all is not None:
            self._all.update()

    def say(self, line: str) -> None:
        """Print a line to standard error, above the bars."""
        if self._hidden:
            print(line, file=sys.stderr)
        else:
            tqdm.write(line, file=sys.stderr)

    def say_elsewhere(self, line: str) -> None:
        """Print a line to standard error if there are no bars."""
        if self._hidden:
            self.say(line)

    def _begin(self, recording: Recording) -> "tqdm[NoReturn]":
        length_s = stated_length(recording.path) if recording.path else None
        taken = {abs(bar.pos) for bar in self._each.values()}
        first = 0 if self._all is None else 1
        free = next(k for k in range(first, len(taken) + 2) if k not in taken)
        return tqdm(
            total=length_s and round(length_s, 1),
            desc=shortened(recording.name),
            position=free,
            leave=self._all is None,
            bar_format=_ONE if length_s else _UNKNOWN_LENGTH,
            disable=self._hidden,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A recording in the table: its length, or why there is no text."""

    name: str
    audio_s: float = 0.0
    error: str | None = None


def table(rows: Sequence[Row]) -> str:
    """Write what became of recordings, a line for each."""
    width = max((wcswidth(row.name) for row in rows), default=0)
    return "\n".join(
        f"{row.name}{' ' * (width - wcswidth(row.name))}  "
        f"{f'failed  {row.error}' if row.error else f'done    {duration(row.audio_s)}'}"
        for row in rows
    )


def duration(seconds: float) -> str:
    """Write a duration as 9.0 s, 1:30 or 2:03:04."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def shortened(name: str) -> str:
    """Return the end of a name that is too long for the front of a bar."""
    return name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"
