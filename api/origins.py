"""Refuse web pages of other origins, and host names that do not belong to the server.

A browser lets a page of any origin open WebSockets to any address that the browser
reaches, even in a network that the page's author cannot reach. It names the page's
origin in `Origin`, which other clients leave out. So a request with an `Origin` that is
neither the server's own nor allowed is refused.

The author of a page can also let their own domain name point to an address in that
network (DNS rebinding). The page then has the same origin as the server, but `Host` has
the author's name. So without keys only names are accepted that no outsider can own:
addresses, localhost, names without a dot, and those that the operator lists.

Origin and host are compared by name and port, without the scheme, since TLS often ends
at a proxy. Sources: RFC 6454 (origins), RFC 6455 section 10.2 (WebSockets).
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import HOST_NOT_ALLOWED, ORIGIN_NOT_ALLOWED, error_response
from api.open_paths import PROBES, is_open
from api.request_state import state_of

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Authority:
    """A host as clients write it.

    Attributes:
        name: In lower case, without the brackets of IPv6.
        port: None if there is none in the text.
    """

    name: str
    port: int | None

    @classmethod
    def read(cls, text: str) -> "Authority | None":
        """Parse `name`, `name:port` or `[address]:port`; None for other texts."""
        found = _AUTHORITY.fullmatch(text.strip())
        if found is None:
            return None
        name, port = found.groups()
        return cls(name.strip("[]").lower(), int(port) if port else None)


def same_site(origin: str, host: Authority | None) -> bool:
    """Whether an `Origin` has the name and the port of a `Host`.

    A missing port is the default of the origin's scheme.
    """
    scheme, _, rest = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme.lower())
    page = Authority.read(rest)
    if page is None or host is None or default is None:
        return False
    ports = (page.port or default, host.port or default)
    return page.name == host.name and ports[0] == ports[1]


def is_own_name(host: Authority, allowed: Collection[str]) -> bool:
    """Whether no outsider can own a name, or the operator lists it.

    Args:
        host: The host of a request.
        allowed: Names; `*.name` allows all names below it, `*` any name.
    """
    if "." not in host.name and ":" not in host.name:
        return True
    try:
        ipaddress.ip_address(host.name)
    except ValueError:
        pass
    else:
        return True
    below = (f"*.{parent}" for parent in _parents(host.name))
    return not {"*", host.name, *below}.isdisjoint(allowed)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[n:]) for n in range(1, len(parts))]


class OriginGate:
    """Refuse requests of other pages, and for names that are not the server's.

    Args:
        origins: Origins that are allowed beside the server's own; `*` allows any.
        hosts: Names of the server; None allows any name, because keys protect it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Collection[str],
        hosts: Collection[str] | None,
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        if scope["type"] in ("http", "websocket") and scope["path"] not in PROBES:
            refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        named = _values(scope, b"host")
        if (forwarded := state_of(scope).forwarded_host) is not None:
            named = [forwarded]
        host = Authority.read(named[0]) if len(named) == 1 else None
        if self._hosts is not None and not (host and is_own_name(host, self._hosts)):
            return error_response(host_text(named), HOST_NOT_ALLOWED)
        if is_open(scope["path"]):
            return None
        for origin in _values(scope, b"origin"):
            allowed = "*" in self._origins or origin in self._origins
            if not allowed and not same_site(origin, host):
                return error_response(origin_text(origin, named), ORIGIN_NOT_ALLOWED)
        return None


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "...")


def host_text(named: list[str]) -> str:
    """Say why a name is refused; `named` has the values of `Host`."""
    name = ", ".join(map(_shown, named[:2])) or "no name"
    return (
        f"The request is for {name}. A server without API keys answers only to IP "
        "addresses, localhost, names without a dot, and those in ALLOWED_HOSTS, so "
        "that no web page can reach it under a name of its own. Ask the operator to "
        "add the name to ALLOWED_HOSTS, or to set API_KEYS."
    )


def origin_text(origin: str, named: list[str]) -> str:
    """Say why a page is refused; `named` has the values of `Host`."""
    name = ", ".join(map(_shown, named[:2])) or "no name"
    return (
        f"Web pages of {_shown(origin)} may not use this server, whose name in the "
        f"request is {name}. Ask the operator to add the origin to CORS_ORIGINS; a "
        "proxy in front must not change the header Host."
    )
