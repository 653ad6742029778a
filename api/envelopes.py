"""Read the body of a transcription request in any of its forms.

OpenAI's clients send a form. Open WebUI and clients of OpenRouter send JSON with the
recording as base64; others send only the recording, with all fields in the URL. All of
them become the same form here, so that one function checks their fields.

Recordings are spooled to disk while they arrive. JSON is read into memory to take the
recording out of it, one body at a time and in a thread: so a hundred clients that send
a hundred megabytes each need no more memory than one. The rest of the JSON has to be
small, because a parser would need a gigabyte for a large body of brackets.
"""

import asyncio
import base64
import binascii
import re
import tempfile
from collections.abc import Iterable, MutableMapping
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from api.bodies import Pace, Receive, limited, too_large
from api.errors import BadRequest

# More parts than any client sends beside keywords, so that a million empty ones are
# refused.
_MAX_PARTS = 256

# Bytes of a recording that stay in memory before it goes to disk.
_IN_MEMORY_BYTES = 1024 * 1024

# Types of a body that is a recording.
_BARE = ("audio/", "video/", "application/octet-stream")

# The recording in a body of JSON: a string without escapes but for that of the slash,
# which some encoders write. A quote within a string has a backslash before it, so what
# this finds is a name and its value.
_BASE64_VALUE = re.compile(
    rb'"(?:data|input_audio)"\s*+:\s*+"([^"\\]*+(?:\\/[^"\\]*+)*+)"'
)
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")

_OBJECT = TypeAdapter(dict[str, JsonValue])


async def read_form(
    request: Request,
    *,
    max_bytes: int,
    max_field_bytes: int,
    max_keywords: int,
    pace: Pace,
    turn: asyncio.Lock,
) -> FormData:
    """Read a form, or another body that becomes a form.

    The caller closes the form, which deletes the spooled file.

    Args:
        max_bytes: Most of the whole body.
        max_field_bytes: Most bytes of a field other than the recording.
        max_keywords: Most further parts of a form, for keywords.
        pace: The slowest rate of the body.
        turn: A lock that is held while JSON is read.

    Raises:
        BadRequest: It is no such body, is too large, or comes too slowly.
    """
    refusal = too_large(max_bytes)
    within = limited(request, max_bytes, pace=pace, refusal=refusal)
    content_type = request.headers.get("content-type", "").lower()
    if content_type.startswith("multipart/form-data"):
        return await _multipart(within, max_field_bytes, max_keywords)
    if content_type.startswith("application/json"):
        return await _json(within, max_field_bytes, turn)
    if content_type.startswith(_BARE):
        return await _bare(within)
    raise BadRequest(
        "Send the recording as multipart/form-data, in a part named 'file' "
        "(curl: -F file=@audio.wav); this request is "
        f"{content_type[:80] or 'untyped'}. JSON with the recording as base64 in "
        "'input_audio.data', and a recording that is the whole body (audio/*), are "
        "taken, too.",
        param="file",
        code="invalid_content_type",
    )


# --- forms ----------------------------------------------------------------------


async def _multipart(
    request: Request, max_field_bytes: int, max_keywords: int
) -> FormData:
    _, options = parse_options_header(request.headers["content-type"])
    receive = request.receive
    if boundary := options.get(b"boundary"):
        receive = _Preamble(receive, boundary)
    try:
        return await Request(request.scope, receive).form(
            max_files=_MAX_PARTS,
            max_fields=_MAX_PARTS + max_keywords,
            max_part_size=max_field_bytes,
        )
    except (HTTPException, MultiPartException, KeyError, ValueError) as error:
        detail = getattr(error, "detail", None) or getattr(error, "message", error)
        raise BadRequest(
            f"The form cannot be read: {detail}", code="invalid_form"
        ) from error


