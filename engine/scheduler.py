"""Give every window its turn at the model.

One thread, named `asr`, loads the model and is the only one that calls it, so the event
loop never runs torch and the model needs no lock. A model that takes several batches at
the same time gets as many threads. A model may be two, of which a quick one makes
partials (`engine/two_models.py`); if each has a device of its own, it has a thread of
its own, too. `engine/work_queue.py` decides whose turn it is and which windows share a
pass, `engine/residence.py` when the model is unloaded and when it is loaded again, for
which windows wait as for a pass; this module has the threads, the lock and the futures.

When the queue is full, a window is refused at once: the caller can try elsewhere in
time, and the model never works for callers that have given up. Cancelling a future
takes its window out of the queue; a forward pass that has begun is finished, and its
result dropped. If memory runs out, the batch is halved until it fits, so that only a
window that does not fit by itself fails; after any other error each window of the
batch is tried alone. Once the model is lost, the scheduler takes no more windows.
While the model is stuck, recordings and new streams are refused, and windows that have
waited as long as they may fail, also those whose pass does not end.

`engine/load.py` decides, from the times measured here, whether another stream is let
in, and how much context partials have.

The class is longer than others: all of it shares one lock, and it is easier to see in
one place when the lock is held.
"""

import logging
import math
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from audio.samples import SAMPLE_RATE
from engine import rehearsal
from engine.failures import Failures
from engine.interface import (
    FrameGrid,
    HasTrials,
    Model,
    ModelError,
    ModelInput,
    ModelLost,
    ModelTraits,
    NotReady,
    OutOfMemory,
    QueueFull,
    WaitedTooLong,
)
from engine.load import SHORT_CONTEXT, StreamLoad
from engine.loop_load import LoopLoad
from engine.observer import NOBODY, Drop, Observer
from engine.place import Place
from engine.residence import Residence, Step
from engine.two_models import part_of
from engine.watchdog import Watchdog
from engine.work_queue import BatchRules, Job, Work, WorkQueue
from text.ctc import FrameLabels, Vocabulary

logger = logging.getLogger(__name__)

# After so many seconds without a pass, its cost has to be measured again.
_IDLE_S = 60.0

SHUTTING_DOWN = "The server is shutting down."
_LOST = "The model is gone, and the server has to be started again."
STUCK = "The model gives no results at present; try again later."
_TOO_LATE = "The server is too busy; try again later."
# Seconds between two attempts to load a model again.
_RETRY_S = 1.0

# What a pass over a minute of silence takes at most, on a slow processor.
_SPARE_PASS_S = 13.0

# What a thread serves: all windows, or those of the strong or of the quick model.
_Lane: TypeAlias = bool | None

_NOT_AGAIN = (
    "The model, which had been unloaded, could not be loaded again; the server's log "
    "says why. The next request tries it once more."
)


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class _Job(Job):
    window: ModelInput
    future: Future[FrameLabels] = field(default_factory=Future)


