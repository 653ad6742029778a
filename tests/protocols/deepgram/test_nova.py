"""Nova's live API without a socket: what comes in, what goes out."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given

from audio.samples import SAMPLE_RATE
from live.events import (
    Cause,
    EagerEnd,
    Partial,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
)
from live.options import PROFILES
from protocols.actions import Append, Close, End, Failure, Flush, Stop
from protocols.deepgram.messages import MAX_MESSAGE_CHARS, ModelInfo
from protocols.deepgram.nova import Made, NovaProtocol
from protocols.deepgram.parameters import read_nova
from tests.protocols.deepgram.conversation import (
    AUDIO,
    REQUEST_ID,
    Conversation,
    Json,
    Step,
    final,
    segments,
    sent,
    steps,
    tell,
    words,
)
from tests.support.deepgram_types import NOVA

KINDS = ("KeepAlive", "Finalize", "CloseStream", "Configure")

MADE = Made(
    request_id=REQUEST_ID,
    model=ModelInfo(name="omniasr", version="1"),
    model_uuid=REQUEST_ID,
    created="2026-11-29T00:00:00.000Z",
)


def nova(**parameters: str) -> NovaProtocol:
    asked = read_nova(
        [*AUDIO, *parameters.items()], known_model=lambda name: True, max_keyterms=9
    )
    return NovaProtocol(asked, profile=PROFILES["agent"], max_keyterms=9, made=MADE)


def receive(machine: NovaProtocol, **message: Any) -> list[Any]:
    return machine.receive(json.dumps(message))


def heard(n_words: int, utterance: int = 1) -> Partial:
    said = words(n_words)
    return Partial(utterance, 0, 3200 * n_words, said[:-1], said[-1:])


def text(message: Json) -> str:
    (alternative,) = message["channel"]["alternatives"]
    return str(alternative["transcript"])


class TestResults:
    def test_a_final(self) -> None:
        """With words, their times, and how sure the model is of them."""
        (result,) = sent(tell(nova(), final(1, words(2), Cause.ENDPOINT, 16_000)))

        (alternative,) = result.pop("channel")["alternatives"]
        assert result == {
            "type": "Results",
            "channel_index": [0, 1],
            "start": 0.0,
            "duration": 0.3,
            "is_final": True,
            "speech_final": True,
            "from_finalize": False,
            "metadata": {
                "request_id": REQUEST_ID,
                "model_info": {"name": "omniasr", "version": "1", "arch": "ctc"},
                "model_uuid": REQUEST_ID,
            },
        }
        assert (alternative["transcript"], alternative["confidence"]) == ("w0 w1", 0.9)
        assert alternative["words"][1] == {
            "word": "w1",
            "start": 0.2,
            "end": 0.3,
            "confidence": 0.9,
            "punctuated_word": "w1",
        }

    def test_interim_results_are_for_those_who_ask(self) -> None:
        """They may be missed, and are about the same range as the final."""
        machine = nova(interim_results="true")

        told = tell(machine, heard(2))
        (interim,) = sent(told)
        (whole,) = sent(tell(machine, final(1, words(2), Cause.ENDPOINT, 16_000)))

        assert [send.droppable for send in told] == [True]  # type: ignore[union-attr]
        assert text(interim) == "w0 w1"
        assert not any(
            interim[name] for name in ("is_final", "speech_final", "from_finalize")
        )
        assert interim["start"] == whole["start"]
        assert tell(nova(), heard(2)) == []

    def test_each_finalize_is_answered(self) -> None:
        """Silence, too: it is the only sign that the text is complete."""
        machine = nova()

        assert receive(machine, type="Finalize") == [Flush()]
        (empty,) = sent(tell(machine, final(1, (), Cause.FLUSH, 16_000)))

        assert text(empty) == ""
        assert empty["channel"]["alternatives"][0]["confidence"] == 0.0
        assert empty["from_finalize"]
        assert empty["speech_final"]

    def test_an_utterance_that_failed_has_an_empty_final(self) -> None:
        """A client that waits for one can go on."""
        error = UtteranceFailed(1, 0, 16_000, Cause.FLUSH, OSError(), 1)

        (empty,) = sent(tell(nova(), error))

        assert (text(empty), empty["is_final"]) == ("", True)
        assert empty["from_finalize"]

    def test_without_endpointing_silence_is_no_end_of_speech(self) -> None:
        """A long one still makes a text final."""
        machine = nova(endpointing="false")

        (pause,) = sent(tell(machine, final(1, words(1), Cause.ENDPOINT, 16_000)))
        (asked,) = sent(tell(machine, final(2, words(1), Cause.FLUSH, 16_000)))

        assert (pause["is_final"], pause["speech_final"]) == (True, False)
        assert asked["speech_final"]
        assert machine.options.endpoint_silence == SAMPLE_RATE

    def test_what_only_flux_tells_is_not_told(self) -> None:
        """There is no such message here."""
        machine = nova()

        early = EagerEnd(1, 0, 1, segments(words(1)))
        for event in (SpeechEnded(1, 0), early, SpeechResumed(1, 0)):
            assert tell(machine, event) == []


class TestEvents:
    def test_speech_is_announced_to_those_who_ask(self) -> None:
        """When it began, in seconds."""
        (started,) = sent(tell(nova(vad_events="true"), SpeechStarted(1, 8_000)))

        assert started == {
            "type": "SpeechStarted",
            "channel": [0, 1],
            "timestamp": 0.5,
        }
        assert tell(nova(), SpeechStarted(1, 8_000)) == []


class TestUtteranceEnd:
    """So much audio after the last word without a new one."""

    def machine(self) -> NovaProtocol:
        """One that has heard two words, the last of which ended at 0.3 s."""
        machine = nova(utterance_end_ms="1000", interim_results="true")
        assert not sent(machine.receive(bytes(2 * SAMPLE_RATE)))
        told = sent(tell(machine, final(1, words(2), Cause.ENDPOINT, 16_000), 16_000))
        assert [each["type"] for each in told] == ["Results"]
        return machine

    def audio(self, machine: NovaProtocol, seconds: float) -> list[str]:
        """Send silence in pieces of 0.1 s."""
        told: list[Json] = []
        for _ in range(round(seconds * 10)):
            told += sent(machine.receive(bytes(SAMPLE_RATE // 5)))
        return [each["type"] for each in told]

    def test_it_comes_once_after_its_final(self) -> None:
        """Not before the time is over."""
        machine = self.machine()

        assert self.audio(machine, 0.3) == []
        assert self.audio(machine, 3) == ["UtteranceEnd"]

    def test_a_late_final_brings_it_along(self) -> None:
        """If enough audio has come by then."""
        machine = nova(utterance_end_ms="1000")
        told = sent(tell(machine, final(1, words(2), Cause.ENDPOINT, 0), 48_000))

        assert [each["type"] for each in told] == ["Results", "UtteranceEnd"]
        assert told[1]["last_word_end"] == 0.3

    def test_not_while_somebody_speaks_again(self) -> None:
        """Unless that comes to nothing."""
        machine = self.machine()
        tell(machine, SpeechStarted(2, 16_000))

        assert self.audio(machine, 3) == []
        told = sent(tell(machine, final(2, (), Cause.ENDPOINT, 0), 64_000))
        assert [each["type"] for each in told] == ["Results", "UtteranceEnd"]

    def test_a_new_word_is_the_one_that_counts(self) -> None:
        """From its own end."""
        machine = self.machine()
        tell(machine, heard(1, utterance=2))
        later = final(2, words(1, start=32_000), Cause.ENDPOINT, 0)
        told = sent(tell(machine, later, 34_000))

        assert [each["type"] for each in told] == ["Results"]
        assert self.audio(machine, 3) == ["UtteranceEnd"]

    def test_time_goes_by_without_audio_as_well(self) -> None:
        """Where a client pauses its stream, or stops sending in mid-speech."""
        machine = self.machine()

        assert sent(receive(machine, type="KeepAlive")) == []
        (ended,) = sent(receive(machine, type="KeepAlive"))
        assert ended["type"] == "UtteranceEnd"
        stalled = final(2, words(1, start=32_000), Cause.STALLED, 0)
        told = sent(tell(machine, stalled, 34_000))
        assert [each["type"] for each in told] == ["Results", "UtteranceEnd"]

    def test_only_for_those_who_ask(self) -> None:
        """It is off."""
        machine = nova()
        tell(machine, final(1, words(2), Cause.ENDPOINT, 0), 48_000)

        assert self.audio(machine, 3) == []


class TestClients:
    def test_audio(self) -> None:
        """Empty audio was the end of the stream once, and is."""
        assert nova().receive(b"\0\0") == [Append(b"\0\0")]
        assert nova().receive(b"") == [End()]

    def test_the_end_sums_up(self) -> None:
        """The last message before the close tells what came."""
        machine = nova(diarize="true")
        audio = bytes(range(256)) * 10
        for piece in (audio[:100], audio[100:]):
            (append,) = machine.receive(piece)
            assert isinstance(append, Append)
            assert append.on_piece is not None
            append.on_piece(piece)

        assert receive(machine, type="CloseStream") == [End()]
        metadata, close = machine.finish(latency_ms=0, audio_position=24_000)

        (message,) = sent([metadata])
        assert message["sha256"] == hashlib.sha256(audio).hexdigest()
        assert message["duration"] == 1.5
        assert [each["parameter"] for each in message["warnings"]] == ["diarize"]
        assert close == Close(1000)

    def test_key_terms_are_replaced(self) -> None:
        """And acknowledged, if there were any."""
        (done,) = sent(receive(nova(), type="Configure", keyterms=["Segou"]))
        (nothing,) = sent(receive(nova(), type="Configure"))

        (failure,) = sent(receive(nova(), type="Configure", keyterms=["x" * 101]))

        assert failure["code"] == "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
        assert done["keyterms"] == ["Segou"]
        assert "keyterms" not in nothing

    @pytest.mark.parametrize(
        "message", ["", "[]", "x" * (MAX_MESSAGE_CHARS + 1), '{"type": null}']
    )
    def test_what_cannot_be_read_is_the_end(self, message: str) -> None:
        """As Deepgram has it: its error, then the close."""
        machine = nova()

        error, close = machine.receive(message)

        (told,) = sent([error])
        assert (told["type"], told["variant"]) == ("Error", "SchemaError")
        assert close == Close(1008, "SchemaError")
        assert machine.receive(b"\0\0") == []

    @pytest.mark.parametrize(
        ("why", "code"),
        [(Stop.IDLE, 1001), (Stop.TOO_LONG, 1001), (Stop.SHUTDOWN, 1012)],
    )
    def test_a_server_that_ends_it_lets_clients_come_back(
        self, why: Stop, code: int
    ) -> None:
        """They do after any code but 1000."""
        machine = nova()

        assert machine.stop(why) == [End()]
        _, close = machine.finish(latency_ms=0, audio_position=0)
        assert isinstance(close, Close)
        assert close.code == code
        assert len(close.reason.encode()) <= 123

    def test_failures(self) -> None:
        """An error is the server's; a client that does not read is closed."""
        error, close = nova().fail(Failure.INTERNAL)
        assert sent([error])[0]["type"] == "Error"
        assert isinstance(close, Close)
        assert close.code == 1011
        (slow,) = nova().fail(Failure.SLOW_READER)
        assert isinstance(slow, Close)
        assert slow.code == 1008


