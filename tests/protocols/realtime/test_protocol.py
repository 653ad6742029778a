"""The Realtime protocol: what clients may rely on, whatever they send."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from audio.encoding import Encoding
from audio.samples import SAMPLE_RATE
from live.events import (
    Cause,
    EagerEnd,
    LiveEvent,
    Partial,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    UtteranceFailed,
    UtteranceFinal,
)
from live.options import PROFILES, StreamOptions
from protocols.actions import (
    Action,
    Append,
    Clear,
    Close,
    Configure,
    End,
    Failure,
    Flush,
    Send,
    Stop,
)
from protocols.realtime.protocol import RealtimeProtocol
from protocols.realtime.session import LOGPROBS, Defaults
from tests.support.realtime_client import TRANSCRIPTION, of_type, validate
from text.ctc import Token, Word
from text.transcript import Segment

MANUAL = {"audio": {"input": {"turn_detection": None}}}


def protocol(**arguments: Any) -> RealtimeProtocol:
    """A protocol whose ids count up, for a server that has its default settings."""
    numbers = count(1)
    defaults = arguments.pop("defaults", Defaults(served_model="omniasr"))
    return RealtimeProtocol(
        defaults,
        default_language=arguments.pop("default_language", "eng_Latn"),
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        describe=lambda error: schemas.ErrorBody(
            message=str(error), type="server_error", param=None, code="broken"
        ),
        **arguments,
    )


def send(machine: RealtimeProtocol, type: str, **fields: Any) -> list[Action]:
    """Have a client's event answered."""
    return machine.receive(json.dumps({"type": type, **fields}))


def update(machine: RealtimeProtocol, **session: Any) -> dict[str, Any]:
    """Update a session; return the session of the reply."""
    outputs = send(machine, "session.update", session=session)
    (reply,) = events(outputs, checked=False)
    assert reply["type"] == "session.updated", reply
    session_in_effect = reply["session"]
    assert isinstance(session_in_effect, dict)
    return session_in_effect


def update_input(machine: RealtimeProtocol, **input: Any) -> dict[str, Any]:
    """Update what a session says of its input; return the input of the reply."""
    reply = update(machine, type="transcription", audio={"input": input})
    effective = reply["audio"]["input"]
    assert isinstance(effective, dict)
    return effective


def tell(machine: RealtimeProtocol, *told: LiveEvent) -> list[Send]:
    """Tell what the stream does."""
    return [
        event
        for each in told
        for event in machine.tell(each, latency_ms=20.0, audio_position=0)
    ]


def append(machine: RealtimeProtocol, audio: bytes = b"\0\0") -> list[Action]:
    """Send audio."""
    text = base64.b64encode(audio).decode()
    return send(machine, "input_audio_buffer.append", audio=text)


def events(outputs: Sequence[Action], *, checked: bool = True) -> list[dict[str, Any]]:
    """The events among outputs, held against the SDK's own types."""
    found = [json.loads(o.text) for o in outputs if isinstance(o, Send)]
    for event in found if checked else ():
        validate(event)
    return found


def types(outputs: Sequence[Action]) -> list[str]:
    """What happened, in order: the types of events, the names of actions."""
    return [
        json.loads(output.text)["type"]
        if isinstance(output, Send)
        else type(output).__name__
        for output in outputs
    ]


def word(text: str, at_s: float = 0.5) -> Word:
    start = round(at_s * SAMPLE_RATE)
    return Word(text, start, start + 3200, 0.9, True)


def tokens(text: str) -> tuple[Token, ...]:
    """One a letter, spaces among them."""
    return tuple(Token(1, letter, 0, 0, 0.5) for letter in text)


def partial(utterance: int, committed: str, pending: str = "") -> Partial:
    return Partial(
        tokens=tokens(committed),
        utterance=utterance,
        start=0,
        position=SAMPLE_RATE,
        committed=tuple(word(text) for text in committed.split()),
        pending=tuple(word(text) for text in pending.split()),
    )


def final(
    utterance: int,
    text: str = "",
    *,
    cause: Cause = Cause.ENDPOINT,
    start: int = 0,
    end: int = 2 * SAMPLE_RATE,
) -> UtteranceFinal:
    words = tuple(word(each) for each in text.split())
    segments = (Segment(words, tokens(text), -0.1, 0.01),) if words else ()
    return UtteranceFinal(utterance, start, end, cause, segments, end)