class Scheduler:
    """Own the model's thread, from loading to the last window.

    Args:
        load: Builds the model; called in the model's thread, once, and again after each
            time that the model was unloaded.
        max_queued: Most windows of files that wait.
        min_streams: Speaking streams that are let in whatever the forecast says.
        max_streams: Most streams at once.
        rules: What one forward pass may hold; see `limit_batches`.
        file_share: Share of the model's time that files get while they wait.
        max_wait_s: Longest that a window waits for its pass, in seconds.
        loop: Observes the event loop that the streams share; None if it is not
            observed.
        rehearsed: A window that the model gets when it has nothing else to do, as many
            times in a pass as it may hold, to measure the cost of a pass.
        unload_after_s: Seconds without work after which the model is unloaded, until
            there is work; 0: it stays.
        on_loaded: Called in the model's thread each time that loading has ended, with
            None or the exception.
        on_unloaded: Called in the model's thread when nothing here refers to the model
            any more.
        on_lost: Called in the model's thread when the model is gone.
        observer: Gets the events of the engine.
        clock: Tells the time in seconds.

    Attributes:
        watchdog: Knows whether results come; streams tell it what they wait for.
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
        loop: LoopLoad | None = None,
        rehearsed: ModelInput | None = None,
        unload_after_s: float = 0.0,
        on_loaded: Callable[[BaseException | None], None] = lambda error: None,
        on_unloaded: Callable[[], None] = lambda: None,
        on_lost: Callable[[ModelLost], None] = lambda error: None,
        observer: Observer = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._on_loaded = on_loaded
        self._on_unloaded = on_unloaded
        self._on_lost = on_lost
        self._max_queued = max_queued
        self._max_wait_s = max_wait_s
        self._rehearsed = rehearsed
        self._observer = observer
        self.watchdog = Watchdog(clock)
        self._clock = clock
        self._queue: WorkQueue[_Job] = WorkQueue(rules, file_share=file_share)
        self._streams = StreamLoad(
            min_streams=min_streams,
            max_streams=max_streams,
            file_share=file_share,
            loop=loop,
        )
        self._changed = threading.Condition()  # guards all of these
        self._traits: ModelTraits | None = None  # once the model was loaded
        self._model: Model | None = None  # while it is loaded
        self._residence = Residence(unload_after_s)
        self._lanes: tuple[_Lane, ...] = (None,)
        self._n_serving = 0  # threads that have a batch
        self._spare_time: dict[_Lane, Iterator[object]] = {}  # no client waits for it
        self._trying: set[_Lane] = set()  # in a pass for which no client waits
        self._unmeasured: set[_Lane] = set()
        self._closed = ""  # why no more windows are taken
        self._n_running: Counter[_Lane] = Counter()  # passes
        self._in_passes: set[_Job] = set()
        self._failures = {False: Failures(), True: Failures()}  # of the quick model
        self._rests_until = {False: -math.inf, True: -math.inf}  # a failing model
        self._ending = threading.Event()
        # Daemons: a download that hangs must not keep the process alive.
        self._threads = [threading.Thread(target=self._run, name="asr", daemon=True)]

    @property
    def ready(self) -> bool:
        """Whether the scheduler takes windows."""
        return self._traits is not None and not self._closed

    @property
    def traits(self) -> ModelTraits:
        """The traits of the model, once it is loaded.

        Raises:
            NotReady: The model is not loaded.
        """
        if self._traits is None:
            raise NotReady("The model is still loading.")
        return self._traits

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory; if not, work loads it again."""
        return self._model is not None

    @property
    def working(self) -> bool:
        """Whether a window waits, or the model works."""
        return bool(len(self._queue) or self._n_serving)

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
    def n_speaking(self) -> int:
        """Number of streams that had speech recently."""
        with self._changed:
            return self._streams.n_speaking(self._clock())

    @property
    def n_free(self) -> int:
        """Number of streams with speech that would be let in if they came now."""
        if not self.ready or self.watchdog.stuck_s is not None:
            return 0
        with self._changed:
            return self._streams.n_free(self._clock())

    @property
    def measuring(self) -> bool:
        """Whether the cost of streams is being measured for the first time."""
        return self._streams.measuring

    @property
    def costs(self) -> tuple[float | None, float | None]:
        """The seconds that a second of audio takes in finals, and in partials."""
        with self._changed:
            return self._streams.costs

    @property
    def is_tight(self) -> bool:
        """Whether streams need more than the time of the model of partials."""
        with self._changed:
            return self._streams.is_tight(self._clock())

    @property
    def is_overloaded(self) -> bool:
        """Whether streams need more than the time of any model."""
        with self._changed:
            return self._streams.is_overloaded(self._clock())

    @property
    def max_left_context(self) -> int | None:
        """Most samples of left context that partials have; None for no limit."""
        return SHORT_CONTEXT if self.is_tight else None

    def start(self) -> None:
        """Begin to load the model."""
        self._threads[0].start()

    def close(self, timeout_s: float) -> None:
        """Serve what is queued, then stop; give up after `timeout_s` seconds.

        Windows that still wait then fail with `NotReady`. A model that is stuck is not
        waited for.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._closed = self._closed or SHUTTING_DOWN
            self._changed.notify_all()
        self._ending.set()
        if self._traits is not None and self.watchdog.stuck_s is None:
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        self._fail_all()

    def put_finals_first(self) -> None:
        """Keep no share for recordings any more, because the server stops."""
        with self._changed:
            self._queue.put_files_last()

    def drop_late(self) -> None:
        """Fail what has waited as long as it may while the model is stuck.

        It does so, too, while the model is loaded again. Otherwise the model's own
        thread does it between two passes.
        """
        if self.watchdog.stuck_s is None and not self._residence.moving:
            return
        before = self._clock() - self._max_wait_s
        with self._changed:
            late = self._queue.take_older(before)
            late += [job for job in self._in_passes if job.since < before]
        for job in late:
            if _fail(job, WaitedTooLong(_TOO_LATE)):
                self._observer.dropped(Drop.LATE_WINDOW)

    def unload_if_idle(self) -> None:
        """Have the model unloaded if it has had no work for long; ask that often."""
        with self._changed:
            if self._residence.look(self._clock(), busy=self._busy):
                self._changed.notify_all()

    @property
    def _busy(self) -> bool:
        return self.working or self._streams.n_streams > 0

    def give_up(self, why: str) -> None:
        """Take the model for lost; what waits for it fails at once."""
        self._lose(ModelLost(why))

    def _fail_all(self) -> None:
        """Fail the windows that wait, and those in a pass that has not ended."""
        with self._changed:
            waiting = [*self._queue.take_older(math.inf), *self._in_passes]
        for job in waiting:
            _fail(job, NotReady(self._closed))

    def limit_batches(self, rules: BatchRules, quick: BatchRules | None = None) -> None:
        """Change what one forward pass may hold, and one of the quick model."""
        with self._changed:
            self._queue.rules = rules
            self._queue.quick_rules = quick or rules

    def admit_stream(self) -> Place:
        """Let a stream in.

        Returns:
            Its place, to be given back with `leave`.

        Raises:
            Overloaded: There is no room for it.
            NotReady: The model is stuck.
        """
        if self.watchdog.stuck_s is not None:
            raise NotReady(STUCK)
        with self._changed:
            now = self._clock()
            if now - self._streams.newest_pass > _IDLE_S and self._traits is not None:
                for lane in set(self._lanes) - self._trying:
                    passes = self._rehearsal(self._traits, lane)
                    self._spare_time.setdefault(lane, passes)
            place = self._streams.admit(now)
            self._changed.notify_all()  # the model may have to be loaded
            return place

    def leave(self, place: Place) -> None:
        """Let a stream go; a second call does no harm."""
        with self._changed:
            now = self._clock()
            self._streams.leave(place, now)
            self._residence.note_work(now)

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
            work: Kind of work; decides which windows go first.
            due_in_s: Seconds until the labels are needed; among windows of one kind
                the earliest goes first. None: needed at once.
            place: Place of the stream that asks.
            beyond_limit: Take it even if too many wait. For the later windows
                of a recording whose first was taken, one at a time, so that hours
                of work are not lost; such recordings are limited elsewhere.

        Returns:
            A future of the labels; it fails with WaitedTooLong or the model's error.

        Raises:
            QueueFull: Too many windows wait.
            NotReady: The model is not loaded, or is gone; or it is stuck, and the
                window is the first of a recording.
        """
        if work == Work.FILE and not beyond_limit and self.watchdog.stuck_s is not None:
            raise NotReady(STUCK)
        # A window that is due within the longest wait never waits longer than that.
        due_in_s = min(due_in_s or 0.0, self._max_wait_s / 2)
        job = _Job(
            n_samples=len(window),
            work=work,
            due_in_s=due_in_s,
            quick=window.quick,
            window=window,
        )
        with self._changed:
            self._enqueue(job, place, beyond_limit=beyond_limit)
        settle = self.watchdog.expect(soon=job.quick and self._apart)
        job.future.add_done_callback(lambda future: settle())
        # A future keeps its callbacks for good. If they kept the job, whose future it
        # is, its audio would stay until the garbage collector looks for cycles.
        waiting = weakref.ref(job)
        job.future.add_done_callback(lambda future: self._forget(waiting()))
        return job.future

    def _enqueue(self, job: _Job, place: Place | None, *, beyond_limit: bool) -> None:
        if self._closed:
            raise NotReady(self._closed)
        if self._traits is None:
            raise NotReady("The model is still loading.")
        n = self._queue.count(Work.FILE)
        if job.work == Work.FILE and n >= self._max_queued and not beyond_limit:
            raise QueueFull(
                f"{n} pieces of audio wait, as many as MAX_QUEUE allows",
                retry_after_s=self._retry_after_s(),
            )
        now = self._clock()
        if place is not None:
            self._streams.note_ask(place, now)
        self._queue.submit(job, now)
        if self._apart:
            self._changed.notify_all()  # one would perhaps not serve it
        else:
            self._changed.notify()

    def _forget(self, job: _Job | None) -> None:
        """Take a cancelled window out of the queue."""
        if job is not None and job.future.cancelled():
            with self._changed:
                self._queue.cancel(job)

    def _retry_after_s(self) -> int:
        waiting = [job for work in Work for job in self._queue.waiting(work)]
        return max(1, min(60, math.ceil(self._streams.expected_s(waiting) / 2)))

    # --- in the model's thread ---

    def _run(self) -> None:
        try:
            traits = self._load_model()
        except BaseException as error:
            self._on_loaded(error)
            return
        first, *further = self._lanes
        names: list[tuple[str, _Lane]] = [
            (f"asr {n}", first) for n in range(2, traits.max_batches + 1)
        ]
        names += [("asr partials", lane) for lane in further]
        others = [
            threading.Thread(
                target=self._serve_all, args=(lane,), name=name, daemon=True
            )
            for name, lane in names
        ]
        for thread in others:  # before `close` may join them
            thread.start()
        self._threads += others
        self._traits = traits
        self._on_loaded(None)
        self._serve_all(first)

    def _load_model(self) -> ModelTraits:
        """Load the model, the first time or again."""
        began = self._clock()
        model = self._load()
        traits, before = model.traits, self._traits
        if traits.grid != FrameGrid():
            raise ModelError(
                f"The model has a {traits.grid}; the server counts time on a "
                f"{FrameGrid()}."
            )
        if before is None:
            self._prepare(model)
        elif _vocabularies(traits) != _vocabularies(before):
            raise ModelError(
                "The model's files have changed: its vocabulary is another one. Start "
                "the server again to serve it."
            )
        with self._changed:
            self._model = model
            now = self._clock()
            self._residence.note_loaded(now, took_s=now - began)
            self._changed.notify_all()
        return traits

    def _prepare(self, model: Model) -> None:
        """Prepare for a model that is loaded for the first time."""
        with self._changed:
            if (quick := model.traits.quick) is not None:
                self._lanes = (False, True) if quick.apart else (None,)
                self._streams.add_quick(apart=quick.apart)
            self._spare_time = {
                lane: self._warm_up(model, lane) for lane in self._lanes
            }
            self._unmeasured = set(self._lanes)
            self._streams.measuring = self._rehearsed is not None

    @property
    def _apart(self) -> bool:
        """Whether two models have a device and a thread each."""
        return len(self._lanes) > 1

    def _lane_of(self, job: Job) -> _Lane:
        return job.quick if self._apart else None

    def _load_again(self) -> None:
        """Load the model because there is work; if that fails, what waits fails."""
        end = self.watchdog.begin(self._residence.load_s)
        try:
            self._traits = self._load_model()
        except Exception as error:
            self._fail_to_load(error)
        else:
            self.watchdog.succeed()
            self._on_loaded(None)
        finally:
            end()

    def _fail_to_load(self, error: Exception) -> None:
        self.watchdog.fail(error)
        self._on_loaded(error)
        with self._changed:
            self._residence.note_failure()
            waiting = self._queue.take_older(math.inf)
            self._changed.notify_all()  # one may wait for the end
        for job in waiting:
            _fail(job, NotReady(_NOT_AGAIN))
        self._ending.wait(_RETRY_S)

    def _unload(self) -> None:
        with self._changed:
            self._model = None
            self._spare_time.clear()
        self._on_unloaded()
        with self._changed:
            self._residence.note_unloaded()
            self._changed.notify_all()

    def _serve_all(self, lane: _Lane) -> None:
        """Serve batches until the scheduler is closed or the model is lost."""
        try:
            self._serve_on(lane)
        except ModelLost as error:
            self._lose(error)
        except BaseException as error:
            logger.exception("The model's thread broke.")
            self._lose(ModelLost(f"its thread ended with {type(error).__name__}"))

    def _serve_on(self, lane: _Lane) -> None:
        while (batch := self._next_batch(lane)) is not None:
            # From here on a future can no longer be cancelled, only ignored.
            live = [job for job in batch if job.future.set_running_or_notify_cancel()]
            with self._changed:
                self._in_passes.update(live)
            try:
                if live:
                    self._serve(live)
            finally:
                with self._changed:
                    self._in_passes.difference_update(live)
                    self._n_serving -= 1
                    self._residence.note_work(self._clock())
                for job in live:  # without an answer yet if the model is lost
                    _fail(job, NotReady(_LOST))
            self._rest(quick=any(job.quick for job in batch))

    def _rest(self, *, quick: bool) -> None:
        """Leave a failing model alone for a while; others are served meanwhile."""
        if pause_s := self._failures[quick].pause_s:
            with self._changed:
                self._rests_until[quick] = self._clock() + pause_s

    def _lose(self, error: ModelLost) -> None:
        """Take no more windows: the model is gone."""
        with self._changed:
            first, self._closed = not self._closed, self._closed or _LOST
            self._changed.notify_all()
        self._fail_all()
        if first:
            self._on_lost(error)

    def _next_batch(self, lane: _Lane) -> list[_Job] | None:
        """Wait for work, and for the model; None once closed and no window is left."""
        while True:
            passes: Iterator[object] | None = None
            with self._changed:
                now = self._clock()
                while (step := self._next_step(lane, now)) is Step.WAIT:
                    if self._may_try(lane):
                        break
                    self._changed.wait(self._rest_s(now))
                    now = self._clock()
                if step is Step.SERVE:
                    late, batch = self._take_batch(lane, now)
                elif step is Step.WAIT:
                    passes = self._spare_time.pop(lane)
                    self._trying.add(lane)
                    self._n_serving += 1
            match step:
                case Step.END:
                    return None
                case Step.LOAD:
                    self._load_again()
                case Step.UNLOAD:
                    self._unload()
                case Step.WAIT:
                    self._use_spare_time(passes, lane)
                case Step.SERVE:
                    break
        for job in late:
            self._observer.dropped(Drop.LATE_WINDOW)
            _fail(job, WaitedTooLong(_TOO_LATE))
        return batch

    def _next_step(self, lane: _Lane, now: float) -> Step:
        step = self._residence.next_step(
            n_windows=len(self._queue),
            n_streams=self._streams.n_streams,
            closed=bool(self._closed),
        )
        if step is Step.SERVE and not self._to_serve(lane, now):
            if self._closed and not self._queue.has_for(quick=lane):
                return Step.END
            return Step.WAIT  # another thread serves, or the model rests
        return step

    def _to_serve(self, lane: _Lane, now: float) -> Sequence[_Lane]:
        """Return which models of a thread may serve windows now: all, one or none."""
        resting = [quick for quick, until in self._rests_until.items() if until > now]
        awake: Sequence[_Lane] = [lane]
        if resting and not self._closed:
            of_lane = [False, True] if lane is None else [lane]
            awake = [quick for quick in of_lane if quick not in resting]
        return [own for own in awake if self._queue.has_for(quick=own)]

    def _rest_s(self, now: float) -> float | None:
        """Return in how many seconds a model no longer rests; None if none rests."""
        left = [until - now for until in self._rests_until.values() if until > now]
        return min(left, default=None)

    def _take_batch(self, lane: _Lane, now: float) -> tuple[list[_Job], list[_Job]]:
        """Return the windows that have waited too long, and those of the next pass."""
        model = self._to_serve(lane, now)[0]
        late = self._queue.take_older(now - self._max_wait_s)
        batch = self._queue.take_batch(now, quick=model)
        for job in batch:
            self._observer.window_waited(job.work, now - job.since)
        self._n_serving += 1
        return late, batch

    def _serve(self, batch: Sequence[_Job]) -> None:
        """Answer every window of a batch, with frames or an error.

        One window's error must not fail the others: after an error each is tried alone.
        """
        n = len(batch)
        try:
            labelled = self._label(batch)
        except ModelLost:
            raise
        except Exception as error:
            no_memory = isinstance(error, OutOfMemory)
            if n == 1:
                self._fail_alone(batch[0], error)
                return
            if not no_memory:
                self._observer.batch_failed()
        else:
            for job, frames in zip(batch, labelled, strict=True):
                with suppress(InvalidStateError):  # it was given up
                    job.future.set_result(frames)
            return
        # Not in the handler: there the error keeps alive what the pass had allocated.
        if no_memory:
            logger.warning("No memory for a batch of %d windows; halving it.", n)
        else:
            logger.warning("A batch of %d windows failed; trying each alone.", n)
        step = n // 2 if no_memory else 1
        for start in range(0, n, step):
            self._serve(batch[start : start + step])

    def _fail_alone(self, job: _Job, error: Exception) -> None:
        self.watchdog.fail(error, quick=job.quick, apart=self._apart)
        self._observer.batch_failed()
        with self._changed:
            line = self._failures[job.quick].note_failure(error, self._clock())
        if line is not None:
            logger.error("%s", line, exc_info=error)
        _fail(job, error)

    def _label(self, batch: Sequence[_Job]) -> list[FrameLabels]:
        """Run one pass and measure it; simultaneous passes share their seconds."""
        began = self._clock()
        quick, lane = batch[0].quick, self._lane_of(batch[0])
        with self._changed:
            self._n_running[lane] += 1
            n_running = self._n_running[lane]
            soon = quick and self._apart
            end = self.watchdog.begin(self._streams.expected_s(batch), soon=soon)
        try:
            model = self._model
            assert model is not None, "a model that serves is not unloaded"
            labelled = model.label_frames([job.window for job in batch])
            if len(labelled) != len(batch):
                raise ModelError(
                    f"The model labelled {len(labelled)} windows of {len(batch)}."
                )
        finally:
            end()
            with self._changed:
                self._n_running[lane] -= 1
                ended = self._clock()
                seconds = (ended - began) / n_running
                if not lane:  # otherwise files could not have had that time
                    self._queue.spent(batch, seconds)
        with self._changed:
            self._streams.note_pass(batch, ended, seconds)
            self._failures[quick].note_success()
        self.watchdog.succeed(quick=quick, apart=self._apart)
        self._observer.batch_labelled(
            n_windows=len(batch),
            audio_s=sum(job.n_samples for job in batch) / SAMPLE_RATE,
            seconds=ended - began,
            quick=quick,
        )
        return labelled

    # --- in spare time ---

    def _may_try(self, lane: _Lane) -> bool:
        return lane in self._spare_time and self._model is not None

    def _use_spare_time(self, passes: Iterator[object] | None, lane: _Lane) -> None:
        """Run the next of some passes that no client waits for."""
        assert passes is not None, "there is something to try"
        left: Iterator[object] | None = passes
        end = self.watchdog.begin(_SPARE_PASS_S, soon=bool(lane))
        try:
            next(passes)
        except StopIteration:
            left = None
        except ModelLost:
            raise
        except Exception as error:  # a client's pass will fail, too, or work
            logger.warning("A pass over silence failed.", exc_info=error)
            left = None
        finally:
            end()
        with self._changed:
            self._n_serving -= 1
            self._trying.discard(lane)
            if left is not None:
                self._spare_time.setdefault(lane, left)
            if lane not in self._spare_time:
                self._unmeasured.discard(lane)
            self._streams.measuring &= bool(self._unmeasured)

    def _warm_up(self, model: Model, lane: _Lane) -> Iterator[object]:
        """Let a lane's models find out how they are quickest, then measure them."""
        for quick in _models_in(lane, model.traits):
            part = part_of(model, quick=quick)
            if isinstance(part, HasTrials):
                yield from part.trials()
        yield from self._rehearsal(model.traits, lane)

    def _rehearsal(self, traits: ModelTraits, lane: _Lane) -> Iterator[object]:
        """Measure what a pass costs, of each model in a lane."""
        for quick in _models_in(lane, traits):
            yield from self._rehearse(quick)

    def _rehearse(self, quick: bool) -> Iterator[object]:
        if self._rehearsed is None:
            return
        rules = self._queue.quick_rules if quick else self._queue.rules
        windows = rehearsal.whole_pass(replace(self._rehearsed, quick=quick), rules)
        audio_s = sum(map(len, windows)) / SAMPLE_RATE

        def label(windows: Sequence[ModelInput]) -> object:
            assert self._model is not None, "a model that is tried is not unloaded"
            return self._model.label_frames(windows)

        for seconds in rehearsal.rehearse(label, windows, self._clock):
            if seconds is not None:
                with self._changed:
                    self._streams.note_rehearsal(
                        audio_s, self._clock(), seconds, quick=quick
                    )
            yield seconds


def _models_in(lane: _Lane, traits: ModelTraits) -> tuple[bool, ...]:
    """Return the models that a thread serves: whether each is the quick one."""
    if lane is not None:
        return (lane,)
    return (False,) if traits.quick is None else (False, True)


def _vocabularies(traits: ModelTraits) -> list[Vocabulary]:
    return [own.vocabulary for own in traits.all]


def _fail(job: _Job, error: Exception) -> bool:
    """Fail a window that waits or is in a pass; return whether it had no answer yet."""
    future = job.future
    if future.done():
        return False
    with suppress(InvalidStateError):  # its pass has just ended
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)
            return True
    return False
