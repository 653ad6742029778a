"""Read the body of a transcription request in any of its forms.

OpenAI's clients send a form. Open WebUI and clients of OpenRouter send JSON with the
recording as base64; others send only the recording, with all fields in the URL. All of
them become the same form here, so that one function checks their fields.

Recordings are spooled to disk while they arrive. JSON is read into memory to take the
recording out of it, one body at a time and in a thread: so a hundred clients that send
a hundred megabytes each need no more memory than one. The thread works on a piece at a
time, so that Python's lock is free for the event loop in between. The rest of the JSON
has to be small, because a parser would need a gigabyte for a large body of brackets,
and may have no more fields than a form.
"""

import asyncio
import base64
import binascii
import re
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, suppress
from itertools import islice
from typing import IO, Any

from pydantic import JsonValue, TypeAdapter, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from api.bodies import Pace, Receive, discard_rest, limited, too_large
from api.errors import BadRequest
from api.spool import NoRoom, SpoolUnavailable, spooling

# More parts than any client sends beside keywords, so that a million empty ones are
# refused.
_MAX_PARTS = 256

# Bytes of a body of JSON that are worked on at a time.
_PIECE_BYTES = 256 * 1024

# Bytes of a recording that stay in memory before it goes to disk.
_IN_MEMORY_BYTES = 1024 * 1024

# Types of a body that is a recording.
_BARE = ("audio/", "video/", "application/octet-stream")

# The beginning of the recording in a body of JSON, and the most bytes of that. A quote
# within a string has a backslash before it, so what this finds is a name and the quote
# before its value.
_NAME = re.compile(rb'"(?:data|input_audio)"\s{0,64}:\s{0,64}"')
_NAME_BYTES = 160
_LEAST_VALUE_BYTES = len('"data":""')
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
        max_keywords: Most further parts of a form, or fields of JSON, for keywords.
        pace: The slowest rate of the body.
        turn: A lock that is held while JSON is read.

    Raises:
        BadRequest: It is no such body, is too large, or comes too slowly.
        NoRoom, SpoolUnavailable: It cannot be kept.
    """
    refusal = too_large(max_bytes)
    within = limited(request, max_bytes, pace=pace, refusal=refusal)
    content_type = request.headers.get("content-type", "").lower()
    try:
        if content_type.startswith("multipart/form-data"):
            return await _multipart(within, max_field_bytes, max_keywords)
        if content_type.startswith("application/json"):
            return await _json(within, max_field_bytes, max_keywords, turn)
        if content_type.startswith(_BARE):
            return await _bare(within)
    except (NoRoom, SpoolUnavailable):
        await discard_rest(within)
        raise
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
        with spooling():
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
    upload = _new_upload()
    try:
        async for chunk in request.stream():
            with spooling():
                await upload.write(chunk)
        with spooling():
            await upload.seek(0)
    except BaseException:
        _discard(upload)
        raise
    return upload


def _new_upload() -> UploadFile:
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)
    return UploadFile(file, filename="upload")  # type: ignore[arg-type]


# --- JSON -----------------------------------------------------------------------


async def _json(
    request: Request, max_field_bytes: int, max_keywords: int, turn: asyncio.Lock
) -> FormData:
    """Make a form from JSON, with the recording in `input_audio`."""
    spooled = await _spooled(request)
    try:
        async with turn:
            return await asyncio.to_thread(
                _form_of, spooled, max_field_bytes, _MAX_PARTS + max_keywords
            )
    finally:
        await spooled.close()


def _form_of(spooled: UploadFile, max_field_bytes: int, max_fields: int) -> FormData:
    body = spooled.file.read()
    sent: memoryview | None = None
    if found := _longest_value(body, most=max_field_bytes // _LEAST_VALUE_BYTES):
        start, end = found
        sent = memoryview(body)[start:end]
        body = body[:start] + body[end:]
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
    recording = fields.pop("input_audio", None)
    every_text = (own for key, value in fields.items() for own in _texts(key, value))
    texts = list(islice(every_text, max_fields + 1))
    if len(texts) > max_fields:
        raise BadRequest(
            f"The body has more than {max_fields} fields beside the recording.",
            code="body_too_large",
            status=413,
        )
    return FormData([*texts, ("file", _recording(recording, sent))])


def _longest_value(body: bytes, *, most: int) -> tuple[int, int] | None:
    """Find where the longest string begins and ends that may be a recording.

    It has no escapes but for that of the slash, which some encoders write.

    Args:
        body: The whole body.
        most: Number of strings after which to stop, as the body is too large anyway.
    """
    longest: tuple[int, int] | None = None
    at = n_found = 0
    while at < len(body) and n_found <= most:
        found = _NAME.search(body, at, at + _PIECE_BYTES + _NAME_BYTES)
        if found is None:
            at += _PIECE_BYTES
            continue
        n_found += 1
        start = found.end()
        end = body.find(b'"', start)
        if end < 0:
            break
        escapes = body.count(b"\\", start, end)
        if escapes == body.count(b"\\/", start, end) and (
            longest is None or end - start > longest[1] - longest[0]
        ):
            longest = start, end
        at = end + 1
    return longest


def _recording(value: JsonValue, sent: memoryview | None) -> UploadFile:
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
    encoded = memoryview(written.encode()) if written else sent or memoryview(b"")
    if prefix := _DATA_URL.match(bytes(encoded[:256]).decode("latin-1")):
        encoded = encoded[prefix.end() :]
    with ExitStack() as unless_done:
        upload = _new_upload()
        unless_done.callback(_discard, upload)
        try:
            with spooling():
                _decode_into(upload.file, encoded)
                upload.file.seek(0)
        except binascii.Error as error:
            raise BadRequest(
                f"input_audio.data is not base64: {error}.", param="input_audio"
            ) from None
        unless_done.pop_all()
    return upload


def _discard(upload: UploadFile) -> None:
    with suppress(OSError):  # what could not be written is thrown away
        upload.file.close()


def _decode_into(file: IO[bytes], encoded: memoryview) -> None:
    """Decode base64, in which slashes may be escaped, a piece at a time.

    Raises:
        binascii.Error: It is no base64.
    """
    left = half = b""  # of a group of four, and of an escape
    for start in range(0, len(encoded), _PIECE_BYTES):
        piece = half + bytes(encoded[start : start + _PIECE_BYTES])
        half = b"\\" if piece.endswith(b"\\") else b""
        left += piece.removesuffix(half).replace(b"\\/", b"/")
        n_ready = max(0, len(left) - 1) // 4 * 4
        ready, left = left[:n_ready], left[n_ready:]
        if b"=" in ready:
            raise binascii.Error("something follows the padding")
        file.write(base64.b64decode(ready, validate=True))
    file.write(base64.b64decode(left + half, validate=True))


def _texts(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    """Write a value as fields of a form."""
    if isinstance(value, list):
        for each in value:
            yield from _texts(f"{name}[]", each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(f"{name}[{key}]", each)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif value is not None:
        yield name, str(value)
