"""Make keys that open Realtime sessions for some minutes, and nothing else.

A web page cannot keep a secret, so it must not have a key that opens everything. Its
server asks for a key of this kind and hands it on. Nothing of it is stored: a key
says itself until when it is good, on whose behalf, and what a session begins with, and
is signed with a secret that the process makes up when it starts. So however many are
made, they take no memory; none outlives the process; and none tells anything about the
API key that it was made with, not even to somebody who tries all there could be.

Rejected: to sign with the API key, which would survive a restart and work in several
processes, but let whoever holds a key search for a weak API key offline.

Source: HMAC-SHA256 (RFC 2104), written in the alphabet of RFC 4648 section 5, which
is allowed in headers and subprotocols.
Pure: no I/O, clock, settings or threads.
"""

import base64
import hmac
import json
from dataclasses import dataclass
from typing import Any

PREFIX = "ek_"

# Headers are limited to some kilobytes, by servers and by what is between.
MAX_LENGTH = 2048

_HASH = "sha256"

Json = dict[str, Any]


class GrantTooLong(Exception):
    """What a session begins with does not fit into a key."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key is good for.

    Attributes:
        holder: The name of the API key that it was made with; None without any.
        expires_at: Unix time after which it opens nothing.
        session: What sessions begin with, as `session.update` has it.
    """

    holder: str | None
    expires_at: int
    session: Json


class EphemeralKeys:
    """Makes keys, and knows its own again.

    Args:
        secret: Random bytes that nobody else has.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, grant: Grant) -> str:
        """Write a key.

        Raises:
            GrantTooLong: It would have more than `MAX_LENGTH` characters.
        """
        content = [grant.holder, grant.expires_at, grant.session]
        payload = json.dumps(content, separators=(",", ":")).encode()
        key = f"{PREFIX}{_written(payload)}.{_written(self._sign(payload))}"
        if len(key) > MAX_LENGTH:
            raise GrantTooLong(
                f"The session's configuration is too long for a key: {len(key)} of "
                f"at most {MAX_LENGTH} characters."
            )
        return key

    def read(self, key: bytes, *, now: float) -> Grant | None:
        """Return what a key is good for at a time; None if it is not, or not ours."""
        if len(key) > MAX_LENGTH or not key.startswith(PREFIX.encode()):
            return None
        payload, _, signature = key[len(PREFIX) :].partition(b".")
        try:
            content = _read(payload)
            # Nothing is made of what comes in before its signature is right.
            if not hmac.compare_digest(_read(signature), self._sign(content)):
                return None
        except ValueError:
            return None
        holder, expires_at, session = json.loads(content)
        return Grant(holder, expires_at, session) if now < expires_at else None

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, _HASH)


def _written(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _read(text: bytes) -> bytes:
    """Raises: ValueError."""
    return base64.b64decode(
        text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
    )
