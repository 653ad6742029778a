"""What clients of the Realtime API depend on, point by point, over real sockets.

The points are those of the checklist that the frameworks' sources were read for; what
the frameworks themselves make of it is tested in `tests/agents`.
"""

import asyncio
import base64
import json
from random import Random

import numpy as np
import psutil
import pytest
import websockets
from av import AudioFrame, AudioResampler, CodecContext
from av.audio.codeccontext import AudioCodecContext
from websockets.sync.client import connect

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.http import local
from benchmarks.corpus import composer
from benchmarks.corpus.composer import Composition
from benchmarks.corpus.wav import pcm
from config import Settings
from tests.support.fakes import ScriptedModel
from tests.support.realtime_client import COMPLETED, DELTA, Event, connected, of_type
from tests.support.serving import ServerProcess, app_in_thread, wait_for
from tests.test_server import settings

KEYS = "ann:sesame"
SERVER_VAD = {"type": "server_vad", "silence_duration_ms": 400}
LOGPROBS = "item.input_audio_transcription.logprobs"


def utterance(*words: str, speaker: str = "george", tail_s: float = 0.3) -> Composition:
    recordings = composer.load(speakers=(speaker,), indexes=(2,))
    by_word = {each.word: each for each in recordings}
    return composer.compose(
        [by_word[word] for word in words],
        [0.15] * (len(words) - 1),
        rng=Random(1),
        lead_s=0.5,
        tail_s=tail_s,
    )


def silence(seconds: float) -> Samples:
    tone = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    return (3e-4 * tone).astype(np.float32)


