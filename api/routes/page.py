"""Serve the live page: the files in `web/`, and the headers that limit it to them.

Browsers get the page at `/`, other clients JSON. The page may load only its own files,
run no scripts in its text and connect only to this server. So transcribed text, or the
name of a file, can do no harm, even if the page has a mistake. Its addresses are
relative, so that it works below any path of a proxy.

Media types are listed here, because some systems have wrong ones for JavaScript, which
browsers then refuse.
"""

import os
import re
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parents[2] / "web"
PATH = "/web"

# The recording that the command line uses, too.
SAMPLE = Path(__file__).parents[2] / "client" / "digits.flac"

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    # Browsers ask for files every time, and get them only if they have changed.
    "cache-control": "no-cache",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=(), payment=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# A client's header that may be written into one of ours.
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


class Page(StaticFiles):
    """The files of the page."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def index(self, request: Request) -> Response:
        """Answer with the page itself."""
        return await self.get_response("index.html", request.scope)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        asked = Headers(scope=scope)
        response = FileResponse(
            full_path,
            status_code=status_code,
            stat_result=stat_result,
            media_type=MEDIA_TYPES.get(Path(full_path).suffix),
            headers={**_HEADERS, "content-security-policy": _policy(asked)},
        )
        if Path(full_path).suffix == ".html":
            response.headers["vary"] = "accept"
        if self.is_not_modified(response.headers, asked):
            return NotModifiedResponse(response.headers)
        return response


def add_routes(app: FastAPI) -> Page:
    """Serve the files of the page, and the sample it offers; return the files."""
    page = Page()

    @app.get(f"{PATH}/sample.flac", include_in_schema=False)
    async def sample() -> Response:
        """Ten spoken digits, which every model understands."""
        return FileResponse(SAMPLE, media_type="audio/flac", headers=_HEADERS)

    app.mount(PATH, page, name="page")
    return page


def is_wanted(request: Request) -> bool:
    """Whether a client prefers a page to JSON, as browsers do."""
    return "text/html" in request.headers.get("accept", "")


def _policy(asked: Headers) -> str:
    """Return the Content-Security-Policy.

    For some browsers `'self'` does not include sockets, so they are named.
    """
    host = asked.get("host", "")
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"connect-src 'self'{sockets}",
            "img-src 'self' data:",
            "media-src 'self' blob:",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
