"""Put an operator's filter behind finals and recordings.

A filter is a function that takes the text of a segment in spoken form and returns it in
written form, with punctuation, capital letters or digits. It may be slow, fail or hang;
no text is held up or lost by that. It runs in a thread of its own, one call at a time,
so it need not be thread-safe; finals of live streams go before recordings. A call has a
deadline. After it, or after an error, the text stays as it is, and while a call is
overdue, no other text waits for it.

The filter gets text without a name and without a language, and the log never says what
it got.
"""

import asyncio
import importlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Protocol

from text import ctc
from text.ctc import Word
from text.transcript import Segment
from text.written_form import pieces, rewritten, written

logger = logging.getLogger(__name__)

ENTRY_POINTS = "omniasr_server.text_filters"

# What a filter is given when it is loaded, to see whether it works.
_REHEARSAL = "one two three"

Filter = Callable[[str], str]


class Outcome(StrEnum):
    """What became of a text that was to be filtered."""

    DONE = "done"
    FAILED = "failed"  # an error, or no text
    SLOW = "slow"  # over the deadline
    SKIPPED = "skipped"  # another call is over its deadline


class FilterObserver(Protocol):
    """Is told what becomes of texts; see `api.metrics.Metrics`."""

    def text_filtered(self, outcome: Outcome, seconds: float) -> None: ...


class FilterUnavailable(Exception):
    """The filter cannot be used; the text says why and what to do."""


def load_filter(name: str) -> Filter:
    """Import a filter, and call it once.

    Args:
        name: `package.module:function`, or the name of an entry point in the group
            `ENTRY_POINTS`.

    Raises:
        FilterUnavailable: There is no such filter, or it fails.
    """
    function = _imported(name) if ":" in name else _entry_point(name)
    try:
        answer = function(_REHEARSAL)
    except Exception as error:
        raise FilterUnavailable(
            f"TEXT_FILTER={name} fails for {_REHEARSAL!r}: {error!r}"
        ) from error
    if not isinstance(answer, str):
        raise FilterUnavailable(
            f"TEXT_FILTER={name} returns {type(answer).__name__} for {_REHEARSAL!r}; "
            "it has to return the text."
        )
    return function


def _imported(name: str) -> Filter:
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except Exception as error:
        raise FilterUnavailable(
            f"TEXT_FILTER={name} cannot be imported: {error!r}. It has to be "
            "package.module:function, installed beside the server or on PYTHONPATH."
        ) from error
    if not callable(found):
        raise FilterUnavailable(f"TEXT_FILTER={name} is not a function.")
    return found


def _entry_point(name: str) -> Filter:
    known = entry_points(group=ENTRY_POINTS)
    if name not in known.names:
        names = ", ".join(sorted(known.names)) or "none"
        raise FilterUnavailable(
            f"TEXT_FILTER={name} is neither package.module:function nor the name of an "
            f"entry point in the group {ENTRY_POINTS}; installed are: {names}."
        )
    entry = known[name]
    return _imported(f"{entry.module}:{entry.attr}")


@dataclass(slots=True, eq=False)
class _Call:
    words: Sequence[Word]
    text: str
    # Of the written words; none if the filter fails.
    future: Future[tuple[Word, ...]] = field(default_factory=Future)


