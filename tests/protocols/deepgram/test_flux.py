"""Flux without a socket: what comes in, what goes out."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from audio.samples import SAMPLE_RATE
from live.events import (
    Cause,
    EagerEnd,
    Partial,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
)
from live.options import PROFILES
from protocols.actions import Append, Close, Configure, End, Failure, Flush, Send, Stop
from protocols.deepgram.flux import FluxProtocol
from protocols.deepgram.messages import MAX_MESSAGE_CHARS
from protocols.deepgram.parameters import read_flux
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
from tests.support.deepgram_types import FLUX, validate

KINDS = ("Configure", "ForceEndTurn", "CloseStream", "KeepAlive")


def flux(**parameters: str) -> FluxProtocol:
    asked = read_flux(
        [*AUDIO, *parameters.items()], known_model=lambda name: True, max_keyterms=9
    )
    return FluxProtocol(
        asked,
        profile=PROFILES["agent"],
        max_keyterms=9,
        request_id=REQUEST_ID,
        default_language="eng_Latn",
        explain=lambda error: "explained",
    )


def receive(machine: FluxProtocol, **message: Any) -> list[Any]:
    return machine.receive(json.dumps(message))


def heard(n_words: int, utterance: int = 1) -> Partial:
    said = words(n_words)
    return Partial(utterance, 0, 3200 * n_words, said[:-1], said[-1:])


def eager(n_words: int, utterance: int = 1) -> EagerEnd:
    said = words(n_words)
    return EagerEnd(utterance, 0, said[-1].end, segments(said))


def kinds(actions: list[Any]) -> list[str]:
    return [str(each.get("event", each["type"])) for each in sent(actions)]


class TestTurns:
    def test_a_turn_starts_with_a_word_and_ends_with_its_text(self) -> None:
        """Speech alone, which may be a cough, is none."""
        machine = flux()

        told = [
            tell(machine, SpeechStarted(1, 0)),
            tell(machine, heard(1)),
            tell(machine, heard(2)),
            tell(machine, final(1, words(3), Cause.ENDPOINT, 16_000)),
        ]

        assert [kinds(each) for each in told] == [
            [],
            ["StartOfTurn"],
            ["Update"],
            ["EndOfTurn"],
        ]
        (end,) = sent(told[-1])
        assert end["transcript"] == "w0 w1 w2"
        assert end["words"][2] == {
            "word": "w2",
            "confidence": 0.9,
            "start": 0.4,
            "end": 0.5,
        }
        assert (end["trigger"], end["end_of_turn_confidence"]) == ("model", 0.7)
        assert (end["audio_window_start"], end["audio_window_end"]) == (0.0, 0.5)
        assert end["languages"] == ["en"]

    def test_only_updates_may_be_missed(self) -> None:
        """By a client that reads slowly."""
        machine = flux(eager_eot_threshold="0.3")
        told = [
            *tell(machine, heard(1)),
            *tell(machine, heard(2)),
            *tell(machine, eager(2)),
            *tell(machine, SpeechResumed(1, 0)),
            *tell(machine, final(1, words(3), Cause.ENDPOINT, 0)),
        ]

        droppable = {
            kind: send.droppable
            for send in told
            if isinstance(send, Send)
            for kind in kinds([send])
        }

        assert droppable.pop("Update")
        assert len(droppable) == 4
        assert not any(droppable.values())

    def test_noise_without_a_word_is_never_heard_of(self) -> None:
        """Its final is empty."""
        machine = flux()

        assert tell(machine, SpeechStarted(1, 0)) == []
        assert tell(machine, final(1, (), Cause.ENDPOINT, 16_000)) == []

    def test_a_turn_that_no_partial_told_of_starts_before_it_ends(self) -> None:
        """A word too short for any."""
        told = tell(flux(), final(1, words(1), Cause.ENDPOINT, 16_000))

        assert kinds(told) == ["StartOfTurn", "EndOfTurn"]

    def test_what_was_told_of_ends_with_text(self) -> None:
        """Also if the final has none, or cannot be had; then there is a warning."""
        machine = flux()
        tell(machine, heard(2))
        (end,) = sent(tell(machine, final(1, (), Cause.ENDPOINT, 16_000)))
        tell(machine, heard(1, utterance=2))
        error = UtteranceFailed(2, 0, 1, Cause.ENDPOINT, OSError(), 1)
        warning, failed = sent(tell(machine, error))

        assert (end["event"], end["transcript"]) == ("EndOfTurn", "w0 w1")
        assert (warning["code"], warning["description"]) == (
            "TRANSCRIPTION_FAILED",
            "explained",
        )
        assert (failed["event"], failed["transcript"]) == ("EndOfTurn", "w0")
        assert (end["turn_index"], failed["turn_index"]) == (0, 1)

    @pytest.mark.parametrize(
        ("cause", "trigger"),
        [
            (Cause.ENDPOINT, "model"),
            (Cause.FLUSH, "manual"),
            (Cause.STALLED, "timeout"),
            (Cause.END, "end"),
        ],
    )
    def test_it_says_what_has_ended_it(self, cause: Cause, trigger: str) -> None:
        """As Deepgram does; `end` is ours, in a list that is open."""
        *_, end = sent(tell(flux(), final(1, words(1), cause, 16_000)))

        assert end["trigger"] == trigger

    def test_silence_as_long_as_the_timeout_is_a_timeout(self) -> None:
        """However sure a client wants to be."""
        machine = flux(eot_threshold="0.9", eot_timeout_ms="600")

        *_, end = sent(tell(machine, final(1, words(1), Cause.ENDPOINT, 16_000)))

        assert machine.options.endpoint_silence == round(0.6 * SAMPLE_RATE)
        assert (end["trigger"], end["end_of_turn_confidence"]) == ("timeout", 1.0)


class TestEagerEnds:
    def test_nothing_comes_between_it_and_the_end(self) -> None:
        """And the end says the same."""
        machine = flux(eager_eot_threshold="0.3")
        tell(machine, heard(1))

        early = sent(tell(machine, eager(2)))
        meanwhile = tell(machine, heard(3))
        end = sent(tell(machine, final(1, words(2), Cause.ENDPOINT, 16_000)))

        assert [each["event"] for each in early + end] == [
            "EagerEndOfTurn",
            "EndOfTurn",
        ]
        assert meanwhile == []
        assert early[0]["transcript"] == end[0]["transcript"]
        assert early[0]["end_of_turn_confidence"] == 0.3

    def test_speech_that_goes_on_takes_it_back(self) -> None:
        """With the newest words, of which there are no fewer than before."""
        machine = flux(eager_eot_threshold="0.3")
        tell(machine, heard(3))
        tell(machine, eager(3))
        tell(machine, heard(2))
        (short,) = sent(tell(machine, SpeechResumed(1, 0)))
        tell(machine, eager(3))
        tell(machine, heard(4))
        (long,) = sent(tell(machine, SpeechResumed(1, 0)))

        assert [each["event"] for each in (short, long)] == ["TurnResumed"] * 2
        assert short["transcript"] == "w0 w1 w2"
        assert long["transcript"] == "w0 w1 w2 w3"

    def test_it_starts_a_turn_that_nothing_was_told_of(self) -> None:
        """Like any other text."""
        machine = flux(eager_eot_threshold="0.3")

        assert kinds(tell(machine, eager(1))) == ["StartOfTurn", "EagerEndOfTurn"]

    def test_an_end_that_fails_says_what_the_eager_one_said(self) -> None:
        """A client that has begun to answer it may go on."""
        machine = flux(eager_eot_threshold="0.3")
        tell(machine, eager(2))
        tell(machine, heard(3))

        error = UtteranceFailed(1, 0, 1, Cause.ENDPOINT, OSError(), 1)
        _, end = sent(tell(machine, error))

        assert end["transcript"] == "w0 w1"

    def test_without_a_threshold_the_stream_is_not_asked(self) -> None:
        """LiveKit would start needless replies."""
        assert flux().options.eager_silence is None
        assert tell(flux(), eager(1)) == []


class TestConfigure:
    def test_thresholds_are_set_and_acknowledged(self) -> None:
        """With all that is in effect; null is the default."""
        machine = flux(eager_eot_threshold="0.3", keyterm="Segou")

        done, configured = receive(
            machine, type="Configure", thresholds={"eot_threshold": 0.9}
        )
        (answer,) = sent([done])

        assert answer["thresholds"] == {
            "eot_threshold": 0.9,
            "eager_eot_threshold": 0.3,
            "eot_timeout_ms": 5000,
        }
        assert answer["keyterms"] == ["Segou"]
        assert isinstance(configured, Configure)
        assert configured.options.keywords == ("Segou",)
        assert configured.options.endpoint_silence == round(0.8 * SAMPLE_RATE)
        off, _ = receive(
            machine,
            type="Configure",
            thresholds={"eager_eot_threshold": None},
            keyterms=[],
        )
        (answer,) = sent([off])
        assert "eager_eot_threshold" not in answer["thresholds"]
        assert answer["keyterms"] == []
        assert machine.options.eager_silence is None

    @pytest.mark.parametrize(
        "change",
        [
            {"thresholds": {"eot_threshold": 2}},
            {"thresholds": {"eot_threshold": "0.7"}},
            {"thresholds": {"eager_eot_threshold": 0.9}},
            {"thresholds": {"eot_timeout_ms": True}},
            {"thresholds": {"eot_timeout_ms": 10**400}},
            {"thresholds": [1]},
            {"keyterms": "one"},
            {"keyterms": [f"{k}" for k in range(10)]},
            {"language_hints": [1]},
            {"language_hints": ["en"] * 101},
        ],
    )
    def test_what_cannot_be_set_changes_nothing(self, change: Json) -> None:
        """And has one answer, with the code in both fields that clients read."""
        machine = flux()
        before = machine.configured

        (answer,) = sent(receive(machine, type="Configure", **change))

        assert answer["type"] == "ConfigureFailure"
        assert answer["code"] == answer["error_code"]
        assert answer["description"]
        assert machine.configured == before

    def test_language_hints_restrict_the_scripts(self) -> None:
        """All of them add up; unknown ones count for nothing."""
        machine = flux(language_hint="hi")
        assert machine.configured.options.scripts == {"Deva"}

        receive(machine, type="Configure", language_hints=["hi", "en", "xx"])
        assert machine.configured.options.scripts == {"Deva", "Latn"}

        receive(machine, type="Configure", language_hints=None)
        assert not machine.configured.options.scripts

    def test_a_language_hint_labels_the_text(self) -> None:
        """One does; of several, the words tell which, if they can."""
        machine = flux(language_hint="fr")
        (one,) = sent(tell(machine, heard(1)))
        receive(machine, type="Configure", language_hints=["fr", "de"])
        *_, several = sent(tell(machine, final(1, words(1), Cause.ENDPOINT, 0)))
        receive(machine, type="Configure", language_hints=["nobody speaks this"])
        (unknown,) = sent(tell(machine, heard(1, utterance=2)))

        assert (one["languages"], one["languages_hinted"]) == (["fr"], ["fr"])
        assert several.get("languages") in (None, ["fr"], ["de"])
        assert unknown["languages"] == ["en"]


class TestClients:
    def test_audio_is_audio_and_empty_audio_is_nothing(self) -> None:
        """Some clients send it."""
        assert flux().receive(b"\0\0") == [Append(b"\0\0")]
        assert flux().receive(b"") == []

    def test_a_turn_is_ended_by_the_client(self) -> None:
        """At once."""
        assert receive(flux(), type="ForceEndTurn") == [Flush()]

    def test_the_end_is_a_clean_close(self) -> None:
        """After which nothing more is taken, and no client connects again."""
        machine = flux()

        assert receive(machine, type="CloseStream") == [End()]
        assert machine.receive(b"\0\0") == []
        assert machine.finish(latency_ms=0, audio_position=0) == [Close(1000)]

    @pytest.mark.parametrize("kind", ["KeepAlive", "Finalize", "Sing"])
    def test_what_nobody_knows_is_ignored(self, kind: str) -> None:
        """Clients gain messages."""
        assert receive(flux(), type=kind) == []

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"type": 1}', "x" * (MAX_MESSAGE_CHARS + 1)]
    )
    def test_what_cannot_be_read_is_the_end(self, text: str) -> None:
        """As Deepgram has it: its error, then the close."""
        machine = flux()

        error, close = machine.receive(text)

        (message,) = sent([error])
        assert message["type"] == "Error"
        assert message["code"] == "UNPARSABLE_CLIENT_MESSAGE"
        assert close == Close(1008, "UNPARSABLE_CLIENT_MESSAGE")
        assert machine.receive("{}") == []

    @pytest.mark.parametrize(
        ("why", "code"),
        [(Stop.IDLE, 1001), (Stop.TOO_LONG, 1001), (Stop.SHUTDOWN, 1012)],
    )
    def test_a_server_that_ends_it_lets_clients_come_back(
        self, why: Stop, code: int
    ) -> None:
        """They do after any code but 1000."""
        machine = flux()

        assert machine.stop(why) == [End()]
        assert machine.finish(latency_ms=0, audio_position=0) == [Close(code)]

    def test_failures(self) -> None:
        """An error is the server's; a client that does not read is closed."""
        error, close = flux().fail(Failure.INTERNAL)
        (message,) = sent([error])
        assert (message["type"], message["code"]) == ("Error", "INTERNAL_SERVER_ERROR")
        assert isinstance(close, Close)
        assert close.code == 1011
        (slow,) = flux().fail(Failure.SLOW_READER)
        assert isinstance(slow, Close)
        assert slow.code == 1008


