"""Recordings come in forms, in JSON, and bare; each is read the same way."""

import asyncio
import base64
import binascii
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import envelopes
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import PATH, settings, wav

SAID = "hello"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that hears the same in everything, and takes 1 MB."""
    limits = {"max_upload_mb": 1, "max_field_kb": 10}
    with app_in_thread(settings(**limits), lambda: ScriptedModel(SAID)) as url:
        yield url


def audio(content: bytes | None = None) -> str:
    return base64.b64encode(wav() if content is None else content).decode()


def send(url: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"content-type": "application/json", **headers}
    return local.post(url + PATH, content=content, headers=kind, timeout=30)


def refused(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (400, 413, 415), answer.text
    error = answer.json()["error"]
    assert isinstance(error, dict)
    assert error["message"]
    return error


class TestJson:
    """As Open WebUI sends it with `AUDIO_STT_OPENAI_API_REQUEST_FORMAT=json`."""

    @pytest.mark.parametrize(
        "recording",
        [
            {"data": audio(), "format": "wav"},
            {"format": "wav", "data": audio()},
            {"data": "data:audio/wav;base64," + audio(), "format": "wav"},
            audio(),
        ],
    )
    def test_the_recording_is_taken_out_of_it(self, url: str, recording: Any) -> None:
        """An object, or the base64 alone; its format is not looked at."""
        answer = send(url, {"model": "whisper-1", "input_audio": recording})

        assert answer.status_code == 200, answer.text
        assert answer.json()["text"] == SAID

    def test_fields_are_those_of_the_form(self, url: str) -> None:
        """Arrays, numbers and switches as JSON has them; null is left out."""
        asked = {
            "input_audio": {"data": audio(), "format": "wav"},
            "response_format": "verbose_json",
            "timestamp_granularities": ["word", "segment"],
            "temperature": 0.2,
            "language": "fr",
            "prompt": None,
            "chunking_strategy": {"type": "server_vad", "threshold": 0.5},
            "data": "of nobody",
        }

        plain = send(url, asked).json()
        events = send(url, {**asked, "stream": True})

        assert plain["language"] == "fr"
        assert plain["words"]
        assert plain["segments"]
        assert events.headers["content-type"].startswith("text/event-stream")

    def test_escaped_slashes_are_base64_too(self, url: str) -> None:
        """PHP's encoder writes them."""
        noise = bytes(range(256)) * 40
        body = json.dumps({"input_audio": {"data": audio(wav() + noise)}})

        answer = send(url, body.replace("/", "\\/").encode())

        assert answer.status_code == 200, answer.text

    def test_text_that_looks_like_it_is_left_alone(self, url: str) -> None:
        """A quote in a string has a backslash before it."""
        prompt = '{"data": "' + 100 * "A" + '"}'
        body = {"prompt": prompt, "input_audio": {"data": audio(wav(0.5))}}

        assert send(url, body).json()["usage"]["seconds"] == 0.5

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (b"", None),
            (b"[]", None),
            (b'{"input_audio": ', None),
            (b'{"model": "\xff"}', None),
            (b"[" * 5000, None),
            ({}, "input_audio"),
            ({"file": "UklGRg=="}, "input_audio"),
            ({"input_audio": None}, "input_audio"),
            ({"input_audio": {"format": "wav"}}, "input_audio"),
            ({"input_audio": {"data": 3}}, "input_audio"),
            ({"input_audio": {"data": "!"}}, "input_audio"),
            ({"input_audio": {"data": audio() + "A"}}, "input_audio"),
            ({"input_audio": {"data": ""}}, "file"),
            ({"input_audio": {"data": audio(b"no audio")}}, "file"),
            ({"input_audio": {"data": audio()}, "temperature": 2}, "temperature"),
            ({"input_audio": {"data": audio()}, "stream": "maybe"}, "stream"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, url: str, body: Any, param: str | None
    ) -> None:
        """With status 400, whatever it is."""
        answer = send(url, body)

        assert answer.status_code == 400, answer.text
        assert refused(answer)["param"] == param

    def test_numbers_of_any_length_are_text(self, url: str) -> None:
        """Python would rather not write some of them down."""
        digits = b"9" * 9000
        body = b'{"temperature": %b, "input_audio": "%b"}'

        assert send(url, body % (digits, audio().encode())).status_code == 400

    @pytest.mark.parametrize("shape", ['{"a": [%s]}', '{"a": {"b": [[%s]]}}'])
    def test_it_has_no_more_fields_than_a_form(self, url: str, shape: str) -> None:
        """Thousands of them fit into the bytes that are allowed."""
        fields = shape % ",".join(["1"] * 4000)
        answer = send(url, f'{fields[:-1]}, "input_audio": "{audio()}"}}'.encode())

        assert answer.status_code == 413
        assert refused(answer)["code"] == "body_too_large"

    def test_it_is_large_for_its_recording_alone(self, url: str) -> None:
        """A parser would make a hundred times as much of brackets."""
        brackets = send(url, b'{"a": [' + b"[]," * 100_000 + b"[]]}")
        whole = send(url, {"input_audio": audio(bytes(1_000_000))})

        assert brackets.status_code == whole.status_code == 413
        assert refused(brackets)["code"] == "body_too_large"
        assert refused(whole)["code"] == "file_too_large"


