"""uvicorn's WebSocket, with different codes for a close and for a lost connection.

In RFC 6455 section 7.4.1, 1005 is a close without a code, and 1006 a connection that
ends without a close. uvicorn reports both as 1005.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)

from protocols.actions import CloseCode


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One connection that has become a WebSocket."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when it is gone."""
        said_goodbye = self.conn.close_rcvd is not None or self.close_sent
        if self.handshake_complete and not said_goodbye:
            code = CloseCode.ABNORMAL_CLOSURE
            # uvicorn's own message, with the other code, comes after it.
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        super().connection_lost(exc)
