"""Live streams at the real server, with the bundled model, over real sockets."""

import io
import json
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
from av import AudioFrame, AudioResampler
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.http import local
from benchmarks.corpus import composer
from config import Settings
from model import ASRModel
from tests.support.fakes import ScriptedModel
from tests.support.live_client import (
    DIGITS_TEXT,
    SECOND,
    UTTERANCES,
    Json,
    address,
    digits,
    listen,
    listen_for,
    rest,
    s16le,
    say,
)
from tests.support.serving import ServerProcess, app_in_thread, server_process, wait_for
from tests.test_server import settings

CHUNK = 3_200  # 100 ms

KEYS = "ann:sesame,bob:open"


@pytest.fixture(scope="module")
def audio() -> bytes:
    return s16le(digits())


@pytest.fixture
def client(demo_server: ServerProcess) -> Any:
    with connect(address(demo_server.url), max_size=None) as client:
        yield client


def send_in_chunks(client: ClientConnection, audio: bytes, *, paced: bool) -> None:
    began = time.monotonic()
    for start in range(0, len(audio), CHUNK):
        if paced:
            spoken = began + (start + CHUNK) / (2 * SAMPLE_RATE)
            threading.Event().wait(max(0.0, spoken - time.monotonic()))
        client.send(audio[start : start + CHUNK])


def finals(messages: list[Json]) -> list[str]:
    return [m["text"] for m in messages if m.get("utterance_final")]


def check_rules(messages: list[Json]) -> None:
    """What every client may rely on, of all that came after `ready`."""
    number, confirmed, position = 0, "", 0.0
    assert [m["is_final"] for m in messages].count(True) == 1
    assert messages[-1]["is_final"]
    for message in messages[:-1]:
        assert message["utterance"] >= number
        if message["utterance"] > number:
            number, confirmed = message["utterance"], ""
        assert message["text"] == message["confirmed_text"] + message["pending_text"]
        assert message["audio_duration"] >= position
        position = message["audio_duration"]
        if not message["utterance_final"]:
            assert message["confirmed_text"].startswith(confirmed)
            confirmed = message["confirmed_text"]
    last = [m["utterance"] for m in messages if m["utterance_final"]]
    assert last == list(range(1, len(last) + 1))


class TestOriginalClients:
    """Clients written for the original server's README, which know nothing more."""

    def test_one_that_sends_as_people_speak(
        self, client: ClientConnection, audio: bytes
    ) -> None:
        """It sees text grow, then the final, then a clean close."""
        ready = listen(client)
        sender = threading.Thread(
            target=send_in_chunks, args=(client, audio), kwargs={"paced": True}
        )
        sender.start()
        first = listen_for(client, type="transcript")
        sender.join()
        client.send('{"type": "end"}')
        messages, code = rest(client)

        assert (ready["type"], ready["sample_rate"]) == ("ready", 16_000)
        assert not first["is_final"]
        assert first["audio_duration"] < len(audio) / 2 / SAMPLE_RATE
        assert messages[-1]["text"] == DIGITS_TEXT
        assert finals(messages) == list(UTTERANCES)
        check_rules([first, *messages])
        assert code == 1000

    def test_one_that_sends_ten_minutes_before_it_reads(
        self, client: ClientConnection, audio: bytes
    ) -> None:
        """Nothing is lost, whether the server or the client is slow."""
        n = 67
        pause = bytes(2 * SAMPLE_RATE)
        listen(client)
        send_in_chunks(client, (audio + pause) * n, paced=False)
        client.send('{"type": "end"}')
        messages, code = rest(client)

        assert messages[-1]["audio_duration"] > 600
        assert finals(messages) == list(UTTERANCES) * n
        assert messages[-1]["text"] == " ".join([DIGITS_TEXT] * n)
        check_rules(messages)
        assert code == 1000

    @pytest.mark.parametrize("seconds", [0.0, 0.1, 5.0])
    def test_one_that_says_nothing(
        self, client: ClientConnection, seconds: float
    ) -> None:
        """It gets its final as well, an empty one."""
        client.send(bytes(2 * round(seconds * SAMPLE_RATE)))
        client.send('{"type": "end"}')
        messages, code = rest(client)

        assert messages[-1]["is_final"]
        assert messages[-1]["text"] == ""
        assert messages[-1]["audio_duration"] == seconds
        assert code == 1000


_SUBTYPES = {"s16le": "PCM_16", "f32le": "FLOAT", "mulaw": "ULAW", "alaw": "ALAW"}


def encoded(samples: Samples, encoding: str, rate: int) -> bytes:
    """Resample and encode by other means than the server's."""
    resampler = AudioResampler("flt", "mono", rate)
    frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    resampled = np.concatenate([part.to_ndarray().reshape(-1) for part in parts])
    file = io.BytesIO()
    soundfile.write(
        file,
        resampled,
        rate,
        format="RAW",
        subtype=_SUBTYPES[encoding],
        endian="LITTLE",
    )
    return file.getvalue()


