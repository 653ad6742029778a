"""Say which paths are open: all others are closed, even those that do not exist.

A closed path requires a key, if there are keys, and refuses requests from web pages of
other origins. A new route is closed unless it is listed here.
"""

# The state of the server. These paths answer under any host name, because monitoring
# may use a name that the operator did not list.
PROBES = frozenset({"/health", "/ready"})

METRICS = "/metrics"

# The page and the description of the API do no work themselves.
_PAGES = frozenset({"/", "/web", "/openapi.json", "/docs", "/redoc"})
_FILES = ("/web/", "/docs/")


def is_open(path: str, *, metrics_open: bool = True) -> bool:
    """Whether a path is open to all clients.

    Args:
        path: Path of a request or a socket.
        metrics_open: Whether the metrics are open.
    """
    if path == METRICS:
        return metrics_open
    return path in PROBES or path in _PAGES or path.startswith(_FILES)
