"""The native protocol, without a socket: what comes in, what goes out."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

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
    join_texts,
)
from live.options import PROFILES
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
from protocols.native.messages import (
    CLIENT_TYPES,
    MAX_NAMED,
    BadMessage,
    Config,
    ServerMessage,
)
from protocols.native.protocol import MAX_MESSAGE_CHARS, Keeping, LiveProtocol
from protocols.native.query import Query, Resume
from protocols.native.setup import Defaults
from protocols.resumption import Received
from protocols.warnings import DEMO_MODEL
from text.ctc import Word
from text.transcript import Segment

Json = dict[str, Any]

SERVER_MESSAGE: TypeAdapter[Any] = TypeAdapter(ServerMessage)

# What a client of the original server relies on.
SEED_FIELDS = {
    "text",
    "confirmed_text",
    "pending_text",
    "is_final",
    "latency_ms",
    "audio_duration",
}


def words(text: str, start: int = 0) -> tuple[Word, ...]:
    """A word every 0.2 s."""
    return tuple(
        Word(word, start + 3200 * k, start + 3200 * k + 1600, 0.9, space_before=k > 0)
        for k, word in enumerate(text.split())
    )


def final(
    utterance: int, text: str, cause: Cause = Cause.ENDPOINT, end: int = 32_000
) -> UtteranceFinal:
    segments = (Segment(words(text), (), -0.1, 0.0),) if text else ()
    return UtteranceFinal(utterance, 0, end, cause, segments, position=end)


def partial(utterance: int, committed: str, pending: str) -> Partial:
    said = words(f"{committed} {pending}")
    n = len(committed.split())
    return Partial(utterance, 8_000, 16_000, said[:n], said[n:])


def protocol(**defaults: Any) -> LiveProtocol:
    return LiveProtocol(
        session_id="s1",
        defaults=Defaults(model="m", **defaults),
        explain=lambda error: f"public: {error}",
    )


def sent(actions: Sequence[Action]) -> list[Json]:
    """The messages among the actions, each as its type says."""
    texts = [action.text for action in actions if isinstance(action, Send)]
    for text in texts:
        SERVER_MESSAGE.validate_json(text)
    return [json.loads(text) for text in texts]


def only(actions: Sequence[Action]) -> Json:
    (message,) = sent(actions)
    return message


def receive(machine: LiveProtocol, **message: Any) -> list[Action]:
    return machine.receive(json.dumps(message))


def tell(machine: LiveProtocol, event: LiveEvent) -> list[Action]:
    return machine.tell(event, latency_ms=12.34, audio_position=48_000)


class TestGreeting:
    def test_ready_comes_first_and_says_what_audio_is_expected(self) -> None:
        """That of the original server, and the model's name."""
        machine = protocol()

        configure, ready = machine.greet()

        options = PROFILES["captions"]
        assert configure == Configure(Encoding.S16LE, SAMPLE_RATE, options)
        message = only([ready])
        assert message["type"] == "ready"
        assert (message["id"], message["model"]) == ("s1", "m")
        assert (message["sample_rate"], message["encoding"]) == (16_000, "s16le")
        assert message["channels"] == 1
        assert message["profile"] == "captions"
        assert message["chunk_duration"] == options.window / SAMPLE_RATE

    def test_the_operators_defaults_are_in_it(self) -> None:
        """The nominal window, and whether silence ends utterances."""
        configure, ready = protocol(vad=False, chunk_duration_s=10.0).greet()

        assert isinstance(configure, Configure)
        assert configure.options.window == 10 * SAMPLE_RATE
        assert not configure.options.vad
        message = only([ready])
        assert message["endpointing"] is False
        assert message["chunk_duration"] == 10


