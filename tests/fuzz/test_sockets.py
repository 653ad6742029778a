"""Clients that send anything, in any order, on each socket.

Whatever they do, each answer is a JSON object with a type, a session ends with a code
that is not the server's fault, the log has no error, and no stream is left open.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.fuzz.effort import CONVERSATIONS
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread, wait_for
from tests.test_server import health
from tests.test_server import settings as server_settings

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["\ud800", "0" * 400, "é" * 50]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)

AUDIO = "AAAA" * 200
PCM = {"type": "audio/pcm", "rate": 24_000}
DOORS: dict[str, tuple[dict[str, Any], ...]] = {
    "/v1/audio/transcriptions": (
        {"type": "config", "language": "en", "words": True},
        {"type": "config", "encoding": "f32le", "sample_rate": 8_000},
        {"type": "config", "profile": "agent", "hop_s": 1, "keywords": ["hello"]},
        {"type": "flush"},
        {"type": "clear"},
        {"type": "keepalive"},
        {"type": "end"},
    ),
    "/v1/realtime": (
        {"type": "session.update", "session": {"type": "transcription"}},
        {
            "type": "session.update",
            "session": {
                "type": "transcription",
                "audio": {"input": {"format": PCM, "turn_detection": None}},
            },
        },
        {"type": "input_audio_buffer.append", "audio": AUDIO},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
    ),
    "/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true": (
        {"type": "KeepAlive"},
        {"type": "Finalize"},
        {"type": "Configure", "features": {"keyterms": ["hello"]}},
        {"type": "CloseStream"},
    ),
    "/v2/listen?encoding=linear16&sample_rate=16000&model=flux-general-en": (
        {"type": "Configure", "thresholds": {"eot_threshold": 0.6}},
        {"type": "Configure", "keyterms": ["hello"], "language_hints": ["en"]},
        {"type": "CloseStream"},
    ),
}

# Ends that are the client's doing, or agreed; 1011 would be the server's fault.
FINE = {1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009}


class Client(RuleBasedStateMachine):
    """One conversation on one socket.

    Attributes:
        url: The socket's address.
        messages: Well-formed messages there.
    """

    url: ClassVar[str]
    messages: ClassVar[tuple[dict[str, Any], ...]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.socket = self._connected()

    def _connected(self) -> ClientConnection:
        opened = connect(self.url, max_size=None, max_queue=None)
        return self.stack.enter_context(opened)

    @rule(n=st.sampled_from([0, 1, 2, 640, 3_201, 40_000]), fill=st.integers(0, 255))
    def speak(self, n: int, fill: int) -> None:
        self._send(bytes([fill]) * n)

    @rule(data=st.data())
    def say(self, data: st.DataObject) -> None:
        """Send a message as it should be."""
        self._send(json.dumps(data.draw(st.sampled_from(self.messages))))

    @rule(data=st.data())
    def say_nearly(self, data: st.DataObject) -> None:
        """Send a message with a field that is changed, missing or too much."""
        message = dict(data.draw(st.sampled_from(self.messages)))
        name = data.draw(st.sampled_from([*message, "type", "x"]))
        if data.draw(st.booleans()):
            message.pop(name, None)
        else:
            message[name] = data.draw(JSON)
        self._send(json.dumps(message))

    @rule(value=JSON)
    def say_anything(self, value: Any) -> None:
        self._send(json.dumps(value))

    @rule(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
    def write(self, text: str) -> None:
        """Send text that is no JSON."""
        self._send(text)

    @rule(data=st.binary(min_size=1, max_size=8))
    def write_bytes(self, data: bytes) -> None:
        """Send text that may be no UTF-8."""
        self._send(data, text=True)

    @rule()
    def break_off(self) -> None:
        """Lose the connection, and come again."""
        self.socket.socket.close()
        self.socket = self._connected()

    def teardown(self) -> None:
        """Read all answers, up to the end."""
        with self.stack:
            self._read_all()

    def _read_all(self) -> None:
        with suppress(ConnectionClosed):
            self.socket.send(json.dumps(self.messages[-1]))
        with suppress(ConnectionClosed, TimeoutError):
            while True:
                message = json.loads(self.socket.recv(timeout=0.2))
                assert isinstance(message["type"], str)
        self.socket.close()
        assert self.socket.close_code in FINE, self.socket.close_reason

    def _send(self, message: str | bytes, *, text: bool | None = None) -> None:
        with suppress(ConnectionClosed):
            self.socket.send(message, text=text)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(server_settings(), ScriptedModel) as served:
        yield served


@pytest.mark.parametrize("path", DOORS)
def test_any_conversation_ends_well(
    url: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Always the same conversations."""
    address = url.removeprefix("http")

    class OnThisSocket(Client):
        url = f"ws{address}{path}"
        messages = DOORS[path]

    with caplog.at_level(logging.WARNING):
        run_state_machine_as_test(
            OnThisSocket,
            settings=settings(
                max_examples=CONVERSATIONS,
                stateful_step_count=12,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        wait_for(lambda: health(url)["streams"] == 0)

    ours = [each for each in caplog.records if each.name != "websockets.client"]
    assert not [each.getMessage() for each in ours]
