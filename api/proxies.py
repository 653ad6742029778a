"""Use what trusted proxies say about their clients.

`X-Forwarded-For` becomes the client's address, as in uvicorn. `X-Forwarded-Host`, which
uvicorn ignores, becomes the host name of the request. From all other clients both are
ignored, since any client can send them.
"""

import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.request_state import state_of

# A client of IPv6 usually has a network of this size, with all its addresses.
_PREFIX = 64


class TrustedProxies:
    """Note the client's own address and the host name of its request.

    Args:
        proxies: Addresses and networks of proxies; `*` trusts all clients.
    """

    def __init__(self, app: ASGIApp, *, proxies: Sequence[str]) -> None:
        self._app = app
        self._forward = ProxyHeadersMiddleware(
            app,  # type: ignore[arg-type]  # ASGI, by uvicorn's names
            trusted_hosts="*" if "*" in proxies else list(proxies),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        peer = scope.get("client")
        if peer is None or peer[0] not in self._forward.trusted_hosts:
            await self._app(scope, receive, send)
            return
        # A chain of proxies may send several names; the first is the client's.
        named = dict(scope["headers"]).get(b"x-forwarded-host", b"").split(b",")[0]
        if named:
            state_of(scope).forwarded_host = named.decode("latin-1").strip()
        await self._forward(scope, receive, send)  # type: ignore[arg-type]


def address_of(scope: Scope) -> str:
    """Return the address of a client; for IPv6, its network."""
    peer = scope.get("client")
    if peer is None:
        return "unknown"
    try:
        address = ipaddress.ip_address(peer[0])
    except ValueError:
        return str(peer[0])[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed, _PREFIX), strict=False))
    return str(address)