class TestSession:
    def test_the_first_event_tells_the_defaults(self) -> None:
        """Pipecat configures nothing before it; the SDK's types accept it."""
        (created,) = events([protocol().created()])

        assert created["type"] == "session.created"
        assert created["session"]["type"] == "transcription"
        assert created["session"]["object"] == "realtime.transcription_session"
        assert created["session"]["id"].startswith("sess_")
        assert created["session"]["audio"]["input"] == {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "omniasr"},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            },
        }

    def test_absent_keys_keep_and_null_switches_off(self) -> None:
        """The reply is the whole session, not the update."""
        machine = protocol()
        vad = {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 350}

        first = update_input(machine, turn_detection=vad)
        second = update_input(machine, transcription={"language": "fr"})
        third = update_input(machine, turn_detection={"prefix_padding_ms": 600})
        fourth = update_input(machine, turn_detection=None)
        fifth = update_input(machine, format={"type": "audio/pcmu"})

        assert first["turn_detection"]["threshold"] == 0.7
        assert second["turn_detection"] == first["turn_detection"]
        assert second["transcription"]["language"] == "fr"
        assert third["turn_detection"] == {
            **first["turn_detection"],
            "prefix_padding_ms": 600,
        }
        assert fourth["turn_detection"] is None
        assert fifth["turn_detection"] is None
        assert fifth["transcription"]["language"] == "fr"

    def test_a_null_that_comes_back_has_its_defaults(self) -> None:
        """Not what was there before it was switched off."""
        machine = protocol()
        vad = {"type": "server_vad", "threshold": 0.7}
        update_input(machine, turn_detection=vad)
        update_input(machine, turn_detection=None)

        back = update_input(machine, turn_detection={"type": "server_vad"})

        assert back["turn_detection"]["threshold"] == 0.5

    @pytest.mark.parametrize(
        ("format", "encoding", "rate"),
        [
            ({"type": "audio/pcm", "rate": 24_000}, Encoding.S16LE, 24_000),
            ({"type": "audio/pcm"}, Encoding.S16LE, 24_000),
            ({"type": "audio/pcm", "rate": 8_000}, Encoding.S16LE, 8_000),
            ({"type": "audio/pcm", "rate": 16_000}, Encoding.S16LE, 16_000),
            ({"type": "audio/pcm", "rate": 48_000}, Encoding.S16LE, 48_000),
            ({"type": "audio/pcmu"}, Encoding.MULAW, 8_000),
            ({"type": "audio/pcma"}, Encoding.ALAW, 8_000),
            ("pcm16", Encoding.S16LE, 24_000),
            ("g711_ulaw", Encoding.MULAW, 8_000),
            ("g711_alaw", Encoding.ALAW, 8_000),
            (None, Encoding.S16LE, 24_000),
        ],
    )
    def test_audio_comes_in_the_format_that_was_declared(
        self, format: object, encoding: Encoding, rate: int
    ) -> None:
        """In the new form, and in the old one that OpenAI's samples still have."""
        machine = protocol()

        update_input(machine, format=format)

        assert machine.configured.encoding is encoding
        assert machine.configured.sample_rate == rate

    def test_server_vad_is_honoured(self) -> None:
        """Its three numbers become options of the stream."""
        machine = protocol()
        vad = {
            "type": "server_vad",
            "threshold": 0.6,
            "prefix_padding_ms": 600,
            "silence_duration_ms": 350,
        }

        outputs = send(
            machine,
            "session.update",
            session={"audio": {"input": {"turn_detection": vad}}},
        )

        assert types(outputs) == ["Configure", "session.updated"]
        configure = outputs[0]
        assert isinstance(configure, Configure)
        assert configure.options.endpointing
        assert configure.options.speech_prob == 0.6
        assert configure.options.pre_roll == 9_600
        assert configure.options.endpoint_silence == 5_600

    def test_without_turn_detection_only_commits_end_utterances(self) -> None:
        """Null means that, and nothing else changes."""
        machine = protocol()
        before = machine.configured.options

        update_input(machine, turn_detection=None)

        after = machine.configured.options
        assert not after.endpointing
        assert (after.hop, after.margin) == (before.hop, before.margin)

    def test_semantic_vad_becomes_a_silence_by_eagerness(self) -> None:
        """openai-agents asks for it by default; the reply says what it gets."""
        silences = {}
        for eagerness in ("high", "medium", "auto", "low", "unheard of", None):
            vad = {"type": "semantic_vad", "eagerness": eagerness}
            turn_detection = update_input(protocol(), turn_detection=vad)[
                "turn_detection"
            ]
            assert turn_detection["type"] == "server_vad"
            silences[eagerness] = turn_detection["silence_duration_ms"]

        assert silences["high"] < silences["medium"] < silences["low"]
        assert silences["auto"] == silences["medium"] == silences[None]
        assert silences["unheard of"] == silences["auto"]

    @pytest.mark.parametrize(
        ("vad", "effective"),
        [
            ({"threshold": 7}, {"threshold": 0.99}),
            ({"threshold": 0}, {"threshold": 0.01}),
            ({"silence_duration_ms": 0}, {"silence_duration_ms": 100}),
            ({"silence_duration_ms": 1e9}, {"silence_duration_ms": 10_000}),
            ({"prefix_padding_ms": -5}, {"prefix_padding_ms": 0}),
            ({"prefix_padding_ms": 60_000}, {"prefix_padding_ms": 2_000}),
            ({"idle_timeout_ms": 5, "create_response": True}, {}),
            ({"type": "telepathy"}, {"type": "server_vad"}),
        ],
    )
    def test_values_out_of_range_are_put_into_it(
        self, vad: dict[str, Any], effective: dict[str, Any]
    ) -> None:
        """An error would be the end of most clients."""
        reply = update_input(protocol(), turn_detection={"type": "server_vad", **vad})

        assert reply["turn_detection"].items() >= effective.items()

    def test_what_we_do_not_have_is_missing_from_the_reply(self) -> None:
        """Noise reduction, prompts, keywords, fields that do not exist."""
        machine = protocol()

        reply = update(
            machine,
            type="realtime",
            instructions="Be kind.",
            audio={
                "input": {
                    "noise_reduction": {"type": "near_field", "strength": 0.5},
                    "transcription": {
                        "prompt": "digits",
                        "language": "xx",
                    },
                    "hum": 50,
                },
                "output": {"voice": "alloy"},
            },
            include=["item.something.else"],
        )

        assert reply["type"] == "transcription"
        assert reply["include"] == []
        assert "output" not in reply["audio"]
        assert "noise_reduction" not in reply["audio"]["input"]
        assert reply["audio"]["input"]["transcription"] == {
            "model": "omniasr",
        }

    @pytest.mark.parametrize(
        "model",
        ["gpt-realtime-whisper", "gpt-live-transcribe", "gpt-realtime-whisper-2"],
    )
    def test_models_without_turn_detection_have_none_by_default(
        self, model: str
    ) -> None:
        """LiveKit leaves the key out for them and commits itself."""
        by_update, by_url = (
            protocol(),
            protocol(defaults=Defaults(served_model="omniasr", url_model=model)),
        )

        reply = update_input(by_update, transcription={"model": model})

        assert reply["turn_detection"] is None
        assert not by_update.configured.options.endpointing
        assert not by_url.configured.options.endpointing
        explicit = update_input(by_update, turn_detection={"type": "server_vad"})
        assert explicit["turn_detection"] is not None

    def test_the_update_wins_over_the_url(self) -> None:
        """LiveKit sends both."""
        machine = protocol(
            defaults=Defaults(served_model="omniasr", url_model="gpt-realtime-whisper")
        )

        reply = update_input(machine, transcription={"model": "whisper-1"})

        assert reply["turn_detection"] is not None
        assert reply["transcription"]["model"] == "whisper-1"

    def test_an_unknown_model_gets_the_one_that_is_served(self) -> None:
        """And is told so."""
        defaults = Defaults(
            served_model="omniasr", known_model=lambda name: name == "whisper-1"
        )
        machine = protocol(defaults=defaults)

        unknown = update_input(machine, transcription={"model": "nova-3"})
        known = update_input(machine, transcription={"model": "whisper-1"})

        assert unknown["transcription"]["model"] == "omniasr"
        assert known["transcription"]["model"] == "whisper-1"

    @pytest.mark.parametrize(
        ("delay", "profile"),
        [("minimal", "agent"), ("medium", "captions"), ("xhigh", "quality")],
    )
    def test_delay_chooses_a_profile(self, delay: str, profile: str) -> None:
        """More delay, more context before text is shown."""
        machine = protocol()

        reply = update_input(machine, transcription={"delay": delay})

        assert reply["transcription"]["delay"] == delay
        assert machine.configured.options.hop == PROFILES[profile].hop
        assert machine.configured.options.endpoint_silence == SAMPLE_RATE // 2

    def test_a_server_without_vad_says_that_there_is_no_turn_detection(self) -> None:
        """Rather than to promise turns that never end."""
        deaf = {name: StreamOptions(vad=False) for name in PROFILES}
        machine = protocol(defaults=Defaults(served_model="omniasr", profiles=deaf))

        reply = update_input(machine, turn_detection={"type": "server_vad"})

        assert reply["turn_detection"] is None
        assert not machine.configured.options.endpointing

    @pytest.mark.parametrize(
        ("code", "shown"),
        [
            ("en", "en"),
            ("en-US", "en-US"),
            ("bam_latn", "bam_latn"),
            ("auto", None),
            ("", None),
            ("xx", None),
            (None, None),
        ],
    )
    def test_a_language_is_echoed_if_it_is_known(
        self, code: str | None, shown: str | None
    ) -> None:
        """An unknown one is no error on a socket."""
        transcription = {"language": code}

        reply = update(protocol(), audio={"input": {"transcription": transcription}})

        assert reply["audio"]["input"]["transcription"].get("language") == shown
        codes = [each["code"] for each in reply.get("warnings") or []]
        assert codes == (["unknown_language"] if code == "xx" else [])

    @pytest.mark.parametrize(
        ("asked", "shown", "scripts"),
        [
            ({"languages": ["hi-IN", "en"]}, ["hi", "en"], {"Deva", "Latn"}),
            ({"languages": ["xx", "ru"]}, ["ru"], {"Cyrl"}),
            ({"languages": ["xx"]}, None, set()),
            ({"languages": []}, None, set()),
            ({"languages": ["hi", "auto"]}, None, set()),
            ({"language": "hi"}, None, set()),
        ],
    )
    def test_a_list_of_languages_restricts_the_scripts(
        self, asked: dict[str, Any], shown: list[str] | None, scripts: set[str]
    ) -> None:
        """Known ones are echoed; a single language is a label."""
        machine = protocol()

        reply = update_input(machine, transcription=asked)

        assert reply["transcription"].get("languages") == shown
        assert machine.configured.options.scripts == scripts

    def test_an_operator_may_let_a_single_language_restrict(self) -> None:
        """LANGUAGE_STRICT; a list goes before it."""
        machine = protocol(
            defaults=Defaults(served_model="omniasr", language_strict=True)
        )

        update_input(machine, transcription={"language": "hi"})
        alone = machine.configured.options.scripts
        update_input(machine, transcription={"languages": ["ru"]})

        assert alone == {"Deva"}
        assert machine.configured.options.scripts == {"Cyrl"}

    def test_too_many_languages_are_an_error_that_changes_nothing(self) -> None:
        """As too many keywords are."""
        machine = protocol()
        before = machine.configured

        transcription = {"languages": ["en"] * 101}
        session = {"audio": {"input": {"transcription": transcription}}}
        (error,) = events(send(machine, "session.update", session=session))

        assert error["error"]["param"].endswith("transcription.languages")
        assert "at most 100" in error["error"]["message"]
        assert machine.configured == before

    def test_the_flat_form_is_answered_in_kind(self) -> None:
        """Partial like the other; both change the same session."""
        machine = protocol()
        flat = {
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "fr"},
            "turn_detection": {"type": "server_vad", "threshold": 0.6},
            "input_audio_noise_reduction": {"type": "far_field"},
            "include": [LOGPROBS],
        }

        outputs = send(machine, "transcription_session.update", session=flat)
        (reply,) = events(outputs[1:])

        assert types(outputs) == ["Configure", "transcription_session.updated"]
        assert (
            reply["session"].items()
            >= {
                "input_audio_format": "g711_ulaw",
                "input_audio_transcription": {"model": "whisper-1", "language": "fr"},
                "include": [LOGPROBS],
            }.items()
        )
        later = update_input(machine, turn_detection=None)
        assert later["format"] == {"type": "audio/pcmu"}
        assert later["transcription"]["language"] == "fr"

    def test_the_beta_hears_of_items_created(self) -> None:
        """The general release hears of items added and done."""
        for beta in (False, True):
            machine = protocol(beta=beta)
            heard = types(tell(machine, final(1)))

            assert ("conversation.item.created" in heard) == beta
            assert ("conversation.item.done" in heard) != beta

    def test_an_update_that_changes_nothing_is_still_answered(self) -> None:
        """Without disturbing the stream."""
        machine = protocol()

        assert types(send(machine, "session.update", session={})) == ["session.updated"]

    @pytest.mark.parametrize(
        ("input", "param"),
        [
            ({"turn_detection": {"threshold": "loud"}}, "turn_detection.threshold"),
            ({"turn_detection": 5}, "turn_detection"),
            ({"format": {"type": "audio/opus"}}, "format.type"),
            ({"format": "opus"}, "format.type"),
            ({"format": {"rate": 4_000}}, "format.rate"),
            ({"format": {"rate": 96_000}}, "format.rate"),
            ({"transcription": {"language": 7}}, "transcription.language"),
        ],
    )
    def test_what_cannot_be_read_is_refused_and_changes_nothing(
        self, input: dict[str, Any], param: str
    ) -> None:
        """By the path of the value, with the id that the client gave its event."""
        machine = protocol()
        before = machine.configured

        (error,) = events(
            send(
                machine,
                "session.update",
                event_id="mine",
                session={"audio": {"input": input}},
            )
        )

        assert error["type"] == "error"
        assert error["error"]["param"] == f"session.audio.input.{param}"
        assert error["error"]["event_id"] == "mine"
        assert machine.configured == before
        assert update_input(machine)["turn_detection"] is not None


