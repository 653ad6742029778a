"""Let in who has a key, where keys are set.

Keys are compared in constant time and appear in no log, no error and no
`repr`; what is logged is the name that goes with the key. An ephemeral key opens
Realtime sessions alone, in the name of the key that it was made with.
"""

import hmac
import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from api.ephemeral import EphemeralKeys
from api.request_state import state_of

logger = logging.getLogger("omniasr")

_PROTECTED = "/v1/"
_REALTIME = "/v1/realtime"
_SCHEME = b"bearer "

# What clients of Azure's variety of the API send.
_AZURE_HEADER = b"api-key"

# What browsers, which cannot set headers on a WebSocket, send as a subprotocol.
_SUBPROTOCOL = b"openai-insecure-api-key."


class ApiKeyGate:
    """Ask for a key on every route below `/v1`.

    Args:
        keys: From the name of a key to the key. None of them: everybody is let in.
        ephemeral: Knows the ephemeral keys.
        refusal: Answers whoever has none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Mapping[str, str],
        ephemeral: EphemeralKeys,
        refusal: ASGIApp,
    ) -> None:
        self._app = app
        self._ephemeral = ephemeral
        self._keys = {name: key.encode() for name, key in keys.items()}
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protected = scope["type"] in ("http", "websocket") and scope["path"].startswith(
            _PROTECTED
        )
        if protected and not self._open(scope):
            await self._refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _open(self, scope: Scope) -> bool:
        """Whether to let somebody in; note in the scope who it is, and for what."""
        state, sent = state_of(scope), _sent_key(scope)
        name = self._name_of(sent)
        if scope["type"] == "websocket" and scope["path"] == _REALTIME:
            grant = self._ephemeral.read(sent, now=time.time())
            if grant is not None:
                state.grant, name = grant, grant.holder
        state.key_name = name
        return name is not None or not self._keys

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
