"""Know the open sockets, so that they can be ended when the server stops.

The web server by itself drops them all at once, and their clients would lose the last
text. So they are asked to end first, and get time for it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """A connection that can be asked to end."""

    def stop(self) -> None: ...


class Connections:
    """All open connections. Make and use it in the event loop."""

    def __init__(self) -> None:
        self._open: set[Stoppable] = set()
        self._stopping = False
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, connection: Stoppable) -> Iterator[None]:
        """Count a connection as open; stop it at once if the server is stopping."""
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
        """Ask all of them to end, and wait; return whether they all did in time."""
        self._stopping = True
        for connection in tuple(self._open):
            connection.stop()
        try:
            async with asyncio.timeout(within_s):
                await self._none_open.wait()
        except TimeoutError:
            return False
        return True