class TestPieces:
    """Base64 is decoded a piece at a time, in Python's own way as a whole."""

    @given(
        content=st.binary(max_size=40),
        escaped=st.booleans(),
        piece=st.sampled_from([1, 2, 3, 4, 5, 7, 16]),
    )
    def test_any_cut_gives_the_same(
        self, content: bytes, escaped: bool, piece: int
    ) -> None:
        """Also within a group, or between a backslash and its slash."""
        written = base64.b64encode(content)
        if escaped:
            written = written.replace(b"/", b"\\/")
        with mock_piece(piece):
            assert decoded(written) == content

    @given(
        written=st.text("AB/\\=!", max_size=16),
        piece=st.sampled_from([1, 3, 4, 8]),
    )
    def test_what_is_no_base64_is_refused(self, written: str, piece: int) -> None:
        """Wherever the cuts are."""
        try:
            whole: bytes | None = base64.b64decode(
                written.replace("\\/", "/"), validate=True
            )
        except binascii.Error:
            whole = None
        with mock_piece(piece):
            assert decoded(written.encode()) == whole

    @given(
        names=st.lists(
            st.sampled_from(
                ['"data"', '"input_audio"', '"x"', ":", ' "', "AAAA", "\\/", '\\"', " "]
            ),
            max_size=30,
        ),
        piece=st.sampled_from([1, 5, 1000]),
    )
    def test_the_longest_value_is_found_wherever_the_cuts_are(
        self, names: list[str], piece: int
    ) -> None:
        """The same as by an expression that looks at the body as a whole."""
        body = "".join(names).encode()
        values = re.finditer(
            rb'"(?:data|input_audio)"\s*:\s*"([^"\\]*(?:\\/[^"\\]*)*)"', body
        )
        longest = max((own.end(1) - own.start(1) for own in values), default=None)
        with mock_piece(piece):
            found = envelopes._longest_value(body, most=1000)

        assert (None if found is None else found[1] - found[0]) == longest


