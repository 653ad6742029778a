"""Say which paths are open: all others are closed, also those that do not exist.

What is closed asks for a key, where there are keys, and who comes from a web page of
another origin is turned away. A new route is closed unless it is listed here.
"""

# Tell how the server is doing. They answer under any name of the host, since who
# asks them may know the server by none that its operator thought of.
PROBES = frozenset({"/health", "/ready"})

METRICS = "/metrics"

# The page and the description of the API do no work themselves.
_PAGES = frozenset({"/", "/web", "/openapi.json", "/docs", "/redoc"})
_FILES = ("/web/", "/docs/")


def is_open(path: str, *, metrics_open: bool = True) -> bool:
    """Whether a path is open to everybody.

    Args:
        path: Of a request or a socket.
        metrics_open: Whether the metrics are open.
    """
    if path == METRICS:
        return metrics_open
    return path in PROBES or path in _PAGES or path.startswith(_FILES)