class TestClient:
    def test_audio_goes_to_the_stream_as_it_is(self) -> None:
        """Whatever its length; an empty frame is no error and no audio."""
        machine = protocol()

        assert machine.receive(b"\x01") == [Append(b"\x01")]
        assert machine.receive(b"") == []

    def test_words_of_control_are_passed_on(self) -> None:
        """And a sign of life changes nothing."""
        machine = protocol()

        assert receive(machine, type="flush") == [Flush()]
        assert receive(machine, type="clear") == [Clear()]
        assert receive(machine, type="keepalive") == []
        assert receive(machine, type="end") == [End()]

    def test_after_the_end_nothing_is_taken(self) -> None:
        """The client is told, and gets its final."""
        machine = protocol()
        receive(machine, type="end")

        for message in (b"\0\0", '{"type":"end"}', '{"type":"flush"}', "{"):
            assert only(machine.receive(message))["code"] == "input_ended"
        *_, whole, close = machine.finish(latency_ms=0, audio_position=0)

        assert only([whole])["is_final"]
        assert close == Close(1000)

    @pytest.mark.parametrize(
        ("text", "code", "named"),
        [
            ("{", "invalid_json", "not JSON"),
            ("", "invalid_json", "not JSON"),
            ("[]", "invalid_message", "JSON object with a type that is one of"),
            ("17", "invalid_message", "JSON object"),
            ("{}", "invalid_message", "JSON object"),
            ('{"type":"stop"}', "invalid_message", "config, flush, clear, keepalive"),
            ('{"type":7}', "invalid_message", "JSON object"),
            (
                '{"type":"flush","now":true}',
                "invalid_message",
                "flush.now: there is no",
            ),
            ('{"type":"config","rate":1}', "invalid_message", "config has sample_rate"),
            (
                '{"type":"config","sample_rate":7999}',
                "invalid_message",
                "config.sample_rate: input should be greater than or equal to 8000",
            ),
            (
                '{"type":"config","encoding":"opus"}',
                "invalid_message",
                "'s16le', 'f32le', 'mulaw' or 'alaw'",
            ),
            ('{"type":"config","hop_s":NaN}', "invalid_message", "hop_s"),
            ('{"type":"config","words":"yes"}', "invalid_message", "config.words"),
            (
                '{"type":"config","languages":["en","xx"]}',
                "unsupported_language",
                "'xx'",
            ),
            (
                json.dumps({"type": "config", "languages": ["en"] * 101}),
                "invalid_message",
                "at most 100",
            ),
            ('{"type":"config","profile":"fast"}', "invalid_message", "profile"),
            (" " * (MAX_MESSAGE_CHARS + 1), "message_too_long", "binary frames"),
            ('{"type":"config","keywords":"a"}', "invalid_message", "config.keywords"),
            ('{"type":"config","keywords":[1]}', "invalid_message", "keywords.0"),
            (
                json.dumps({"type": "config", "keywords": ["a", "b" * 101]}),
                "invalid_message",
                "keyword 2 has 101 characters; at most 100",
            ),
            (
                json.dumps({"type": "config", "keywords": [*map(str, range(501))]}),
                "invalid_message",
                "there are 501 keywords; at most 500",
            ),
        ],
    )
    def test_mistakes_are_named_and_change_nothing(
        self, text: str, code: str, named: str
    ) -> None:
        """The session goes on."""
        machine = protocol()

        error = only(machine.receive(text))

        assert (error["type"], error["code"]) == ("error", code)
        assert named in error["message"]
        assert (error["text"], error["is_final"], error["fatal"]) == ("", False, False)
        assert machine.receive(b"\0\0") == [Append(b"\0\0")]

    def test_all_mistakes_of_a_message_are_named_at_once(self) -> None:
        """Not one after the other."""
        error = only(receive(protocol(), type="config", hop_s=99, rate=1))

        assert "hop_s" in error["message"]
        assert "rate" in error["message"]

    def test_of_very_many_mistakes_only_some_are_named(self) -> None:
        """Or a short message would be answered with one of megabytes."""
        unknown = {f"{number:x}": 1 for number in range(500)}

        error = only(receive(protocol(), type="config", **unknown))

        assert error["message"].count("there is no such field") == MAX_NAMED
        assert "492 more mistakes" in error["message"]

    def test_no_configuration_is_nearly_as_long_as_a_message_may_be(self) -> None:
        """With every field in it."""
        everything = dict.fromkeys(Config.model_fields, "x" * 20)

        assert len(json.dumps(everything, indent=4)) < MAX_MESSAGE_CHARS / 4


