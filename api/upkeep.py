"""Look after the server every second, beside its requests.

A model that is stuck cannot tell anyone by itself. Its clients are told once they have
waited as long as they may; after `EXIT_WHEN_STUCK_S` the process ends, so that whatever
supervises it starts it anew: Compose, for one, restarts nothing that is merely
unhealthy.

A model that has had no work for `UNLOAD_AFTER_S` cannot notice it by itself, either.
"""

import asyncio
import logging

from api.service import Service

logger = logging.getLogger("omniasr")

_EVERY_S = 1.0


async def look_after(service: Service) -> None:
    """Look after a server until cancelled."""
    looking: asyncio.Task[None] | None = None
    while True:
        _look_at_models(service)
        # A disk of the network may hang; nothing else waits for it.
        if looking is None or looking.done():
            looking = asyncio.create_task(
                asyncio.to_thread(service.spool.look), name="look at the spool"
            )
        await asyncio.sleep(_EVERY_S)


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
