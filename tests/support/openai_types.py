"""Hold what the server says against OpenAI's published types, field by field.

The SDK's own models take wrong types and unknown fields without a word. Here types are
strict, and each field that a type does not have is named, so that a test can say which
additions there may be.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter


def additions(value: object, published: Any) -> set[str]:
    """Return the fields that a value has and its published type has not.

    Args:
        value: As it was read from JSON.
        published: A type of the SDK, or a union of some.

    Returns:
        Paths such as `words.confidence`; places in lists are left out.

    Raises:
        ValidationError: A field is missing, or has a wrong type.
    """
    adapter: TypeAdapter[object] = TypeAdapter(published)
    return set(_unknown(adapter.validate_python(value, strict=True), ""))


def _unknown(found: object, path: str) -> Iterator[str]:
    if isinstance(found, BaseModel):
        for name in found.model_extra or {}:
            yield f"{path}{name}"
        for name in type(found).model_fields:
            yield from _unknown(getattr(found, name), f"{path}{name}.")
    elif isinstance(found, list | tuple):
        for each in found:
            yield from _unknown(each, path)