def resampled(samples: Samples, rate: int) -> Samples:
    frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = AudioResampler("flt", "mono", rate)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def g711(samples: Samples, codec: str) -> bytes:
    """Encode as telephones do, with libav's own encoder."""
    context = CodecContext.create(codec, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = 8_000, "mono", "s16"
    integers = np.frombuffer(pcm(resampled(samples, 8_000)), np.int16)
    frame = AudioFrame.from_ndarray(integers.reshape(1, -1), "s16", "mono")
    frame.sample_rate = 8_000
    packets = [*context.encode(frame), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


FOUR = utterance("one", "seven", "three", "eight")


def as_file(url: str, samples: Samples) -> str:
    """What the server hears in a recording."""
    header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0"
    wav = header + b"\2\0\x10\0data\xff\xff\xff\xff" + pcm(samples)
    answer = local.post(f"{url}/v1/audio/transcriptions", files={"file": wav})
    text = answer.json()["text"]
    assert isinstance(text, str)
    return text


class TestPoint10:
    """`session.created` comes first; configuring is up to the client."""

    @pytest.mark.parametrize(
        "query", ["?intent=transcription", "?intent=transcription&model=whisper-1", ""]
    )
    def test_a_session_without_an_update_has_the_defaults(
        self, demo_server: ServerProcess, query: str
    ) -> None:
        """PCM at 24 kHz, turns by silence; with or without a model in the URL."""
        with connected(demo_server.url, query) as client:
            client.append(pcm(resampled(FOUR.samples, 24_000)))
            client.append(pcm(resampled(silence(1.5), 24_000)))
            client.until(COMPLETED)

            assert client.texts() == [FOUR.text]

    def test_audio_before_the_update_is_kept(self, demo_server: ServerProcess) -> None:
        """Pipecat sends some when it connects again."""
        half = len(FOUR.samples) // 2
        with connected(demo_server.url) as client:
            client.append(pcm(resampled(FOUR.samples[:half], 24_000)))
            client.update(turn_detection=None)
            client.append(pcm(resampled(FOUR.samples[half:], 24_000)))
            client.commit()
            client.until(COMPLETED)

            assert client.texts() == [FOUR.text]


def test_point_11_updates_are_partial(demo_server: ServerProcess) -> None:
    """Absent keeps, null clears; the reply is the whole; the flat form as well."""
    with connected(demo_server.url) as client:
        first = client.update(transcription={"model": "whisper-1", "language": "fr"})
        second = client.update(turn_detection=None)
        client.send(
            "transcription_session.update",
            session={
                "input_audio_format": "pcm16",
                "input_audio_transcription": {"language": "en"},
            },
        )
        third = client.until("transcription_session.updated")["session"]

    assert first["transcription"] == {"model": "whisper-1", "language": "fr"}
    assert first["turn_detection"]["type"] == "server_vad"
    assert second["transcription"] == first["transcription"]
    assert second["turn_detection"] is None
    assert third["input_audio_transcription"] == {
        "model": "whisper-1",
        "language": "en",
    }
    assert third["turn_detection"] is None


class TestPoint12:
    """Events in order, one item for each turn, one text for each `committed`."""

    def test_turns_that_follow_one_another(self, demo_server: ServerProcess) -> None:
        """They are sent faster than speech, so that they overlap."""
        words = ("one two three", "four five six", "seven eight nine")
        spoken = [utterance(*text.split(), tail_s=1.2) for text in words]
        audio = np.concatenate([each.samples for each in spoken])
        with connected(demo_server.url) as client:
            client.update(turn_detection=SERVER_VAD)
            client.append(pcm(resampled(audio, 24_000)))
            for _ in spoken:
                client.until(COMPLETED)
            events = client.events

        assert client.texts() == [as_file(demo_server.url, s.samples) for s in spoken]
        check_turns(events)
        starts = of_type(events, "input_audio_buffer.speech_started")
        for start, each, before in zip(
            starts,
            spoken,
            np.cumsum([0, *(len(s.samples) for s in spoken)]),
            strict=False,
        ):
            word_ms = 1000 * (before + each.words[0].start) / SAMPLE_RATE
            assert start["audio_start_ms"] == pytest.approx(word_ms - 300, abs=150)

    def test_silence_is_committed_too(self, demo_server: ServerProcess) -> None:
        """With an empty text."""
        with connected(demo_server.url) as client:
            client.manual(24_000)
            for _ in range(2):
                client.append(pcm(resampled(silence(0.5), 24_000)))
                client.commit()
            client.until(COMPLETED)
            client.until(COMPLETED)

            assert client.texts() == ["", ""]
            check_turns(client.events)


def check_turns(events: list[Event]) -> None:
    """Assert that each item has its events in order, and is one of a chain."""
    committed = of_type(events, "input_audio_buffer.committed")
    ids = [event["item_id"] for event in committed]
    assert [event["previous_item_id"] for event in committed] == [None, *ids[:-1]]
    assert [event["item_id"] for event in of_type(events, COMPLETED)] == ids
    for item in ids:
        own = [event for event in events if event.get("item_id") == item]
        order = [
            event["type"].split(".")[-1] for event in own if event["type"] != DELTA
        ]
        assert order[-2:] == ["committed", "completed"]
        assert order[:-2] in ([], ["speech_started", "speech_stopped"])
        text = "".join(event["delta"] for event in of_type(own, DELTA))
        assert own[-1]["transcript"].startswith(text)


class TestPoint13:
    """A commit may cover minutes of silence and one sentence."""

    def test_the_sentence_is_heard(self, demo_server: ServerProcess) -> None:
        """Memory does not grow with the silence."""
        process = psutil.Process(demo_server.process.pid)
        with connected(demo_server.url) as client:
            client.manual(24_000)
            client.append(pcm(resampled(silence(5), 24_000)))
            client.commit()
            client.until(COMPLETED)
            before = process.memory_info().rss
            minute = pcm(resampled(silence(60), 24_000))
            for _ in range(5):
                client.append(minute)
            client.append(pcm(resampled(FOUR.samples, 24_000)))
            client.commit()
            client.until(COMPLETED)

            assert client.texts() == ["", FOUR.text]
            assert process.memory_info().rss - before < 64e6

    def test_it_costs_what_the_sentence_costs(self) -> None:
        """The model hears a few seconds."""
        model = ScriptedModel()
        with (
            app_in_thread(Settings(model_card="scripted"), lambda: model) as url,
            connected(url) as client,
        ):
            client.manual()
            client.append(pcm(silence(300)))
            client.append(pcm(FOUR.samples))
            client.commit()
            client.until(COMPLETED)

        heard = sum(n for batch in model.batches for n in batch)
        longest = max(n for batch in model.batches for n in batch)
        assert longest < len(FOUR.samples) + SAMPLE_RATE
        assert heard < 20 * len(FOUR.samples)


class TestPoint14:
    """The formats, and what is no audio."""

    @pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
    def test_pcm(self, demo_server: ServerProcess, rate: int) -> None:
        """Cut in the middle of samples: an odd number of bytes in each message."""
        audio = pcm(resampled(FOUR.samples, rate))
        with connected(demo_server.url) as client:
            client.manual(rate)
            client.append(audio, n_bytes=4_801)
            client.commit()
            client.until(COMPLETED)

            assert client.texts() == [FOUR.text]

    @pytest.mark.parametrize(
        ("format", "codec"), [("audio/pcmu", "pcm_mulaw"), ("audio/pcma", "pcm_alaw")]
    )
    def test_g711(self, demo_server: ServerProcess, format: str, codec: str) -> None:
        """As telephones send it."""
        audio = g711(FOUR.samples, codec)
        with connected(demo_server.url) as client:
            client.update(format={"type": format}, turn_detection=None)
            client.append(audio, n_bytes=160)
            client.commit()
            client.until(COMPLETED)

            assert client.texts() == [FOUR.text]

    def test_invalid_base64_is_an_error_and_no_more(
        self, demo_server: ServerProcess
    ) -> None:
        """With the client's own event id; the session goes on."""
        with connected(demo_server.url) as client:
            client.manual()
            client.send("input_audio_buffer.append", audio="%%%", event_id="mine")
            error = client.until("error")["error"]
            client.append(pcm(FOUR.samples))
            client.commit()
            client.until(COMPLETED)

            assert error["event_id"] == "mine"
            assert client.texts() == [FOUR.text]

    def test_one_message_may_hold_fifteen_megabytes(
        self, demo_server: ServerProcess
    ) -> None:
        """As the SDK promises: 20 MiB of base64."""
        audio = pcm(FOUR.samples)
        with connected(demo_server.url) as client:
            client.manual()
            client.append(bytes(15 * 2**20 - len(audio)) + audio, n_bytes=15 * 2**20)
            client.commit()
            client.until(COMPLETED, within_s=120)

            assert client.texts() == [FOUR.text]


class TestPoint15:
    """Clearing and committing what is not there."""

    def test_clear_spares_what_was_committed(self, demo_server: ServerProcess) -> None:
        """And forgets what was not."""
        with connected(demo_server.url) as client:
            client.manual()
            client.append(pcm(FOUR.samples))
            client.commit()
            client.append(pcm(utterance("nine", "nine").samples))
            client.send("input_audio_buffer.clear")
            client.append(pcm(utterance("six", "two").samples))
            client.commit()
            while len(client.texts()) < 2:
                client.until(COMPLETED)

            assert client.texts() == [FOUR.text, "six two"]
            assert len(of_type(client.events, "input_audio_buffer.cleared")) == 1

    def test_a_commit_of_nothing_is_an_error(self, demo_server: ServerProcess) -> None:
        """With the code and the event id that openai-agents forgives."""
        with connected(demo_server.url) as client:
            client.commit(event_id="mine")
            error = client.until("error")["error"]

            assert error["code"] == "input_audio_buffer_commit_empty"
            assert error["event_id"] == "mine"

    def test_a_commit_of_little_is_none(self, demo_server: ServerProcess) -> None:
        """OpenAI refuses less than 100 ms, which ends LiveKit's session."""
        with connected(demo_server.url) as client:
            client.manual()
            client.append(b"\0\0")
            client.commit()
            client.until(COMPLETED)

            assert client.texts() == [""]


class TestPoint16:
    """Which clients are let in, and what keeps the connection open."""

    @pytest.mark.parametrize(
        ("headers", "protocols"),
        [
            ({"Authorization": "Bearer sesame"}, []),
            ({"api-key": "sesame"}, []),
            ({}, ["realtime", "openai-insecure-api-key.sesame"]),
            (
                {},
                [
                    "realtime",
                    "openai-insecure-api-key.sesame",
                    "openai-beta.realtime-v1",
                ],
            ),
        ],
    )
    def test_a_key_lets_in(self, headers: dict[str, str], protocols: list[str]) -> None:
        """By header or as a subprotocol; `realtime` is echoed, the key never."""
        offered = [websockets.Subprotocol(each) for each in protocols]
        with (
            app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url,
            connected(
                url, subprotocols=offered or None, additional_headers=headers
            ) as client,
        ):
            chosen = client.connection.subprotocol

        assert chosen == ("realtime" if protocols else None)

    @pytest.mark.parametrize(
        ("headers", "protocols"),
        [
            ({}, []),
            ({"Authorization": "Bearer wrong"}, []),
            ({"api-key": "wrong"}, []),
            ({}, ["realtime", "openai-insecure-api-key.wrong"]),
        ],
    )
    def test_a_wrong_key_is_refused_with_401(
        self, headers: dict[str, str], protocols: list[str]
    ) -> None:
        """Before the handshake."""
        offered = [websockets.Subprotocol(each) for each in protocols]
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            with pytest.raises(websockets.InvalidStatus) as refused:
                connect(
                    url.replace("http", "ws") + "/v1/realtime",
                    subprotocols=offered or None,
                    additional_headers=headers,
                )

        assert refused.value.response.status_code == 401

    def test_binary_messages_are_ignored(self, demo_server: ServerProcess) -> None:
        """Pipecat can be told to send some."""
        with connected(demo_server.url) as client:
            client.manual()
            client.connection.send(bytes(3_200))
            client.append(pcm(FOUR.samples))
            client.connection.send(bytes(3_200))
            client.commit()
            client.until(COMPLETED)

            assert client.texts() == [FOUR.text]

    def test_pings_are_answered_while_the_model_is_busy(self) -> None:
        """And messages are read."""
        model = ScriptedModel()
        model.may_run.clear()

        async def ping(url: str) -> None:
            address = url.replace("http", "ws") + "/v1/realtime"
            async with websockets.connect(address) as connection:
                await connection.recv()
                await connection.send(
                    json.dumps({"type": "session.update", "session": MANUAL})
                )
                await connection.recv()
                client_events = Sender(connection)
                await client_events.append(pcm(FOUR.samples))
                await connection.send(json.dumps({"type": "input_audio_buffer.commit"}))
                await asyncio.to_thread(model.running.wait, 30)
                async with asyncio.timeout(30):
                    await (await connection.ping())
                    await client_events.append(pcm(FOUR.samples))
                    await (await connection.ping())
                model.may_run.set()

        with app_in_thread(settings(), lambda: model) as url:
            asyncio.run(ping(url))


MANUAL = {
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": SAMPLE_RATE},
            "turn_detection": None,
        }
    }
}