@contextmanager
def mock_piece(n_bytes: int) -> Iterator[None]:
    """Work on pieces of another length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelopes, "_PIECE_BYTES", n_bytes)
        yield


def decoded(written: bytes) -> bytes | None:
    file = io.BytesIO()
    try:
        envelopes._decode_into(file, memoryview(written))
    except binascii.Error:
        return None
    return file.getvalue()


class TestBare:
    """As faster-whisper-server and speaches have taught their users to send them."""

    @pytest.mark.parametrize(
        "kind", ["audio/wav", "audio/x-anything", "video/mp4", "Audio/WAV; codecs=1"]
    )
    def test_the_body_is_the_recording(self, url: str, kind: str) -> None:
        """The bytes decide what it is."""
        answer = local.post(url + PATH, content=wav(), headers={"content-type": kind})

        assert answer.json()["text"] == SAID

    def test_the_address_has_the_fields(self, url: str) -> None:
        """With and without brackets."""
        query = "?response_format=verbose_json&timestamp_granularities[]=word"
        query += "&timestamp_granularities=segment&language=fr&file=x&model=whisper-1"
        sent = {"content-type": "application/octet-stream"}

        answer = local.post(url + PATH + query, content=wav(), headers=sent)
        wrong = local.post(url + PATH + "?model=none", content=wav(), headers=sent)

        assert answer.json()["language"] == "fr"
        assert answer.json()["words"]
        assert answer.json()["segments"]
        assert wrong.status_code == 404

    def test_limits_are_those_of_forms(self, url: str) -> None:
        """Counted while it arrives, as no length is announced."""
        kind = {"content-type": "audio/wav"}
        large = local.post(
            url + PATH, content=iter([wav(20), wav(20)]), headers=kind, timeout=30
        )
        empty = local.post(url + PATH, content=b"", headers=kind)

        assert large.status_code == 413
        assert refused(large)["code"] == "file_too_large"
        assert refused(empty)["code"] == "empty_audio"

    def test_other_types_are_told_what_to_send(self, url: str) -> None:
        """`curl --data-binary` alone sends this one."""
        kind = {"content-type": "application/x-www-form-urlencoded"}
        answer = local.post(url + PATH, content=wav(), headers=kind)

        assert refused(answer)["code"] == "invalid_content_type"
        assert "audio/*" in refused(answer)["message"]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "x"])
def test_compressed_bodies_are_refused_by_name(url: str, encoding: str) -> None:
    """A form would be read as garbage; so would JSON on other routes."""
    kind = {"content-encoding": encoding}
    form = local.post(url + PATH, files={"file": ("a", wav())}, headers=kind)
    words = local.post(f"{url}/v1/audio/subtitles", json={}, headers=kind)
    plain = send(url, {"input_audio": audio()}, **{"content-encoding": "identity"})

    for answer in (form, words):
        assert answer.status_code == 415
        assert refused(answer)["code"] == "unsupported_content_encoding"
        assert encoding.lower() in refused(answer)["message"]
    assert plain.status_code == 200


class TestPreamble:
    """Text before the first part of a form, which RFC 2046 allows."""

    @staticmethod
    def form(boundary: str) -> bytes:
        head = 'Content-Disposition: form-data; name="file"; filename="a.wav"'
        return b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (
            boundary.encode(),
            head.encode(),
            wav(),
            boundary.encode(),
        )

    @pytest.mark.parametrize(
        "preamble",
        [
            b"",
            b"\r\n",
            b"This is a message in MIME format.\r\n",
            b"\r\n\r\n--nearly\r\n",
            b"--bound\r\n",
            b"x" * 5000 + b"\r\n",
        ],
    )
    @pytest.mark.parametrize("step", [1, 7, 4096, 1_000_000])
    def test_it_is_left_out(self, url: str, preamble: bytes, step: int) -> None:
        """However the bytes come."""
        body = preamble + self.form("boundary")
        head, rest = (
            body[: 8000 if step > 1 else 200],
            body[8000 if step > 1 else 200 :],
        )
        pieces = [head[k : k + step] for k in range(0, len(head), step)]

        answer = local.post(
            url + PATH,
            content=iter([*pieces, rest]),
            headers={"content-type": "multipart/form-data; boundary=boundary"},
        )

        assert answer.status_code == 200, answer.text
        assert answer.json()["text"] == SAID

    @pytest.mark.parametrize("body", [b"x" * 100_000, b"", b"boundary--"])
    def test_a_form_that_never_begins_is_refused(self, url: str, body: bytes) -> None:
        """As before."""
        kind = {"content-type": "multipart/form-data; boundary=boundary"}
        answer = local.post(url + PATH, content=body, headers=kind)

        assert refused(answer)["code"] == "invalid_form"

    def test_nothing_of_it_is_kept(self) -> None:
        """But for what may be the beginning of the delimiter."""
        asyncio.run(self._push_three_chunks())

    async def _push_three_chunks(self) -> None:
        chunk = {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

        async def receive() -> Any:
            return chunk

        preamble = envelopes._Preamble(receive, b"boundary")
        for _ in range(3):
            assert (await preamble())["body"] == b""
        assert preamble._held is not None
        assert len(preamble._held) == len(b"\r\n--boundary")
