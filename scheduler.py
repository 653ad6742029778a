"""Give every window its turn at the model, in one bounded queue.

One thread, named `asr`, loads the model and is the only one that ever calls it,
so the event loop never runs torch and the model needs no lock. Windows wait in
arrival order. When the model is free it takes the oldest one, and with it those
waiting windows that are about as long: padding a short window to a long one
would cost more than it saves.

A full queue is refused at once: the caller learns it in time to try elsewhere,
and nobody waits for an answer that no one is waiting for any more. Cancelling a
waiter takes its window out of the queue; a forward pass that has begun is
finished, and its result dropped.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from ctc import FrameLabels, Vocabulary
from model_input import ModelInput
from samples import SAMPLE_RATE
from word_times import SpikeOffsets

logger = logging.getLogger(__name__)


# A batch costs what its longest window costs, times its size. A window that is
# a quarter shorter than the longest still gains from sharing the pass.
_SHORTEST_RATIO = 0.75

# Until a pass has been measured: a slow CPU with the 300M model.
_FIRST_REAL_TIME_FACTOR = 0.2
_SMOOTHING = 0.3  # weight of the newest pass in the running real-time factor


class QueueFull(Exception):
    """More windows wait than are allowed.

    Attributes:
        retry_after_s: When about half of the queue will have been served.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"The server is busy; try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class WaitedTooLong(Exception):
    """A window's turn did not come in time."""


class NotReady(Exception):
    """The model is still loading, could not be loaded, or is shutting down."""


class Model(Protocol):
    """What the server needs of a model."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def spike_offsets(self) -> SpikeOffsets: ...

    @property
    def device_name(self) -> str: ...

    @property
    def dtype_name(self) -> str: ...

    @property
    def description(self) -> str: ...

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]: ...


@dataclass(slots=True, eq=False)
class _Job:
    window: ModelInput
    deadline: float  # on the monotonic clock
    future: Future[FrameLabels] = field(default_factory=Future)


class Scheduler:
    """Own the model's thread, from loading to the last window.

    Args:
        load: Builds the model; called once, in the model's thread.
        max_queued: Most windows that wait.
        max_batch: Most windows in one forward pass.
        max_wait_s: Longest that a window waits for its pass, in seconds.
        on_loaded: Told, in the model's thread, how loading ended: None or the
            exception.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        *,
        max_queued: int,
        max_batch: int,
        max_wait_s: float,
        on_loaded: Callable[[BaseException | None], None] = lambda error: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._on_loaded = on_loaded
        self._max_queued = max_queued
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._model: Model | None = None
        self._closed = False
        self._real_time_factor = _FIRST_REAL_TIME_FACTOR
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
        return len(self._jobs)

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
            waiting, self._jobs = list(self._jobs), deque()
        for job in waiting:
            _fail(job, NotReady("The server is shutting down."))

    async def label_frames(self, window: ModelInput) -> FrameLabels:
        """Queue one window and wait for its frames.

        Cancelling is safe: a window that still waits never reaches the model.

        Raises:
            QueueFull: Too many windows wait.
            WaitedTooLong: Its turn did not come in time.
            NotReady: There is no model to ask.
        """
        return await asyncio.wrap_future(self.submit(window))

    def submit(
        self, window: ModelInput, *, beyond_limit: bool = False
    ) -> Future[FrameLabels]:
        """Queue one window from any thread; see `label_frames`.

        Args:
            window: What to label.
            beyond_limit: Take it even if the queue is full. For the later windows
                of a recording whose first was taken, one at a time, so that hours
                of work are not lost; such recordings are limited elsewhere.
        """
        job = _Job(window, self._clock() + self._max_wait_s)
        with self._changed:
            if self._closed:
                raise NotReady("The server is shutting down.")
            if self._model is None:
                raise NotReady("The model is still loading.")
            self._drop_cancelled()
            if len(self._jobs) >= self._max_queued and not beyond_limit:
                raise QueueFull(self._retry_after_s())
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def _drop_cancelled(self) -> None:
        """Make room that nobody waits in. The caller holds the lock."""
        if any(job.future.cancelled() for job in self._jobs):
            self._jobs = deque(job for job in self._jobs if not job.future.cancelled())

    def _retry_after_s(self) -> int:
        waiting_s = sum(len(job.window) for job in self._jobs) / SAMPLE_RATE
        return max(1, min(60, math.ceil(waiting_s * self._real_time_factor / 2)))

    # --- in the model's thread ---

    def _run(self) -> None:
        try:
            model = self._load()
        except BaseException as error:
            self._on_loaded(error)
            return
        self._model = model
        self._on_loaded(None)
        while (batch := self._next_batch()) is not None:
            self._serve(model, batch)

    def _next_batch(self) -> list[_Job] | None:
        """Wait for work; None once closed and nothing is left."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            return self._take_batch()

    def _take_batch(self) -> list[_Job]:
        """Take the oldest window and others about as long, oldest first."""
        lengths = [len(self._jobs[0].window)] * 2
        batch: list[_Job] = []
        rest: deque[_Job] = deque()
        for job in self._jobs:
            n = len(job.window)
            shortest, longest = min(lengths[0], n), max(lengths[1], n)
            if len(batch) < self._max_batch and shortest >= longest * _SHORTEST_RATIO:
                lengths = [shortest, longest]
                batch.append(job)
            else:
                rest.append(job)
        self._jobs = rest
        return batch

    def _serve(self, model: Model, batch: list[_Job]) -> None:
        began = self._clock()
        late = [job for job in batch if job.deadline < began]
        for job in late:
            _fail(job, WaitedTooLong("The server is too busy; try again later."))
        # From here on a future can no longer be cancelled, only ignored.
        live = [
            job
            for job in batch
            if job not in late and job.future.set_running_or_notify_cancel()
        ]
        if not live:
            return
        try:
            labelled = model.label_frames([job.window for job in live])
        except Exception as error:
            logger.error("A batch of %d windows failed.", len(live))
            for job in live:
                job.future.set_exception(error)
            return
        self._measure(live, self._clock() - began)
        for job, frames in zip(live, labelled, strict=True):
            job.future.set_result(frames)

    def _measure(self, batch: Sequence[_Job], seconds: float) -> None:
        audio_s = sum(len(job.window) for job in batch) / SAMPLE_RATE
        if audio_s:
            newest = seconds / audio_s
            self._real_time_factor += _SMOOTHING * (newest - self._real_time_factor)


def _fail(job: _Job, error: Exception) -> None:
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)
