"""Open and run live streams: each has its session, its share of the model, its events.

The session decides, and this module carries out. Pushed audio goes through voice
activity detection to the session; the session's windows go to the scheduler; labels
come back to the event loop, and the session's events wait for their reader. The loop
never runs the model.

Everything has a bound. Pushing waits while finals are behind, so a client that sends
faster than the model works is slowed down by its own socket. An unread partial is
replaced by the next one.

Coroutines belong to one event loop. `push`, `flush`, `clear` and `end` are called by
one task, one after the other; `events` is read by another.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from audio.samples import SAMPLE_RATE, Samples
from engine.observer import Drop
from engine.place import Place
from engine.scheduler import Scheduler
from engine.timer import Timer
from engine.work_queue import Work
from live.events import LiveEvent, Partial, TimedEvent
from live.observer import NOBODY, Arrivals, LiveObserver, LiveReport
from live.options import StreamOptions
from live.session import StreamSession
from live.turn import Turn
from live.utterance import Request
from text.ctc import FrameLabels
from vad.ear import Deaf, Ear

logger = logging.getLogger(__name__)

# Audio is taken in blocks of at most so many samples, so that a long message does not
# block the loop.
_BLOCK = SAMPLE_RATE // 2

# Pushing waits while finals are behind by more than two of the longest windows...
_MAX_WAITING = 80 * SAMPLE_RATE
# ...or while so many events are unread.
_MAX_UNREAD = 1000

# Begins to find keywords in the labels of a window.
HearKeywords = Callable[[FrameLabels, tuple[str, ...]], Future[FrameLabels]]


@dataclass(slots=True, eq=False)
class _InFlight:
    future: Future[FrameLabels]
    work: Work
    due: float  # on the clock
    labels: FrameLabels | None = None  # in which keywords are being found


class LiveStream:
    """One stream; made by `StreamingTranscriber.open`.

    Args:
        session: A new session.
        scheduler: Labels the windows.
        place: Its place in the scheduler; given back at the end.
        vad: Its voice activity detection.
        stall_s: Seconds without audio after which an open utterance is ended.
        keywords: Begins to find keywords in labels, by whether a quick model made them.
        observer: Gets the events.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        session: StreamSession,
        scheduler: Scheduler,
        *,
        place: Place,
        vad: Ear,
        stall_s: float,
        keywords: Mapping[bool, HearKeywords],
        observer: LiveObserver = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._keywords = keywords
        self._scheduler = scheduler
        self._vad = vad
        self._place = place
        self._observer = observer
        self._report = LiveReport(observer, age_s=self._age_s)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._in_flight: dict[Request, _InFlight] = {}
        self._turn = Turn()
        self._unread: deque[TimedEvent] = deque()
        self._news = asyncio.Event()  # there is an event to read, or the end
        self._room = asyncio.Event()  # audio may come
        self._room.set()
        self._arrivals = Arrivals()
        self._stall = Timer(stall_s, lambda: self._go_on(session.stall()))
        self._closed = False

    async def push_audio(self, samples: Samples) -> None:
        """Take the next samples; wait while finals or events are behind.

        Cancelling is safe; the rest of the samples is lost.

        Args:
            samples: Any number of samples at 16 kHz; they are copied.

        Raises:
            ValueError: After `end`.
        """
        # From here on the server keeps the client waiting.
        self._stall.stop()
        for first in range(0, len(samples), _BLOCK):
            block = samples[first : first + _BLOCK]
            await self._room.wait()
            heard = await self._listen(block)
            if self._closed:
                return
            self._place.n_samples += len(block)
            self._observer.audio_came(len(block) / SAMPLE_RATE)
            events = self._session.push_audio(block, heard)
            self._arrivals.note(self._session.position, self._clock())
            self._go_on(events)
        if self._session.speaking:
            self._stall.start()

    async def flush(self) -> None:
        """Ask for the final of the audio since the last one; it may be empty."""
        self._arrivals.ask(self._session.position, self._clock())
        self._go_on(self._session.flush())

    async def clear(self) -> None:
        """Forget the audio since the last final; an open utterance gets no final."""
        events = self._session.clear()
        # Unread partials of it are dropped: the next utterance takes over its number.
        _drop_partials(self._unread)
        self._go_on(events)

    async def end(self) -> None:
        """End the audio: `events` ends after the remaining finals."""
        self._stall.stop()
        self._arrivals.ask(self._session.position, self._clock())
        self._go_on(self._session.end())

    def configure(self, options: StreamOptions) -> None:
        """Change the options from here on.

        Raises:
            ValueError: VAD cannot be switched in mid-stream.
        """
        self._session.configure(options)

    def set_hurry(self, on: bool) -> None:
        """Say whether the client waits for a final of what is being pushed."""
        self._vad.set_hurry(on)

    def set_away(self, away: bool) -> None:
        """Say whether the client is away; meanwhile an utterance stays open."""
        self._stall.hold(away)

    async def events(self) -> AsyncIterator[TimedEvent]:
        """Yield the events, in order, up to the last one of the stream.

        Cancelling is safe; nothing is lost.
        """
        while True:
            await self._news.wait()
            while self._unread:
                event = self._unread.popleft()
                self._refresh()
                yield event
            if self._closed or self._session.done:
                return
            self._refresh()

    async def aclose(self) -> None:
        """Free everything, at any time. It may be called again."""
        if self._closed:
            return
        self._closed = True
        self._stall.stop()
        for own in list(self._in_flight.values()):
            own.future.cancel()
        self._in_flight.clear()
        self._unread.clear()
        self._vad.close()
        self._refresh()
        self._scheduler.leave(self._place)

    async def _listen(self, samples: Samples) -> list[float]:
        """Return the probability of speech in each frame that the samples complete."""
        settle = self._scheduler.watchdog.expect(soon=True)
        try:
            return await self._vad.push_audio(samples)
        finally:
            settle()

    # --- between the session and the scheduler ---

    def _go_on(self, events: Sequence[LiveEvent]) -> None:
        """Publish events, and hand over the windows that are needed now."""
        self._publish(events)
        self._session.max_left_context = self._scheduler.max_left_context
        self._withdraw_stale()
        for request in self._session.requests():
            self._submit(request)
        for request, own in list(self._in_flight.items()):
            moves = own.labels is None and own.work is not request.work
            if not request.wanted:
                self._take_back(request, own)
            elif moves and self._take_back(request, own):
                self._submit(request)  # more or less urgent now
        self._refresh()

    def _withdraw_stale(self) -> None:
        """Take back a partial that still waits, if there is newer audio."""
        stale = self._session.replaceable()
        own = None if stale is None else self._in_flight.get(stale)
        if stale and own and own.labels is None and self._take_back(stale, own):
            stale.withdraw()
            self._observer.dropped(Drop.STALE_PARTIAL)

    def _take_back(self, request: Request, own: _InFlight) -> bool:
        """Cancel a window, unless the model has it; return whether that was done."""
        if not own.future.cancel():
            return False
        del self._in_flight[request]
        self._turn.keep(request, own.work, own.due)
        return True

    def _submit(self, request: Request) -> None:
        now, work = self._clock(), request.work
        due = self._turn.take(request, now + request.due_in_s)
        if work is Work.STREAM_FINAL:
            behind_s = self._session.n_waiting / SAMPLE_RATE
            due += min(self._arrivals.early_s(now), behind_s)
        try:
            future = self._scheduler.submit(
                request.window,
                work=work,
                due_in_s=due - now,
                place=self._place,
                beyond_limit=request.piece is not None,
            )
        except Exception as error:  # full, or shutting down
            self._publish(self._session.fail(request, error))
            return
        self._in_flight[request] = _InFlight(future, work, due)
        future.add_done_callback(partial(self._hand_over, request))

    def _hand_over(self, request: Request, future: Future[FrameLabels]) -> None:
        """Bring labels to the loop; called in the thread that finishes the future."""
        try:
            self._loop.call_soon_threadsafe(self._done, request, future)
        except RuntimeError:  # the loop is closed
            logger.debug("Labels came after the end.")

    def _done(self, request: Request, future: Future[FrameLabels]) -> None:
        own = self._in_flight.get(request)
        if self._closed or own is None or own.future is not future:
            return
        del self._in_flight[request]
        if future.cancelled():
            return
        if (error := future.exception()) is None:
            self._turn.end()
            if request.keywords and request.wanted and own.labels is None:
                return self._hear(request, own, future.result())
            self._go_on(self._session.accept(request, future.result()))
        elif own.labels is not None:
            logger.error("A window's keywords could not be found.", exc_info=error)
            self._go_on(self._session.accept(request, own.labels))
        else:
            assert isinstance(error, Exception)
            self._go_on(self._session.fail(request, error))

    def _hear(self, request: Request, own: _InFlight, frames: FrameLabels) -> None:
        """Find keywords in the labels of a window before they are accepted."""
        future = self._keywords[request.window.quick](frames, request.keywords)
        self._in_flight[request] = replace(own, future=future, labels=frames)
        future.add_done_callback(partial(self._hand_over, request))

    # --- between the session and the reader ---

    def _publish(self, events: Sequence[LiveEvent]) -> None:
        for event in events:
            if isinstance(event, Partial) and (n := _drop_partials(self._unread)):
                self._observer.dropped(Drop.UNREAD_PARTIAL, n)
            # The newest audio that it covers; for a final, the audio that ended it.
            latency_s = self._age_s(event.position)
            self._report.note_event(event, latency_s)
            position = self._session.position
            self._unread.append(TimedEvent(event, 1000 * latency_s, position))

    def _age_s(self, position: int) -> float:
        return self._arrivals.age_s(position, self._clock())

    def _refresh(self) -> None:
        """Wake the tasks that can go on, and let the others wait."""
        _switch(self._news, on=any((self._unread, self._closed, self._session.done)))
        behind = self._session.n_waiting > _MAX_WAITING
        full = behind or len(self._unread) >= _MAX_UNREAD
        _switch(self._room, on=self._closed or not full)