class TestInvariants:
    @given(steps(KINDS))
    def test_whatever_happens_the_client_can_rely_on_the_rules(
        self, happening: list[Step]
    ) -> None:
        """Each utterance has a final, each `Finalize` its own, and the end is told."""
        machine = nova(
            interim_results="true", vad_events="true", utterance_end_ms="1000"
        )
        conversation = Conversation(machine, NOVA)
        for step in happening:
            conversation.take(step)
        conversation.finish()

        told = conversation.messages
        assert len(conversation.closes) == 1
        if told[-1]["type"] == "Error":
            return
        assert told[-1]["type"] == "Metadata"
        finals = [each for each in told if each.get("is_final")]
        assert [text(each) for each in finals if text(each)] == [
            text for text in conversation.texts if text
        ]
        asked = [each for each in finals if each["from_finalize"]]
        assert len(asked) == conversation.n_flushes
        self.check_order(told)

    def check_order(self, told: list[Json]) -> None:
        """No range goes back; speech that was announced ends."""
        start, speaking, said = 0.0, False, False
        for message in told:
            match message["type"]:
                case "SpeechStarted":
                    speaking = True
                case "Results":
                    assert message["start"] >= start
                    start = message["start"]
                    said = said or message["is_final"]
                    if message["speech_final"]:
                        speaking = False
                case "UtteranceEnd":
                    assert said
                    assert not speaking
