"""Look after the server every second, beside its requests.

The time that the event loop itself takes is measured here, for admission.

A model that is stuck cannot tell anyone by itself. Its clients are told once they have
waited as long as they may; after `EXIT_WHEN_STUCK_S` the process ends, so that whatever
supervises it starts it anew: Compose, for one, restarts nothing that is merely
unhealthy.

A model that has had no work for `UNLOAD_AFTER_S` cannot notice it by itself, either.

Under mixed load the C library's heap grows for hours, as what is freed lies between
what is used; so each minute the system gets back what is free.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from api.service import Service
from weights import heap

logger = logging.getLogger("omniasr")

_EVERY_S: Final = 1.0
_TRIM_EVERY_S: Final = 60.0


async def look_after(service: Service) -> None:
    """Look after a server until cancelled."""
    looks, trims = Aside(service.spool.look), Aside(heap.trim)
    trimmed = time.monotonic()
    measured = _LoopTime()
    while True:
        measured.note_second(service)
        _look_at_models(service)
        looks.start()
        if (now := time.monotonic()) - trimmed >= _TRIM_EVERY_S:
            trimmed = now
            trims.start()
        measured.note_wait()
        await asyncio.sleep(_EVERY_S)


class Aside:
    """Calls a function in a thread; a disk of the network may hang, say.

    Nothing waits for it, and there is one call at a time.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin a call, unless the last one has not ended."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(
                asyncio.to_thread(self._call), name=f"{self._call.__qualname__} aside"
            )


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
