"""Calls with two channels: each is heard as if it were alone.

The calls are composed: the agent is left, the customer right, and now and then they
speak at the same time.
"""

import io
import re
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from openai import OpenAI
from openai.types.audio import (
    TranscriptionDiarized,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
)

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer
from tests.api.routes.test_event_stream import events_of
from tests.conformance.test_api import client, error_of, http, post
from tests.support.openai_types import additions
from tests.support.serving import ServerProcess

__all__ = ["client", "http"]  # fixtures

Json = dict[str, Any]


def wav_of(*channels: Samples) -> bytes:
    """Write channels of 16-bit samples; the shorter ones end in silence."""
    rows = np.zeros((len(channels), max(map(len, channels))), np.float32)
    for row, channel in zip(rows, channels, strict=True):
        row[: len(channel)] = channel
    file = io.BytesIO()
    soundfile.write(file, rows.T, SAMPLE_RATE, "PCM_16", format="WAV")
    return file.getvalue()


def said_by(speaker: str, seed: int, *, lead_s: float, n_words: int = 14) -> Samples:
    """Let a speaker say digits, with long pauses in between."""
    rng = Random(seed)
    recordings = composer.load(speakers=(speaker,))
    chosen = [rng.choice(recordings) for _ in range(n_words)]
    pauses_s = [rng.choice((0.1, 0.3, 1.5)) for _ in chosen[1:]]
    return composer.compose(chosen, pauses_s, rng=rng, lead_s=lead_s).samples


@pytest.fixture(scope="module")
def agent() -> Samples:
    return said_by("jackson", 1, lead_s=0.3)


@pytest.fixture(scope="module")
def customer() -> Samples:
    return said_by("george", 2, lead_s=1.0)


@pytest.fixture(scope="module")
def alone(
    demo_server: ServerProcess, agent: Samples, customer: Samples
) -> tuple[Json, Json]:
    """What is heard in a recording of each channel, as long as the call."""
    n = max(len(agent), len(customer))
    with httpx.Client(base_url=demo_server.url, timeout=60) as http:
        answers = [
            post(http, wav_of(np.pad(channel, (0, n - len(channel)))), **VERBOSE).json()
            for channel in (agent, customer)
        ]
    return answers[0], answers[1]


VERBOSE = {
    "response_format": "verbose_json",
    "timestamp_granularities[]": ["word", "segment"],
}
SEPARATE = {"channels": "separate", **VERBOSE}


def outlines(segments: list[Json]) -> list[tuple[str, float, float]]:
    return [(each["text"], each["start"], each["end"]) for each in segments]


def without_channel(items: list[Json]) -> list[Json]:
    return [
        {name: value for name, value in item.items() if name != "channel"}
        for item in items
    ]


class TestSeparateChannels:
    def test_each_is_exactly_as_if_it_were_alone(
        self,
        http: httpx.Client,
        agent: Samples,
        customer: Samples,
        alone: tuple[Json, Json],
    ) -> None:
        """Words, times and confidences, also where both speak at the same time."""
        answer = post(http, wav_of(agent, customer), **SEPARATE).json()

        both = answer["segments"]
        assert any(
            a["channel"] != b["channel"] and a["start"] < b["start"] < a["end"]
            for a in both
            for b in both
        ), "the call has no overlapping speech"
        for number, own in enumerate(alone, start=1):
            words = [word for word in answer["words"] if word["channel"] == number]
            assert without_channel(words) == own["words"]
            segments = [each for each in both if each["channel"] == number]
            assert outlines(segments) == outlines(own["segments"])
            assert all(
                word["channel"] == number for each in segments for word in each["words"]
            )

    def test_segments_are_in_the_order_of_time(
        self, http: httpx.Client, agent: Samples, customer: Samples
    ) -> None:
        """And the text is that of all of them."""
        answer = post(http, wav_of(agent, customer), **SEPARATE).json()

        segments = answer["segments"]
        assert [each["start"] for each in segments] == sorted(
            each["start"] for each in segments
        )
        assert [each["id"] for each in segments] == list(range(len(segments)))
        assert answer["text"] == " ".join(each["text"] for each in segments)
        assert answer["usage"]["seconds"] == pytest.approx(2 * answer["duration"])

    def test_a_silent_channel_changes_nothing(
        self, http: httpx.Client, agent: Samples, alone: tuple[Json, Json]
    ) -> None:
        """Whichever it is, and however many there are."""
        n = round(alone[0]["duration"] * SAMPLE_RATE)
        silence = np.zeros(n, np.float32)

        answer = post(http, wav_of(silence, agent, silence), **SEPARATE).json()

        assert without_channel(answer["words"]) == alone[0]["words"]
        assert {word["channel"] for word in answer["words"]} == {2}

    def test_a_long_call(
        self, http: httpx.Client, agent: Samples, customer: Samples
    ) -> None:
        """Longer than the model's window: each channel is cut in its own pauses."""
        long = [np.concatenate([own] * 5) for own in (agent, customer)]
        n = max(map(len, long))
        left, right = (np.pad(own, (0, n - len(own))) for own in long)

        answer = post(http, wav_of(left, right), **SEPARATE).json()

        assert answer["duration"] > 40
        for number, own in enumerate((left, right), start=1):
            single = post(http, wav_of(own), **VERBOSE).json()
            words = [word for word in answer["words"] if word["channel"] == number]
            assert without_channel(words) == single["words"]

    def test_without_it_channels_are_mixed(
        self, http: httpx.Client, agent: Samples, customer: Samples
    ) -> None:
        """No answer has a channel then."""
        for fields in (VERBOSE, {**VERBOSE, "channels": "mixed"}):
            answer = post(http, wav_of(agent, customer), **fields).json()

            assert "channel" not in {*answer["words"][0], *answer["segments"][0]}
            assert answer["usage"]["seconds"] == answer["duration"]

    def test_a_recording_with_one_channel_is_refused(
        self, http: httpx.Client, agent: Samples
    ) -> None:
        """The error says what is not done."""
        for fields in ({"channels": "separate"}, {"response_format": "diarized_json"}):
            for stream in ("true", "false"):
                answer = post(http, wav_of(agent), stream=stream, **fields)

                assert answer.status_code == 400
                assert error_of(answer)["code"] == "one_channel"
                assert "voices are not told apart" in error_of(answer)["message"]

    def test_speakers_cannot_be_mixed(
        self, http: httpx.Client, agent: Samples, customer: Samples
    ) -> None:
        """That would contradict itself."""
        answer = post(
            http,
            wav_of(agent, customer),
            response_format="diarized_json",
            channels="mixed",
        )

        assert answer.status_code == 400
        assert error_of(answer)["param"] == "channels"


