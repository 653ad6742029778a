"""How log lines look, and how they are written without anything waiting for that.

A program that collects log lines may stop reading them. Writing to its pipe then
blocks, and would stop the event loop, and with it every stream. So lines wait in a
queue of limited length, and a thread of its own writes them. If the queue is full, new
lines are dropped and counted; the log says how many, once lines are read again.
"""

import json
import logging
import os
import queue
import threading
import time
from datetime import UTC, datetime
from typing import Any

from api.ids import PROCESS

# Lines that may wait; some megabytes.
_MOST_WAITING = 10_000

# Seconds until a descriptor that takes nothing at present is tried again.
_TRY_AGAIN_S = 0.05

_STDERR = 2


class JsonLines(logging.Formatter):
    """Format each record as a JSON object, with its further fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": PROCESS,
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class QueuedLines(logging.Handler):
    """Write lines in a thread of its own; never wait.

    Args:
        descriptor: File descriptor that lines are written to, without Python's
            buffers, whose locks a blocked write would hold.
        most_waiting: Most lines that may wait.

    Attributes:
        n_dropped: Lines that were dropped so far.
    """

    def __init__(
        self, descriptor: int = _STDERR, *, most_waiting: int = _MOST_WAITING
    ) -> None:
        super().__init__()
        self.n_dropped = 0
        self._n_told = 0  # of the dropped ones
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or drop it."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.n_dropped += 1

    def drain(self, timeout_s: float) -> None:
        """Wait until all lines are written, but no longer than some seconds."""
        deadline = time.monotonic() + timeout_s
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            self._write(line)
            if n := self.n_dropped - self._n_told:
                self._n_told += n
                self._write(self._about_dropped(n))
            self._lines.task_done()

    def _about_dropped(self, n: int) -> str:
        message = "%d log lines were dropped: they were not read in time."
        return self.format(
            logging.LogRecord(
                "omniasr", logging.WARNING, __file__, 0, message, (n,), None
            )
        )

    def _write(self, line: str) -> None:
        left = f"{line}\n".encode(errors="backslashreplace")
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                time.sleep(_TRY_AGAIN_S)
            except OSError:  # no one reads it any more
                self.n_dropped += 1
                self._n_told += 1
                return


def start_logging(*, level: str, style: str) -> QueuedLines:
    """Print log lines to stderr, including those of libraries.

    Args:
        level: Lowest level that is printed.
        style: `text` or `json`.
    """
    handler = QueuedLines()
    if style == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
    logging.basicConfig(level=level.upper(), handlers=[handler])
    return handler
