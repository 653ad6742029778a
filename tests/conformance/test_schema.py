"""Every answer and event is what OpenAI's schema says, and additions are known ones.

OpenAI publishes the schema as the types of its packages. What is not in them is an
addition of ours: those below, and no others.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from openai.types import Model
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.client_secret_create_response import (
    ClientSecretCreateResponse,
)
from openai.types.realtime.realtime_transcription_session_create_request import (
    RealtimeTranscriptionSessionCreateRequest,
)
from openai.types.shared import ErrorObject
from pydantic import ValidationError

from benchmarks.corpus.wav import pcm
from tests.api.routes.test_event_stream import events_of
from tests.conformance.test_api import http, speech, wav
from tests.conformance.test_realtime import FOUR
from tests.support.openai_types import additions
from tests.support.realtime_client import COMPLETED, connected
from tests.support.serving import ServerProcess
from tests.test_server import PATH

__all__ = ["http", "speech", "wav"]  # fixtures

BOTH = ["word", "segment"]
OF_A_SEGMENT = {"segments.words"}
OF_A_WORD = {"words.confidence"}
# Where words can tell the language of a text.
IF_FOUND = {"languages.probability", "language_probability"}
# Of the demo model, which these tests ask.
WARNED = {"warnings"}


def ask(http: httpx.Client, wav: Path, **fields: Any) -> httpx.Response:
    data = {name.replace("_list", "[]"): value for name, value in fields.items()}
    answer = http.post(PATH, files={"file": wav.read_bytes()}, data=data)
    assert answer.status_code == 200, answer.text
    return answer


class TestTranscriptions:
    @pytest.mark.parametrize("include", [[], ["logprobs"]])
    def test_json(self, http: httpx.Client, wav: Path, include: list[str]) -> None:
        """Only the demo model's warning and a language's probability are added."""
        body = ask(http, wav, include_list=include).json()

        assert additions(body, Transcription) - IF_FOUND == WARNED

    @pytest.mark.parametrize(
        ("wanted", "ours"),
        [(["segment"], set()), (["word"], OF_A_WORD), (BOTH, OF_A_WORD | OF_A_SEGMENT)],
    )
    def test_verbose_json(
        self, http: httpx.Client, wav: Path, wanted: list[str], ours: set[str]
    ) -> None:
        """Words have a confidence, segments may have words; the task and the script."""
        body = ask(
            http,
            wav,
            response_format="verbose_json",
            timestamp_granularities_list=wanted,
        ).json()

        found = additions(body, TranscriptionVerbose) - IF_FOUND
        assert found == ours | {"task", "script"} | WARNED

    def test_events(self, http: httpx.Client, wav: Path) -> None:
        """With nothing, and with all that can be asked for."""
        plain = events_of(ask(http, wav, stream="true"))
        full = events_of(
            ask(
                http,
                wav,
                stream="true",
                response_format="verbose_json",
                timestamp_granularities_list=BOTH,
                include_list=["logprobs"],
            )
        )

        for events, of_deltas, of_done in (
            (plain, {"end"}, WARNED),
            (
                full,
                {"end", "words"},
                {"segments", "words", "duration", "script"} | WARNED,
            ),
        ):
            *deltas, done = events
            assert deltas
            for delta in deltas:
                assert additions(delta, TranscriptionTextDeltaEvent) == of_deltas
            assert additions(done, TranscriptionTextDoneEvent) - IF_FOUND == of_done

    def test_silence(self, http: httpx.Client, tmp_path: Path) -> None:
        """Empty lists and texts are what they are of."""
        path = tmp_path / "silence.wav"
        soundfile.write(path, np.zeros(16_000), 16_000)

        verbose = ask(http, path, response_format="verbose_json").json()

        assert additions(ask(http, path).json(), Transcription) == WARNED
        assert additions(verbose, TranscriptionVerbose) == {"task"} | WARNED


class TestOtherAnswers:
    def test_models(self, http: httpx.Client) -> None:
        """The list, and one of them."""
        listed = http.get("/v1/models").json()

        assert set(listed) == {"object", "data"}
        for each in (*listed["data"], http.get("/v1/models/whisper-1").json()):
            assert additions(each, Model) == {"description", "text_form"}

    def test_client_secrets(self, http: httpx.Client) -> None:
        """The SDK's type is that of conversations too, so the session has its own."""
        body = http.post("/v1/realtime/client_secrets", json={}).json()
        session = body["session"]

        assert set(body) == set(ClientSecretCreateResponse.model_fields)
        ours = additions(session, RealtimeTranscriptionSessionCreateRequest)
        assert ours == {"id", "object"} | WARNED

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", PATH),
            ("GET", "/v1/models/none"),
            ("GET", "/none"),
            ("POST", "/v1/audio/translations"),
            ("PUT", PATH),
            ("POST", "/asr"),
        ],
    )
    def test_errors(self, http: httpx.Client, method: str, path: str) -> None:
        """All four fields, also where two are null."""
        body = http.request(method, path).json()

        assert set(body) == {"error"}
        assert additions(body["error"], ErrorObject) == set()


class TestRealtime:
    def test_every_event_of_a_session(self, demo_server: ServerProcess) -> None:
        """From its greeting to the text, with a mistake and a clear in between.

        The session has an id and says what it is, as OpenAI's does.
        """
        include = ["item.input_audio_transcription.logprobs"]
        with connected(demo_server.url) as client:
            client.send("session.update", session={"include": include})
            client.append(pcm(FOUR.samples))
            client.until(COMPLETED)
            client.send("input_audio_buffer.clear")
            client.send("no.such.event")
            client.until("error")
            events = client.events

        kinds = {event["type"] for event in events}
        assert len(kinds) >= 10
        for event in events:
            ours = additions(event, RealtimeServerEvent)
            known = {"session.id", "session.object", "session.warnings", "script"}
            assert ours <= known | IF_FOUND, event

    def test_the_session_itself(self, demo_server: ServerProcess) -> None:
        """Whatever it was asked for, it has no field that the type has not."""
        with connected(demo_server.url) as client:
            plain = client.events[0]["session"]
            client.send(
                "session.update",
                session={
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcmu"},
                            "transcription": {"language": "fr", "delay": "low"},
                            "turn_detection": None,
                        }
                    }
                },
            )
            updated = client.until("session.updated")["session"]

        for session in (plain, updated):
            ours = additions(session, RealtimeTranscriptionSessionCreateRequest)
            assert ours == {"id", "object"} | WARNED
            assert "null" not in json.dumps(
                {**session["audio"]["input"], "turn_detection": 0}
            )


class TestTheComparison:
    def test_it_names_what_is_added(self) -> None:
        """Also below."""
        usage = {"type": "duration", "seconds": 1.0, "cost": 0.1}
        body = {"text": "a", "new": 1, "usage": usage}

        assert additions(body, Transcription) == {"new", "usage.cost"}

    @pytest.mark.parametrize(
        "body", [{}, {"text": 1}, {"text": "a", "logprobs": [{"bytes": "a"}]}]
    )
    def test_it_refuses_what_is_missing_or_of_another_type(self, body: Any) -> None:
        """Which the SDK passes on."""
        with pytest.raises(ValidationError):
            additions(body, Transcription)