def check_turns(messages: list[Json]) -> None:
    """What every client relies on: the rules O1 to O9 of Deepgram's state machine."""
    in_turn, early, index = False, None, 0
    for message in (each for each in messages if each["type"] == "TurnInfo"):
        event, text = message["event"], message["transcript"]
        assert text
        assert message["words"]
        assert message["turn_index"] == index
        assert ("trigger" in message) == (event == "EndOfTurn")
        match event:
            case "StartOfTurn":
                assert not in_turn
                in_turn = True
            case "Update":
                assert in_turn
                assert early is None
            case "EagerEndOfTurn":
                assert in_turn
                assert early is None
                early = text
            case "TurnResumed":
                assert early is not None
                early = None
            case "EndOfTurn":
                assert in_turn
                assert early in (None, text)
                in_turn, early, index = False, None, index + 1
    assert not in_turn or messages[-1]["type"] == "Error"


class TestInvariants:
    @given(steps(KINDS))
    def test_whatever_happens_the_client_can_rely_on_the_rules(
        self, happening: list[Step]
    ) -> None:
        """Turns in order, each `Configure` answered, numbers without a gap."""
        machine = flux(eager_eot_threshold="0.3")
        created = sent([machine.created()])
        conversation = Conversation(machine, FLUX)
        for step in happening:
            conversation.take(step)
        conversation.finish()

        told = [*created, *conversation.messages]
        validate(created[0], FLUX)
        assert [each["sequence_id"] for each in told] == list(range(len(told)))
        assert {each.get("request_id", REQUEST_ID) for each in told} == {REQUEST_ID}
        assert len(conversation.closes) == 1
        check_turns(told)
        if told[-1]["type"] != "Error":
            ended = [each for each in told if each.get("event") == "EndOfTurn"]
            warned = sum(each["type"] == "Warning" for each in told)
            said = [text for text in conversation.texts if text]
            assert len(said) <= len(ended) <= len(said) + warned

    def test_a_stream_that_breaks_its_promises_breaks_no_rule(self) -> None:
        """What was taken back twice, or never told, is not told of."""
        machine = flux(eager_eot_threshold="0.3")
        told: list[Json] = []
        for event in (
            SpeechResumed(1, 0),
            heard(1),
            SpeechResumed(1, 0),
            eager(1),
            SpeechResumed(1, 0),
            SpeechResumed(1, 0),
            final(1, words(1), Cause.ENDPOINT, 0),
        ):
            told += sent(tell(machine, event))

        check_turns(told)
        assert [b["sequence_id"] - a["sequence_id"] for a, b in pairwise(told)] == (
            [1] * (len(told) - 1)
        )


def test_vad_stays_what_the_operator_says() -> None:
    """It cannot be switched in mid-stream."""
    machine = FluxProtocol(
        read_flux(AUDIO, known_model=lambda name: True, max_keyterms=9),
        profile=replace(PROFILES["agent"], vad=False),
        max_keyterms=9,
        request_id=REQUEST_ID,
        default_language=None,
        explain=str,
    )

    assert not machine.options.vad
