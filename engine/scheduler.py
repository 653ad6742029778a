"""Give every window its turn at the model.

One thread, named `asr`, loads the model and is the only one that ever calls it, so the
event loop never runs torch and the model needs no lock. Whose turn it is, and who
shares a pass, is decided by `engine/work_queue.py`; here are the thread, the lock and
the futures.

A full queue is refused at once: the caller learns it in time to try elsewhere,
and nobody waits for an answer that no one is waiting for any more. Cancelling a
waiter takes its window out of the queue; a forward pass that has begun is
finished, and its result dropped. If memory runs out, the batch is halved until it
fits, so that only a window which is too much by itself fails; after any other error
each window of the batch is tried alone.

Streams are let in while there is time for them, and told what to do without when there
is not: `engine/load.py` decides it from the times measured here.

Longer than other classes: everything here shares one lock, and who holds it when is
easier to see in one place.
"""

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from audio.samples import SAMPLE_RATE
from engine import rehearsal
from engine.interface import (
    Model,
    ModelInput,
    NotReady,
    QueueFull,
    WaitedTooLong,
)
from engine.load import SHORT_CONTEXT, Place, StreamLoad
from engine.observer import NOBODY, Drop, Observer
from engine.watchdog import Watchdog
from engine.work_queue import BatchRules, Job, Work, WorkQueue, out_of_memory
from text.ctc import FrameLabels

logger = logging.getLogger(__name__)

# Without a pass for so long, nobody knows what one would take now.
_IDLE_S = 60.0


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class _Job(Job):
    window: ModelInput
    future: Future[FrameLabels] = field(default_factory=Future)