class _Preamble:
    """Leave out the text before the first part of a form.

    RFC 2046 section 5.1.1 allows any text there; the parser does not.
    """

    def __init__(self, receive: Receive, boundary: bytes) -> None:
        self._receive = receive
        self._delimiter = b"\r\n--" + boundary
        # As if a line had ended before the body.
        self._held: bytes | None = b"\r\n"

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if self._held is None or message["type"] != "http.request":
            return message
        seen = self._held + message.get("body", b"")
        start = seen.find(self._delimiter)
        if start >= 0:
            self._held = None
            return {**message, "body": seen[start + 2 :]}
        if not message.get("more_body", False):
            raise MultiPartException("the boundary of its content type is not in it.")
        # The delimiter may have begun at the end.
        self._held = seen[-len(self._delimiter) :]
        return {**message, "body": b""}


# --- bare recordings ------------------------------------------------------------


async def _bare(request: Request) -> FormData:
    """Make a form from a body that is the recording, and a URL with all fields."""
    fields = request.query_params.multi_items()
    return FormData([*fields, ("file", await _spooled(request))])


async def _spooled(request: Request) -> UploadFile:
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)
    upload = UploadFile(file, filename="upload")  # type: ignore[arg-type]
    try:
        async for chunk in request.stream():
            await upload.write(chunk)
        await upload.seek(0)
    except BaseException:
        await upload.close()
        raise
    return upload


# --- JSON -----------------------------------------------------------------------


async def _json(request: Request, max_field_bytes: int, turn: asyncio.Lock) -> FormData:
    """Make a form from JSON, with the recording in `input_audio`."""
    spooled = await _spooled(request)
    try:
        async with turn:
            return await asyncio.to_thread(_form_of, spooled, max_field_bytes)
    finally:
        await spooled.close()


def _form_of(spooled: UploadFile, max_field_bytes: int) -> FormData:
    body = spooled.file.read()
    sent: bytes | None = None
    if found := max(_BASE64_VALUE.finditer(body), key=_length, default=None):
        sent = found[1]
        body = body[: found.start(1)] + body[found.end(1) :]
    if len(body) > max_field_bytes:
        raise BadRequest(
            f"The body has more than {max_field_bytes} bytes beside the recording.",
            code="body_too_large",
            status=413,
        )
    try:
        fields = _OBJECT.validate_json(body)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise BadRequest(f"The body is not a JSON object: {detail}.") from None
    audio = _recording(fields.pop("input_audio", None), sent)
    return FormData(
        [
            *((name, text) for key, value in fields.items()
              for name, text in _texts(key, value)),
            ("file", audio),
        ]
    )  # fmt: skip


def _length(found: re.Match[bytes]) -> int:
    return found.end(1) - found.start(1)


def _recording(value: JsonValue, sent: bytes | None) -> UploadFile:
    """Decode the recording.

    Args:
        value: The value of `input_audio`.
        sent: The base64 that was taken out of it; None if it is still there.
    """
    written = value.get("data") if isinstance(value, dict) else value
    if not isinstance(written, str):
        raise BadRequest(
            "The body has no recording: send it as base64 in 'input_audio', as in "
            '{"input_audio": {"data": "UklGR...", "format": "wav"}}.',
            param="input_audio",
            code="missing_required_parameter",
        )
    encoded = written.encode() or (sent or b"").replace(b"\\/", b"/")
    if prefix := _DATA_URL.match(encoded[:256].decode("latin-1")):
        encoded = encoded[prefix.end() :]
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadRequest(
            f"input_audio.data is not base64: {error}.", param="input_audio"
        ) from None
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)
    file.write(content)
    file.seek(0)
    return UploadFile(file, filename="upload")  # type: ignore[arg-type]


def _texts(name: str, value: JsonValue) -> Iterable[tuple[str, str]]:
    """Write a value as fields of a form."""
    if isinstance(value, list):
        return [text for each in value for text in _texts(f"{name}[]", each)]
    if isinstance(value, dict):
        return [text for key, each in value.items()
                for text in _texts(f"{name}[{key}]", each)]  # fmt: skip
    if value is None:
        return []
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    return [(name, str(value))]
