"""Write the parts of a description in `/openapi.json`."""

from typing import Any

from pydantic import BaseModel

from schemas import Json


def answer(description: str, shown: BaseModel, **more: Any) -> Json:
    """Describe a JSON answer by an example."""
    content = {"application/json": {"example": written(shown)}}
    return {"description": description, "content": content, **more}


def text(shown: str) -> Json:
    """Describe a text by an example."""
    return {"schema": {"type": "string"}, "example": shown}


def body(media_type: str, content: Json, **more: Any) -> Json:
    """Describe a body that the route reads itself."""
    return {"requestBody": {"content": {media_type: content}, **more}}


def reference(model: type[BaseModel]) -> Json:
    """Refer to the schema of a type."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def written(shown: BaseModel) -> Json:
    """Write an answer as the server does, without fields that are empty."""
    return shown.model_dump(exclude_none=True)


def asked(shown: BaseModel) -> Json:
    """Write a body as a client would, without optional fields."""
    return shown.model_dump(exclude_defaults=True)