class Sender:
    def __init__(self, connection: websockets.ClientConnection) -> None:
        self._connection = connection

    async def append(self, audio: bytes) -> None:
        text = base64.b64encode(audio).decode()
        await self._connection.send(
            json.dumps({"type": "input_audio_buffer.append", "audio": text})
        )


class TestPoint17:
    """What ends clients for good never comes."""

    def test_usage_is_an_object_and_messages_are_short(
        self, demo_server: ServerProcess
    ) -> None:
        """Pipecat's client takes no more than 1 MiB, log probabilities included."""
        audio = np.concatenate([FOUR.samples] * 20)
        with connected(demo_server.url) as client:
            client.manual()
            client.send("session.update", session={"include": [LOGPROBS]})
            client.append(pcm(audio))
            client.commit()
            completed = client.until(COMPLETED)

        assert completed["usage"]["type"] == "duration"
        assert completed["usage"]["seconds"] > 30
        assert completed["logprobs"]
        for delta in of_type(client.events, DELTA):
            spelled = "".join(each["token"] for each in delta["logprobs"])
            assert spelled.replace(" ", "") == delta["delta"].replace(" ", "")
        assert max(len(json.dumps(event)) for event in client.events) < 2**20

    def test_options_that_we_lack_are_no_errors(
        self, demo_server: ServerProcess
    ) -> None:
        """They are missing from the reply."""
        with connected(demo_server.url) as client:
            reply = client.update(
                noise_reduction={"type": "near_field"},
                transcription={
                    "model": "base",
                    "language": "tlh",
                    "prompt": "digits",
                    "keywords": ["seven"],
                    "delay": "minimal",
                },
                turn_detection={
                    "type": "server_vad",
                    "idle_timeout_ms": 5_000,
                    "create_response": True,
                },
            )

        assert "noise_reduction" not in reply
        assert reply["transcription"] == {
            "model": "omniASR_CTC_demo",
            "delay": "minimal",
            "keywords": ["seven"],
        }


