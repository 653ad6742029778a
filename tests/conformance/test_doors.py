"""Clients that come to other doors than OpenAI's own, against the real server."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from openai import AzureOpenAI

from benchmarks.corpus.composer import Composition
from tests.conformance.test_api import error_of, http, is_right, speech, wav
from tests.support.serving import ServerProcess

__all__ = ["http", "speech", "wav"]  # fixtures


class TestAzure:
    """OpenAI's SDK for Azure, unmodified."""

    @pytest.fixture
    def azure(self, demo_server: ServerProcess) -> Iterator[AzureOpenAI]:
        with AzureOpenAI(
            azure_endpoint=demo_server.url,
            api_key="any",
            api_version="2025-04-01-preview",
            max_retries=0,
        ) as client:
            yield client

    def test_the_deployment_is_the_model(self, azure: AzureOpenAI, wav: Path) -> None:
        """By its name in the address."""
        answer = azure.audio.transcriptions.create(model="whisper-1", file=wav)

        assert is_right(answer.text)

    def test_it_streams(self, azure: AzureOpenAI, wav: Path) -> None:
        """As OpenAI's own address does."""
        events = azure.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=wav, stream=True
        )

        *_, last = events
        assert last.type == "transcript.text.done"
        assert is_right(last.text)

    def test_another_deployment_is_404(self, azure: AzureOpenAI, wav: Path) -> None:
        """Told what there is."""
        with pytest.raises(openai.NotFoundError) as error:
            azure.audio.transcriptions.create(model="my-deployment", file=wav)

        assert error.value.code == "model_not_found"


def test_open_webui_sends_json(http: httpx.Client, wav: Path) -> None:
    """With `AUDIO_STT_OPENAI_API_REQUEST_FORMAT=json`, as OpenRouter takes it."""
    data = base64.b64encode(wav.read_bytes()).decode()
    answer = http.post(
        "/v1/audio/transcriptions",
        json={
            "model": "whisper-1",
            "input_audio": {"data": data, "format": "wav"},
            "language": "en",
        },
    )

    assert is_right(answer.json()["text"])


def test_bazarr_sends_bare_samples(http: httpx.Client, speech: Composition) -> None:
    """As its whisper provider does, and reads SubRip."""
    samples = (speech.samples * 32767).astype("<i2")
    answer = http.post(
        "/asr",
        params={"task": "transcribe", "language": "en", "output": "srt",
                "encode": "false"},
        files={"audio_file": samples.tobytes()},
    )  # fmt: skip

    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert lines[0] == "1"
    assert " --> " in lines[1]
    assert is_right(" ".join(line for line in lines if line.replace(" ", "").isalpha()))


def test_words_without_verbose_json_are_refused(http: httpx.Client, wav: Path) -> None:
    """By name: in silence they would be missing."""
    for response_format in ("json", "text", "srt", "vtt"):
        answer = http.post(
            "/v1/audio/transcriptions",
            files={"file": wav.read_bytes()},
            data={
                "response_format": response_format,
                "timestamp_granularities[]": "word",
            },
        )

        assert answer.status_code == 400
        assert error_of(answer)["param"] == "timestamp_granularities"
        assert "verbose_json" in error_of(answer)["message"]


def test_segments_have_their_words(http: httpx.Client, wav: Path) -> None:
    """If both were asked for; they are all the words there are, in order."""
    answer = http.post(
        "/v1/audio/transcriptions",
        files={"file": wav.read_bytes()},
        data={
            "response_format": "verbose_json",
            "timestamp_granularities[]": ["word", "segment"],
        },
    ).json()
    alone = http.post(
        "/v1/audio/transcriptions",
        files={"file": wav.read_bytes()},
        data={"response_format": "verbose_json"},
    ).json()

    inside = [word for segment in answer["segments"] for word in segment["words"]]
    assert inside == answer["words"]
    assert len(inside) > 3
    assert all("words" not in segment for segment in alone["segments"])
    for segment in answer["segments"]:
        ends = np.array([[word["start"], word["end"]] for word in segment["words"]])
        assert segment["start"] == ends.min()
        assert segment["end"] == ends.max()