class TestTurns:
    def test_one_item_from_start_to_text(self) -> None:
        """The order of a turn that silence ends."""
        machine = protocol()
        append(machine)
        heard = tell(
            machine,
            SpeechStarted(1, 8_000),
            partial(1, "good", "more"),
            SpeechEnded(1, 32_000),
            partial(1, "good morning"),
            final(1, "good morning all", start=3_200, end=32_000),
        )

        turn = events(heard)

        assert types(heard) == [
            "input_audio_buffer.speech_started",
            f"{TRANSCRIPTION}.delta",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.completed",
        ]
        assert turn[0]["audio_start_ms"] == 200  # with 300 ms of padding
        assert turn[2]["audio_end_ms"] == 2_000
        assert turn[3]["previous_item_id"] is None
        deltas = [event["delta"] for event in turn if "delta" in event]
        assert deltas == ["good", " morning", " all"]
        assert turn[-1]["transcript"] == "good morning all"
        assert turn[-1]["usage"] == {"type": "duration", "seconds": 1.8}
        assert turn[-1]["languages"] == [{"code": "en"}]
        assert turn[-1]["script"] == "Latn"
        assert len(item_ids(turn)) == 1

    def test_a_final_that_says_something_else_replaces_the_deltas(self) -> None:
        """Nothing is added to them then."""
        machine = protocol()
        heard = tell(machine, partial(1, "good mourning"))
        heard += tell(machine, final(1, "good morning"))

        deltas = [event["delta"] for event in events(heard) if "delta" in event]
        assert deltas == ["good mourning"]
        assert events(heard)[-1]["transcript"] == "good morning"

    def test_items_know_the_one_before(self) -> None:
        """The first has none."""
        machine = protocol()
        chain = []
        for n in (1, 2, 3):
            heard = [*tell(machine, SpeechStarted(n, n)), *tell(machine, final(n, "x"))]
            chain += [
                (event["previous_item_id"], event["item_id"])
                for event in events(heard)
                if event["type"] == "input_audio_buffer.committed"
            ]

        assert chain[0][0] is None
        assert [before for before, _ in chain[1:]] == [item for _, item in chain[:-1]]

    def test_a_turn_may_start_while_the_last_is_transcribed(self) -> None:
        """Each keeps its item."""
        machine = protocol()
        heard = tell(
            machine,
            SpeechStarted(1, 0),
            SpeechEnded(1, 16_000),
            SpeechStarted(2, 24_000),
            final(1, "one"),
            partial(2, "two"),
            SpeechEnded(2, 40_000),
            final(2, "two"),
        )

        by_item: dict[str, list[str]] = {}
        for told in events(heard):
            by_item.setdefault(told.get("item_id", ""), []).append(told["type"])
        by_item.pop("")
        assert len(by_item) == 2
        for of_one in by_item.values():
            assert of_one[0] == "input_audio_buffer.speech_started"
            assert of_one[-1] == f"{TRANSCRIPTION}.completed"

    @pytest.mark.parametrize("cause", [Cause.STALLED, Cause.END, Cause.ENDPOINT])
    def test_an_utterance_that_just_ends_is_stopped_first(self, cause: Cause) -> None:
        """Clients wait for the end of a turn that they saw begin."""
        machine = protocol()
        tell(machine, SpeechStarted(1, 0))

        assert types(tell(machine, final(1, "", cause=cause))) == [
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            f"{TRANSCRIPTION}.completed",
        ]

    def test_a_failure_is_of_its_utterance(self) -> None:
        """It is no `error`, which ends the session of most clients."""
        machine = protocol()
        tell(machine, SpeechStarted(1, 0))

        heard = tell(
            machine,
            UtteranceFailed(1, 0, 16_000, Cause.ENDPOINT, RuntimeError("broke"), 0),
        )

        failed = events(heard)[-1]
        assert failed["type"] == f"{TRANSCRIPTION}.failed"
        assert failed["error"]["message"] == "broke"
        assert events(tell(machine, final(2, "well")))[-1]["transcript"] == "well"

    def test_log_probabilities_are_sent_if_asked_for(self) -> None:
        """One entry for each token, with all three fields."""
        machine = protocol()
        without = events(tell(machine, final(1, "ab")))[-1]
        update(machine, include=[LOGPROBS])
        with_them = events(tell(machine, final(2, "ab")))[-1]
        update(machine, include=None)
        off_again = events(tell(machine, final(3, "ab")))[-1]

        assert "logprobs" not in without
        assert with_them["logprobs"] == [
            {"token": "a", "bytes": [97], "logprob": -0.6931},
            {"token": "b", "bytes": [98], "logprob": -0.6931},
        ]
        assert "logprobs" not in off_again

    def test_deltas_have_those_of_what_is_new_in_them(self) -> None:
        """Spaces among it, so that joined they are those of the text."""
        machine = protocol()
        update(machine, include=[LOGPROBS])

        told = [
            *tell(machine, partial(1, "one")),
            *tell(machine, partial(1, "one two ")),
            *tell(machine, final(1, "one two three")),
        ]

        *_, completed = events(told)
        deltas = [each for each in events(told) if each["type"].endswith(".delta")]
        spelled = ["".join(p["token"] for p in each["logprobs"]) for each in deltas]
        assert [each["delta"] for each in deltas] == ["one", " two", " three"]
        assert spelled == ["one", " two", " three"]
        joined = [probs for each in deltas for probs in each["logprobs"]]
        assert joined == completed["logprobs"]

    def test_deltas_have_none_unasked(self) -> None:
        """Not even the name."""
        machine = protocol()

        (delta,) = events(tell(machine, partial(1, "one")))

        assert "logprobs" not in delta

    @pytest.mark.parametrize(
        ("words", "heard", "delta", "spelled"),
        [
            (["one", " two"], "onetwo", " two", "two"),
            (["one", " two"], "one two ", " two", " two"),
            (["一", "二"], "一 二", "二", "二"),
        ],
    )
    def test_spaces_are_where_they_are_written(
        self, words: list[str], heard: str, delta: str, spelled: str
    ) -> None:
        """Which is not always where the model put one: a pause may be one, too."""
        machine = protocol()
        update(machine, include=[LOGPROBS])
        both = tuple(
            replace(word(each.strip()), space_before=each.startswith(" "))
            for each in words
        )
        whole = replace(partial(1, ""), committed=both, tokens=tokens(heard))

        tell(machine, replace(whole, committed=both[:1]))
        (second,) = events(tell(machine, whole))

        assert second["delta"] == delta
        assert "".join(p["token"] for p in second["logprobs"]) == spelled

    @pytest.mark.parametrize(
        ("text", "asked", "languages"),
        [
            ("one", "fr", ["fr"]),
            ("one", None, ["en"]),
            ("ένα", None, []),
            ("გამარჯობა", None, []),
            ("한국어", None, ["ko"]),
            ("מילה", None, []),
            ("", None, []),
            ("", "bam_latn", ["bm"]),
        ],
    )
    def test_a_transcript_is_labelled_with_what_is_known(
        self, text: str, asked: str | None, languages: list[str]
    ) -> None:
        """The language asked for, else what the script allows to say."""
        machine = protocol()
        update_input(machine, transcription={"language": asked})

        completed = events(tell(machine, final(1, text)))[-1]

        assert [each["code"] for each in completed["languages"]] == languages
        (found,) = [each.get("probability") for each in completed["languages"]] or [
            None
        ]
        assert found == (1.0 if languages == ["ko"] else None)