class TestConfiguration:
    def test_what_is_asked_for_is_in_effect_and_confirmed(self) -> None:
        """All of it; the answer has the two fields that every client reads."""
        machine = protocol()
        wanted = {
            "sample_rate": 8_000,
            "encoding": "mulaw",
            "profile": "agent",
            "hop_s": 0.5,
            "margin_s": 1.0,
            "endpoint_silence_s": 2.0,
            "pre_roll_s": 0.0,
            "speech_prob": 0.7,
            "interim": False,
            "words": True,
            "events": True,
            "endpointing": False,
            "chunk_duration": 10.0,
        }

        configure, confirmed = receive(machine, type="config", language="en", **wanted)

        assert isinstance(configure, Configure)
        assert configure.encoding is Encoding.MULAW
        assert configure.sample_rate == 8_000
        options = configure.options
        assert (options.hop, options.margin) == (8_000, 16_000)
        assert (options.endpoint_silence, options.pre_roll) == (32_000, 0)
        assert options.speech_prob == 0.7
        assert options.window == 10 * SAMPLE_RATE
        assert not options.endpointing
        assert not options.partials
        message = only([confirmed])
        assert message.items() >= {**wanted, "language": "en"}.items()
        assert (message["text"], message["is_final"]) == ("", False)

    def test_absent_keeps_and_null_resets(self) -> None:
        """As in partial updates elsewhere."""
        machine = protocol()
        receive(machine, type="config", hop_s=0.5, words=True)

        kept = only(receive(machine, type="config", events=True))
        reset = only(receive(machine, type="config", hop_s=None))

        assert (kept["hop_s"], kept["words"]) == (0.5, True)
        assert (reset["hop_s"], reset["words"]) == (0.48, True)

    def test_a_refused_message_changes_nothing_of_it(self) -> None:
        """Not even what was right in it."""
        machine = protocol()
        receive(machine, type="config", words=True, languages=["xx"])

        assert only(receive(machine, type="config"))["words"] is False

    def test_endpointing_cannot_be_had_without_vad(self) -> None:
        """The message says what to do instead."""
        machine = protocol(vad=False)

        error = only(receive(machine, type="config", endpointing=True))

        assert "flush" in error["message"]
        assert only(receive(machine, type="config"))["endpointing"] is False

    def test_profiles_differ_and_own_values_stay(self) -> None:
        """A profile is another set of defaults."""
        machine = protocol()
        receive(machine, type="config", endpoint_silence_s=1.0)

        agent = only(receive(machine, type="config", profile="agent"))

        assert agent["hop_s"] == 0.32
        assert agent["endpoint_silence_s"] == 1.0


