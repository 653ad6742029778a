"""Let in who has a key, where keys are set.

Keys are compared in constant time and appear in no log, no error and no
`repr`; what is logged is the name that goes with the key.
"""

import hmac
import logging
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("omniasr")

_PROTECTED = "/v1/"
_SCHEME = b"bearer "

# What clients of Azure's variety of the API send.
_AZURE_HEADER = b"api-key"

# What browsers, which cannot set headers on a WebSocket, send as a subprotocol.
_SUBPROTOCOL = b"openai-insecure-api-key."


class ApiKeyGate:
    """Ask for a key on every route below `/v1`.

    Args:
        keys: From the name of a key to the key. None of them: everybody is let in.
        refusal: Answers whoever has none.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Mapping[str, str], refusal: ASGIApp
    ) -> None:
        self._app = app
        self._keys = {name: key.encode() for name, key in keys.items()}
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protected = scope["type"] in ("http", "websocket") and scope["path"].startswith(
            _PROTECTED
        )
        if self._keys and protected:
            name = self._name_of(_sent_key(scope))
            if name is None:
                await self._refusal(scope, receive, send)
                return
            scope["api_key_name"] = name
        await self._app(scope, receive, send)

    def _name_of(self, sent: bytes) -> str | None:
        """Compare with every key, so that the time tells nothing of any."""
        found = None
        for name, key in self._keys.items():
            if hmac.compare_digest(sent, key):
                found = name
        return found


def _sent_key(scope: Scope) -> bytes:
    headers = dict(scope["headers"])
    authorization: bytes = headers.get(b"authorization", b"")
    if authorization[: len(_SCHEME)].lower() == _SCHEME:
        return authorization[len(_SCHEME) :].strip()
    if api_key := headers.get(_AZURE_HEADER):
        return bytes(api_key)
    for offered in headers.get(b"sec-websocket-protocol", b"").split(b","):
        protocol: bytes = offered.strip()
        if protocol.startswith(_SUBPROTOCOL):
            return protocol[len(_SUBPROTOCOL) :]
    return b""


def parse_keys(text: str) -> dict[str, str]:
    """Read `name:key` pairs, separated by commas or lines; `#` begins a comment line.

    Raises:
        ValueError: Names the entry by its number, never by its content.
    """
    keys: dict[str, str] = {}
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    entries = [entry.strip() for line in lines for entry in line.split(",")]
    for number, entry in enumerate(filter(None, entries), start=1):
        name, colon, key = entry.partition(":")
        name, key = name.strip(), key.strip()
        if not (name and colon and key):
            raise ValueError(f"entry {number} is not of the form name:key")
        if not key.isascii():
            raise ValueError(f"the key of entry {number} has a letter outside ASCII")
        if name in keys:
            raise ValueError(f"entry {number} has a name that was there before")
        keys[name] = key
    return keys
