"""What OpenAI's clients need of a server, rule by rule.

The rules come from what the SDKs for Python and Node, Pipecat and LiveKit send and
read: a MUST breaks one of them, and advice that we follow makes them work better.
The clients here are the SDKs themselves, unmodified; where a rule is about what they
never send, plain HTTP. Rules that the tests of a module hold already are listed in
`ELSEWHERE`, each with the test that does. The points of the checklist that the rules
end in are in `test_http.py` and `test_realtime.py`.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from benchmarks.common.http import local
from server import Server, create_app
from tests.api.routes.test_event_stream import events_of
from tests.conformance.test_api import (
    SAID,
    client,
    error_of,
    http,
    node_transcribe,
    speech,
    wav,
)
from tests.support.fakes import ScriptedModel
from tests.support.serving import ServerProcess, app_in_thread
from tests.test_server import PATH, multipart, settings
from tests.test_server import wav as silence

__all__ = ["client", "http", "speech", "wav"]  # fixtures

ELSEWHERE = {
    "1.1 only a file is required": (
        "conformance.test_api.TestCurl.test_a_file_alone_is_enough"
    ),
    "1.1 the bytes decide, not the name or type, which may be UTF-8": (
        "conformance.test_api.TestContainers.test_a_wrong_name_and_type_do_not_matter"
    ),
    "1.1 bytes called `upload` are recognised": (
        "conformance.test_api.TestPythonSDK.test_bytes_without_a_name_are_recognised"
    ),
    "1.1 chunks without a length are taken": (
        "conformance.test_api.TestNodeSDK.test_a_stream_without_length_is_transcribed"
    ),
    "1.1 and counted while they are read": (
        "test_server.TestLimits.test_a_body_over_the_limit_is_413"
    ),
    "1.1 every container that OpenAI takes": (
        "conformance.test_api.TestContainers.test_each_is_recognised_by_content"
    ),
    "1.2 every field at once, and unknown ones": (
        "conformance.test_api.TestFormFields"
        ".test_every_field_of_every_client_is_accepted_at_once"
    ),
    "1.2 arrays with and without brackets": (
        "conformance.test_api.TestFormFields.test_arrays_go_with_and_without_brackets"
    ),
    "1.2 no value is replaced by a default in silence": (
        "conformance.test_api.TestFormFields"
        ".test_values_that_cannot_be_honoured_are_refused_by_name"
    ),
    "1.2 `stream` is true or false": (
        "api.routes.test_event_stream.TestFailures.test_an_odd_value_is_refused"
    ),
    "1.3 json": "conformance.test_api.TestPythonSDK.test_json_is_a_transcription",
    "1.3 text": "conformance.test_api.TestPythonSDK.test_text_is_the_bare_text",
    "1.3 srt": "conformance.test_api.TestPythonSDK.test_srt_is_subtitles",
    "1.3 vtt": "conformance.test_api.TestPythonSDK.test_vtt_is_subtitles",
    "1.3 verbose_json, every field of a segment": (
        "conformance.test_api.TestPythonSDK.test_verbose_json_has_honest_segments"
    ),
    "1.3 words alone": "conformance.test_api.TestPythonSDK.test_words_have_their_times",
    "1.3 words and segments": (
        "conformance.test_api.TestPythonSDK.test_both_granularities_give_both"
    ),
    "1.3 logprobs": "conformance.test_api.TestPythonSDK.test_logprobs_spell_the_text",
    "1.3 diarized_json has a speaker for each channel": (
        "api.routes.test_channels.TestSpeakers.test_answers_are_the_sdks_own"
    ),
    "1.3 diarized_json of a recording with one channel is refused": (
        "conformance.test_api.TestNodeSDK.test_errors_are_the_sdks_own"
    ),
    "1.3 und, where no language is known": (
        "test_server.TestSettings.test_the_default_language_labels_what_names_none"
    ),
    "1.4 deltas add up to the last event, whose usage is in tokens": (
        "api.routes.test_event_stream.TestEvents.test_the_sdk_reads_deltas_that_add_up"
    ),
    "1.4 data lines alone, a blank one at the end, no invented event": (
        "api.routes.test_event_stream.TestEvents.test_both_routes_answer_the_same_way"
    ),
    "1.4 text is sent while the recording is worked on": (
        "api.routes.test_event_stream.TestWhileAtWork"
        ".test_the_first_text_is_there_while_the_model_is_at_the_second_batch"
    ),
    "1.4 before the first event a failure is a status": (
        "api.routes.test_event_stream.TestFailures"
        ".test_one_before_the_first_event_is_a_status"
    ),
    "1.5 400 and 404 as the SDK raises them": (
        "conformance.test_api.TestPythonSDK.test_errors_are_the_sdks_own"
    ),
    "1.1 too large is 413, once": "conformance.test_http.TestPoint6.test_413",
    "1.2 chunking strategies": "conformance.test_http.TestPoint3.test_all_at_once",
    "1.5 500 is the SDK's own error": "conformance.test_http.TestPoint6.test_500",
    "1.5 401": "api.test_auth.TestGate.test_the_sdk_raises_its_own_error",
    "1.5 no route, no method: in OpenAI's shape": (
        "conformance.test_api.TestErrors.test_unknown_places_answer_in_openais_shape"
    ),
    "1.5 no form, no file: in OpenAI's shape": (
        "conformance.test_api.TestErrors.test_a_body_that_is_no_form_is_refused"
    ),
    "1.5 500 says nothing of itself": (
        "test_server.TestBadLuck"
        ".test_a_failure_in_the_model_is_500_and_says_nothing_of_itself"
    ),
    "1.5 every error has a request id": "api.test_auth.TestGate.test_only_a_key_opens",
    "1.6 a file without a file name": (
        "conformance.test_api.TestErrors.test_a_form_without_a_file_is_refused"
    ),
    "1.6 a client that goes away cancels its work": (
        "test_server.TestOverload.test_a_client_that_goes_away_gives_its_place_back"
    ),
    "1.6 in mid-stream too": (
        "api.routes.test_event_stream.TestFailures"
        ".test_a_client_that_goes_away_gives_its_place_back"
    ),
    "2 translations are refused, in OpenAI's shape": (
        "api.routes.test_event_stream.TestTranslations"
        ".test_they_are_refused_in_the_error_shape"
    ),
    "2 models are listed and found": (
        "conformance.test_api.TestPythonSDK.test_models_are_listed_and_found"
    ),
    "6 the resolver, code by code": "languages.test_languages.TestResolving",
}


@pytest.mark.parametrize("rule", ELSEWHERE)
def test_what_is_held_elsewhere_still_is(rule: str) -> None:
    """By a test of that name."""
    module, names = ELSEWHERE[rule].split(".Test")
    found: Any = importlib.import_module(f"tests.{module}")
    for name in f"Test{names}".split("."):
        found = getattr(found, name)
    assert callable(found)


def sdk(url: str, *, max_retries: int = 0, hook: Any = None) -> OpenAI:
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [hook] if hook else []}
    return OpenAI(
        base_url=f"{url}/v1",
        api_key="any",
        max_retries=max_retries,
        http_client=openai.DefaultHttpxClient(event_hooks=hooks),
    )


@pytest.fixture
def scripted() -> Iterator[str]:
    """A server that always hears "hello"."""
    with app_in_thread(settings(), ScriptedModel) as url:
        yield url


class TestEnvelope:
    """1.1: how a request is sent."""

    @pytest.mark.parametrize("accept", ["application/json", "text/plain", "image/png"])
    @pytest.mark.parametrize(
        ("response_format", "content_type"),
        [("json", "application/json"), ("text", "text/plain; charset=utf-8")],
    )
    def test_accept_is_not_negotiated(
        self, scripted: str, accept: str, response_format: str, content_type: str
    ) -> None:
        """The SDKs ask for JSON whatever they want."""
        answer = local.post(
            scripted + PATH,
            files={"file": ("upload", silence())},
            data={"response_format": response_format},
            headers={"accept": accept},
        )

        assert answer.status_code == 200
        assert answer.headers["content-type"] == content_type

    @pytest.mark.parametrize("file_first", [True, False])
    def test_parts_come_in_any_order(self, scripted: str, file_first: bool) -> None:
        """Python sends the file last, Node usually first."""
        field = (
            b'--x\r\nContent-Disposition: form-data; name="response_format"\r\n\r\n'
            b"text\r\n"
        )
        file = multipart(silence())
        body = file.replace(b"--x--\r\n", field + b"--x--\r\n")

        answer = local.post(
            scripted + PATH,
            content=body if file_first else field + file,
            headers={"content-type": "multipart/form-data; boundary=x"},
        )

        assert answer.text == "hello\n"


class TestFields:
    """1.2: what a request may ask for."""

    @pytest.mark.parametrize("temperature", ["0", "0.0", "1", ""])
    def test_temperature_as_each_sdk_writes_it(
        self, scripted: str, temperature: str
    ) -> None:
        """Python `0.0`, Node `0`."""
        answer = local.post(
            scripted + PATH,
            files={"file": ("upload", silence())},
            data={"temperature": temperature, "prompt": "context"},
        )

        assert answer.status_code == 200

    def test_stream_false_is_no_stream(self, scripted: str) -> None:
        """The SDK sends it when the caller does."""
        with sdk(scripted) as client:
            answer = client.audio.transcriptions.create(
                model="whisper-1", file=silence(), stream=False
            )

        assert answer.text == "hello"

    def test_words_without_verbose_json_are_refused(self, scripted: str) -> None:
        """A client that asked for times and got none would blame the recording.

        Segments are what there is without being asked for, so they are ignored.
        """
        with sdk(scripted) as client:
            answer = client.audio.transcriptions.create(
                model="whisper-1", file=silence(), timestamp_granularities=["segment"]
            )
            with pytest.raises(openai.BadRequestError) as refused:
                client.audio.transcriptions.create(
                    model="whisper-1", file=silence(), timestamp_granularities=["word"]
                )

        assert answer.text == "hello"
        assert not {"words", "segments"} & set(answer.model_dump())
        assert refused.value.param == "timestamp_granularities"
        assert "verbose_json" in refused.value.message

    @pytest.mark.parametrize(
        ("candidates", "code"),
        [(["fr"], "fr"), (["hi", "de"], "de"), (["fr", "auto"], None), ([], None)],
    )
    def test_languages_instead_of_language(
        self, scripted: str, candidates: list[str], code: str | None
    ) -> None:
        """LiveKit does so for some names, and reads `languages[0].code`."""
        with sdk(scripted) as client:
            answer = client.audio.transcriptions.create(
                model="gpt-transcribe", file=silence(), languages=candidates
            )

        languages = answer.model_dump()["languages"]
        assert [each["code"] for each in languages] == ([code] if code else [])


class TestBodies:
    """1.3: what is answered."""

    def test_no_language_is_an_empty_list(self) -> None:
        """Which says that it could not be told."""
        with app_in_thread(settings(default_lang=""), ScriptedModel) as url:
            answer = local.post(url + PATH, files={"file": ("upload", silence())})

        assert answer.json()["languages"] == []

    def test_logprobs_only_when_asked_for(self, scripted: str) -> None:
        """A tenth of the size without."""
        answer = local.post(scripted + PATH, files={"file": ("upload", silence())})

        assert set(answer.json()) == {"text", "languages", "usage"}

    def test_verbose_json_has_the_whole_schema(self, scripted: str) -> None:
        """Typed clients are stricter than the SDKs."""
        answer = local.post(
            scripted + PATH,
            files={"file": ("upload", silence())},
            data={"response_format": "verbose_json", "language": "bam_Latn"},
        ).json()

        assert next(iter(answer)) == "task"
        assert set(answer) == {
            "task",
            "language",
            "duration",
            "text",
            "segments",
            "usage",
            "script",  # ours
        }
        assert answer["language"] == "bm"
        assert answer["usage"] == {"type": "duration", "seconds": 1.0}
        (segment,) = answer["segments"]
        assert set(segment) == {
            "id",
            "seek",
            "start",
            "end",
            "text",
            "tokens",
            "temperature",
            "avg_logprob",
            "compression_ratio",
            "no_speech_prob",
        }


class TestStreams:
    """1.4: server-sent events."""

    def test_the_node_sdk_reads_them(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """It drops a last event without a blank line."""
        events = node_transcribe(demo_server.url, wav, "stream")["events"]

        deltas = [event["delta"] for event in events[:-1]]
        assert events[-1]["type"] == "transcript.text.done"
        assert "".join(deltas) == events[-1]["text"]
        assert len(events[-1]["text"].split()) == len(SAID)

    @pytest.fixture
    def failing(self) -> Iterator[str]:
        """A server whose model fails at its second batch."""
        model = ScriptedModel("hello world", [None, ValueError("secret detail")])
        with app_in_thread(settings(batch_size=1), lambda: model) as url:
            yield url

    def test_a_failure_in_mid_stream_is_raised(self, failing: str) -> None:
        """After the text before it; what the failure was is ours to know."""
        deltas: list[str] = []
        with sdk(failing) as client, pytest.raises(openai.APIError) as error:  # noqa: PT012
            for event in client.audio.transcriptions.create(
                model="whisper-1", file=silence(100), stream=True
            ):
                assert event.type == "transcript.text.delta"
                deltas.append(event.delta)

        assert deltas == ["hello"]
        assert error.value.code == "internal_error"
        assert "secret" not in error.value.message
        assert "log" in error.value.message

    def test_a_failure_in_mid_stream_is_raised_in_node(
        self, failing: str, tmp_path: Path
    ) -> None:
        """With the same message."""
        file = tmp_path / "silence.wav"
        file.write_bytes(silence(100))

        answer = node_transcribe(failing, file, "stream")

        assert answer["error"] == "APIError"
        assert "log" in answer["message"]
        assert [event["delta"] for event in answer["events"]] == ["hello"]

    def test_events_have_known_types_alone(self, scripted: str) -> None:
        """Python takes an unknown type for a segment.

        Names of events begin with `transcript.`: the SDK for Python knows no others
        up to 1.74, and wraps what they name.
        """
        answer = local.post(
            scripted + PATH,
            files={"file": ("upload", silence())},
            data={"stream": "true"},
        )

        names = [line for line in answer.text.splitlines() if line[:6] == "event:"]
        assert all(name.startswith("event: transcript.") for name in names)
        assert "[DONE]" not in answer.text
        assert {event["type"] for event in events_of(answer)} == {
            "transcript.text.delta",
            "transcript.text.done",
        }


class TestErrors:
    """1.5 and 1.6: what goes wrong, and when a client comes back."""

    def test_node_shows_the_message(
        self, demo_server: ServerProcess, wav: Path
    ) -> None:
        """And not "400 status code (no body)"."""
        answer = node_transcribe(demo_server.url, wav, "yaml")

        assert "response_format 'yaml' is not supported" in answer["message"]

    def test_idle_connections_are_kept_longer_than_clients_keep_them(self) -> None:
        """LiveKit uses them again for two minutes."""
        ours = settings()

        configured = Server(create_app(ours), ours).config

        assert configured.timeout_keep_alive > 120


class TestOtherPlaces:
    """2: endpoints beside the transcription."""

    def test_a_model_cannot_be_deleted(self, http: httpx.Client) -> None:
        """405."""
        answer = http.delete("/v1/models/omniASR_CTC_demo")

        assert answer.status_code == 405
        assert error_of(answer)["code"] == "method_not_allowed"

    def test_languages_are_searched(self, http: httpx.Client) -> None:
        """Id, tag, name, script and direction of each."""
        everything = http.get("/v1/languages").json()["data"]
        found = http.get("/v1/languages", params={"q": "bambara"}).json()["data"]
        hebrew = http.get("/v1/languages", params={"q": "heb_Hebr"}).json()["data"]

        assert len(everything) == 1672
        assert found[0] == {
            "id": "bam_Latn",
            "tag": "bm",
            "name": "Bambara",
            "autonym": "bamanakan",
            "script": "Latn",
            "direction": "ltr",
        }
        assert hebrew[0]["direction"] == "rtl"
        assert http.get("/v1/languages", params={"q": "qqqq"}).json()["data"] == []