class TestStream:
    def test_hypotheses_are_interim_messages(self) -> None:
        """With all fields of the original server; the text is their sum."""
        (action,) = tell(protocol(), partial(2, "one two", "three"))

        message = only([action])
        assert isinstance(action, Send)
        assert action.droppable
        assert message.keys() >= SEED_FIELDS
        assert message["text"] == "one two three"
        assert message["confirmed_text"] == "one two"
        assert message["pending_text"] == " three"
        assert (message["is_final"], message["utterance_final"]) == (False, False)
        assert message["utterance"] == 2
        assert (message["start"], message["audio_position"]) == (0.5, 1.0)
        assert (message["audio_duration"], message["latency_ms"]) == (3.0, 12.3)
        assert "words" not in message

    def test_a_final_ends_its_utterance_and_not_the_session(self) -> None:
        """And is never dropped."""
        (action,) = tell(protocol(), final(1, "one two", Cause.FLUSH))

        message = only([action])
        assert isinstance(action, Send)
        assert not action.droppable
        assert message.keys() >= SEED_FIELDS
        assert (message["text"], message["confirmed_text"]) == ("one two", "one two")
        assert (message["pending_text"], message["cause"]) == ("", "flush")
        assert (message["is_final"], message["utterance_final"]) == (False, True)
        assert message["audio_position"] == 2.0

    def test_the_sessions_final_has_all_of_it(self) -> None:
        """The texts joined as writing joins them."""
        machine = protocol()
        for number, text in enumerate(("one two", "", "three"), start=1):
            tell(machine, final(number, text))
        receive(machine, type="end")

        whole, close = machine.finish(latency_ms=5, audio_position=160_000)

        message = only([whole])
        assert message["text"] == message["confirmed_text"] == "one two three"
        assert message["is_final"] is True
        assert message["utterance_final"] is False
        assert message["utterance"] == 3
        assert message["audio_duration"] == 10.0
        assert close == Close(1000)
        assert machine.n_words == 3

    def test_silence_has_a_final_too(self) -> None:
        """A client that waits for it is not left waiting."""
        machine = protocol()
        receive(machine, type="end")

        message = only(machine.finish(latency_ms=5, audio_position=1_600))

        assert message.keys() >= SEED_FIELDS
        assert (message["text"], message["is_final"]) == ("", True)
        assert message["audio_duration"] == 0.1

    def test_words_have_times_and_confidences_when_asked_for(self) -> None:
        """And whether they are confirmed."""
        machine = protocol()
        receive(machine, type="config", words=True)

        interim = only(tell(machine, partial(1, "one", "two")))
        ended = only(tell(machine, final(1, "one")))

        assert interim["words"] == [
            {"word": "one", "start": 0.0, "end": 0.1, "confidence": 0.9,
             "confirmed": True},
            {"word": "two", "start": 0.2, "end": 0.3, "confidence": 0.9,
             "confirmed": False},
        ]  # fmt: skip
        assert [word["word"] for word in ended["words"]] == ["one"]

    def test_interim_messages_can_be_had_without(self) -> None:
        """Also those that were on their way."""
        machine = protocol()
        receive(machine, type="config", interim=False)

        assert tell(machine, partial(1, "one", "")) == []

    def test_speech_is_marked_with_events_on_only(self) -> None:
        """A client that never heard of them never sees them."""
        machine = protocol()
        marks = (SpeechStarted(1, 8_000), SpeechEnded(1, 16_000))

        quiet = [tell(machine, mark) for mark in marks]
        receive(machine, type="config", events=True)
        loud = [only(tell(machine, mark)) for mark in marks]

        assert quiet == [[], []]
        assert [message["type"] for message in loud] == [
            "speech_started",
            "speech_ended",
        ]
        assert [message["audio_position"] for message in loud] == [0.5, 1.0]

    def test_a_failed_utterance_is_one_error_and_the_session_goes_on(self) -> None:
        """It says what clients may know, and whose last message it is."""
        machine = protocol()
        failure = UtteranceFailed(
            1, 0, 1, Cause.FLUSH, RuntimeError("no luck"), position=1
        )

        error = only(tell(machine, failure))
        tell(machine, final(2, "two"))
        message = only(machine.finish(latency_ms=0, audio_position=0))

        assert (error["code"], error["fatal"]) == ("utterance_failed", False)
        assert error["message"] == "public: no luck"
        assert (error["utterance"], error["utterance_final"]) == (1, True)
        assert message["text"] == "two"

    @pytest.mark.parametrize(
        ("asked", "text", "tag"),
        [
            (None, "one", "en"),
            ("nl", "one", "nl"),
            (None, "один", None),
            (None, "", None),
        ],
    )
    def test_finals_have_a_language_where_one_is_known(
        self, asked: str | None, text: str, tag: str | None
    ) -> None:
        """By the same rule as for recordings."""
        machine = protocol(language="eng_Latn")
        receive(machine, type="config", language=asked)

        assert only(tell(machine, final(1, text))).get("language") == tag

    def test_what_a_text_shows_has_a_probability(self) -> None:
        """And its script is told in any case."""
        machine = protocol()

        korean = only(tell(machine, final(1, "하나 둘")))
        latin = only(tell(machine, final(2, "uno")))

        assert (korean["language"], korean["language_probability"]) == ("ko", 1.0)
        assert (korean["script"], latin["script"]) == ("Hang", "Latn")
        assert "language" not in latin
        assert "language_probability" not in latin

    def test_a_list_of_languages_restricts_the_scripts(self) -> None:
        """From the next window on; null allows all again."""
        machine = protocol()

        configure, confirmed = receive(machine, type="config", languages=["hi", "en"])
        assert isinstance(configure, Configure)
        assert configure.options.scripts == {"Deva", "Latn"}
        assert only([confirmed])["languages"] == ["hi", "en"]
        assert only(tell(machine, final(1, "एक")))["language"] == "hi"

        configure, confirmed = receive(machine, type="config", languages=None)
        assert isinstance(configure, Configure)
        assert not configure.options.scripts
        assert "languages" not in only([confirmed])

    def test_an_operator_may_let_a_single_language_restrict(self) -> None:
        """LANGUAGE_STRICT."""
        machine = protocol(language_strict=True)

        configure, _ = receive(machine, type="config", language="hi")

        assert isinstance(configure, Configure)
        assert configure.options.scripts == {"Deva"}


