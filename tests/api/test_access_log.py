"""One line for each request at its end, which never says what was said."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from api.access_log import outcome_of
from api.log_lines import JsonLines
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread, server_process, wait_for
from tests.test_server import PATH, post, settings, wav


class Lines:
    """The lines of the access log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="omniasr")
        self._caplog = caplog

    def fields(self, request_id: str) -> dict[str, Any]:
        """Wait for the one line of a request; return what it holds for programs."""

        def found() -> list[logging.LogRecord]:
            return [
                record
                for record in self._caplog.records
                if record.getMessage().startswith(f"Request {request_id}: ")
            ]

        wait_for(lambda: bool(found()))
        (record,) = found()
        fields = record.__dict__["fields"]
        assert isinstance(fields, dict)
        return fields

    @property
    def text(self) -> str:
        return self._caplog.text


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    return Lines(caplog)


class TestRequests:
    def test_a_transcription_has_one_line_with_all_that_matters(
        self, lines: Lines
    ) -> None:
        """Id, audio, words, time and outcome; not the text, not the file's name."""
        with app_in_thread(settings(), lambda: ScriptedModel("confidential")) as url:
            answer = local.post(url + PATH, files={"file": ("secret.wav", wav(2.0))})
            fields = lines.fields(answer.headers["x-request-id"])

        assert answer.json()["text"] == "confidential"
        assert fields.pop("seconds") > 0
        assert fields == {
            "event": "request",
            "id": answer.headers["x-request-id"],
            "method": "POST",
            "path": PATH,
            "status": 200,
            "outcome": "completed",
            "code": None,
            "audio_s": 2.0,
            "words": 1,
        }
        assert "2.0 s of audio, 1 words" in lines.text
        assert "confidential" not in lines.text
        assert "secret" not in lines.text

    def test_an_event_stream_has_one_too(self, lines: Lines) -> None:
        """When its last event is sent."""
        with app_in_thread(settings(), lambda: ScriptedModel()) as url:
            answer = post(url, stream="true")
            fields = lines.fields(answer.headers["x-request-id"])

        assert (fields["outcome"], fields["words"]) == ("completed", 1)

    @pytest.mark.parametrize(
        ("fields", "outcome", "code"),
        [
            ({"languages": "xx"}, "refused", "unsupported_language"),
            ({"model": "other"}, "refused", "model_not_found"),
        ],
    )
    def test_a_refusal_is_told_with_its_code(
        self, lines: Lines, fields: dict[str, str], outcome: str, code: str
    ) -> None:
        """The one that the client was told."""
        with app_in_thread(settings(), lambda: ScriptedModel()) as url:
            answer = post(url, None, **fields)
            told = lines.fields(answer.headers["x-request-id"])

        assert (told["outcome"], told["code"]) == (outcome, code)

    def test_failures_in_mid_stream_are_told(self, lines: Lines) -> None:
        """Though the status was 200."""
        model = ScriptedModel(failures=[ValueError()])
        with app_in_thread(settings(), lambda: model) as url:
            answer = local.post(
                url + PATH,
                files={"file": wav()},
                data={"stream": "true"},
                headers={"x-request-id": "mine"},
            )
            fields = lines.fields("mine")

        assert answer.status_code == fields["status"]
        assert (fields["outcome"], fields["code"]) == ("failed", "internal_error")

    def test_what_a_client_asks_for_in_vain_is_not_repeated(self, lines: Lines) -> None:
        """It may be anything, line breaks too."""
        with app_in_thread(settings(), lambda: ScriptedModel()) as url:
            answer = local.get(f"{url}/a%0AERROR%20forged?key=secret")
            fields = lines.fields(answer.headers["x-request-id"])

        assert (answer.status_code, fields["path"]) == (404, "an unknown path")
        assert "forged" not in lines.text
        assert "secret" not in lines.text

    def test_who_watches_over_the_server_fills_no_log(self, lines: Lines) -> None:
        """Probes come every few seconds."""
        with app_in_thread(settings(), lambda: ScriptedModel()) as url:
            for path in ("/health", "/ready", "/metrics"):
                assert local.get(url + path).status_code == 200

        assert "/health" not in lines.text


