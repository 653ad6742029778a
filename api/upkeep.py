"""Look after the server every second, beside its requests.

The time that the event loop itself takes is measured here, for admission.

A model that is stuck cannot tell anyone by itself. Its clients are told once they have
waited as long as they may; after `EXIT_WHEN_STUCK_S` the process ends, so that whatever
supervises it starts it anew: Compose, for one, restarts nothing that is merely
unhealthy.

A model that has had no work for `UNLOAD_AFTER_S` cannot notice it by itself, either.

The C library keeps what is freed between pieces that are in use, so the process has the
memory of its worst moment so far, and grows for hours. Every ten seconds, at a moment
without work, the system gets it back; while there always is work, every twenty. It
takes about 10 ms.
"""

import asyncio
import logging
import time
from typing import Final

from api.service import Service
from weights import heap

logger = logging.getLogger("omniasr")

_EVERY_S: Final = 1.0

# The heap is trimmed so often without work, and so often with it.
_TRIM_EVERY_S: Final = 10.0
_TRIM_AT_LEAST_EVERY_S: Final = 20.0


async def look_after(service: Service) -> None:
    """Look after a server until cancelled."""
    aside: asyncio.Task[None] | None = None
    trimmed = time.monotonic()
    measured = _LoopTime()
    while True:
        measured.note_second(service)
        _look_at_models(service)
        if aside is None or aside.done():
            working = any(model.scheduler.working for model in service.models.all)
            wait_s = _TRIM_AT_LEAST_EVERY_S if working else _TRIM_EVERY_S
            if trims := time.monotonic() - trimmed >= wait_s:
                trimmed = time.monotonic()
            # A disk of the network may hang; nothing else waits for it.
            aside = asyncio.create_task(
                asyncio.to_thread(_look_aside, service, trims=trims), name="look aside"
            )
        measured.note_wait()
        await asyncio.sleep(_EVERY_S)


def _look_aside(service: Service, *, trims: bool) -> None:
    """Do in a thread what may take a while."""
    if trims:
        heap.trim()
    service.spool.look()


class _LoopTime:
    """Measures the event loop from inside, between two looks at the server."""

    def __init__(self) -> None:
        self._at, self._taken_s = time.monotonic(), time.thread_time()
        self._waits_since = self._at

    def note_wait(self) -> None:
        """Note that the next look is due after the usual time."""
        self._waits_since = time.monotonic()

    def note_second(self, service: Service) -> None:
        """Tell the load what the loop took since the last look."""
        now, taken_s = time.monotonic(), time.thread_time()
        if (passed_s := now - self._at) > 0:
            service.loop_load.note_second(
                now,
                passed_s=passed_s,
                taken_s=taken_s - self._taken_s,
                late_s=max(0.0, now - self._waits_since - _EVERY_S),
            )
        self._at, self._taken_s = now, taken_s


def _look_at_models(service: Service) -> None:
    limit_s = service.settings.exit_when_stuck_s
    for model in service.models.all:
        scheduler = model.scheduler
        scheduler.drop_late()
        scheduler.unload_if_idle()
        stuck_s = scheduler.watchdog.stuck_s
        if scheduler.ready and limit_s and stuck_s is not None and stuck_s >= limit_s:
            logger.critical(
                "The model %s has given no result for %.0f s longer than it may take.",
                *(model.name, stuck_s),
            )
            scheduler.give_up("it is stuck (EXIT_WHEN_STUCK_S)")
