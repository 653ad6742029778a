"""The routes that show the state of the server."""

import time
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute, APIWebSocketRoute

import schemas
from api.errors import RETRY_S
from api.ids import PROCESS
from api.openapi import state
from api.routes import page
from api.service import Service, service_of
from weights.downloads import cached_bytes
from weights.hub import incomplete_bytes

VERSION = "0.1.0"
DESCRIPTION = "Speech to text in 1600+ languages behind OpenAI's API."

_FULL = "There is no room for another live stream (READY_WHEN_FULL)."

# Pages that are no part of the described API.
_PAGES = {
    "GET /docs": "The API, to try out",
    "GET /redoc": "The API, on one long page",
    "GET /openapi.json": "The API, for programs",
}


def add_routes(app: FastAPI, *, with_metrics: bool = True) -> None:
    """Add the routes to the application, and the live page at `/`.

    Args:
        app: The application.
        with_metrics: Whether there is `/metrics`.
    """
    files = page.add_routes(app)

    @app.get(
        "/",
        tags=["status"],
        summary="What this is",
        response_model=schemas.About,
        response_model_exclude_none=True,
        responses={200: state.ABOUT},
    )
    async def about(request: Request, response: Response) -> Response | schemas.About:
        """Describe the server and its addresses; browsers get the page."""
        if page.is_wanted(request):
            return await files.index(request)
        response.headers["vary"] = "accept"
        service = service_of(request)
        return schemas.About(
            name=app.title,
            version=VERSION,
            description=DESCRIPTION,
            model=service.models.default.name,
            ready=service.ready,
            limits=schemas.UploadLimits(
                max_upload_bytes=service.settings.max_upload_bytes,
                max_audio_s=service.settings.max_audio_seconds,
            ),
            warnings=[*service.models.default.warnings] or None,
            endpoints=_doors(app),
        )

    @app.get(
        "/health",
        tags=["status"],
        summary="The state of the process",
        responses={200: state.HEALTH},
    )
    async def health(request: Request) -> schemas.Health:
        """Show that the process is alive, and its state."""
        service = service_of(request)
        default = service.models.default
        traits = default.scheduler.traits if service.ready else None
        return schemas.Health(
            ready=service.ready,
            model=default.name,
            loaded=service.models.loaded,
            device=traits.device if traits else None,
            dtype=traits.dtype if traits else None,
            partials=_partials(service),
            requests=service.places.n_taken,
            streams=service.models.n_streams,
            free_streams=service.n_free_streams,
            queued=service.models.n_queued,
            overload_level=int(service.models.is_overloaded),
            uptime_s=round(time.monotonic() - service.loading.began, 1),
            process=PROCESS,
        )

    @app.get(
        "/ready",
        tags=["status"],
        summary="Whether work may be sent",
        responses=state.READY,
    )
    async def ready(
        request: Request,
        full: Annotated[
            Literal["ok"] | None,
            Query(
                description="`ok`: 200 also while no live stream has room.",
                examples=["ok"],
            ),
        ] = None,
    ) -> Response:
        """Answer 200 if work may be sent; 503 before, and while no results come."""
        service = service_of(request)
        loading = service.loading
        fetching = loading.stage.startswith("fetching")
        if trouble := service.trouble:
            service.try_again()
        elif full is None and _turns_away(service):
            trouble = _FULL
        ready = service.ready and trouble is None
        body = schemas.Readiness(
            ready=ready,
            stage=loading.stage,
            elapsed_s=loading.elapsed_s,
            downloaded_bytes=cached_bytes() + incomplete_bytes() if fetching else None,
            reason=trouble,
        )
        return JSONResponse(
            body.model_dump(exclude_none=True),
            status_code=200 if ready else 503,
            headers={} if ready else {"retry-after": str(RETRY_S)},
        )

    if with_metrics:
        _add_metrics(app)


def _partials(service: Service) -> schemas.PartialsModel | None:
    """Describe the model of partials, if there is one of its own."""
    if service.partials_name is None:
        return None
    scheduler = service.models.default.scheduler
    quick = scheduler.traits.quick if service.ready else None
    final_cost, cost = scheduler.costs
    return schemas.PartialsModel(
        model=service.partials_name,
        device=quick.traits.device if quick else None,
        dtype=quick.traits.dtype if quick else None,
        cost=cost if quick else None,
        final_cost=final_cost if quick else None,
    )


def _turns_away(service: Service) -> bool:
    """Whether balancers should send nothing, because no live stream has room."""
    may_say = service.ready and not service.settings.ready_when_full
    return may_say and not service.n_free_streams


def _doors(app: FastAPI) -> dict[str, str]:
    """Name every address, and what it is for."""
    doors: dict[str, str] = {}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                doors[f"{method} {route.path_format}"] = route.summary or route.name
        elif isinstance(route, APIWebSocketRoute):
            said = route.endpoint.__doc__ or route.name
            doors[f"WS {route.path_format}"] = said.rstrip(".")
    return doors | _PAGES


def _add_metrics(app: FastAPI) -> None:
    @app.get(
        "/metrics",
        tags=["status"],
        summary="Series for Prometheus",
        response_class=Response,
        responses={200: state.METRICS},
    )
    async def metrics(request: Request) -> Response:
        """Give Prometheus all metrics."""
        text, media_type = service_of(request).metrics.exposition()
        return Response(text, media_type=media_type)