class TestEagerEnds:
    def test_they_are_not_told(self) -> None:
        """This protocol has no word for them."""
        told = tell(
            protocol(),
            EagerEnd(1, 0, 1, final(1, "one").segments),
            SpeechResumed(1, 1),
        )

        assert told == []


class TestCommits:
    def test_without_turns_it_is_answered_at_once(self) -> None:
        """And its text when that is there."""
        machine = protocol()
        update(machine, **MANUAL)
        append(machine)
        early = tell(machine, partial(1, "one"))

        answer = send(machine, "input_audio_buffer.commit")
        text = tell(machine, final(1, "one two", cause=Cause.FLUSH))

        assert types(answer) == [
            "Flush",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert types(text) == [f"{TRANSCRIPTION}.delta", f"{TRANSCRIPTION}.completed"]
        assert len(item_ids(events([*early, *answer, *text]))) == 1

    def test_several_may_be_under_way(self) -> None:
        """Each has an item of its own, and the text comes in order."""
        machine = protocol()
        update(machine, **MANUAL)
        answers: list[Action] = []
        for _ in range(3):
            append(machine)
            answers += send(machine, "input_audio_buffer.commit")
        for n in (1, 2, 3):
            answers += tell(machine, final(n, f"text {n}", cause=Cause.FLUSH))

        settled = of_type(events(answers), f"{TRANSCRIPTION}.completed")
        committed = of_type(events(answers), "input_audio_buffer.committed")
        assert [e["item_id"] for e in settled] == [e["item_id"] for e in committed]
        assert [e["transcript"] for e in settled] == ["text 1", "text 2", "text 3"]

    def test_with_turns_it_is_answered_by_the_utterance_it_ended(self) -> None:
        """Silence may have ended another one before, unheard as yet."""
        machine = protocol()
        append(machine)
        answer = send(machine, "input_audio_buffer.commit")
        heard = tell(
            machine,
            SpeechStarted(1, 0),
            SpeechEnded(1, 16_000),
            SpeechStarted(2, 24_000),
            SpeechEnded(2, 40_000),
            final(1, "one"),
            final(2, "two", cause=Cause.FLUSH),
        )

        assert types(answer) == ["Flush"]
        assert len(of_type(events(heard), "input_audio_buffer.committed")) == 2
        assert len(of_type(events(heard), f"{TRANSCRIPTION}.completed")) == 2
        assert len(item_ids(events(heard))) == 2

    def test_silence_has_an_empty_text(self) -> None:
        """openai-agents waits for it."""
        machine = protocol()
        append(machine)
        send(machine, "input_audio_buffer.commit")

        heard = tell(machine, final(1, "", cause=Cause.FLUSH, start=800, end=800))

        assert events(heard)[-1]["transcript"] == ""
        assert events(heard)[-1]["usage"] == {"type": "duration", "seconds": 0.0}

    @pytest.mark.parametrize("turns", [True, False])
    def test_nothing_cannot_be_committed(self, turns: bool) -> None:
        """openai-agents forgives exactly this code, with its own event id."""
        machine = protocol()
        if not turns:
            update(machine, **MANUAL)
        append(machine)
        send(machine, "input_audio_buffer.commit")

        for _ in range(2):
            (error,) = events(
                send(machine, "input_audio_buffer.commit", event_id="mine")
            )
            assert error["error"]["code"] == "input_audio_buffer_commit_empty"
            assert error["error"]["event_id"] == "mine"

    def test_a_single_byte_can(self) -> None:
        """Short audio is no error; OpenAI's own limit ends LiveKit's sessions."""
        machine = protocol()
        update(machine, **MANUAL)
        append(machine, b"\1")

        assert "Flush" in types(send(machine, "input_audio_buffer.commit"))


class TestClear:
    def test_it_is_answered_and_what_is_open_is_forgotten(self) -> None:
        """What comes then is another item, of the same number."""
        machine = protocol()
        append(machine)
        before = tell(machine, SpeechStarted(1, 0))

        answer = send(machine, "input_audio_buffer.clear")
        after = tell(machine, SpeechStarted(1, 32_000))

        assert types(answer) == ["Clear", "input_audio_buffer.cleared"]
        assert len(item_ids(events([*before, *after]))) == 2
        (error,) = events(send(machine, "input_audio_buffer.commit"))
        assert error["error"]["code"] == "input_audio_buffer_commit_empty"

    def test_it_spares_what_was_committed(self) -> None:
        """Its text comes as it would have."""
        machine = protocol()
        update(machine, **MANUAL)
        append(machine)
        outputs = send(machine, "input_audio_buffer.commit")
        outputs += send(machine, "input_audio_buffer.clear")
        outputs += tell(machine, final(1, "one", cause=Cause.FLUSH))

        assert types(outputs)[-3:] == [
            "input_audio_buffer.cleared",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.completed",
        ]
        assert len(item_ids(events(outputs))) == 1

    def test_it_is_answered_after_the_commits_before_it(self) -> None:
        """openai-agents takes it for the end of all that is coming."""
        machine = protocol()
        append(machine)
        outputs = tell(machine, SpeechStarted(1, 0))
        answers = send(machine, "input_audio_buffer.commit")
        answers += send(machine, "input_audio_buffer.clear")
        heard = tell(machine, SpeechEnded(1, 16_000))
        heard += tell(machine, final(1, "one", cause=Cause.FLUSH))

        assert types(answers) == ["Flush", "Clear"]
        assert types(heard)[-1] == "input_audio_buffer.cleared"
        assert types(heard).count("input_audio_buffer.committed") == 1
        assert len(item_ids(events([*outputs, *heard]))) == 1


class TestMessages:
    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("[" * 60_000, "invalid_json"),
            (r'{"type": "\ud800"}', "invalid_json"),
            (
                r'{"type": "input_audio_buffer.clear", "event_id": "\uDFFF"}',
                "invalid_json",
            ),
            (r'{"type": "\ud83d\ude00"}', "unknown_event"),
            ("[]", "invalid_event"),
            ("{}", "invalid_event"),
            ('{"type": 5}', "invalid_event"),
            ('{"type": "session.update"}', "missing_required_parameter"),
            ('{"type": "session.update", "session": []}', "missing_required_parameter"),
            ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
            ('{"type": "input_audio_buffer.append", "audio": "!"}', "invalid_base64"),
            ('{"type": "input_audio_buffer.append", "audio": "é"}', "invalid_base64"),
            ('{"type": "input_audio_buffer.append", "audio": "AAA"}', "invalid_base64"),
            ('{"type": "conversation.item.create"}', "unsupported_event"),
            ('{"type": "conversation.item.retrieve"}', "unsupported_event"),
            ('{"type": "response.create"}', "unsupported_event"),
            ('{"type": "response.cancel", "event_id": 5}', "unsupported_event"),
            ('{"type": "hello"}', "unknown_event"),
        ],
    )
    def test_what_cannot_be_read_is_an_error_and_no_more(
        self, message: str, code: str
    ) -> None:
        """The session goes on."""
        machine = protocol()

        (error,) = events(machine.receive(message))

        assert error["type"] == "error"
        assert error["error"]["code"] == code
        assert error["error"]["type"] == "invalid_request_error"
        assert error["error"]["message"]
        assert types(append(machine)) == ["Append"]

    def test_the_clients_event_id_is_echoed(self) -> None:
        """So that it knows which of its events was wrong."""
        machine = protocol()

        (error,) = events(send(machine, "response.create", event_id="event_7"))

        assert error["error"]["event_id"] == "event_7"

    def test_audio_has_no_reply(self) -> None:
        """It is handed on as it came, odd number of bytes or not."""
        machine = protocol()

        assert append(machine, b"\1\2\3") == [Append(b"\1\2\3")]
        assert append(machine, b"") == [Append(b"")]

    def test_binary_messages_mean_nothing(self) -> None:
        """Pipecat can be told to keep connections alive with them."""
        assert protocol().receive(b"\0" * 320) == []

    def test_event_ids_differ(self) -> None:
        """All of them."""
        machine = protocol()
        seen = [machine.created(), *tell(machine, SpeechStarted(1, 0))]
        seen += tell(machine, final(1, "x"))

        ids = [event["event_id"] for event in events(seen)]
        assert len(set(ids)) == len(ids)


