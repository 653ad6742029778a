"""More than one model in a server, each under its name."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from openai import OpenAI
from websockets.sync.client import connect

from audio.samples import SAMPLE_RATE
from benchmarks.common.http import local
from config import Settings
from engine.interface import ModelTraits
from tests.support.fakes import ALPHABET, ScriptedModel
from tests.support.serving import app_in_thread
from text.ctc import Vocabulary


class Shouting(ScriptedModel):
    """A second model, with a vocabulary of its own."""

    traits = replace(
        ScriptedModel.traits, vocabulary=Vocabulary(("", *ALPHABET.upper()))
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with two models; the first is the default."""
    settings = Settings(model_card="quiet", vad_enabled=False)
    with app_in_thread(
        settings,
        lambda: ScriptedModel("first"),
        others={"loud": lambda: Shouting("second")},
    ) as url:
        yield url


@pytest.fixture(scope="module")
def noise() -> bytes:
    """Two seconds of noise, as WAV."""
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "text"),
    [("quiet", "first"), ("whisper-1", "first"), ("loud", "SECOND")],
)
def test_a_recording_is_heard_by_the_model_that_it_names(
    url: str, noise: bytes, name: str, text: str
) -> None:
    """An alias means the default."""
    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        answer = client.audio.transcriptions.create(
            model=name, file=("noise.wav", noise)
        )

    assert answer.text == text


@pytest.mark.parametrize(
    ("aliases", "name", "text"),
    [
        (("Systran/*",), "Systran/faster-whisper-small", "first"),
        (("nova-?",), "nova-3", "first"),
        (("nova-?",), "nova-10", None),
        (("WHISPER-*",), "whisper-1", None),
        (("*",), "anything at all", "first"),
        (("*",), "loud", "SECOND"),
        ((), "whisper-1", None),
    ],
)
def test_aliases_are_patterns(
    noise: bytes, aliases: tuple[str, ...], name: str, text: str | None
) -> None:
    """Of names in full; a model that is served goes before them."""
    settings = Settings(model_card="quiet", vad_enabled=False, model_aliases=aliases)
    with app_in_thread(
        settings,
        lambda: ScriptedModel("first"),
        others={"loud": lambda: Shouting("second")},
    ) as url:
        answer = local.post(
            f"{url}/v1/audio/transcriptions",
            files={"file": ("noise.wav", noise)},
            data={"model": name},
        )
        found = local.get(f"{url}/v1/models/{name}")

    assert answer.status_code == found.status_code == (200 if text else 404)
    if text:
        assert answer.json()["text"] == text
        assert found.json()["id"] == name


def test_without_a_name_it_is_the_default(url: str, noise: bytes) -> None:
    """As a form with nothing but a file asks."""
    answer = local.post(
        f"{url}/v1/audio/transcriptions", files={"file": ("noise.wav", noise)}
    )

    assert answer.json()["text"] == "first"


def test_a_name_that_none_has_is_told_what_there_is(url: str, noise: bytes) -> None:
    """With status 404."""
    answer = local.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": ("noise.wav", noise)},
        data={"model": "third"},
    )

    assert answer.status_code == 404
    assert "quiet, loud" in answer.json()["error"]["message"]


def test_all_models_are_listed(url: str) -> None:
    """And each is described under its name."""
    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["quiet", "loud"]
        assert client.models.retrieve("loud").id == "loud"


@pytest.mark.parametrize(("query", "text"), [("", "first"), ("?model=loud", "SECOND")])
def test_a_realtime_session_is_heard_by_the_model_of_its_url(
    url: str, query: str, text: str
) -> None:
    """For as long as it lasts; its session says which one that is."""
    samples = np.random.default_rng(0).normal(0, 3000, 2 * 24_000).astype("<i2")
    address = f"ws{url.removeprefix('http')}/v1/realtime{query}"
    with connect(address) as client:
        created = json.loads(client.recv(timeout=10))
        client.send(json.dumps({"type": "session.update", "session": _BY_HAND}))
        client.send(json.dumps(_append(samples.tobytes())))
        client.send(json.dumps({"type": "input_audio_buffer.commit"}))
        heard = next(
            event["transcript"]
            for event in iter(lambda: json.loads(client.recv(timeout=10)), None)
            if event["type"].endswith("transcription.completed")
        )

    model = created["session"]["audio"]["input"]["transcription"]["model"]
    assert model == ("loud" if query else "quiet")
    assert heard == text


def test_the_health_is_that_of_all(url: str) -> None:
    """The model that is named is the default."""
    assert local.get(f"{url}/ready").status_code == 200
    assert local.get(f"{url}/health").json()["model"] == "quiet"
    series = local.get(f"{url}/metrics").text
    assert 'model="quiet"' in series
    assert 'model="loud"' in series


def test_traits_say_what_kind_of_device_it_is() -> None:
    """Whatever its number."""
    traits = ModelTraits(vocabulary=Vocabulary(("",)), device="cuda:1")

    assert traits.device_kind == "cuda"


_BY_HAND = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}


def _append(audio: bytes) -> dict[str, str]:
    return {
        "type": "input_audio_buffer.append",
        "audio": base64.b64encode(audio).decode(),
    }
