"""Read bodies that are JSON, within limits; refuse by name what is wrong in them."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.errors import BadRequest

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
        # What was sent is not looked at: it would be made anew for each mistake.
        detail = error.errors(
            include_url=False, include_context=False, include_input=False
        )[0]
        param = ".".join(map(str, detail["loc"])) or None
        raise BadRequest(
            f"{param or 'The body'}: {detail['msg']}.", param=param
        ) from None


Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyLimit:
    """Count a request's body while it arrives, and stop it at a limit.

    Announced lengths are not to be relied upon: some clients announce none.

    Args:
        idle_s: Longest that nothing of it may come.
        refusal: Raised once there is more.
    """

    def __init__(
        self, receive: Receive, max_bytes: int, *, idle_s: float, refusal: BadRequest
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._refusal = refusal
        self._n_bytes = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._receive()
        except TimeoutError:
            raise BadRequest(
                f"Nothing of the request came for {self._idle_s:g} s, the longest "
                "that this server waits (MAX_IDLE_S). Send it again.",
                code="request_timeout",
                status=408,
            ) from None
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._max_bytes:
            raise self._refusal
        return message


def limited(
    request: Request, max_bytes: int, *, idle_s: float, refusal: BadRequest
) -> Request:
    """Return the same request, whose body raises `refusal` beyond a limit.

    And another one if it does not come.

    Raises:
        BadRequest: `refusal`, if the client announces so much.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise refusal
    limit = BodyLimit(request.receive, max_bytes, idle_s=idle_s, refusal=refusal)
    return Request(request.scope, limit)


def too_large(max_bytes: int) -> BadRequest:
    """Describe a body over the limit."""
    return BadRequest(
        f"The upload is larger than {max_bytes / 1e6:g} MB, the most this server "
        "takes. Send a compressed format, or ask the operator to raise "
        "MAX_UPLOAD_MB.",
        param="file",
        code="file_too_large",
        status=413,
    )
