"""Give each client its share: sessions at once, requests a minute, audio an hour.

A client is a key; without keys it is an address. What it may use is what its key says,
or else what holds for all. Requests are counted when they come. Audio is counted as it
is heard, and a recording when its end is known: so what was begun is finished, and what
it takes beyond the share has to come back before anything else is let in.

To be used in the event loop.
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

# Clients that are known at once; of those with an open session there may be more.
_MAX_CLIENTS = 16_384

# Who has less than so many seconds of audio left, begins nothing.
_LEAST_AUDIO_S = 1.0


class UsedUp(Exception):
    """A client has had its share.

    Attributes:
        refusal: How it is told.
        retry_after_s: When there is some again.
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
    """What one client has used.

    Attributes:
        limits: That its budgets were made for.
        n_sessions: Open now.
        requests: None without a limit.
        audio_s: None without a limit.
    """

    limits: Quota | None = None
    n_sessions: int = 0
    requests: Allowance | None = None
    audio_s: Allowance | None = None

    def limit(self, limits: Quota, now: float) -> None:
        """Give it new budgets if its limits are others than before."""
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
    """Knows what each client has used.

    Args:
        general: What holds for all whose key says nothing else.
        own: What a key says, by its name; None: no key.
        clock: Seconds that go forward.
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
            name: Of the client.
            key: Name of its key.
            takes_audio: Whether it is about audio that is still to come.

        Raises:
            UsedUp: It must not be served.
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
                    f"You have had your {most} minutes of audio an hour; try again in "
                    f"{math.ceil(wait_s)} s.",
                    AUDIO_USED_UP,
                    wait_s,
                )

    @contextmanager
    def session(self, name: str, key: str | None) -> Iterator[None]:
        """Count a session as open.

        Raises:
            UsedUp: As many are as may be.
        """
        known = self._known(name, key)
        most = known.limits.sessions if known.limits else None
        if most and known.n_sessions >= most:
            raise UsedUp(
                f"You have {most} sessions open, as many as you may have at once.",
                RATE_LIMITED,
                RETRY_S,
            )
        known.n_sessions += 1
        try:
            yield
        finally:
            known.n_sessions -= 1

    def spend_audio(self, name: str, key: str | None, seconds: float) -> bool:
        """Count audio that was heard; whether more may come."""
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
    """Refuse what is beyond a client's share, with 429 and a time to come back.

    It stands behind the gate that knows who the client is.

    Args:
        quotas: What each client has used.
        counts: Told what keys use.
    """

    def __init__(
        self, app: ASGIApp, *, quotas: Quotas, counts: Callable[[], Counts]
    ) -> None:
        self._app = app
        self._quotas = quotas
        self._counts = counts

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
                with self._quotas.session(state.client, state.key_name):
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