class TestStopping:
    @pytest.mark.parametrize(
        ("why", "code", "close"),
        [
            (Stop.IDLE, "idle_timeout", 1008),
            (Stop.TOO_LONG, "session_too_long", 1008),
            (Stop.SHUTDOWN, None, 1001),
        ],
    )
    def test_the_client_gets_its_final_all_the_same(
        self, why: Stop, code: str | None, close: int
    ) -> None:
        """And, where it is its own doing, the reason before."""
        machine = protocol()

        actions = machine.stop(why)
        late = [*machine.receive(b"\0\0"), *receive(machine, type="end")]
        tell(machine, final(1, "one"))
        whole, end = machine.finish(latency_ms=0, audio_position=0)

        assert actions[-1] == End()
        errors = sent(actions)
        assert [error["code"] for error in errors] == ([code] if code else [])
        assert all(error["fatal"] for error in errors)
        assert late == []
        assert only([whole])["text"] == "one"
        assert isinstance(end, Close)
        assert end.code == close

    @pytest.mark.parametrize(
        ("why", "close"), [(Failure.SLOW_READER, 1008), (Failure.INTERNAL, 1011)]
    )
    def test_a_session_that_is_given_up_says_why(
        self, why: Failure, close: int
    ) -> None:
        """As its last message."""
        error, end = protocol().fail(why)

        message = only([error])
        assert (message["code"], message["fatal"]) == (why.value, True)
        assert end == Close(close, why.value)

    def test_whoever_has_ended_is_not_stopped(self) -> None:
        """It gets the close it expects."""
        machine = protocol()
        receive(machine, type="end")

        assert machine.stop(Stop.SHUTDOWN) == []
        assert machine.finish(latency_ms=0, audio_position=0)[-1] == Close(1000)


# What a client may send: in order, in disorder, and nonsense.
texts = st.one_of(
    st.sampled_from(CLIENT_TYPES).map(lambda kind: json.dumps({"type": kind})),
    st.fixed_dictionaries(
        {"type": st.just("config")},
        optional={
            "words": st.booleans(),
            "events": st.booleans(),
            "interim": st.booleans(),
            "sample_rate": st.sampled_from([8_000, 16_000, 44_100, 1]),
            "encoding": st.sampled_from(["s16le", "f32le", "mulaw", "mp3", None]),
            "hop_s": st.floats(),
            "nonsense": st.none(),
        },
    ).map(json.dumps),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ).map(json.dumps),
    st.text(max_size=20),
)
steps = st.lists(
    st.one_of(
        texts,
        st.binary(max_size=6),
        st.sampled_from(["hypothesis", "endpoint", "failure", *Stop]),
    ),
    max_size=30,
)


class Conversation:
    """A stream that keeps its promises, and all that its client was sent."""

    def __init__(self) -> None:
        self.machine = protocol()
        self.messages: list[Json] = []
        self.finals: list[str] = []
        self.n_flushes = 0
        self.closes: list[Close] = []
        self.ended = False
        self._utterance = 1
        self._committed = ""
        self.do(self.machine.greet())

    def do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            assert not self.closes, "nothing happens after the close"
            self.messages += sent([action])
            match action:
                case Append() | Flush() | Clear() | Configure():
                    assert not self.ended, "the stream is not asked after its end"
                case End():
                    assert not self.ended
                    self.ended = True
                case Close():
                    self.closes.append(action)
            if isinstance(action, Flush):
                self.n_flushes += 1
                self.end_utterance(Cause.FLUSH)

    def take(self, step: str | bytes | Stop) -> None:
        if isinstance(step, Stop):
            self.do(self.machine.stop(step))
        elif step == "hypothesis":
            self._committed += " one" if self._committed else "one"
            self.do(tell(self.machine, partial(self._utterance, self._committed, "x")))
        elif step == "endpoint":
            self.end_utterance(Cause.ENDPOINT)
        elif step == "failure":
            error = UtteranceFailed(
                self._utterance, 0, 1, Cause.ENDPOINT, OSError(), position=1
            )
            self._next(tell(self.machine, error))
        else:
            self.do(self.machine.receive(step))

    def end_utterance(self, cause: Cause) -> None:
        self.finals.append(self._committed)
        self._next(tell(self.machine, final(self._utterance, self._committed, cause)))

    def finish(self) -> None:
        if not self.ended:
            self.do(receive(self.machine, type="end"))
        if self._committed:
            self.end_utterance(Cause.END)
        self.do(self.machine.finish(latency_ms=0, audio_position=0))

    def _next(self, actions: Sequence[Action]) -> None:
        self._utterance += 1
        self._committed = ""
        self.do(actions)