def _switch(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()


def _drop_partials(unread: deque[TimedEvent]) -> int:
    """Remove partials from the unread events; return how many there were."""
    stale = [own for own in unread if isinstance(own.event, Partial)]
    for own in stale:
        unread.remove(own)
    return len(stale)


class StreamingTranscriber:
    """Transcribe live audio.

    Args:
        scheduler: Labels the windows.
        listen: Makes the voice activity detection of one stream; None to take all
            audio for speech, so that only clients end utterances.
        stall_s: Seconds without audio after which an open utterance is ended.
        keywords: Begins to find keywords in labels; None if there are never any.
        quick_keywords: The same for labels of the quick one of two models.
        observer: Gets the events.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        listen: Callable[[], Ear] | None,
        stall_s: float,
        keywords: HearKeywords | None = None,
        quick_keywords: HearKeywords | None = None,
        observer: LiveObserver = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._listen = listen
        self._stall_s = stall_s
        both = {False: keywords, True: quick_keywords}
        self._keywords = {quick: hear for quick, hear in both.items() if hear}
        self._observer = observer
        self._clock = clock

    @property
    def n_streams(self) -> int:
        """Number of streams that are open."""
        return self._scheduler.n_streams

    def open(self, options: StreamOptions) -> LiveStream:
        """Open a stream; close it with `aclose`.

        Raises:
            NotReady: The model is not ready.
            Overloaded: One more stream would make the others fall behind.
        """
        traits = self._scheduler.traits
        options = replace(options, vad=self._listen is not None and options.vad)
        session = StreamSession(
            vocabulary=traits.vocabulary,
            offsets=traits.spike_offsets,
            options=options,
            quick=traits.quick,
        )
        place = self._scheduler.admit_stream()
        return LiveStream(
            session,
            self._scheduler,
            place=place,
            vad=self._listen() if self._listen and options.vad else Deaf(),
            stall_s=self._stall_s,
            keywords=self._keywords,
            observer=self._observer,
            clock=self._clock,
        )