class TestEnd:
    @pytest.mark.parametrize(
        ("why", "code"),
        [(Stop.SHUTDOWN, 1012), (Stop.IDLE, 1001), (Stop.TOO_LONG, 1001)],
    )
    def test_what_was_said_is_answered_before_the_close(
        self, why: Stop, code: int
    ) -> None:
        """With a code after which clients connect again."""
        machine = protocol()
        append(machine)
        tell(machine, SpeechStarted(1, 0))

        stopped = machine.stop(why)
        last = tell(machine, final(1, "one", cause=Cause.END))
        closed = machine.finish(latency_ms=0.0, audio_position=0)

        assert stopped == [End()]
        assert types(last)[-1] == f"{TRANSCRIPTION}.completed"
        assert closed == [Close(code)]

    def test_a_session_that_is_given_up_is_just_closed(self) -> None:
        """An error event would end clients that could have gone on."""
        assert protocol().fail(Failure.INTERNAL) == [Close(1011)]
        assert protocol().fail(Failure.SLOW_READER) == [Close(1008)]


# --- invariants -------------------------------------------------------------------


@dataclass
class Stream:
    """A live stream as `live_events` describes it, with what is said drawn at random.

    Its events lie in `events` until the test reads them, however late.
    """

    draw: Callable[[int], int]
    events: list[LiveEvent] = field(default_factory=list)
    endpointing: bool = True
    position: int = 0
    number: int = 0  # of the last utterance that was numbered
    open: bool = False
    announced: bool = False
    words: int = 0
    waiting: list[UtteranceFinal | UtteranceFailed] = field(default_factory=list)

    def perform(self, output: Action) -> None:
        match output:
            case Append():
                self._push()
            case Flush():
                self._close(Cause.FLUSH)
            case Clear():
                self._clear()
            case Configure():
                self.endpointing = output.options.endpointing

    def settle(self) -> None:
        """The model has caught up."""
        self.events += self.waiting
        self.waiting.clear()

    def _push(self) -> None:
        for _ in range(self.draw(4)):
            self.position += 8_000
            if not self.open:
                self.open, self.announced, self.words = True, False, 0
                self.number += 1
            if self.endpointing and not self.announced:
                self.announced = True
                self.events.append(SpeechStarted(self.number, self.position))
            if not self.waiting and self.draw(2):
                self.words += 1
                self.events.append(partial(self.number, "w " * self.words))
            if self.endpointing and self.draw(2):
                self._close(Cause.ENDPOINT)
            if self.draw(2):
                self.settle()

    def _close(self, cause: Cause) -> None:
        if not self.open:
            self.number += 1
            self.announced, self.words = False, 0
        if self.announced:
            self.events.append(SpeechEnded(self.number, self.position))
        text = ["", "w " * self.words, "w " * (self.words + 1), "other"][self.draw(4)]
        outcome: UtteranceFinal | UtteranceFailed = final(
            self.number, text, cause=cause, end=self.position
        )
        if self.draw(5) == 0:
            outcome = UtteranceFailed(
                self.number,
                0,
                self.position,
                cause,
                RuntimeError("broke"),
                self.position,
            )
        self.waiting.append(outcome)
        self.open = False

    def _clear(self) -> None:
        self.events = [e for e in self.events if not self._of_open(e)]
        if self.open:
            self.number -= 1
            self.open = False

    def _of_open(self, event: LiveEvent) -> bool:
        return (
            self.open and isinstance(event, Partial) and event.utterance == self.number
        )


