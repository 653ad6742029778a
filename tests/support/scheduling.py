"""Start a scheduler with a model of the test's choice."""

import time
from collections.abc import Callable

from benchmarks.common.processes import wait_for
from engine.interface import Model
from engine.scheduler import Scheduler
from engine.work_queue import BatchRules


def started(
    model: Model,
    *,
    max_queued: int = 8,
    min_streams: int = 1,
    max_streams: int = 64,
    max_batch: int = 4,
    file_share: float = 0.1,
    clock: Callable[[], float] = time.monotonic,
) -> Scheduler:
    """Return a scheduler that is ready; the test closes it."""
    scheduler = Scheduler(
        lambda: model,
        max_queued=max_queued,
        min_streams=min_streams,
        max_streams=max_streams,
        rules=BatchRules(max_windows=max_batch),
        file_share=file_share,
        max_wait_s=60,
        clock=clock,
    )
    scheduler.start()
    wait_for(lambda: scheduler.ready)
    return scheduler
