"""What docs/migrating.md says of this server is so.

Its Python block is run by test_docs, what the SDKs and the frameworks need by
tests/conformance and in tests/agents. Here is the rest of what it promises.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from websockets.sync.client import connect

from benchmarks.common.http import local
from config import ApiKey, Settings
from engine.work_queue import MOST_WINDOWS
from languages.catalogue import all_languages
from tests.support.fakes import ScriptedModel
from tests.support.live_client import SECOND, address, listen_for, rest, say
from tests.support.realtime_client import connected
from tests.support.serving import ROOT, app_in_thread
from tests.test_server import PATH, post, settings, wav

GUIDE = ROOT / "docs" / "migrating.md"

# Names in the guide's right columns that are not settings of the server.
NOT_SETTINGS = {
    "FAIRSEQ2_CACHE_DIR",
    "HF_HOME",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "KEY",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(settings(), ScriptedModel) as url:
        yield url


def section(title: str) -> str:
    return GUIDE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without those of their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("There", "Field", "---")]


class TestNames:
    def test_settings_are_spelt_as_they_are_here(self) -> None:
        """Whatever is written in capitals on our side of a table."""
        ours = {name.upper() for name in Settings.model_fields}
        for row in rows(GUIDE.read_text()):
            named = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})[`=]", " ".join(row[1:])))
            assert named <= ours | NOT_SETTINGS, row

    def test_figures_are_those_of_the_settings(self) -> None:
        """The defaults that it mentions."""
        figures = {
            "`MAX_UPLOAD_MB` (100)": Settings().max_upload_mb == 100,
            "`MAX_AUDIO_SECONDS` (six hours)": Settings().max_audio_seconds == 21_600,
            "`MAX_SESSION_S` (four hours)": Settings().max_session_s == 14_400,
            "`MAX_REQUESTS` (64)": Settings().max_requests == 64,
            "`MAX_STREAMS` (256)": Settings().max_streams == 256,
            "`LOG_LEVEL` (default `info`)": Settings().log_level == "info",
            "`BATCH_SIZE` was 1 | 8 |": MOST_WINDOWS == 8,
            "1672 languages": len(all_languages()) == 1672,
        }

        for text, holds in figures.items():
            assert text in GUIDE.read_text()
            assert holds, text

    def test_the_example_of_settings_is_valid(self, tmp_path: Path) -> None:
        """And has the effect that it is there for."""
        (example,) = re.findall(r"```ini\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        path = tmp_path / "env"
        path.write_text(example)

        read = Settings(_env_file=path)

        assert "Systran/faster-whisper-small" in read.model_aliases
        assert read.keys() == {"me": ApiKey("KEY")}
        assert read.cors_origins == ("https://a.example",)
        assert (read.model_card, read.device) == ("omniASR_CTC_1B_v2", "cuda:1")


class TestFromOpenAI:
    def test_the_sdk_finds_us_by_its_variables(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No line of a program changes."""
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "not-needed")
        (tmp_path / "audio.wav").write_bytes(wav())

        with OpenAI() as client:
            text = client.audio.transcriptions.create(
                model="whisper-1", file=tmp_path / "audio.wav"
            ).text

        assert text == "hello"

    def test_every_format_goes_with_every_name(self, url: str) -> None:
        """The one with speakers takes a recording with a channel for each."""
        for model in Settings().model_aliases:
            assert post(url, model=model, response_format="srt").status_code == 200
        diarized = post(url, wav(channels=2), response_format="diarized_json")
        assert diarized.status_code == 200
        assert post(url, response_format="diarized_json").status_code == 400

    def test_languages_are_tags(self, url: str) -> None:
        """Also for names that OpenAI does not know."""
        answer = post(url, response_format="verbose_json", language="bam_Latn")

        assert answer.json()["language"] == "bm"
        segment = answer.json()["segments"][0]
        assert (segment["seek"], segment["temperature"]) == (0, 0.0)

    @pytest.mark.parametrize(
        "path",
        [
            "chat/completions",
            "audio/speech",
            "files",
            "responses",
            "realtime/calls",
            "audio/diarization",
            "registry",
        ],
    )
    def test_what_is_not_here_is_404(self, url: str, path: str) -> None:
        """In a shape that the SDK can show."""
        answer = local.post(f"{url}/v1/{path}", json={})

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"

    @pytest.mark.parametrize("kind", ["response.create", "conversation.item.create"])
    def test_a_session_holds_no_conversation_and_goes_on(
        self, url: str, kind: str
    ) -> None:
        """What is asked for is refused alone."""
        with connected(url) as client:
            client.send(kind)
            client.until("error")
            client.append(SECOND)
            client.send("input_audio_buffer.commit")
            client.until("conversation.item.input_audio_transcription.completed")

            (error,) = [e for e in client.events if e["type"] == "error"]
            assert error["error"]["code"] == "unsupported_event"
            assert client.texts() == ["hello"]