MESSAGES: list[dict[str, Any]] = [
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "session.update", "session": MANUAL},
    {
        "type": "session.update",
        "session": {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
    },
    {"type": "response.create"},
]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_happens_clients_can_rely_on_the_promises(data: st.DataObject) -> None:
    """A client's messages, and events as late as they like, in any order."""
    stream = Stream(lambda n: data.draw(st.integers(0, n - 1)))
    machine = protocol()
    sent: list[dict[str, Any]] = []
    asked: list[str] = []
    n_unheard = 0

    def hear(n: int) -> None:
        sent.extend(events(tell(machine, *stream.events[:n])))
        del stream.events[:n]

    for _ in range(data.draw(st.integers(1, 25))):
        message = data.draw(st.sampled_from(MESSAGES))
        outputs = machine.receive(json.dumps(message))
        for output in outputs:
            if isinstance(output, Send):
                sent.extend(events([output]))
            else:
                asked.append(type(output).__name__)
                stream.perform(output)
        hear(data.draw(st.integers(0, len(stream.events))))
    stream.settle()
    hear(len(stream.events))

    n_unheard = asked.count("Clear")
    assert len(of_type(sent, "input_audio_buffer.cleared")) == n_unheard
    check_items(sent)
    check_deltas(sent)
    check_answers(sent, asked)


