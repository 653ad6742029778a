"""Make keys that open Realtime sessions for some minutes, and nothing else.

A web page cannot keep a secret, so it must not have a key that opens everything. Its
server asks for a key of this kind and hands it on. Nothing of it is stored: a key
says itself until when it is good, on whose behalf, and what a session begins with, and
is signed with a secret that the process makes up when it starts. So however many are
made, they take no memory; none outlives the process; and none tells anything about the
API key that it was made with, not even to somebody who tries all there could be.

Rejected: to sign with the API key, which would survive a restart and work in several
processes, but let whoever holds a key search for a weak API key offline.

itsdangerous signs (HMAC-SHA256) and writes, in letters that are allowed in headers and
subprotocols. Its own expiry goes unused, since that would read a clock.

Pure: no I/O, clock, settings or threads.
"""

import hashlib
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

from schemas import Json

PREFIX = "ek_"

# Headers are limited to some kilobytes, by servers and by what is between.
MAX_LENGTH = 2048

# Whatever else is ever signed with the same secret is no key.
_SALT = b"omniasr.ephemeral"


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
        self._signed = URLSafeSerializer(
            secret,
            salt=_SALT,
            serializer_kwargs={"ensure_ascii": True},  # what UTF-8 cannot have, too
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def make(self, grant: Grant) -> str:
        """Write a key.

        Raises:
            GrantTooLong: It would have more than `MAX_LENGTH` characters.
        """
        content = [grant.holder, grant.expires_at, grant.session]
        key = PREFIX + self._signed.dumps(content)
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
        signed = key.removeprefix(PREFIX.encode())
        try:
            content = self._signed.loads(signed)
        except BadData:
            return None
        # Base64 is read with stray letters in it: a key has one spelling all the same.
        if self._signed.dumps(content).encode() != signed:
            return None
        holder, expires_at, session = content
        return Grant(holder, expires_at, session) if now < expires_at else None