class TestFromFasterWhisperServer:
    def test_its_fields_are_ignored(self, url: str) -> None:
        """None of them is an error."""
        fields = dict.fromkeys(
            ("hotwords", "vad_filter", "without_timestamps", "diarization", "prompt"),
            "true",
        )

        assert post(url, None, **fields).status_code == 200

    def test_its_models_are_names_that_may_be_aliases(self, url: str) -> None:
        """A slash in them does no harm."""
        name = "Systran/faster-whisper-small"
        with app_in_thread(settings(model_aliases=(name,)), ScriptedModel) as other:
            taken = post(other, model=name)
            found = local.get(f"{other}/v1/models/{name}")

        assert post(url, model=name).status_code == 404
        assert taken.status_code == found.status_code == 200

    def test_models_are_not_fetched_or_deleted(self, url: str) -> None:
        """405, as the route is there for reading."""
        for method in ("POST", "DELETE"):
            answer = httpx.request(method, f"{url}/v1/models/scripted")
            assert answer.status_code == 405
        assert local.post(f"{url}/api/pull/scripted").status_code == 404
        assert local.get(f"{url}/api/ps").status_code == 404

    def test_its_key_is_read_from_headers_only(self) -> None:
        """Not from the URL."""
        with app_in_thread(settings(api_keys="me:KEY"), ScriptedModel) as url:
            path = url + "/v1/models"
            bearer = local.get(path, headers={"authorization": "Bearer KEY"})
            others = [
                local.get(path, headers={name: "KEY"})
                for name in ("api-key", "x-api-key")
            ]
            in_url = local.get(path, params={"api_key": "KEY"})

        assert bearer.status_code == 200
        assert [answer.status_code for answer in others] == [200, 200]
        assert in_url.status_code == 401

    def test_its_audio_is_heard_and_its_address_taken(self, url: str) -> None:
        """What is in the query is told to be ignored, but for the language, which
        `config` may change."""
        query = "?model=x&response_format=text&temperature=0&language=de"
        with connect(address(url) + query) as client:
            ready = listen_for(client, type="ready")
            say(client, "config", language="fr")
            client.send(SECOND)
            say(client, "end")
            messages, code = rest(client)

        assert messages[-1]["is_final"] is True
        assert messages[-1]["text"] == "hello"
        assert ready["language"] == "de"
        (warning,) = ready["warnings"]
        for name in ("model", "response_format", "temperature"):
            assert repr(name) in warning["message"]
        assert messages[-1]["language"] == "fr"
        assert code == 1000

    def test_health_is_an_object(self, url: str) -> None:
        """With the status that was looked at."""
        answer = local.get(url + "/health")

        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"


class TestFromTheOriginal:
    def test_each_difference_of_its_routes(self, url: str) -> None:
        """As the table has them."""
        answers = {
            "format": post(url, response_format="sse"),
            "model": post(url, model="omniASR_CTC_7B"),
            "text": post(url, response_format="text"),
            "verbose": post(url, response_format="verbose_json"),
            "alias": post(url, model="whisper-1"),
        }

        assert answers["format"].status_code == 400
        assert "verbose_json" in answers["format"].json()["error"]["message"]
        assert answers["model"].status_code == 404
        assert answers["text"].text == "hello\n"
        assert answers["verbose"].json()["language"] == "und"
        assert not {"model", "processing_time", "rtf"} & set(answers["verbose"].json())
        assert answers["alias"].status_code == 200

    def test_its_request_goes_on_working(self, url: str) -> None:
        """All the fields of its README at once."""
        answer = post(
            url, model="scripted", language="eng_Latn", response_format="json"
        )

        assert answer.json()["text"] == "hello"

    def test_its_stream_speaks_openais_events(self, url: str) -> None:
        """At the same address."""
        files = {"file": ("upload", wav())}

        body = local.post(url + PATH + "/stream", files=files).text

        last = json.loads(body.strip().split("\n")[-1].removeprefix("data: "))
        assert (last["type"], last["text"]) == ("transcript.text.done", "hello")
        assert "[DONE]" not in body

    def test_its_socket_is_answered_and_told_of_mistakes(self, url: str) -> None:
        """`is_final` comes once, also for less than the shortest word."""
        with connect(address(url)) as client:
            assert listen_for(client, type="ready")["sample_rate"] == 16_000
            client.send("no json")
            assert listen_for(client, type="error")["code"] == "invalid_json"
            say(client, "config", sample_rate=8_000, model="omniASR_CTC_300M_v2")
            refused = listen_for(client, type="error")
            client.send(bytes(640))
            say(client, "end")
            messages, code = rest(client)

        assert refused["is_final"] is False
        assert "model" in refused["message"]
        assert [m["is_final"] for m in messages].count(True) == 1
        assert (messages[-1]["is_final"], code) == (True, 1000)

    def test_health_has_other_names(self, url: str) -> None:
        """All that were there have a successor."""
        body = local.get(url + "/health").json()

        assert {"ready", "model", "requests", "streams"} <= set(body)
        assert "model_loaded" not in body

    def test_pages_are_let_in_as_before_by_a_setting(self, url: str) -> None:
        """`CORS_ORIGINS=*`."""
        origin = {"origin": "https://page.test"}
        with app_in_thread(settings(cors_origins="*"), ScriptedModel) as open_url:
            before = local.get(open_url + "/health", headers=origin)
        now = local.get(url + "/health", headers=origin)

        assert before.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-origin" not in now.headers

    def test_variables_of_its_table_are_settings(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With its defaults, but two of them; others are not, and do nothing."""
        theirs = {
            "MODEL_CARD": "omniASR_CTC_300M_v2",
            "DEVICE": "",
            "HOST": "0.0.0.0",
            "PORT": "8000",
            "VAD_ENABLED": "true",
        }
        without = Settings()
        for name, value in {**theirs, "MAX_CONCURRENT_REQUESTS": "1"}.items():
            monkeypatch.setenv(name, value)

        assert Settings() == without
        monkeypatch.setenv("CHUNK_DURATION", "5.0")
        assert Settings().chunk_duration == 5
        monkeypatch.setenv("DEFAULT_LANG", "eng_Latn")
        assert Settings().default_lang == "eng_Latn"

    @pytest.mark.parametrize("name", ["DEFAULT_LANG", "DEVICE"])
    def test_none_is_empty_now(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """And `none` is refused by the name of the variable."""
        monkeypatch.setenv(name, "none")
        with pytest.raises(ValueError, match=name.lower()):
            Settings()
        monkeypatch.setenv(name, "")

        assert Settings().default_lang == ""
