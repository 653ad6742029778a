"""Limit each client to its quota: sessions at once, requests a minute, audio an hour.

A client is a key; without keys it is an address. Its limits are those of its key, or
else those of the settings. Requests are counted when they come. Audio of streams is
counted as it is transcribed, that of a recording at its end. So a recording that has
begun is finished; if it exceeds the quota, the quota has to refill before the client
may begin anything else.

Use it in the event loop only.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from api.allowance import Allowance, Recent
from api.errors import (
    AUDIO_USED_UP,
    RATE_LIMITED,
    RETRY_S,
    error_response,
)
from api.open_paths import is_open
from api.request_state import Refusal, RequestState, state_of
from config import Quota

logger = logging.getLogger("omniasr")

_MINUTE_S = 60.0
_HOUR_S = 3600.0

# Most clients that are remembered; those with an open session may exceed it.
_MAX_CLIENTS = 16_384

# A client with less than so many seconds of audio left may begin nothing.
_LEAST_AUDIO_S = 1.0


class UsedUp(Exception):
    """A client has used up its quota.

    Attributes:
        refusal: The answer to the client.
        retry_after_s: Seconds until the client may try again.
    """

    def __init__(self, message: str, refusal: Refusal, retry_after_s: float) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.retry_after_s = max(1, math.ceil(retry_after_s))


class Counts(Protocol):
    """Counts what keys use; see `api.metrics.Metrics`."""

    def key_used(self, key: str, *, requests: int = 0, audio_s: float = 0) -> None: ...

    def key_refused(self, key: str) -> None: ...


@dataclass(slots=True)
class _Client:
    """The use of one client.

    Attributes:
        limits: Limits for which the budgets were made.
        n_sessions: Number of open sessions.
        requests: Budget of requests; None without a limit.
        audio_s: Budget of audio in seconds; None without a limit.
    """

    limits: Quota | None = None
    n_sessions: int = 0
    requests: Allowance | None = None
    audio_s: Allowance | None = None

    def limit(self, limits: Quota, now: float) -> None:
        """Make new budgets if the limits have changed."""
        if limits == self.limits:
            return
        self.limits = limits
        self.requests = self.audio_s = None
        if limits.requests:
            self.requests = Allowance(limits.requests, _MINUTE_S, now=now)
        if limits.audio_minutes:
            amount_s = limits.audio_minutes * 60.0
            self.audio_s = Allowance(amount_s, _HOUR_S, now=now)


class Quotas:
    """Knows the use of each client.

    Args:
        general: Limits of clients whose key has none of its own.
        own: Returns a key's own limits by its name; None stands for no key.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        general: Quota,
        own: Callable[[str | None], Quota],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._general = general
        self._own = own
        self._clock = clock
        self._clients = Recent(
            _Client, most=_MAX_CLIENTS, in_use=lambda known: known.n_sessions > 0
        )

    def note_request(self, name: str, key: str | None, *, takes_audio: bool) -> None:
        """Count a request.

        Args:
            name: Name of the client.
            key: Name of its key.
            takes_audio: Whether the request will use audio.

        Raises:
            UsedUp: The client has used up its quota.
        """
        known, now = self._known(name, key), self._clock()
        if known.requests is not None:
            if wait_s := known.requests.wait_s(now, need=1.0):
                most = known.limits.requests if known.limits else 0
                raise UsedUp(
                    f"More than {most} requests a minute came from you; try again in "
                    f"{math.ceil(wait_s)} s.",
                    RATE_LIMITED,
                    wait_s,
                )
            known.requests.spend(1.0, now)
        if takes_audio and known.audio_s is not None:
            if wait_s := known.audio_s.wait_s(now, need=_LEAST_AUDIO_S):
                most = known.limits.audio_minutes if known.limits else 0
                raise UsedUp(
                    f"Your {most} minutes of audio an hour are used up; try again in "
                    f"{math.ceil(wait_s)} s.",
                    AUDIO_USED_UP,
                    wait_s,
                )

    @contextmanager
    def session(
        self, name: str, key: str | None, *, replaces_open: bool = False
    ) -> Iterator[None]:
        """Count a session as open.

        Args:
            replaces_open: Whether it takes the place of one that is about to end.

        Raises:
            UsedUp: The client has as many open sessions as it may have.
        """
        known = self._known(name, key)
        most = known.limits.sessions if known.limits else None
        if most and known.n_sessions >= most and not replaces_open:
            raise UsedUp(
                f"You have {most} open sessions, the most that you may have at once.",
                RATE_LIMITED,
                RETRY_S,
            )
        known.n_sessions += 1
        try:
            yield
        finally:
            known.n_sessions -= 1

    def spend_audio(self, name: str, key: str | None, seconds: float) -> bool:
        """Count transcribed audio; return whether more may come."""
        known, now = self._known(name, key), self._clock()
        if known.audio_s is None:
            return True
        known.audio_s.spend(seconds, now)
        return known.audio_s.left(now) > 0

    def _known(self, name: str, key: str | None) -> _Client:
        known, own = self._clients.of(name), self._own(key)
        known.limit(
            Quota(
                *(
                    mine if mine is not None else everybodys
                    for mine, everybodys in (
                        (own.sessions, self._general.sessions),
                        (own.requests, self._general.requests),
                        (own.audio_minutes, self._general.audio_minutes),
                    )
                )
            ),
            self._clock(),
        )
        return known


class QuotaGate:
    """Refuse requests beyond a client's quota, with 429 and a time to try again.

    It stands behind the gate that identifies the client.

    Args:
        quotas: The use of each client.
        counts: Counts the use of keys.
        replaces_open: Whether a socket takes over the session of one that is open.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        quotas: Quotas,
        counts: Callable[[], Counts],
        replaces_open: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        self._app = app
        self._quotas = quotas
        self._counts = counts
        self._replaces_open = replaces_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        state = state_of(scope)
        try:
            is_socket = scope["type"] == "websocket"
            self._quotas.note_request(
                state.client,
                state.key_name,
                takes_audio=is_socket or scope["method"] == "POST",
            )
            if is_socket:
                with self._quotas.session(
                    *(state.client, state.key_name),
                    replaces_open=self._replaces_open(scope),
                ):
                    await self._serve(state, scope, receive, send)
            else:
                await self._serve(state, scope, receive, send)
        except UsedUp as error:
            if state.key_name is not None:
                self._counts().key_refused(state.key_name)
            await _refusal(error)(scope, receive, send)

    async def _serve(
        self, state: RequestState, scope: Scope, receive: Receive, send: Send
    ) -> None:
        state.spend_audio = partial(self._spend, state)
        if state.key_name is not None:
            self._counts().key_used(state.key_name, requests=1)
        try:
            await self._app(scope, receive, send)
        finally:
            if state.transcription:
                self._spend(state, state.audio_s)

    def _spend(self, state: RequestState, seconds: float) -> bool:
        if state.key_name is not None:
            self._counts().key_used(state.key_name, audio_s=seconds)
        return self._quotas.spend_audio(state.client, state.key_name, seconds)


def _refusal(error: UsedUp) -> ASGIApp:
    wait_s = error.retry_after_s
    headers = {"retry-after": str(wait_s), "retry-after-ms": str(1000 * wait_s)}
    return error_response(str(error), error.refusal, headers=headers)
