"""Let in clients with a key, if keys are set, and slow down guesses.

Keys are compared in constant time and appear in no log, no error and no `repr`; the log
has the name of the key. An ephemeral key opens only Realtime sessions, in the name of
the key that made it.

An address that sends many wrong keys gets late answers with 429, whatever it sends
next: otherwise it would learn which guess was right. Only keys that were right from
this address before still work, so that an attacker does not lock out clients behind the
same address.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.allowance import Allowance, Recent
from api.ephemeral import EphemeralKeys, Grant
from api.errors import (
    NO_KEY_TEXT,
    NO_SCHEME_TEXT,
    TOO_MANY_WRONG_KEYS,
    TOO_MANY_WRONG_KEYS_TEXT,
    UNAUTHORISED,
    UNKNOWN_KEY_TEXT,
    error_response,
)
from api.keys import KeyRing
from api.open_paths import is_open
from api.proxies import address_of
from api.request_state import state_of

logger = logging.getLogger("omniasr")

_REALTIME = "/v1/realtime"
# Deepgram's clients call a key a token.
_SCHEMES = (b"bearer ", b"token ")

# Headers that carry the key: one from clients of Azure's variant of the API, the other
# from clients of Anthropic's API and of many gateways.
_KEY_HEADERS = (b"api-key", b"x-api-key")

# The subprotocol with which browsers send a key, because they cannot set headers on
# WebSockets. Deepgram's SDK for browsers sends the key as a second one, after these.
_SUBPROTOCOL = b"openai-insecure-api-key."
_BEFORE_THE_KEY = (b"token", b"bearer")

# Wrong keys that an address may send at once; they refill within a minute.
WRONG_KEYS = 20
_PERIOD_S = 60.0

# Delay of the answer to a guess beyond that, and the most answers that are delayed.
_DELAY_S = 1.0
_MAX_DELAYED = 64

# Most addresses with wrong keys, and with right ones, that are remembered.
_MAX_ADDRESSES = 4_096
_MAX_RIGHT = 16_384


class Guesses:
    """Knows which addresses guess keys.

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong = Recent(self._full, most=_MAX_ADDRESSES)
        self._right = Recent(bool, most=_MAX_RIGHT)

    def note_right(self, address: str, name: str) -> None:
        """Note that an address sent a right key."""
        self._right.of(_pair(address, name))

    def note_wrong(self, address: str) -> None:
        """Note that an address sent a wrong key."""
        allowance, now = self._wrong.of(address), self._clock()
        allowance.spend(1.0, now)
        if allowance.left(now) < 1.0:
            allowance.spend(WRONG_KEYS, now)  # this budget needs a minute to refill
            logger.warning(
                "Many wrong keys came from %s: new clients there are refused for a "
                "minute. If it is a proxy, add it to TRUSTED_PROXIES.",
                address,
            )

    def wait_s(self, address: str, name: str | None) -> float:
        """Return the seconds until an address may send a key.

        Args:
            address: The client's address.
            name: Name of the key that it sent, if that was right.
        """
        if name is not None and self._right.get(_pair(address, name)) is not None:
            return 0.0
        allowance = self._wrong.get(address)
        return 0.0 if allowance is None else allowance.wait_s(self._clock(), need=1.0)

    def _full(self) -> Allowance:
        return Allowance(WRONG_KEYS, _PERIOD_S, now=self._clock())


def _pair(address: str, name: str) -> str:
    return f"{address} {name}"


class ApiKeyGate:
    """Require a key on every path that is not open.

    Args:
        keys: The keys; if there are none, all clients are let in.
        ephemeral: Reads ephemeral keys.
        metrics_open: Whether the metrics need no key.
        guesses: Knows which addresses guess.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        ephemeral: EphemeralKeys,
        metrics_open: bool = True,
        guesses: Guesses | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app = app
        self._ephemeral = ephemeral
        self._keys = keys
        self._metrics_open = metrics_open
        self._guesses = guesses or Guesses()
        self._sleep = sleep
        self._n_delayed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = state_of(scope)
        address = state.client = address_of(scope)
        sent = _sent_key(scope)
        grant = state.grant = self._grant_of(scope, sent)
        if is_open(scope["path"], metrics_open=self._metrics_open) or not self._keys:
            await self._app(scope, receive, send)
            return
        name = self._keys.name_of(sent) if grant is None else grant.holder
        wait_s = self._guesses.wait_s(address, name) if sent else 0.0
        if wait_s:
            await self._delay()
            await _too_many(wait_s)(scope, receive, send)
        elif name is None:
            if sent:  # a request without a key is no guess
                self._guesses.note_wrong(address)
            await _unauthorised(scope, sent)(scope, receive, send)
        else:
            self._guesses.note_right(address, name)
            state.key_name, state.client = name, f"key {name}"
            await self._app(scope, receive, send)

    def _grant_of(self, scope: Scope, sent: bytes) -> Grant | None:
        """Return the grant of an ephemeral key; None if it is not valid here."""
        if scope["type"] != "websocket" or scope["path"] != _REALTIME:
            return None
        grant = self._ephemeral.read(sent, now=time.time())
        if grant is not None and self._keys and grant.holder not in self._keys:
            return None  # the key that made it is not valid any more
        return grant

    async def _delay(self) -> None:
        if self._n_delayed >= _MAX_DELAYED:
            return
        self._n_delayed += 1
        try:
            await self._sleep(_DELAY_S)
        finally:
            self._n_delayed -= 1


def _unauthorised(scope: Scope, sent: bytes) -> ASGIApp:
    """Say whether a key came; never which, and not what would be nearer."""
    if sent:
        text = UNKNOWN_KEY_TEXT
    elif any(name == b"authorization" for name, _ in scope["headers"]):
        text = NO_SCHEME_TEXT
    else:
        text = NO_KEY_TEXT
    return error_response(text, UNAUTHORISED, headers={"www-authenticate": "Bearer"})


def _too_many(wait_s: float) -> ASGIApp:
    return error_response(
        TOO_MANY_WRONG_KEYS_TEXT,
        TOO_MANY_WRONG_KEYS,
        headers={"retry-after": str(math.ceil(wait_s))},
    )


def _sent_key(scope: Scope) -> bytes:
    headers = dict(scope["headers"])
    authorization: bytes = headers.get(b"authorization", b"")
    for scheme in _SCHEMES:
        if authorization[: len(scheme)].lower() == scheme:
            return authorization[len(scheme) :].strip()
    for name in _KEY_HEADERS:
        if api_key := headers.get(name):
            return bytes(api_key)
    offered = headers.get(b"sec-websocket-protocol", b"").split(b",")
    protocols = [each.strip() for each in offered]
    for protocol in protocols:
        if protocol.startswith(_SUBPROTOCOL):
            return bytes(protocol[len(_SUBPROTOCOL) :])
    if len(protocols) > 1 and protocols[0].lower() in _BEFORE_THE_KEY:
        return bytes(protocols[1])
    return b""