class TestEagerEnds:
    def test_they_are_not_told(self) -> None:
        """This protocol has no word for them."""
        machine = protocol()
        early = EagerEnd(1, 0, 1, (Segment(words("one"), (), -0.1, 0.0),))

        assert tell(machine, early) == []
        assert tell(machine, SpeechResumed(1, 1)) == []


class TestInvariants:
    @given(steps)
    def test_whatever_happens_the_client_can_rely_on_the_rules(
        self, happening: list[str | bytes | Stop]
    ) -> None:
        """One final per session, one last message per utterance, flushes answered."""
        conversation = Conversation()

        for step in happening:
            conversation.take(step)
        conversation.finish()

        first, *rest = conversation.messages
        assert first["type"] == "ready"
        assert all("text" in m and "is_final" in m for m in rest)
        assert [m["is_final"] for m in rest].count(True) == 1
        assert rest[-1]["is_final"]
        assert rest[-1]["text"] == join_texts(conversation.finals)
        assert len(conversation.closes) == 1
        last = [m["utterance"] for m in rest if m.get("utterance_final")]
        assert last == list(range(1, len(last) + 1))
        by_flush = [m for m in rest if m.get("cause") == "flush"]
        assert len(by_flush) == conversation.n_flushes
        self.check_utterances(rest)

    def check_utterances(self, messages: list[Json]) -> None:
        """Committed text grows, and numbers never go back."""
        number, confirmed = 0, ""
        for message in messages:
            if message["type"] != "transcript" or message["is_final"]:
                continue
            assert message["utterance"] >= number
            if message["utterance"] > number:
                number, confirmed = message["utterance"], ""
            assert (
                message["text"] == message["confirmed_text"] + message["pending_text"]
            )
            assert message["confirmed_text"].startswith(confirmed)
            confirmed = message["confirmed_text"]


class TestKeywords:
    def test_a_list_replaces_the_one_before(self) -> None:
        """Null and an empty one clear it; what is said otherwise leaves it alone."""
        machine = protocol()
        machine.greet()

        updates: list[Json] = [
            {"keywords": ["LiveKit", "a  b", "", "LiveKit"]},
            {"words": True},
            {"keywords": ["c"]},
            {"keywords": []},
            {"keywords": ["d"]},
            {"keywords": None},
        ]
        lists = [receive(machine, type="config", **update) for update in updates]

        named = [("LiveKit", "a b"), ("LiveKit", "a b"), ("c",), (), ("d",), ()]
        for actions, keywords in zip(lists, named, strict=True):
            configure = actions[0]
            assert isinstance(configure, Configure)
            assert configure.options.keywords == keywords
            assert only(actions).get("keywords", []) == list(keywords)

    def test_those_that_cannot_be_heard_are_named(self) -> None:
        """In the answer; it is no error."""
        machine = protocol(left_out=lambda keywords: tuple(keywords)[:1])

        confirmed = only(receive(machine, type="config", keywords=["дом", "b"]))

        (warning,) = confirmed["warnings"]
        assert warning["code"] == "keywords_left_out"
        assert "'дом'" in warning["message"]

    def test_a_list_of_names_fits_into_a_message(self) -> None:
        """Of as many as there may be by default."""
        names = [f"A name of people {k}" for k in range(500)]

        confirmed = only(receive(protocol(), type="config", keywords=names))

        assert len(confirmed["keywords"]) == 500


class TestUrl:
    def test_its_options_hold_from_the_beginning(self) -> None:
        """Until `config` changes them; null is the server's default, not the URL's."""
        machine = protocol_of(Query({"sample_rate": 8_000, "language": "fr"}))

        ready = only(machine.greet())
        changed = only(receive(machine, type="config", language=None))

        assert (ready["sample_rate"], ready["language"]) == (8_000, "fr")
        assert (changed["sample_rate"], changed.get("language")) == (8_000, None)

    def test_what_it_has_in_vain_is_told_at_once(self) -> None:
        """Beside what the model's clients should know."""
        machine = protocol_of(Query({}, ("model",)), warnings=(DEMO_MODEL,))

        codes = [own["code"] for own in only(machine.greet())["warnings"]]

        assert codes == ["demo_model", "parameters_ignored"]

    def test_an_unknown_label_is_ignored_with_a_warning(self) -> None:
        """As at the other doors; where it would restrict the text, it is refused."""
        (ready,) = sent(protocol_of(Query({"language": "xx"})).greet())

        assert "language" not in ready
        assert [own["code"] for own in ready["warnings"]] == ["unknown_language"]
        with pytest.raises(BadMessage, match="xx"):
            protocol_of(Query({"language": "xx"}), language_strict=True)


