"""What a client may send without delaying others: counted, not timed."""

import base64
import json
import tracemalloc

import pytest

from protocols.actions import Append
from protocols.realtime.messages import APPEND, MAX_EVENT_CHARS
from protocols.realtime.session import BadSession, SessionConfig
from tests.protocols.realtime.test_protocol import events, protocol

MEGABYTE = 1_000_000


def refusal_and_growth(message: str) -> tuple[str, int]:
    """Have a message answered; return the error's code and the memory that it took."""
    machine = protocol()
    tracemalloc.start()
    try:
        outputs = machine.receive(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (error,) = events(outputs)
    assert error["type"] == "error"
    return error["error"]["code"], peak


class TestLongMessages:
    @pytest.mark.parametrize(
        "message",
        [
            '{"type":"unknown","x":[' + "[]," * (10 * MEGABYTE) + "[]]}",
            '{"type":"session.update","session":{"include":['
            + "1," * (5 * MEGABYTE)
            + "1]}}",
            f'{{"type":"{APPEND}","audio":"","x":[' + "{}," * MEGABYTE + "{}]}",
            f'{{"type":"{APPEND}","audio":[' + '"AA",' * MEGABYTE + '"AA"]}',
            "[" * MEGABYTE,
        ],
        ids=["unknown", "update", "more in an append", "audio in pieces", "depth"],
    )
    def test_they_are_refused_unread(self, message: str) -> None:
        """Reading would take memory for each of their values, and time with it."""
        code, peak = refusal_and_growth(message)

        assert code == "message_too_long"
        assert peak < 100_000

    @pytest.mark.parametrize("escaped", [False, True])
    def test_audio_is_read_however_long_it_is(self, escaped: bool) -> None:
        """Also where slashes are escaped, as PHP does it."""
        audio = b"\xff" * (3 * MEGABYTE)
        event = {"event_id": "e", "type": APPEND, "audio": base64.b64encode(audio)}
        message = json.dumps(event, default=bytes.decode, indent=2)
        message = message.replace("/", "\\/") if escaped else message

        (append,) = protocol().receive(message)

        assert append == Append(audio)

    def test_another_message_may_not_pretend_to_be_audio(self) -> None:
        """Whatever is in it, it is refused for what it is."""
        message = f'{{"type":"{"x" * MAX_EVENT_CHARS}","audio":"{APPEND}"}}'

        (error,) = events(protocol().receive(message))

        assert error["error"]["code"] == "unknown_event"
        assert len(error["error"]["message"]) < 1000

    def test_an_update_of_some_kilobytes_is_read(self) -> None:
        """Clients send what they would send to OpenAI, instructions included."""
        session = {"instructions": "Be kind. " * 1000, "type": "transcription"}
        message = json.dumps({"type": "session.update", "session": session})

        (reply,) = events(protocol().receive(message))

        assert reply["type"] == "session.updated"


class TestMistakes:
    @pytest.mark.parametrize(
        "update",
        [
            {"include": [1] * 10_000},
            {"audio": {"input": {"transcription": {"languages": [1] * 10_000}}}},
        ],
        ids=["include", "languages"],
    )
    def test_only_the_first_is_written_down(self, update: dict[str, object]) -> None:
        """More would take time and memory in vain."""
        with pytest.raises(BadSession) as refused:
            SessionConfig().updated(update)

        assert refused.value.param.endswith(".0")
        cause = refused.value.__cause__
        assert getattr(cause, "error_count")() == 1  # noqa: B009