def check_items(sent: list[dict[str, Any]]) -> None:
    """Each item that was committed is settled once, and is one of a chain."""
    committed = of_type(sent, "input_audio_buffer.committed")
    ids = [event["item_id"] for event in committed]
    assert len(set(ids)) == len(ids)
    assert [event["previous_item_id"] for event in committed] == [None, *ids][
        : len(ids)
    ]
    settled = of_type(sent, f"{TRANSCRIPTION}.completed", f"{TRANSCRIPTION}.failed")
    assert [event["item_id"] for event in settled] == ids
    for item in ids:
        order = [event["type"] for event in sent if event.get("item_id") == item]
        assert order[-1] in (f"{TRANSCRIPTION}.completed", f"{TRANSCRIPTION}.failed")
        assert order.count("input_audio_buffer.speech_started") == order.count(
            "input_audio_buffer.speech_stopped"
        )
        if "input_audio_buffer.speech_started" in order:
            stopped = order.index("input_audio_buffer.speech_stopped")
            assert stopped < order.index("input_audio_buffer.committed")


def check_deltas(sent: list[dict[str, Any]]) -> None:
    """Deltas of two items are never mixed, and are the beginning of the text."""
    texts: dict[str, str] = {}
    order: list[str] = []
    for event in of_type(sent, f"{TRANSCRIPTION}.delta"):
        item = event["item_id"]
        assert event["delta"]
        texts[item] = texts.get(item, "") + event["delta"]
        if item not in order[-1:]:
            order.append(item)
    assert len(set(order)) == len(order)
    for event in of_type(sent, f"{TRANSCRIPTION}.completed"):
        text = texts.get(event["item_id"], "")
        assert event["transcript"].startswith(text) or event["transcript"] in (
            "other",
            text[: len(event["transcript"])],
        )


