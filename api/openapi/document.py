"""Complete the document at `/openapi.json` with what concerns all routes.

FastAPI writes it from the routes' signatures and types. This folder has what FastAPI
cannot see there: bodies that are read while they arrive and answers whose type depends
on the request (`answers`), errors, which other parts raise (`errors`), and keys and
request ids, which belong to the middleware. The tests compare the handwritten parts
with the answers of a real server.

OpenAPI cannot describe WebSockets: the description names the documents about them.
"""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api.open_paths import is_open
from api.openapi.answers import REFERRED_TO
from api.openapi.errors import EXAMPLES
from schemas import Json

DESCRIPTION = """\
Speech to text in 1600+ languages behind OpenAI's API.

Live streams are WebSockets, which this document cannot describe: at
`/v1/audio/transcriptions` in the server's own protocol (docs/protocol.md), and at
`/v1/realtime` in OpenAI's Realtime protocol, for transcription.

Every answer has the header `x-request-id`, which is also in the server's log. Every
error has the shape of `ErrorResponse`; its `code` is for programs.
"""

TAGS = [
    {"name": "audio", "description": "Recordings become text."},
    {"name": "realtime", "description": "Sessions in OpenAI's Realtime protocol."},
    {"name": "catalogue", "description": "What is served."},
    {"name": "status", "description": "The state of the server; never requires a key."},
]

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of `API_KEYS`. A server without keys requires none.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same, in the header that clients of Azure send.",
    },
    "xApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same, as many gateways send it.",
    },
}
_REQUEST_ID = {
    "description": "The id of the request in the server's log: the client's own, if "
    "that has at most 64 letters, digits, dots, dashes and underscores.",
    "schema": {"type": "string", "maxLength": 64},
    "example": "481828dc79f54d329d1715514bd93202",
}


def describe(app: FastAPI, *, asks_for_keys: bool, metrics_open: bool = True) -> None:
    """Let the application serve the complete document at `/openapi.json`."""
    write = app.openapi

    def document() -> Json:
        if app.openapi_schema is None:
            _complete(write(), asks_for_keys=asks_for_keys, metrics_open=metrics_open)
        return write()

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def operation_id(route: APIRoute) -> str:
    """Name a route's method in generated clients as its function, in camelCase."""
    first, *others = route.name.split("_")
    return first + "".join(map(str.capitalize, others))


def _complete(document: Json, *, asks_for_keys: bool, metrics_open: bool) -> None:
    """Add what FastAPI does not know, and remove answers that never occur."""
    components = document["components"]
    components["schemas"].update(_schemas())
    components["examples"] = EXAMPLES
    missing = EXAMPLES["missing_required_parameter"]["value"]
    components["schemas"]["ErrorResponse"]["example"] = missing
    components["securitySchemes"] = _SCHEMES
    components["parameters"] = {
        "RequestId": {
            "name": "x-request-id",
            "in": "header",
            **_REQUEST_ID,
            "schema": {"type": "string"},  # others are taken and not used
        }
    }
    components["headers"] = {"RequestId": _REQUEST_ID}
    keys: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            # Our parameters accept every string.
            operation["responses"].pop("422", None)
            operation.setdefault("parameters", []).append(
                {"$ref": "#/components/parameters/RequestId"}
            )
            for response in operation["responses"].values():
                response.setdefault("headers", {})["x-request-id"] = {
                    "$ref": "#/components/headers/RequestId"
                }
            if not is_open(path, metrics_open=metrics_open):
                operation["security"] = keys if asks_for_keys else [{}, *keys]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)


def _schemas() -> Json:
    """Return the schemas of types that FastAPI does not find, with their parts."""
    _, found = models_json_schema(
        [(model, "serialization") for model in REFERRED_TO],
        ref_template="#/components/schemas/{model}",
    )
    definitions = found["$defs"]
    assert isinstance(definitions, dict)
    return definitions
