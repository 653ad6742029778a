"""Show captions: confirmed text, pending text and finals.

In a terminal the current utterance is one line, which is rewritten; pending text is
dim, or in brackets if there are no colours. A long line shows only its end. Elsewhere
only finals are printed, one a line, so that they can be piped.
"""

import os
import shutil
import sys
from typing import TextIO

from wcwidth import wcswidth, wcwidth

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"


class Captions:
    """Write captions to a stream.

    Args:
        out: The output, usually standard output.
        live: Whether it is a terminal.
        colour: Whether it can show dim text.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        *,
        live: bool | None = None,
        colour: bool | None = None,
    ) -> None:
        self._out = sys.stdout if out is None else out
        self._live = self._out.isatty() if live is None else live
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._colour = not plain if colour is None else colour

    def show(self, confirmed: str, pending: str) -> None:
        """Show the current text of the utterance."""
        if not self._live:
            return
        width = shutil.get_terminal_size().columns - 3
        pending = _end_of(pending, width)
        confirmed = _end_of(confirmed, width - max(0, wcswidth(pending)))
        marked = f"{_DIM}{pending}{_PLAIN}" if self._colour else f"[{pending}]"
        self._write(f"{_CLEAR_LINE}{confirmed}{marked if pending else ''}")

    def finish(self, text: str) -> None:
        """Show the final of an utterance; an empty one leaves no line."""
        clear = _CLEAR_LINE if self._live else ""
        self._write(f"{clear}{text}\n" if text else clear)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _end_of(text: str, width: int) -> str:
    """Return as much of the end of `text` as fits into `width` columns."""
    taken = 0
    for index in range(len(text) - 1, -1, -1):
        taken += max(0, wcwidth(text[index]))
        if taken > width:
            return text[index + 1 :]
    return text