def check_answers(sent: list[dict[str, Any]], asked: list[str]) -> None:
    """`cleared` comes when as many items were committed as commits were before it."""
    n_committed = n_cleared = 0
    needed: list[int] = []
    n_flushes = 0
    for name in asked:
        n_flushes += name == "Flush"
        if name == "Clear":
            needed.append(n_flushes)
    for event in sent:
        n_committed += event["type"] == "input_audio_buffer.committed"
        if event["type"] == "input_audio_buffer.cleared":
            assert n_committed >= needed[n_cleared]
            n_cleared += 1


def item_ids(sent: list[dict[str, Any]]) -> set[str]:
    return {event["item_id"] for event in sent if "item_id" in event}


class TestKeywords:
    def keywords_of(self, machine: RealtimeProtocol) -> tuple[str, ...]:
        return machine.configured.options.keywords

    def test_an_update_replaces_them_and_an_empty_list_clears_them(self) -> None:
        """As LiveKit does in mid-session; the answer shows what is in effect."""
        machine = protocol()

        first = update_input(machine, transcription={"keywords": ["LiveKit", "a b"]})
        kept = update_input(machine, transcription={"language": "en"})
        assert self.keywords_of(machine) == ("LiveKit", "a b")
        cleared = update_input(machine, transcription={"keywords": []})

        assert first["transcription"]["keywords"] == ["LiveKit", "a b"]
        assert kept["transcription"]["keywords"] == ["LiveKit", "a b"]
        assert cleared["transcription"]["keywords"] == []
        assert self.keywords_of(machine) == ()

    def test_the_stream_is_told_of_a_change_alone(self) -> None:
        """Not of an update that says the same."""
        machine = protocol()
        session = {"audio": {"input": {"transcription": {"keywords": ["a b"]}}}}

        changed = send(machine, "session.update", session=session)
        same = send(machine, "session.update", session=session)

        assert [type(action) for action in changed] == [Configure, Send]
        assert [type(action) for action in same] == [Send]

    def test_without_any_nothing_is_said_of_them(self) -> None:
        """Old clients see what they always saw."""
        session = update(protocol(), type="transcription")

        assert "keywords" not in session["audio"]["input"]["transcription"]
        assert "warnings" not in session

    def test_those_that_cannot_be_heard_are_named(self) -> None:
        """In the answer; it is no error, which clients take for the end."""
        defaults = Defaults(served_model="m", left_out=lambda keywords: ("дом",))
        machine = protocol(defaults=defaults)

        session = update(
            machine, audio={"input": {"transcription": {"keywords": ["дом"]}}}
        )

        assert [own["code"] for own in session["warnings"]] == ["keywords_left_out"]

    @pytest.mark.parametrize(
        ("keywords", "named"),
        [
            ("LiveKit", "transcription.keywords"),
            (["a", 1], "transcription.keywords.1"),
            (["a" * 101], "keyword 1 has 101 characters; at most 100"),
            ([*map(str, range(501))], "there are 501 keywords; at most 500"),
        ],
    )
    def test_mistakes_are_errors_and_the_session_goes_on(
        self, keywords: object, named: str
    ) -> None:
        """With what was there before."""
        machine = protocol()
        update_input(machine, transcription={"keywords": ["before"]})
        session = {"audio": {"input": {"transcription": {"keywords": keywords}}}}

        (error,) = events(send(machine, "session.update", session=session))

        assert error["type"] == "error"
        assert named in error["error"]["message"]
        assert self.keywords_of(machine) == ("before",)
        assert update_input(machine, language=None)["transcription"]["keywords"] == [
            "before"
        ]