class TextFilter:
    """Writes segments with a filter, in a thread.

    Coroutines belong to one event loop.

    Args:
        function: The filter.
        deadline_s: Longest time of a call; for a final, of all its calls, waiting
            included.
        observer: Is told what becomes of texts.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        function: Filter,
        *,
        deadline_s: float,
        observer: FilterObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._function = function
        self._deadline_s = deadline_s
        self._observer = observer
        self._clock = clock
        self._changed = threading.Condition()  # guards what follows
        self._urgent: deque[_Call] = deque()
        self._patient: deque[_Call] = deque()
        self._began: float | None = None  # when the running call began
        self._closed = False
        self._last_logged: Outcome = Outcome.DONE
        self._thread = threading.Thread(
            target=self._run, name="text filter", daemon=True
        )
        self._thread.start()

    async def write_final(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Write the segments of a final before its deadline. Cancelling is safe.

        Returns:
            The segments, with `raw` where they were written.
        """
        until = self._clock() + self._deadline_s
        return tuple(
            [await self._write(segment, self._urgent, until) for segment in segments]
        )

    async def write_recording(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Write the segments of a recording; see `write_final`.

        Each call has the deadline for itself, and finals go before it.
        """
        return tuple(
            [await self._write(segment, self._patient, None) for segment in segments]
        )

    def close(self) -> None:
        """Take no more texts; the thread ends after its present call."""
        with self._changed:
            self._closed = True
            waiting = [*self._urgent, *self._patient]
            self._urgent.clear()
            self._patient.clear()
            self._changed.notify()
        for call in waiting:
            call.future.cancel()

    async def _write(
        self, segment: Segment, queue: deque[_Call], until: float | None
    ) -> Segment:
        """Write one segment as far as possible; the rest of it stays as it is."""
        words: list[Word] = []
        for piece in pieces(segment.words):
            began = self._clock()
            found, outcome = await self._call(piece, queue, until)
            self._note(outcome, self._clock() - began)
            words += found
        return written(segment, words)

    async def _call(
        self, words: Sequence[Word], queue: deque[_Call], until: float | None
    ) -> tuple[Sequence[Word], Outcome]:
        with self._changed:
            if self._closed or self._overdue:
                return words, Outcome.SKIPPED
            call = _Call(words, ctc.text(words))
            queue.append(call)
            self._changed.notify()
        waiting = asyncio.wrap_future(call.future)
        try:
            outcome = await self._wait(waiting, call, until)
            if outcome is not Outcome.DONE:
                return words, outcome
            found = waiting.result()
            return (found, outcome) if found else (words, Outcome.FAILED)
        finally:
            waiting.cancel()
            self._withdraw(call, queue)

    async def _wait(
        self,
        waiting: asyncio.Future[tuple[Word, ...]],
        call: _Call,
        until: float | None,
    ) -> Outcome:
        """Wait for a call's end, for its deadline, or for the one that delays it."""
        while True:
            left_s = self._deadline_s if until is None else until - self._clock()
            await asyncio.wait({waiting}, timeout=max(0.0, left_s))
            if waiting.cancelled():
                return Outcome.SKIPPED
            if waiting.done():
                return Outcome.DONE
            if self._overdue and not call.future.running():
                return Outcome.SKIPPED
            if self._overdue or until is not None:
                return Outcome.SLOW

    @property
    def _overdue(self) -> bool:
        """Whether the running call is over its deadline."""
        began = self._began
        return began is not None and self._clock() - began >= self._deadline_s

    def _withdraw(self, call: _Call, queue: deque[_Call]) -> None:
        call.future.cancel()
        with self._changed:
            if call in queue:
                queue.remove(call)

    def _note(self, outcome: Outcome, seconds: float) -> None:
        self._observer.text_filtered(outcome, seconds)
        if outcome is not self._last_logged:
            self._last_logged = outcome
            if outcome is Outcome.DONE:
                logger.info("The text filter works again.")
            else:
                logger.warning(
                    "The text filter: %s. Text stays in spoken form.", outcome.value
                )

    # --- in the thread ---

    def _run(self) -> None:
        while (call := self._next()) is not None:
            if call.future.set_running_or_notify_cancel():
                self._serve(call)
            with self._changed:
                self._began = None

    def _next(self) -> _Call | None:
        with self._changed:
            while not (self._urgent or self._patient):
                if self._closed:
                    return None
                self._changed.wait()
            self._began = self._clock()
            return (self._urgent or self._patient).popleft()

    def _serve(self, call: _Call) -> None:
        words: tuple[Word, ...] = ()
        try:
            words = rewritten(call.words, self._function(call.text))
        except BaseException as error:  # `sys.exit` must not end the thread either
            logger.debug("The text filter failed.", exc_info=error)
        call.future.set_result(words)