class Scheduler:
    """Own the model's thread, from loading to the last window.

    Args:
        load: Builds the model; called once, in the model's thread.
        max_queued: Most windows of files that wait.
        min_streams: Streams that are let in whatever is forecast.
        max_streams: Most streams there are; each has at most one final and one
            partial that wait.
        rules: What one forward pass may hold; see `limit_batches`.
        file_share: Share of the model's time that files get while they wait.
        max_wait_s: Longest that a window waits for its pass, in seconds.
        rehearsed: A window that the model is given before all others, as many at a
            time as a pass may hold, to learn what it costs.
        on_loaded: Told, in the model's thread, how loading ended: None or the
            exception.
        observer: Told what goes on.
        clock: Tells the time in seconds.

    Attributes:
        watchdog: Tells whether results come; streams tell it what they wait for.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        *,
        max_queued: int,
        min_streams: int,
        max_streams: int,
        rules: BatchRules,
        file_share: float,
        max_wait_s: float,
        rehearsed: ModelInput | None = None,
        on_loaded: Callable[[BaseException | None], None] = lambda error: None,
        observer: Observer = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._on_loaded = on_loaded
        self._max_waiting = {
            Work.STREAM_FINAL: max_streams,
            Work.STREAM_SPECULATION: max_streams,
            Work.STREAM_PARTIAL: max_streams,
            Work.FILE: max_queued,
        }
        self._max_wait_s = max_wait_s
        self._rehearsed = rehearsed
        self._observer = observer
        self.watchdog = Watchdog(clock)
        self._clock = clock
        self._queue: WorkQueue[_Job] = WorkQueue(rules, file_share=file_share)
        self._streams = StreamLoad(
            min_streams=min_streams, max_streams=max_streams, file_share=file_share
        )
        self._changed = threading.Condition()  # guards all of these
        self._model: Model | None = None
        self._closed = False
        # A daemon: a download that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="asr", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether windows are taken."""
        return self._model is not None and not self._closed

    @property
    def model(self) -> Model:
        """The model, once it is loaded.

        Raises:
            NotReady: It is not.
        """
        if self._model is None:
            raise NotReady("The model is still loading.")
        return self._model

    @property
    def n_queued(self) -> int:
        """Number of windows that wait."""
        return len(self._queue)

    def n_waiting(self, work: Work) -> int:
        """Number of windows of one kind that wait."""
        return self._queue.count(work)

    @property
    def n_streams(self) -> int:
        """Number of streams that were let in and have not ended."""
        return self._streams.n_streams

    @property
    def is_tight(self) -> bool:
        """Whether streams ask for more than there is time for."""
        with self._changed:
            return self._streams.is_tight(self._clock())

    @property
    def max_left_context(self) -> int | None:
        """Most samples of left context that partials have; None for no limit."""
        return SHORT_CONTEXT if self.is_tight else None

    def start(self) -> None:
        """Begin to load the model."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Serve what is queued, then stop; give up after `timeout_s` seconds.

        Whoever still waits then gets `NotReady`.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._model is not None:
            self._thread.join(timeout_s)
        with self._changed:
            waiting = self._queue.take_older(math.inf)
        for job in waiting:
            _fail(job, NotReady("The server is shutting down."))

    def limit_batches(self, rules: BatchRules) -> None:
        """Change what one forward pass may hold."""
        with self._changed:
            self._queue.rules = rules

    def admit_stream(self) -> Place:
        """Let a stream in.

        Returns:
            Its place, to be given back with `leave`.

        Raises:
            Overloaded: There is no room for it.
        """
        with self._changed:
            now = self._clock()
            if now - self._streams.newest_pass > _IDLE_S:
                self._rehearse_again(now)
            return self._streams.admit(now)

    def leave(self, place: Place) -> None:
        """Let a stream go; again does no harm."""
        with self._changed:
            self._streams.leave(place)

    def submit(
        self,
        window: ModelInput,
        *,
        work: Work = Work.FILE,
        due_in_s: float | None = None,
        place: Place | None = None,
        beyond_limit: bool = False,
    ) -> Future[FrameLabels]:
        """Queue one window from any thread.

        A window whose future is cancelled while it waits never reaches the model.

        Args:
            window: What to label.
            work: What it is wanted for, which says who goes first.
            due_in_s: When it is wanted; among windows of one kind the first that is
                due goes first. None: at once.
            place: Of the stream that asks.
            beyond_limit: Take it even if too many wait. For the later windows
                of a recording whose first was taken, one at a time, so that hours
                of work are not lost; such recordings are limited elsewhere.

        Returns:
            What the labels come in, or WaitedTooLong, or what the model raised.

        Raises:
            QueueFull: Too many windows wait.
            NotReady: There is no model to ask.
        """
        # What is due in time does not wait too long, whatever else there is to do.
        due_in_s = min(due_in_s or 0.0, self._max_wait_s / 2)
        job = _Job(n_samples=len(window), work=work, due_in_s=due_in_s, window=window)
        with self._changed:
            self._enqueue(job, place, beyond_limit=beyond_limit)
        settle = self.watchdog.expect()
        job.future.add_done_callback(lambda future: settle())
        # A future keeps its callbacks for good. If they kept the job, whose future it
        # is, its audio would stay until the garbage collector looks for cycles.
        waiting = weakref.ref(job)
        job.future.add_done_callback(lambda future: self._forget(waiting()))
        return job.future

    def _enqueue(self, job: _Job, place: Place | None, *, beyond_limit: bool) -> None:
        if self._closed:
            raise NotReady("The server is shutting down.")
        if self._model is None:
            raise NotReady("The model is still loading.")
        n, most = self._queue.count(job.work), self._max_waiting[job.work]
        if n >= most and not beyond_limit:
            setting = "MAX_QUEUE" if job.work == Work.FILE else "MAX_STREAMS"
            raise QueueFull(
                f"{n} pieces of audio wait, as many as {setting} allows",
                retry_after_s=self._retry_after_s(),
            )
        now = self._clock()
        if place is not None:
            place.ask(now)
        self._queue.submit(job, now)
        self._changed.notify()

    def _forget(self, job: _Job | None) -> None:
        """Make room that nobody waits in."""
        if job is not None and job.future.cancelled():
            with self._changed:
                self._queue.cancel(job)

    def _retry_after_s(self) -> int:
        waiting = [job for work in Work for job in self._queue.waiting(work)]
        return max(1, min(60, math.ceil(self._streams.expected_s(waiting) / 2)))

    # --- in the model's thread ---

    def _run(self) -> None:
        try:
            model = self._load()
            self._rehearse(model)
        except BaseException as error:
            self._on_loaded(error)
            return
        self._model = model
        self._on_loaded(None)
        while (batch := self._next_batch()) is not None:
            # From here on a future can no longer be cancelled, only ignored.
            live = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if live:
                self._serve(model, live)

    def _next_batch(self) -> list[_Job] | None:
        """Wait for work; None once closed and nothing is left."""
        with self._changed:
            while not len(self._queue):
                if self._closed:
                    return None
                self._changed.wait()
            now = self._clock()
            late = self._queue.take_older(now - self._max_wait_s)
            batch = self._queue.take_batch(now)
            for job in batch:
                self._observer.window_waited(job.work, now - job.since)
        for job in late:
            self._observer.dropped(Drop.LATE_WINDOW)
            _fail(job, WaitedTooLong("The server is too busy; try again later."))
        return batch

    def _serve(self, model: Model, batch: Sequence[_Job]) -> None:
        """Answer everybody in a batch, with frames or an error.

        What one window does to a pass is not for the others to pay: after an error
        each is tried alone.
        """
        n = len(batch)
        try:
            labelled = self._label(model, batch)
        except Exception as error:
            no_memory = out_of_memory(error)
            if n == 1:
                logger.error("A window failed.")
                self._fail_alone(batch[0], error)
                return
            if not no_memory:
                self._observer.batch_failed()
        else:
            for job, frames in zip(batch, labelled, strict=True):
                job.future.set_result(frames)
            return
        # Not in the handler: the error there holds on to what the pass had allocated.
        if no_memory:
            logger.warning("No memory for a batch of %d windows; halving it.", n)
        else:
            logger.warning("A batch of %d windows failed; trying each alone.", n)
        step = n // 2 if no_memory else 1
        for start in range(0, n, step):
            self._serve(model, batch[start : start + step])

    def _fail_alone(self, job: _Job, error: Exception) -> None:
        self.watchdog.fail(error)
        self._observer.batch_failed()
        job.future.set_exception(error)

    def _label(self, model: Model, batch: Sequence[_Job]) -> list[FrameLabels]:
        """Run one pass and measure it."""
        began = self._clock()
        with self._changed:
            self.watchdog.begin(self._streams.expected_s(batch))
        try:
            labelled = model.label_frames([job.window for job in batch])
        finally:
            with self._changed:
                ended = self._clock()
                self._queue.spent(batch, ended - began)
        with self._changed:
            self._streams.note_pass(batch, ended, ended - began)
        self.watchdog.succeed()
        self._observer.batch_labelled(
            n_windows=len(batch),
            audio_s=sum(job.n_samples for job in batch) / SAMPLE_RATE,
            seconds=ended - began,
        )
        return labelled

    def _rehearse(self, model: Model) -> None:
        """Learn what a pass costs, before there is any other."""
        if self._rehearsed is None:
            return
        windows = rehearsal.whole_pass(self._rehearsed, self._queue.rules)
        audio_s = sum(map(len, windows)) / SAMPLE_RATE
        for seconds in rehearsal.rehearse(model, windows, self._clock):
            with self._changed:
                self._streams.note_rehearsal(audio_s, self._clock(), seconds)

    def _rehearse_again(self, now: float) -> None:
        """Learn it anew if the model was idle, and is."""
        if self._model is None or self._rehearsed is None or len(self._queue):
            return
        windows = rehearsal.whole_pass(self._rehearsed, self._queue.rules)
        for own in rehearsal.LEAST * windows:
            job = _Job(n_samples=len(own), work=Work.FILE, window=own)
            self._queue.submit(job, now)
        self._changed.notify()


def _fail(job: _Job, error: Exception) -> None:
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)
