"""Messages that break the protocol close the socket, and leave no traceback."""

import json
import logging
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from tests.support.fakes import ScriptedModel
from tests.support.live_client import SECOND, rest
from tests.support.serving import app_in_thread, wait_for
from tests.test_server import health, settings

NATIVE, REALTIME, NOVA = (
    "/v1/audio/transcriptions",
    "/v1/realtime",
    "/v1/listen?encoding=linear16&sample_rate=16000",
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with app_in_thread(settings(), ScriptedModel) as served:
        yield served


@pytest.mark.parametrize("path", [NATIVE, REALTIME, NOVA])
@pytest.mark.parametrize("broken", [b"\xff", b'{"type": "\xed\xa0\x80"}'])
def test_text_that_is_not_utf_8_is_1007(
    url: str, path: str, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a stream that has answers to send."""
    with caplog.at_level(logging.INFO), connect(url.replace("http", "ws") + path) as c:
        for _ in range(20):
            c.send(SECOND)
            c.send('{"type": "flush"}')
        c.send(broken, text=True)
        _, code = rest(c)
        wait_for(lambda: health(url)["streams"] == 0)

    assert code == 1007
    assert "UTF-8" in str(c.close_reason)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_message_in_pieces_is_one_text(url: str) -> None:
    """Though each piece alone is cut within a letter."""
    with connect(url.replace("http", "ws") + NATIVE) as client:
        client.recv()
        text = '{"type": "é"}'.encode()
        at = text.index(b"\xc3") + 1
        client.send([text[:at], text[at:]], text=True)

        assert json.loads(client.recv(timeout=30))["type"] == "error"
