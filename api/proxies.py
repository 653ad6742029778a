"""Believe what trusted proxies say of the client that they speak for.

`X-Forwarded-For` becomes the client's address, as uvicorn does it; and
`X-Forwarded-Host`, which uvicorn leaves alone, the name that was asked for. From
anybody else both are ignored, since any client can send them.
"""

import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.request_state import state_of

# What one client of IPv6 usually has: it can choose any address within.
_PREFIX = 64


class TrustedProxies:
    """Note the client's own address and the name that it asked for.

    Args:
        proxies: Addresses and networks of proxies; `*` trusts everybody.
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
        # A chain of proxies may name several; the first is what the client asked for.
        named = dict(scope["headers"]).get(b"x-forwarded-host", b"").split(b",")[0]
        if named:
            state_of(scope).forwarded_host = named.decode("latin-1").strip()
        await self._forward(scope, receive, send)  # type: ignore[arg-type]


def address_of(scope: Scope) -> str:
    """Return the address of a client, or the network that it can choose from."""
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
