"""uvicorn's connection, with an end that does not need the client.

uvicorn closes a connection once everything is sent that was written to it. A client
that never reads would keep it, its buffers and its file descriptor for ever.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Between looks at a connection that is to end: one that nothing was taken of from
# one look to the next is aborted.
ABORT_S = 30.0


class HttpConnection(HttpToolsProtocol):
    """One connection, also once it has become a WebSocket."""

    _watch: asyncio.TimerHandle | None = None

    # uvicorn's own protocol narrows asyncio's argument in the same way.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when there is a client."""
        super().connection_made(transport)
        self._look(transport, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when it is gone; not of a WebSocket, which has its own protocol."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self, transport: asyncio.Transport, unsent_before: int | None) -> None:
        unsent = None
        if transport.is_closing():
            unsent = transport.get_write_buffer_size()
            if unsent_before is not None and unsent >= unsent_before:
                transport.abort()
                return
        self._watch = self.loop.call_later(ABORT_S, self._look, transport, unsent)
