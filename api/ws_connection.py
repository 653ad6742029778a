"""uvicorn's WebSocket, with other close codes, and a quiet end after broken messages.

In RFC 6455 section 7.4.1, 1005 is a close without a code, and 1006 a connection that
ends without a close. uvicorn reports both as 1005.

After a message that breaks the protocol, uvicorn closes the socket, but lets the
application send on, which it then takes for a mistake of the application. Text that is
not UTF-8 (section 8.1) it logs with a traceback. Both are mistakes of the client.

When the server ends, uvicorn drops connections that were just told of the close. A
client that still sends would find its connection reset, and could lose its last text.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)

from protocols.actions import CloseCode

# Once the server ends, the longest time for a client's answer to the close.
_GOODBYE_S = 3.0


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One connection that has become a WebSocket."""

    def shutdown(self) -> None:
        """Called when the server ends."""
        if self.close_timer is None:
            super().shutdown()
            return
        self.stop_keepalive()
        self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_GOODBYE_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when it is gone."""
        said_goodbye = self.conn.close_rcvd is not None or self.close_sent
        if self.handshake_complete and not said_goodbye:
            code = CloseCode.ABNORMAL_CLOSURE
            # uvicorn's own message, with the other code, comes after it.
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        """Called with the frames of a whole message."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(
                    CloseCode.INVALID_DATA, "A text message must be UTF-8."
                )
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Called after a message that breaks the protocol; closes the socket."""
        super().handle_parser_exception()
        self.disconnected = True  # as if the client had left
