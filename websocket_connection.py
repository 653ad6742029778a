"""uvicorn's WebSocket connection, with an end that does not need the client.

uvicorn closes a connection once everything is sent that was written to it. A client
that never reads would keep it, its buffers and its file descriptor for ever.
"""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)

# After its session: longer than uvicorn waits for the other side's close.
ABORT_S = 20.0


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Aborted ABORT_S after the application is done with it, if it is still there."""

    _abort_timer: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        """Run the application on this connection, up to its end."""
        try:
            await super().run_asgi()
        finally:
            if not self.disconnected:
                self._abort_timer = self.loop.call_later(ABORT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is gone, by whoever's doing."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)
