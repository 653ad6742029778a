"""uvicorn's connection, with limits, and an end that does not need the client.

uvicorn reads a head of any length, for any time, and the cost of a long line grows with
the square of its length; all this happens before a key is checked. Here the bytes are
counted before they reach the parser, and a head has to be complete in time. The same
holds for sockets, which begin as a request, and for trailers, which follow a body.

uvicorn closes a connection only once all its output is sent. A client that never reads
would keep the connection, its buffers and its file descriptor for ever.
"""

import asyncio
import json
import logging
from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import error_body
from api.request_state import Refusal

logger = logging.getLogger("omniasr")

# Limits of a request besides its body. Proxies send some kilobytes, and most of them
# accept no more: nginx four times 8 kB, and a URL of 8 kB.
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADER_LINES = 100
MAX_URL_BYTES = 8 * 1024

# Longest time from the first byte of a head to its last, and in which a new connection
# may send nothing. Connections that clients keep after a request have another limit.
HEAD_S = 30.0

# Bytes that the parser gets at a time, so that its output can be counted in between.
_PIECE_BYTES = 8 * 1024

# A refused client has so many seconds to read the answer, and may send so many bytes,
# which are dropped. If the connection were closed at once, the client's system would
# drop the answer together with the bytes on their way.
_LINGER_S = 2.0
_LINGER_BYTES = 1_000_000

# When the server stops, a connection without a request yet has so many seconds to send
# one: it may be on its way, and a client that sent it would get a reset.
_LAST_CHANCE_S = 1.0

# Seconds between checks of a connection that is closing: if the client has read nothing
# since the last check, it is aborted.
ABORT_S = 30.0

_TOO_LARGE = (
    "The head of the request is too large: this server takes "
    f"{MAX_HEADER_LINES} header lines with {MAX_HEAD_BYTES} bytes in all. Send fewer "
    "or shorter headers (cookies, perhaps)."
)
_URL_TOO_LONG = (
    f"The URL is longer than {MAX_URL_BYTES} bytes. Send long values in the body."
)
_LATE = (
    f"The head of the request did not come within {HEAD_S:g} s, the longest that this "
    "server waits. Send it again."
)


# The only one that there is: RFC 6455.
WEBSOCKET_VERSION = b"13"
_OTHER_VERSION = (
    "This server accepts version 13 of WebSocket (RFC 6455): send the header "
    "Sec-WebSocket-Version: 13."
)


class HttpConnection(HttpToolsProtocol):
    """One connection; also after it has become a WebSocket."""

    _watch: asyncio.TimerHandle | None = None
    _head_timer: asyncio.TimerHandle | None = None
    _n_fruitless = 0  # bytes since the last complete head or piece of a body
    _fruitful = False  # whether the newest bytes completed one
    _begun = False  # whether there is an incomplete head
    _asked = False  # whether there was a complete one
    _in_message = False  # whether there is an incomplete body
    _refused = False
    _n_dropped = 0
    _upgraded = False

    # uvicorn's own protocol narrows asyncio's argument in the same way.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called when a client has connected."""
        super().connection_made(transport)
        self._look(transport, None)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the client is gone; WebSockets have their own protocol."""
        if self._watch is not None:
            self._watch.cancel()
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called when the server stops."""
        if not self._asked and not self._refused:
            # What comes is answered, and closes the connection.
            self.loop.call_later(_LAST_CHANCE_S, self._shut_down)
        else:
            super().shutdown()

    def _shut_down(self) -> None:
        if not self._upgraded:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser, within the limits."""
        for start in range(0, len(data), _PIECE_BYTES):
            if self._upgraded or self.transport.is_closing():
                return
            if self._refused:
                self._drop(len(data) - start)
                return
            piece = data[start : start + _PIECE_BYTES]
            self._fruitful = False
            super().data_received(piece)
            self._n_fruitless = 0 if self._fruitful else self._n_fruitless + len(piece)
            if self._n_fruitless > MAX_HEAD_BYTES:
                self._refuse(431, _TOO_LARGE, code="headers_too_large")
        # Also for empty lines, which uvicorn takes for a sign that the client lives.
        if not self._in_message and (self._begun or self._n_fruitless):
            self._wait_for_head()

    # --- what the parser finds ---

    def on_message_begin(self) -> None:
        """Called at the first byte of a request."""
        self._fruitful = self._begun = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Called for each piece of a URL."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, _URL_TOO_LONG, code="url_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each header, and for each trailer."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADER_LINES:
            self._refuse(431, _TOO_LARGE, code="headers_too_large")

    def on_headers_complete(self) -> None:
        """Called at the end of a head; begins the request, unless it is refused."""
        self._fruitful, self._begun, self._in_message = True, False, True
        self._asked = True
        self._stop_waiting()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called for each piece of a body."""
        self._fruitful = True
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        self._fruitful, self._in_message = True, False
        self._stop_waiting()
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer is sent; the rest of the body gets a time limit."""
        super().on_response_complete()
        if self._in_message:
            self._wait_for_head()

    def handle_websocket_upgrade(self) -> None:
        """Called at the end of a head that asks for a WebSocket."""
        if self._refused:
            return
        if (b"sec-websocket-version", WEBSOCKET_VERSION) not in self.headers:
            more = (
                (b"upgrade", b"websocket"),
                (b"sec-websocket-version", WEBSOCKET_VERSION),
            )
            self._refuse(426, _OTHER_VERSION, code="websocket_version", more=more)
            return
        self._upgraded = True
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Called when the bytes are not HTTP."""
        self._refuse(400, "This is not a valid HTTP request.", code="invalid_http")

    # --- the ends ---

    def _wait_for_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_S, self._late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if self._answering:  # of the request before this one
            self._wait_for_head()
        elif self._begun:
            self._refuse(408, _LATE, code="request_timeout")
        else:
            self.transport.close()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(
        self,
        status: int,
        message: str,
        *,
        code: str,
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Answer in OpenAI's error shape, and read nothing more."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        address = self.client[0] if self.client else "a client"
        logger.info("A request of %s was refused with %d (%s).", address, status, code)
        if self._answering:  # no other answer fits in here
            self.transport.close()
            return
        body = json.dumps(error_body(message, Refusal(status, code=code))).encode()
        headers = [
            *self.server_state.default_headers,
            *more,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.loop.call_later(_LINGER_S, self.transport.close)

    def _drop(self, n_bytes: int) -> None:
        self._n_dropped += n_bytes
        if self._n_dropped > _LINGER_BYTES:
            self.transport.close()

    def _look(self, transport: asyncio.Transport, unsent_before: int | None) -> None:
        unsent = None
        if transport.is_closing():
            unsent = transport.get_write_buffer_size()
            if unsent_before is not None and unsent >= unsent_before:
                transport.abort()
                return
        self._watch = self.loop.call_later(ABORT_S, self._look, transport, unsent)
