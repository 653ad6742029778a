"""Read bodies that are JSON, within limits; refuse by name what is wrong in them."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from forms import BadRequest, limited

Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request, *, max_bytes: int, idle_s: float) -> bytes:
    """Read the body.

    Raises:
        BadRequest: It is longer than `max_bytes`, or nothing came for `idle_s`.
        ClientDisconnect: It never came to its end.
    """
    refusal = BadRequest(
        f"The body is longer than {max_bytes} bytes.", code="body_too_large", status=413
    )
    within = limited(request, max_bytes, idle_s=idle_s, refusal=refusal)
    return await within.body()


def parse(body: bytes, model: type[Model]) -> Model:
    """Read a body as what a model describes.

    Raises:
        BadRequest: Names the first field at fault, with the numbers of items on the
            way to it: `words.3.end`.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False)[0]
        param = ".".join(map(str, detail["loc"])) or None
        raise BadRequest(
            f"{param or 'The body'}: {detail['msg']}.", param=param
        ) from None