class TestIds:
    @pytest.mark.parametrize(
        "own", ["abc", "6f1c9f3e-2f34-4c51-9b0a-0d4c5f0e8f11", "a.b_c-" + "d" * 58]
    )
    def test_a_sensible_one_comes_back(self, own: str) -> None:
        """From requests and from sockets."""
        headers = {"x-request-id": own}
        with app_in_thread(settings(), lambda: ScriptedModel()) as url:
            answer = local.get(url + "/health", headers=headers)
            socket = url.replace("http", "ws") + PATH
            with connect(socket, additional_headers=headers) as client:
                response = client.response

        assert answer.headers["x-request-id"] == own
        assert response is not None
        assert response.headers["x-request-id"] == own

    @pytest.mark.parametrize("own", ["", "a b", "x" * 65, "é", '"},{"'])
    def test_any_other_is_replaced(self, own: str) -> None:
        """Nothing is let into a log that might be taken for more than an id."""
        with app_in_thread(settings(), lambda: ScriptedModel()) as url:
            answer = local.get(url + "/health", headers={b"x-request-id": own.encode()})

        assert len(answer.headers["x-request-id"]) == 32


class TestSessions:
    def test_the_line_at_the_end_holds_the_same_for_programs(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With the id that the client was told and that of its handshake."""
        caplog.set_level(logging.INFO, logger="omniasr")
        with app_in_thread(settings(), lambda: ScriptedModel("confidential")) as url:
            socket = url.replace("http", "ws") + PATH
            headers = {"x-request-id": "mine"}
            with connect(socket, additional_headers=headers) as client:
                ready = json.loads(client.recv())
                client.send(bytes(64_000))
                client.send('{"type": "end"}')
                *_, last = (json.loads(message) for message in client)
        (record,) = (
            record
            for record in caplog.records
            if record.__dict__.get("fields", {}).get("event") == "session"
        )
        fields = record.__dict__["fields"]

        assert "closed with 1000: " in record.getMessage()
        assert '"close_code": 1000, ' in JsonLines().format(record)
        assert last["text"] == "confidential"
        assert fields.pop("seconds") > 0
        assert fields.pop("slowest_final_ms") > 0
        assert fields == {
            "event": "session",
            "id": ready["id"],
            "request_id": "mine",
            "protocol": "omniasr",
            "close_code": 1000,
            "outcome": "completed",
            "audio_s": 2.0,
            "words": 1,
        }
        assert "confidential" not in caplog.text

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            (1000, "completed"),
            (1006, "abandoned"),
            (1008, "closed"),
            (4321, "abandoned"),
        ],
    )
    def test_codes_have_words(self, code: int, outcome: str) -> None:
        """There are few outcomes, whatever code a client closes with."""
        assert outcome_of(code) == outcome


class TestJson:
    def test_every_line_of_a_process_is_an_object(self, tmp_path: Path) -> None:
        """Those of the libraries and of uvicorn as well; none says what was said."""
        log = tmp_path / "log"
        variables = {"MODEL_CARD": "omniASR_CTC_demo", "LOG_FORMAT": "json"}
        with server_process(log, **variables) as server:
            server.wait_until_ready()
            post(server.url).raise_for_status()
            server.process.terminate()
            assert server.process.wait(60) == 0

        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert all({"time", "level", "logger", "message"} <= set(n) for n in lines)
        assert "uvicorn.error" in {line["logger"] for line in lines}
        (request,) = (line for line in lines if line.get("event") == "request")
        assert (request["status"], request["audio_s"]) == (200, 1.0)

    def test_errors_keep_their_traceback_within_the_line(self) -> None:
        """Programs split logs at line breaks."""
        try:
            raise ValueError("why")
        except ValueError as error:
            where = (type(error), error, error.__traceback__)
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "It %s.", ("is",), where)

        line = JsonLines().format(record)

        assert "\n" not in line
        assert json.loads(line)["message"] == "It is."
        assert json.loads(line)["error"].endswith("ValueError: why")
