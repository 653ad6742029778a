"""Know the sockets that are open, so that they can be ended when the server stops.

Left to itself, the web server drops them all at once: their clients would lose what
they have said. So they are asked first, and given time.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """A connection that can be asked to come to its end."""

    def stop(self) -> None: ...


class Connections:
    """All that are open. To be made and used in the event loop."""

    def __init__(self) -> None:
        self._open: set[Stoppable] = set()
        self._stopping = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, connection: Stoppable) -> Iterator[None]:
        """Count a connection as open; one that comes too late is stopped at once."""
        self._open.add(connection)
        self._none_open.clear()
        if self._stopping:
            connection.stop()
        try:
            yield
        finally:
            self._open.discard(connection)
            if not self._open:
                self._none_open.set()

    async def stop(self, *, within_s: float) -> bool:
        """Ask all of them to end, and wait; whether they all did in time."""
        self._stopping = True
        for connection in tuple(self._open):
            connection.stop()
        try:
            async with asyncio.timeout(within_s):
                await self._none_open.wait()
        except TimeoutError:
            return False
        return True