class TestPoint18:
    """Clients that go away, and clients that fall silent."""

    @pytest.mark.one_process
    def test_a_client_that_vanishes_leaves_nothing_behind(
        self, demo_server: ServerProcess
    ) -> None:
        """In the middle of an utterance, without a word."""

        def n_streams() -> int:
            n = local.get(f"{demo_server.url}/health").json()["streams"]
            assert isinstance(n, int)
            return n

        wait_for(lambda: n_streams() == 0)
        with connected(demo_server.url) as client:
            client.update(turn_detection=SERVER_VAD)
            client.append(pcm(resampled(FOUR.samples, 24_000)))
            client.until("input_audio_buffer.speech_started")
            assert n_streams() == 1
            client.connection.socket.close()

        wait_for(lambda: n_streams() == 0)

    def test_a_client_that_stops_sending_has_its_turn_closed(
        self, demo_server: ServerProcess
    ) -> None:
        """By the clock on the wall: LiveKit sends nothing when its input ends."""
        last = FOUR.words[-1]
        with connected(demo_server.url) as client:
            client.update(turn_detection=SERVER_VAD)
            client.append(pcm(resampled(FOUR.samples[: last.end], 24_000)))
            client.until("input_audio_buffer.speech_stopped")
            client.until(COMPLETED)

            assert client.texts()[0].split()[:3] == FOUR.text.split()[:3]
            check_turns(client.events)
