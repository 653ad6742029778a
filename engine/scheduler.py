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
from engine.interface import (
    Model,
    ModelInput,
    NotReady,
    Overloaded,
    QueueFull,
    WaitedTooLong,
)
from engine.load import StreamLoad
from engine.observer import NOBODY, Drop, Observer
from engine.overload import LEVELS, OverloadLevel
from engine.watchdog import Watchdog
from engine.work_queue import BatchRules, Job, Work, WorkQueue, out_of_memory
from text.ctc import FrameLabels

logger = logging.getLogger(__name__)


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class _Job(Job):
    window: ModelInput
    future: Future[FrameLabels] = field(default_factory=Future)


class Scheduler:
    """Own the model's thread, from loading to the last window.

    Args:
        load: Builds the model; called once, in the model's thread.
        max_queued: Most windows of files that wait.
        max_streams: Most streams there are; each has at most one final and one
            partial that wait.
        rules: What one forward pass may hold; see `limit_batches`.
        file_share: Share of the model's time that files get while they wait.
        max_wait_s: Longest that a window waits for its pass, in seconds.
        rehearsal: A window that the model is given before all others, to learn what
            one costs.
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
        max_streams: int,
        rules: BatchRules,
        file_share: float,
        max_wait_s: float,
        rehearsal: ModelInput | None = None,
        on_loaded: Callable[[BaseException | None], None] = lambda error: None,
        observer: Observer = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._on_loaded = on_loaded
        self._max_waiting = {
            Work.STREAM_FINAL: max_streams,
            Work.STREAM_PARTIAL: max_streams,
            Work.FILE: max_queued,
        }
        self._max_wait_s = max_wait_s
        self._rehearsal = rehearsal
        self._observer = observer
        self.watchdog = Watchdog(clock)
        self._clock = clock
        self._queue: WorkQueue[_Job] = WorkQueue(rules, file_share=file_share)
        self._streams = StreamLoad(
            clock(), max_streams=max_streams, file_share=file_share
        )
        self._level = LEVELS[0]  # that was logged
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
    def overload(self) -> OverloadLevel:
        """What streams have to do without at the moment."""
        with self._changed:
            return self._read_load()

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

    def admit_stream(self, *, encoded_ratio: float) -> Callable[[], None]:
        """Let a stream in.

        Args:
            encoded_ratio: Seconds of audio in its partials for each second of speech.

        Returns:
            What to call when it ends; again does no harm.

        Raises:
            Overloaded: There is no room for it.
        """
        stream = object()
        with self._changed:
            admitted = self._streams.admit(
                stream, self._clock(), encoded_ratio=encoded_ratio
            )
            self._read_load()
        if not admitted:
            raise Overloaded

        def leave() -> None:
            with self._changed:
                self._streams.leave(stream)

        return leave

    def submit(
        self,
        window: ModelInput,
        *,
        work: Work = Work.FILE,
        due_in_s: float | None = None,
        beyond_limit: bool = False,
    ) -> Future[FrameLabels]:
        """Queue one window from any thread.

        A window whose future is cancelled while it waits never reaches the model.

        Args:
            window: What to label.
            work: What it is wanted for, which says who goes first.
            due_in_s: When it is wanted; among windows of one kind the first that is
                due goes first. None: at once.
            beyond_limit: Take it even if too many wait. For the later windows
                of a recording whose first was taken, one at a time, so that hours
                of work are not lost; such recordings are limited elsewhere.
        """
        job = _Job(
            n_samples=len(window), work=work, due_in_s=due_in_s or 0.0, window=window
        )
        with self._changed:
            if self._closed:
                raise NotReady("The server is shutting down.")
            if self._model is None:
                raise NotReady("The model is still loading.")
            if self._queue.count(work) >= self._max_waiting[work] and not beyond_limit:
                raise QueueFull(self._retry_after_s())
            self._queue.submit(job, self._clock())
            self._changed.notify()
        settle = self.watchdog.expect()
        job.future.add_done_callback(lambda future: settle())
        # A future keeps its callbacks for good. If they kept the job, whose future it
        # is, its audio would stay until the garbage collector looks for cycles.
        waiting = weakref.ref(job)
        job.future.add_done_callback(lambda future: self._forget(waiting()))
        return job.future

    def _forget(self, job: _Job | None) -> None:
        """Make room that nobody waits in."""
        if job is not None and job.future.cancelled():
            with self._changed:
                self._queue.cancel(job)

    def _retry_after_s(self) -> int:
        waiting = [job for work in Work for job in self._queue.waiting(work)]
        return max(1, min(60, math.ceil(self._streams.expected_s(waiting) / 2)))

    def _read_load(self) -> OverloadLevel:
        """Return what streams do without, and write it down when that changes."""
        before, self._level = self._level, self._streams.level(self._clock())
        if self._level != before:
            logger.info(
                "Overload level %d, was %d: streams took %.0f %% of the time.",
                self._level.level,
                before.level,
                100 * self._streams.busy,
            )
        return self._level

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
            batch = self._queue.take_batch()
            self._streams.take_turn(batch, now)
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
            self._streams.begin(batch, began)
            self.watchdog.begin(self._streams.expected_s(batch))
        try:
            labelled = model.label_frames([job.window for job in batch])
            with self._changed:
                self._streams.learn(batch, self._clock() - began)
        finally:
            with self._changed:
                ended = self._clock()
                self._streams.end(ended)
                self._queue.spent(batch, ended - began)
                self._read_load()
        self.watchdog.succeed()
        self._observer.batch_labelled(
            n_windows=len(batch),
            audio_s=sum(job.n_samples for job in batch) / SAMPLE_RATE,
            seconds=ended - began,
        )
        return labelled

    def _rehearse(self, model: Model) -> None:
        """Learn what a window costs."""
        if self._rehearsal is None:
            return
        job = Job(n_samples=len(self._rehearsal), work=Work.STREAM_PARTIAL)
        for _ in range(2):  # the first pass also allocates, and the like
            began = self._clock()
            model.label_frames([self._rehearsal])
        with self._changed:
            self._streams.learn([job], self._clock() - began)


def _fail(job: _Job, error: Exception) -> None:
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)
