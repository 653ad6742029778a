"""A network between a client and a server, which a test may break."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

_PART = 65_536


class _Line:
    """One connection that is carried."""

    def __init__(
        self, near: asyncio.StreamWriter, far: asyncio.StreamWriter | None
    ) -> None:
        self.near = near  # to the client
        self.far = far  # to the server; None until it is there
        self.cut = False


class Cable:
    """Carries bytes to a server and back until it is cut.

    Args:
        url: The server's.

    Attributes:
        url: Where clients connect in place of it.
        n_bytes: Bytes that clients have sent.
        n_lines: Connections that clients have made.
    """

    def __init__(self, url: str) -> None:
        self._there = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: list[_Line] = []  # that the server takes for open
        self._server: asyncio.Server | None = None
        self.url = ""
        self.n_bytes = 0
        self.n_lines = 0

    def cut(self, *, noticed: bool = True) -> None:
        """Break all connections off; new ones can be made.

        Args:
            noticed: Whether the server notices; clients always do.
        """
        self._call(lambda: self._cut(noticed))

    def break_for_good(self) -> None:
        """Break all connections off, and make no new ones."""
        self._call(self._break_for_good)

    def _break_for_good(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut(noticed=True)

    def _cut(self, noticed: bool) -> None:
        for line in self._lines:
            line.cut = True
            line.near.transport.abort()
            if line.far is not None and noticed:
                line.far.transport.abort()
            elif line.far is not None:
                self._silent.append(line)
        self._lines.clear()

    def _call(self, do: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(do)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(10)

    async def _carry(
        self, reader: asyncio.StreamReader, near: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.n_lines += 1
        line = _Line(near, None)
        self._lines.add(line)
        with contextlib.suppress(ConnectionError):
            back, line.far = await asyncio.open_connection(
                self._there.hostname, self._there.port
            )
            await asyncio.gather(
                self._pour(reader, line.far, line, up=True),
                self._pour(back, near, line, up=False),
            )
        near.transport.abort()
        if line.far is not None and line not in self._silent:
            line.far.transport.abort()
        self._lines.discard(line)
        self._tasks.discard(task)

    async def _pour(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        line: _Line,
        *,
        up: bool,
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await source.read(_PART):
                if line.cut:
                    return
                if up:
                    self.n_bytes += len(part)
                sink.write(part)
                await sink.drain()
            if not line.cut:
                sink.close()

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._server = self._loop.run_until_complete(
                asyncio.start_server(self._carry, sock=listener)
            )
            self._loop.call_soon(started.set)
            self._loop.run_forever()
            self._server.close()
            self._cut(noticed=True)
            for line in self._silent:
                assert line.far is not None
                line.far.transport.abort()
            if self._tasks:
                self._loop.run_until_complete(asyncio.wait(self._tasks, timeout=10))
            # Transports close in the turn of the loop after their abort.
            self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()


@contextlib.contextmanager
def cable_to(url: str) -> Iterator[Cable]:
    """Lay a cable to a server."""
    cable = Cable(url)
    started = threading.Event()
    thread = threading.Thread(target=cable._serve, args=(started,), name="cable")
    thread.start()
    assert started.wait(10)
    try:
        yield cable
    finally:
        cable._loop.call_soon_threadsafe(cable._loop.stop)
        thread.join(20)
        assert not thread.is_alive()