def protocol_of(query: Query, **defaults: Any) -> LiveProtocol:
    return LiveProtocol(
        session_id="s1", defaults=Defaults(model="m", **defaults), explain=str,
        query=query,
    )  # fmt: skip


class TestLostConnections:
    KEEPING = Keeping("token", 30.0)

    def test_ready_says_how_to_go_on(self) -> None:
        """The first one, of a client that asks for nothing."""
        machine = LiveProtocol(
            session_id="s1",
            defaults=Defaults(model="m"),
            explain=str,
            keeping=self.KEEPING,
        )

        ready = only(machine.greet())

        assert (ready["resume_token"], ready["resume_s"]) == ("token", 30.0)
        assert not {"resumed", "received_messages", "received_bytes"} & set(ready)
        assert "token" not in repr(self.KEEPING)

    def test_a_new_session_says_that_it_is_not_the_one_that_was_wanted(self) -> None:
        """Also where sessions are not kept."""
        ready = only(protocol_of(Query(resume=Resume("other"))).greet())

        assert ready["resumed"] is False
        assert "resume_token" not in ready
        assert "warnings" not in ready

    def test_a_client_that_comes_back_learns_what_has_come(self) -> None:
        """And the options in effect, among them its own."""
        machine = LiveProtocol(
            session_id="s1",
            defaults=Defaults(model="m"),
            explain=str,
            keeping=self.KEEPING,
        )
        machine.greet()
        receive(machine, type="config", words=True)

        ready = only([machine.greet_again(Received(7, 64_000))])

        assert (ready["type"], ready["id"], ready["words"]) == ("ready", "s1", True)
        assert ready["resumed"] is True
        assert (ready["received_messages"], ready["received_bytes"]) == (7, 64_000)
        assert ready["resume_token"] == "token"


FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # of an MP3 at 128 kbit/s and 44.1 kHz


class TestFiles:
    @pytest.mark.parametrize(
        ("beginning", "kind"),
        [
            (b"RIFF\x24\x08\0\0WAVEfmt ", "WAV"),
            (b"ID3\x04\0\0\0\0\0\x0f", "MP3"),
            (3 * FRAME, "MP3"),
            (b"fLaC\0\0\0\x22", "FLAC"),
            (b"OggS\0\x02", "Ogg"),
            (b"\x1aE\xdf\xa3\x01", "WebM"),
            (b"\0\0\0\x20ftypM4A ", "MP4"),
        ],
    )
    def test_a_file_is_not_heard_as_noise(self, beginning: bytes, kind: str) -> None:
        """It is told why, and the session ends; what comes of it still is ignored."""
        machine = protocol()

        actions = machine.receive(beginning + bytes(1_000))

        error = only(actions)
        assert (error["code"], error["fatal"]) == ("not_raw_audio", True)
        assert f"({kind})" in error["message"]
        assert "s16le, 16000 Hz" in error["message"]
        assert actions[-1] == Close(1008, "not_raw_audio")
        assert machine.receive(bytes(1_000)) == []

    @pytest.mark.parametrize(
        "audio",
        [
            b"RIFF" + bytes(40),
            b"ID3\xff\0\0\xff\0\0\x0f",
            FRAME + bytes(2_000),
            2 * FRAME,
            b"\xff\xff" * 400,
            b"\x01",
        ],
    )
    def test_samples_that_look_a_little_like_one_are_samples(
        self, audio: bytes
    ) -> None:
        """They may have any value."""
        assert protocol().receive(audio) == [Append(audio)]

    def test_only_the_first_audio_is_looked_at(self) -> None:
        """Later, any bytes may come by chance."""
        machine = protocol()
        machine.receive(bytes(2))

        assert machine.receive(b"fLaC") == [Append(b"fLaC")]