class TestAudio:
    @pytest.mark.parametrize("seed", range(3))
    def test_any_cut_of_the_bytes_gives_the_same_text(
        self, client: ClientConnection, audio: bytes, seed: int
    ) -> None:
        """Odd bytes, empty frames, long ones."""
        random = Random(seed)
        n = random.choice([2, 10, 300])
        cuts = sorted(random.randrange(len(audio)) for _ in range(n))
        for start, end in pairwise([0, *cuts, *cuts[-1:], len(audio)]):
            client.send(audio[start:end])
        say(client, "end")
        messages, _ = rest(client)

        assert messages[-1]["text"] == DIGITS_TEXT
        assert finals(messages) == list(UTTERANCES)

    @pytest.mark.parametrize(
        ("encoding", "rate"),
        [("mulaw", 8_000), ("alaw", 8_000), ("f32le", 48_000), ("s16le", 24_000)],
    )
    def test_other_formats_say_the_same(
        self, client: ClientConnection, encoding: str, rate: int
    ) -> None:
        """To within what a telephone leaves of a voice."""
        say(client, "config", encoding=encoding, sample_rate=rate)
        client.send(encoded(digits(), encoding, rate))
        say(client, "end")
        messages, _ = rest(client)

        heard = messages[-1]["text"].split()
        right = sum(a == b for a, b in zip(heard, DIGITS_TEXT.split(), strict=False))
        assert right >= (6 if rate == 8_000 else 10)
        assert messages[-1]["audio_duration"] == pytest.approx(
            len(digits()) / SAMPLE_RATE, abs=0.01
        )

    def test_the_format_may_change_between_utterances(
        self, client: ClientConnection, audio: bytes
    ) -> None:
        """And nothing of what came before is lost."""
        client.send(audio)
        say(client, "config", encoding="f32le", sample_rate=48_000)
        client.send(encoded(digits(), "f32le", 48_000))
        say(client, "end")
        messages, _ = rest(client)

        assert messages[-1]["text"] == f"{DIGITS_TEXT} {DIGITS_TEXT}"


class TestBeyond:
    def test_words_have_times_and_speech_is_marked(
        self, client: ClientConnection
    ) -> None:
        """Within 0.15 s of where they were put."""
        recordings = composer.load(speakers=("george",), indexes=(0,))
        composition = composer.compose(
            recordings[:5], [0.25] * 4, rng=Random(3), lead_s=1.0, tail_s=1.5
        )
        say(client, "config", words=True, events=True, language="en")
        client.send(s16le(composition.samples))
        say(client, "end")
        messages, _ = rest(client)

        final = next(m for m in messages if m.get("utterance_final"))
        assert final["cause"] == "endpoint"
        assert final["language"] == "en"
        assert [word["word"] for word in final["words"]] == composition.text.split()
        for word, spoken in zip(final["words"], composition.words, strict=True):
            assert word["start"] == pytest.approx(spoken.start / SAMPLE_RATE, abs=0.15)
            assert word["end"] == pytest.approx(spoken.end / SAMPLE_RATE, abs=0.15)
            assert 0 < word["confidence"] <= 1
        started = next(m for m in messages if m["type"] == "speech_started")
        ended = next(m for m in messages if m["type"] == "speech_ended")
        assert 0.5 < started["audio_position"] < 1.1
        assert ended["audio_position"] > started["audio_position"]
        assert messages.index(started) < messages.index(ended)

    def test_each_flush_has_one_answer(
        self, client: ClientConnection, audio: bytes
    ) -> None:
        """Of what came since the last, and if that is nothing, an empty one."""
        say(client, "config", endpointing=False, interim=False)
        half = len(audio) // 4 * 2
        for part in (audio[:half], audio[half:], b""):
            client.send(part)
            say(client, "flush")
        say(client, "end")
        messages, _ = rest(client)

        answers = [m["text"] for m in messages if m.get("cause") == "flush"]
        assert len(answers) == 3
        assert answers[2] == ""
        assert " ".join(answers[:2]).split() == DIGITS_TEXT.split()
        assert all(m["utterance_final"] for m in messages[1:-1] if m["text"])

    def test_without_vad_only_the_client_ends_utterances(
        self, demo_model: ASRModel, audio: bytes
    ) -> None:
        """VAD_ENABLED=false."""
        ours = settings().model_copy(update={"vad_enabled": False})
        with (
            app_in_thread(ours, lambda: demo_model) as url,
            connect(address(url)) as client,
        ):
            assert listen(client)["endpointing"] is False
            client.send(audio)
            say(client, "end")
            messages, _ = rest(client)

        assert len(finals(messages)) == 1
        # The demo model hears no boundary in a long pause.
        assert messages[-1]["text"].replace(" ", "") == DIGITS_TEXT.replace(" ", "")

    @pytest.mark.one_process
    def test_the_session_is_counted_while_it_lasts(
        self, demo_server: ServerProcess
    ) -> None:
        """By /health."""
        with connect(address(demo_server.url)) as client:
            listen(client)
            assert streams(demo_server) == 1
        wait_for(lambda: streams(demo_server) == 0)


def streams(server: ServerProcess) -> int:
    return int(local.get(f"{server.url}/health").json()["streams"])


