"""Know the open sockets, so that they can be ended when the server stops.

The web server by itself drops them all at once, and their clients would lose the last
text. So they are asked to end first, and get time for it. The time is shared out: the
sockets are asked one after the other, so that not all clients connect elsewhere at the
same moment; then each reads what is on its way; at least half of the time is for the
finals.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

logger = logging.getLogger("omniasr")

# Time between two connections that are asked to end.
_APART_S = 0.05

# Shares of the grace time: until the last connection is asked to end, and for what
# each of them still reads.
_ASKING = 0.25
_READING = 0.25


class Stoppable(Protocol):
    """A connection that can be asked to end.

    Its `stop` gets the longest time for which it may still read, in seconds.
    """

    def stop(self, read_s: float) -> None: ...


class Connections:
    """All open connections. Make and use it in the event loop."""

    def __init__(self) -> None:
        self._open: set[Stoppable] = set()
        self._read_s: float | None = None  # once the server stops
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, connection: Stoppable) -> Iterator[None]:
        """Count a connection as open; stop it at once if the server is stopping."""
        self._open.add(connection)
        self._none_open.clear()
        if self._read_s is not None:
            connection.stop(self._read_s)
        try:
            yield
        finally:
            self._open.discard(connection)
            if not self._open:
                self._none_open.set()

    async def stop(self, *, within_s: float) -> bool:
        """Ask all of them to end, and wait; return whether they all did in time."""
        self._read_s = _READING * within_s
        open_now = tuple(self._open)
        apart_s = min(_APART_S, _ASKING * within_s / max(1, len(open_now)))
        try:
            async with asyncio.timeout(within_s):
                for connection in open_now:
                    if connection in self._open:
                        self._ask(connection)
                        await asyncio.sleep(apart_s)
                await self._none_open.wait()
        except TimeoutError:
            return False
        return True

    def _ask(self, connection: Stoppable) -> None:
        """Ask one to end; whatever goes wrong with it, the others are asked, too."""
        assert self._read_s is not None
        try:
            connection.stop(self._read_s)
        except Exception:
            logger.exception("A connection could not be asked to end.")