class TestSpeakers:
    def test_answers_are_the_sdks_own(
        self,
        client: OpenAI,
        agent: Samples,
        customer: Samples,
        alone: tuple[Json, Json],
    ) -> None:
        """Each channel is a speaker; only the demo model's warning is added."""
        answer = client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=wav_of(agent, customer),
            response_format="diarized_json",
            chunking_strategy="auto",
        )

        assert isinstance(answer, TranscriptionDiarized)
        assert additions(answer.model_dump(), TranscriptionDiarized) == {"warnings"}
        for number, own in enumerate(alone, start=1):
            segments = [
                each.model_dump()
                for each in answer.segments
                if each.speaker == f"channel_{number}"
            ]
            assert outlines(segments) == outlines(own["segments"])
        assert len({each.id for each in answer.segments}) == len(answer.segments)

    def test_events_are_the_sdks_own(
        self, http: httpx.Client, agent: Samples, customer: Samples
    ) -> None:
        """Deltas name their segment; segments come when they are complete."""
        call = wav_of(agent, customer)
        whole = post(http, call, response_format="diarized_json").json()

        answer = post(http, call, response_format="diarized_json", stream="true")

        types = {
            "transcript.text.delta": TranscriptionTextDeltaEvent,
            "transcript.text.segment": TranscriptionTextSegmentEvent,
            "transcript.text.done": TranscriptionTextDoneEvent,
        }
        events = events_of(answer)
        for event in events:
            extra = additions(event, types[event["type"]])
            assert extra <= {"end", "channel", "warnings"}, event["type"]
        told = [each for each in events if each["type"] == "transcript.text.segment"]
        texts = {each["id"]: "" for each in told}
        for event in events:
            if event["type"] == "transcript.text.delta":
                texts[event["segment_id"]] += event["delta"]
        assert {name: text.strip() for name, text in texts.items()} == {
            each["id"]: each["text"] for each in told
        }
        assert sorted(
            (each["start"], each["speaker"], each["text"]) for each in told
        ) == [
            (each["start"], each["speaker"], each["text"]) for each in whole["segments"]
        ]
        assert events[-1]["text"] == whole["text"]


class TestSubtitles:
    @pytest.fixture
    def call(self, agent: Samples, customer: Samples) -> bytes:
        return wav_of(agent, customer)

    def test_webvtt_has_voices(
        self, http: httpx.Client, call: bytes, alone: tuple[Json, Json]
    ) -> None:
        """A voice span in each cue; what a speaker says is all there."""
        text = (
            post(http, call, response_format="vtt", channels="separate")
            .raise_for_status()
            .text
        )

        for number, own in enumerate(alone, start=1):
            spans = re.findall(rf"<v channel_{number}>(.*?)</v>", text, re.DOTALL)
            assert " ".join(" ".join(spans).split()) == own["text"]
        assert text.count("-->") == text.count("<v ") == text.count("</v>")
        starts = re.findall(r"^(\S+) -->", text, re.MULTILINE)
        assert starts == sorted(starts)

    def test_subrip_has_names(
        self, http: httpx.Client, call: bytes, alone: tuple[Json, Json]
    ) -> None:
        """Before the text of each cue."""
        text = (
            post(http, call, response_format="srt", channels="separate")
            .raise_for_status()
            .text
        )

        for number, own in enumerate(alone, start=1):
            said = re.findall(
                rf"^channel_{number}: (.*?)\n\n", text, re.DOTALL | re.MULTILINE
            )
            assert " ".join(" ".join(said).split()) == own["text"]
