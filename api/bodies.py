"""Read JSON bodies within limits; errors name the wrong field."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.errors import BadRequest
from config import Settings

Model = TypeVar("Model", bound=BaseModel)

# Seconds in which a body may come at any rate: a phone may be searching for a network.
GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The slowest rate of a body.

    The rate is an average over the whole body: bytes that came early give time later,
    and a byte now and then gives only its share of a second.

    Attributes:
        idle_s: Longest time, in seconds, without any byte of the body.
        bytes_a_s: Lowest average rate after `GRACE_S`, in bytes a second; 0 for any.
    """

    idle_s: float
    bytes_a_s: float

    def patience_s(self, n_bytes: int, took_s: float) -> float:
        """Return for how many more seconds to wait.

        Args:
            n_bytes: Bytes of the body so far.
            took_s: Seconds since it began.
        """
        if not self.bytes_a_s:
            return self.idle_s
        due_s = GRACE_S + n_bytes / self.bytes_a_s
        return min(self.idle_s, due_s - took_s)


def pace_of(settings: Settings) -> Pace:
    """Return the rate in the operator's settings."""
    return Pace(settings.max_idle_s, settings.min_upload_kb_s * 1000)


async def read(request: Request, *, max_bytes: int, pace: Pace) -> bytes:
    """Read the body.

    Raises:
        BadRequest: It is longer than `max_bytes`, or comes too slowly.
        ClientDisconnect: The client left before the end of the body.
    """
    refusal = BadRequest(
        f"The body is longer than {max_bytes} bytes.", code="body_too_large", status=413
    )
    within = limited(request, max_bytes, pace=pace, refusal=refusal)
    return await within.body()


def parse(body: bytes, model: type[Model]) -> Model:
    """Parse a body with a pydantic model.

    Raises:
        BadRequest: Names the first wrong field, with the indexes of items on the way to
            it: `words.3.end`.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # Without the input, which pydantic would copy for each mistake.
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

    The announced length is not enough: some clients announce none.

    Args:
        pace: The slowest rate of the body.
        refusal: Raised once the body exceeds the limit.
    """

    def __init__(
        self, receive: Receive, max_bytes: int, *, pace: Pace, refusal: BadRequest
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._pace = pace
        self._refusal = refusal
        self._n_bytes = 0
        self._now = asyncio.get_running_loop().time
        self._began = self._now()

    async def __call__(self) -> MutableMapping[str, Any]:
        patience_s = self._pace.patience_s(self._n_bytes, self._now() - self._began)
        try:
            async with asyncio.timeout(patience_s):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow(self._pace, patience_s) from None
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._max_bytes:
            raise self._refusal
        return message


def _too_slow(pace: Pace, patience_s: float) -> BadRequest:
    if patience_s >= pace.idle_s:
        what = (
            f"Nothing of the request came for {pace.idle_s:g} s, the longest that this "
            "server waits (MAX_IDLE_S)."
        )
    else:
        what = (
            "The request came more slowly than this server waits for: "
            f"{pace.bytes_a_s / 1000:g} kB a second on average (MIN_UPLOAD_KB_S)."
        )
    return BadRequest(f"{what} Send it again.", code="request_timeout", status=408)


def limited(
    request: Request, max_bytes: int, *, pace: Pace, refusal: BadRequest
) -> Request:
    """Return the same request with a body that raises `refusal` beyond a limit.

    The body raises another BadRequest if it does not come, or comes too slowly.

    Raises:
        BadRequest: `refusal`, if the client announces more than the limit; or the body
            is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise BadRequest(
            f"The body is compressed ({encoding[:40]}). Send it as it is, without the "
            "header Content-Encoding; formats such as FLAC, MP3 and Opus make "
            "recordings smaller.",
            code="unsupported_content_encoding",
            status=415,
        )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise refusal
    limit = BodyLimit(request.receive, max_bytes, pace=pace, refusal=refusal)
    return Request(request.scope, limit)


async def discard_rest(request: Request) -> None:
    """Read the rest of a body that cannot be kept, within its limits.

    If the connection were closed at once, the client's system would drop the answer
    together with the bytes on their way.
    """
    with suppress(BadRequest):
        while (await request.receive()).get("more_body", False):
            pass


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
