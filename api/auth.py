"""Let in who has a key, where keys are set, and slow down who guesses.

Keys are compared in constant time and appear in no log, no error and no
`repr`; what is logged is the name that goes with the key. An ephemeral key opens
Realtime sessions alone, in the name of the key that it was made with.

An address that sends many wrong keys is answered late, and with 429, whatever it sends
next: otherwise it would learn which guess was right. Only keys that were right from
there before go on working, so that nobody is locked out by a neighbour behind the same
address.
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
    TOO_MANY_WRONG_KEYS,
    TOO_MANY_WRONG_KEYS_TEXT,
    UNAUTHORISED,
    UNAUTHORISED_TEXT,
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

# What clients of Azure's variety of the API send, and those of Anthropic's and of many
# gateways.
_KEY_HEADERS = (b"api-key", b"x-api-key")

# What browsers, which cannot set headers on a WebSocket, send as a subprotocol;
# Deepgram's SDK in them sends the key as another one, which follows.
_SUBPROTOCOL = b"openai-insecure-api-key."
_BEFORE_THE_KEY = (b"token", b"bearer")

# Wrong keys that an address may send at once, and again in each minute.
WRONG_KEYS = 20
_PERIOD_S = 60.0

# The answer to a guess that is one too many comes so late, unless that many wait.
_DELAY_S = 1.0
_MAX_DELAYED = 64

# Addresses that are known for wrong keys, and for right ones.
_MAX_ADDRESSES = 4_096
_MAX_RIGHT = 16_384


class Guesses:
    """Know who guesses.

    Args:
        clock: Seconds that go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong = Recent(self._full, most=_MAX_ADDRESSES)
        self._right = Recent(bool, most=_MAX_RIGHT)

    def note_right(self, address: str, name: str) -> None:
        """A key was right."""
        self._right.of(_pair(address, name))

    def note_wrong(self, address: str) -> None:
        """A key was wrong."""
        allowance, now = self._wrong.of(address), self._clock()
        allowance.spend(1.0, now)
        if allowance.left(now) < 1.0:
            allowance.spend(WRONG_KEYS, now)  # which takes a minute to come back
            logger.warning(
                "Many wrong keys came from %s: new clients there are refused for a "
                "minute. If it is a proxy, add it to TRUSTED_PROXIES.",
                address,
            )

    def wait_s(self, address: str, name: str | None) -> float:
        """Return how long an address has to wait until it may send a key.

        Args:
            address: Where it comes from.
            name: Of the key that it sent, if that was right.
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
    """Ask for a key on every path that is not open.

    Args:
        keys: None of them: everybody is let in.
        ephemeral: Knows the ephemeral keys.
        metrics_open: Whether the metrics are for everybody.
        guesses: Knows who guesses.
        sleep: Waits for so many seconds.
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
            if sent:  # without any it is no guess
                self._guesses.note_wrong(address)
            await _UNAUTHORISED(scope, receive, send)
        else:
            self._guesses.note_right(address, name)
            state.key_name, state.client = name, f"key {name}"
            await self._app(scope, receive, send)

    def _grant_of(self, scope: Scope, sent: bytes) -> Grant | None:
        """Return what an ephemeral key opens; None if it is none, or not for here."""
        if scope["type"] != "websocket" or scope["path"] != _REALTIME:
            return None
        grant = self._ephemeral.read(sent, now=time.time())
        if grant is not None and self._keys and grant.holder not in self._keys:
            return None  # the key that it was made with is not valid any more
        return grant

    async def _delay(self) -> None:
        if self._n_delayed >= _MAX_DELAYED:
            return
        self._n_delayed += 1
        try:
            await self._sleep(_DELAY_S)
        finally:
            self._n_delayed -= 1


_UNAUTHORISED = error_response(
    UNAUTHORISED_TEXT, UNAUTHORISED, headers={"www-authenticate": "Bearer"}
)


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
