"""Call a function in the event loop after a time without events."""

import asyncio
from collections.abc import Callable


class Timer:
    """A timer that belongs to the event loop in which it is made.

    Args:
        after_s: Seconds from `start` to the call.
        call: The function, called once for each start.
    """

    def __init__(self, after_s: float, call: Callable[[], object]) -> None:
        self._after_s = after_s
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._held = False
        self._wanted = False  # was started while it was held

    def hold(self, held: bool) -> None:
        """Keep it from waiting; once it is held no more, it starts if it should."""
        wanted = self._handle is not None or self._wanted
        self.stop()
        self._held = held
        if wanted:
            self.start()

    def start(self) -> None:
        """Start to wait from now on."""
        self.stop()
        if self._held:
            self._wanted = True
        else:
            self._handle = self._loop.call_later(self._after_s, self._go_off)

    def stop(self) -> None:
        """Stop waiting."""
        self._wanted = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _go_off(self) -> None:
        self._handle = None
        self._call()