class TestKeys:
    def connect(self, url: str, **options: Any) -> ClientConnection:
        client: ClientConnection = connect(address(url), **options)
        return client

    @pytest.mark.parametrize(
        "options",
        [
            {"additional_headers": {"Authorization": "Bearer sesame"}},
            {
                "subprotocols": [
                    Subprotocol("omniasr"),
                    Subprotocol("openai-insecure-api-key.open"),
                ]
            },
        ],
    )
    def test_a_key_opens(self, options: dict[str, Any]) -> None:
        """In the header, or as browsers send it; the log names it, not quotes it."""
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            with self.connect(url, **options) as client:
                assert listen(client)["type"] == "ready"
                assert client.subprotocol == (
                    "omniasr" if "subprotocols" in options else None
                )
                say(client, "end")
                assert rest(client)[1] == 1000

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"additional_headers": {"Authorization": "Bearer wrong"}},
            {
                "subprotocols": [
                    Subprotocol("omniasr"),
                    Subprotocol("openai-insecure-api-key.wrong"),
                ]
            },
        ],
    )
    @pytest.mark.parametrize("query", ["", "?api_key=sesame", "?key=sesame"])
    def test_anything_else_is_refused_with_401(
        self, options: dict[str, Any], query: str
    ) -> None:
        """Before the handshake; also a key in the address, which logs would keep."""
        with app_in_thread(settings(api_keys=KEYS), ScriptedModel) as url:
            with pytest.raises(InvalidStatus) as refused:
                with connect(address(url) + query, **options):
                    pass

        assert refused.value.response.status_code == 401
        body = json.loads(refused.value.response.body or b"")
        assert body["error"]["code"] == "invalid_api_key"


class TestShutdown:
    def test_sigterm_finishes_what_was_sent(self, tmp_path: Path, audio: bytes) -> None:
        """The stream has its final, and the close says that the server goes."""
        variables = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": "float32"}
        with server_process(tmp_path / "log", **variables) as server:
            server.wait_until_ready()
            with connect(address(server.url)) as client:
                client.send(audio)
                listen_for(client, type="transcript")
                server.process.send_signal(signal.SIGTERM)
                messages, code = rest(client)
            status = server.process.wait(60)
        log = server.log.read_text()

        assert messages[-1]["is_final"]
        assert messages[-1]["text"] == DIGITS_TEXT
        assert code == 1001
        assert status == 0
        assert "closed with 1001: 9.0 s of audio, 10 words" in log
        assert "zero" not in log
        assert "Traceback" not in log


class TestSettings:
    def test_what_the_operator_chose_is_what_streams_begin_with(self) -> None:
        """The profile, what is changed in it, and the nominal window."""
        ours = settings(stream_profile="quality", hop_s=0.9, chunk_duration=10.0)
        with app_in_thread(ours, ScriptedModel) as url, connect(address(url)) as client:
            ready = listen(client)

        assert (ready["profile"], ready["hop_s"]) == ("quality", 0.9)
        assert ready["chunk_duration"] == 10
        assert ready["margin_s"] == 1.12

    def test_silence_on_the_wire_ends_an_utterance_after_stall_s(self) -> None:
        """Without a word from the client."""
        with (
            app_in_thread(
                Settings(model_card="scripted", stall_s=0.1),
                ScriptedModel,
            ) as url,
            connect(address(url)) as client,
        ):
            client.send(s16le(digits()[:SAMPLE_RATE]))
            final = listen_for(client, utterance_final=True)

        assert final["cause"] == "stalled"


class TestLoad:
    def test_one_more_stream_than_max_streams_is_told_when_to_come_back(self) -> None:
        """And let in once another has gone."""
        with app_in_thread(settings(max_streams=1), ScriptedModel) as url:
            with connect(address(url)) as first:
                listen(first)
                with connect(address(url)) as second:
                    (refusal,), code = rest(second)
                say(first, "end")
                assert rest(first)[1] == 1000
            with connect(address(url)) as third:
                assert listen(third)["type"] == "ready"

        assert (refusal["code"], refusal["fatal"]) == ("overloaded", True)
        assert refusal["retry_after_s"] >= 1
        assert code == 1013

    def test_a_stream_that_is_flooded_does_not_hold_up_another(self) -> None:
        """One sends ten minutes in one frame; the other speaks, and is heard."""
        with (
            app_in_thread(settings(), ScriptedModel) as url,
            connect(address(url), max_size=None) as flooded,
            connect(address(url), max_size=None) as speaking,
        ):
            flooded.send(SECOND * 600)
            speaking.send(SECOND)
            say(speaking, "end")
            messages, code = rest(speaking)

        assert messages[-1]["text"] == "hello"
        assert code == 1000

    def test_frames_as_large_as_realtime_clients_send_are_taken(self) -> None:
        """20 MiB, and more."""
        with (
            app_in_thread(settings(), ScriptedModel) as url,
            connect(address(url), max_size=None) as client,
        ):
            client.send(bytes(20 * 1024 * 1024))
            say(client, "config", interim=False)
            listen_for(client, type="configured")
