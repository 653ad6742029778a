"""Read bodies that are JSON, within limits; refuse by name what is wrong in them."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.errors import BadRequest
from config import Settings

Model = TypeVar("Model", bound=BaseModel)

# How long a body may come as slowly as it likes: a phone that looks for its network.
GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a body may come.

    Its least rate holds for the whole of it: what came early may be waited for later,
    and a byte now and then buys no more than its share of a second.

    Attributes:
        idle_s: Longest that nothing of it may come.
        bytes_a_s: Least of it that has to come in a second on average, after
            `GRACE_S`; 0 for any.
    """

    idle_s: float
    bytes_a_s: float

    def patience_s(self, n_bytes: int, took_s: float) -> float:
        """Return how much longer to wait.

        Args:
            n_bytes: What came of the body so far.
            took_s: Seconds since it began.
        """
        if not self.bytes_a_s:
            return self.idle_s
        due_s = GRACE_S + n_bytes / self.bytes_a_s
        return min(self.idle_s, due_s - took_s)


def pace_of(settings: Settings) -> Pace:
    """Return what the operator chose."""
    return Pace(settings.max_idle_s, settings.min_upload_kb_s * 1000)


async def read(request: Request, *, max_bytes: int, pace: Pace) -> bytes:
    """Read the body.

    Raises:
        BadRequest: It is longer than `max_bytes`, or comes too slowly.
        ClientDisconnect: It never came to its end.
    """
    refusal = BadRequest(
        f"The body is longer than {max_bytes} bytes.", code="body_too_large", status=413
    )
    within = limited(request, max_bytes, pace=pace, refusal=refusal)
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
        pace: How slowly it may come.
        refusal: Raised once there is more.
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
    """Return the same request, whose body raises `refusal` beyond a limit.

    And another one if it does not come.

    Raises:
        BadRequest: `refusal`, if the client announces so much; or the body is
            compressed.
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
