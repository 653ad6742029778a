"""Finish a clean-up, whatever happens to the task that waits for it."""

import asyncio
from collections.abc import Coroutine

# The loop itself holds its tasks only weakly.
_running: set[asyncio.Task[None]] = set()


async def finish(clean_up: Coroutine[None, None, None]) -> None:
    """Wait for a clean-up; it goes on to its end if this is cancelled meanwhile."""
    task = asyncio.ensure_future(clean_up)
    _running.add(task)
    task.add_done_callback(_running.discard)
    await asyncio.shield(task)
