"""The routes that list the models and the languages."""

from typing import Annotated

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import RedirectResponse

import schemas
from api.openapi import answers, state
from api.service import Service, require_model, service_of
from languages.catalogue import all_languages
from languages.search import search_languages

ModelName = Annotated[
    str,
    Path(description="A model's name or an alias of it.", examples=["whisper-1"]),
]
Wanted = Annotated[
    str,
    Query(
        description="Part of an id, a tag or a name, in any case; empty: all.",
        examples=["bambara"],
    ),
]


def add_routes(app: FastAPI) -> None:
    """Add the routes to the application."""

    def described(service: Service, name: str) -> schemas.Model:
        return schemas.model(name, created=service.created, writes=service.writes)

    @app.get(
        "/v1/models",
        tags=["catalogue"],
        summary="The model that is served",
        responses={200: state.MODELS, **answers.KEYED},
    )
    async def list_models(request: Request) -> schemas.ModelList:
        """List the model that is served."""
        service = service_of(request)
        names = [model.name for model in service.models.all]
        return schemas.ModelList(data=[described(service, name) for name in names])

    @app.get(
        "/v1/models/{name:path}",
        tags=["catalogue"],
        summary="One model",
        response_model=schemas.Model,
        responses={200: state.MODEL, **answers.MODEL_ERRORS},
    )
    async def retrieve_model(
        request: Request, name: ModelName
    ) -> schemas.Model | RedirectResponse:
        """Describe the model that a name means, under the requested name."""
        if not name:  # names may have slashes, so the framework does not do it
            return RedirectResponse(request.url.replace(path="/v1/models"))
        service = service_of(request)
        require_model(service, name)
        return described(service, name)

    @app.get(
        "/v1/languages",
        tags=["catalogue"],
        summary="Languages, to choose from",
        responses={200: state.LANGUAGES, **answers.KEYED},
    )
    async def list_languages(q: Wanted = "") -> schemas.LanguageList:
        """List the languages, or those whose id, tag or name has `q` in it."""
        found = search_languages(q) if q else all_languages()
        return schemas.LanguageList(data=[schemas.language(entry) for entry in found])
