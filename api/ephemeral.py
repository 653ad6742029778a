"""Make keys that open Realtime sessions for some minutes, and nothing else.

A web page cannot keep a secret, so it must not have an API key. Its server asks for an
ephemeral key and gives it to the page. The server stores nothing: the key itself states
when it expires, the API key that made it, and the first configuration of a session. It
is signed with a random secret, which the process makes at start unless an operator has
set one (`SECRET_KEY`) for several processes behind one address. So keys take no memory,
and reveal nothing about the API key, not even to an attacker that tries all possible
ones.

Rejected: signing with the API key. Anyone with an ephemeral key could search for a weak
API key offline.

itsdangerous signs (HMAC-SHA256) and encodes, in letters that are allowed in headers and
subprotocols. Its own expiry is not used, since that would read a clock.

Pure: no I/O, clock, settings or threads.
"""

import hashlib
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

from schemas import Json

PREFIX = "ek_"

# Servers and proxies limit headers to some kilobytes.
MAX_LENGTH = 2048

# Other data that may be signed with the same secret are not keys.
_SALT = b"omniasr.ephemeral"


class GrantTooLong(Exception):
    """The configuration of a session does not fit into a key."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a key.

    Attributes:
        holder: Name of the API key that made it; None on a server without keys.
        expires_at: Unix time at which it expires.
        session: First configuration of its sessions, as in `session.update`.
    """

    holder: str | None
    expires_at: int
    session: Json


class EphemeralKeys:
    """Makes keys, and reads the keys that it made.

    Args:
        secret: Random bytes that only the server's processes have.
    """

    def __init__(self, secret: bytes) -> None:
        self._signed = URLSafeSerializer(
            secret,
            salt=_SALT,
            serializer_kwargs={"ensure_ascii": True},  # UTF-8 cannot encode all text
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
        """Return a key's grant; None if it has expired, or is not one of ours."""
        if len(key) > MAX_LENGTH or not key.startswith(PREFIX.encode()):
            return None
        signed = key.removeprefix(PREFIX.encode())
        try:
            content = self._signed.loads(signed)
        except BadData:
            return None
        # Base64 decoders ignore stray letters, but a key must have only one spelling.
        if self._signed.dumps(content).encode() != signed:
            return None
        holder, expires_at, session = content
        return Grant(holder, expires_at, session) if now < expires_at else None
