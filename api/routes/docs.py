"""Serve `/docs` and `/redoc`: the description of the API, to read and to try out.

FastAPI's own pages load their programs from other hosts, so they need the internet, and
run anything that those hosts send. Here the same programs come from a package, and a
policy limits the pages to this server. The programs set styles in elements, so the
policy allows that; it does not allow scripts in the page.

Addresses are relative, so that the pages work below any path of a proxy.
"""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src blob:",  # ReDoc searches in it
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-cache",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="docs/files/favicon.png">
{body}
</html>
"""
_SWAGGER = """<link rel="stylesheet" href="docs/files/swagger-ui.css">
<div id="page"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>"""
_REDOC = """<redoc spec-url="openapi.json"></redoc>
<script src="docs/files/redoc.standalone.js"></script>"""

_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def add_routes(app: FastAPI) -> None:
    """Add both pages and their files."""

    @app.get("/docs", include_in_schema=False)
    async def swagger() -> Response:
        """Show the API, to try it out."""
        return _page(app.title, _SWAGGER)

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> Response:
        """Show the API on one long page."""
        return _page(app.title, _REDOC)

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        """Start Swagger UI, because the policy forbids a script in the page itself."""
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    app.mount("/docs/files", _Files(directory=_folder()), name="docs")


class _Files(StaticFiles):
    """The programs of the pages."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def _folder() -> Path:
    """Return the folder of the programs in their package, without importing it."""
    found = find_spec("fastapi_offline")
    assert found is not None, "a requirement is missing"
    assert found.origin is not None
    return Path(found.origin).parent / "static"


def _page(title: str, body: str) -> Response:
    return HTMLResponse(_PAGE.format(title=title, body=body), headers=_HEADERS)
