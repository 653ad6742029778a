"""docs/protocol.md says what the server does: examples, fields, codes, bounds."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from audio.encoding import Encoding
from config import Settings
from protocols.actions import CloseCode
from protocols.native import messages as wire
from protocols.native.messages import ClientMessage, ServerMessage
from protocols.native.protocol import MAX_MESSAGE_CHARS
from protocols.resumption import (
    COMING_BACK,
    LOST,
    MOST_BYTES,
    MOST_MESSAGES,
    TAKEN_OVER,
)
from sockets.session import _MAX_FLUSHES
from tests.support.serving import ROOT

TEXT = (ROOT / "docs" / "protocol.md").read_text()
FROM_CLIENT = TEXT.split("## Messages from the client")[1].split("\n## ")[0]
FROM_SERVER = TEXT.split("## Messages from the server")[1].split("\n## ")[0]

SERVER_MODELS: dict[str, type[BaseModel]] = {
    "ready": wire.Ready,
    "configured": wire.Configured,
    "transcript": wire.Transcript,
    "speech_started": wire.SpeechStarted,
    "speech_ended": wire.SpeechEnded,
    "error": wire.Error,
}


def examples(text: str) -> list[str]:
    return re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading."""
    after = text.split(f"\n{heading}", 1)[1]
    table = re.search(r"\n\| --- .*?\n((?:\|.*\n)+)", after)
    assert table
    lines = table.group(1).splitlines()
    return [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines
    ]


class TestExamples:
    @pytest.mark.parametrize("example", examples(FROM_CLIENT))
    def test_messages_from_the_client_are_taken(self, example: str) -> None:
        """As they stand."""
        TypeAdapter[Any](ClientMessage).validate_json(example)

    @pytest.mark.parametrize("example", examples(FROM_SERVER))
    def test_messages_from_the_server_are_what_it_sends(self, example: str) -> None:
        """Every field it always sends, and none it never does."""
        message = TypeAdapter[Any](ServerMessage).validate_json(example)

        written = json.loads(message.model_dump_json(exclude_none=True))
        assert written == json.loads(example)
        assert message.type == "ready" or {"text", "is_final"} <= written.keys()

    def test_there_is_one_of_every_type(self) -> None:
        """In both directions."""
        shown = {json.loads(example)["type"] for example in examples(FROM_CLIENT)}
        assert shown == set(wire.CLIENT_TYPES)
        shown = {json.loads(example)["type"] for example in examples(FROM_SERVER)}
        assert shown == set(SERVER_MODELS)


class TestTables:
    def test_config_has_these_fields_and_bounds(self) -> None:
        """And these defaults, where they are numbers or words."""
        table = {row[0]: row for row in rows(TEXT, "### `config`")}

        assert list(table) == [
            name for name in wire.Config.model_fields if name != "type"
        ]
        for name, field in wire.Config.model_fields.items():
            bounds = [
                value
                for rule in field.metadata
                for side in ("ge", "le")
                if (value := getattr(rule, side, None)) is not None
            ]
            if bounds:
                assert table[name][1] == f"{bounds[0]} to {bounds[1]}"

    def test_transcripts_have_these_fields(self) -> None:
        """All of them."""
        named = [row[0] for row in rows(TEXT, "### `transcript`")]

        assert set(named) == set(wire.Transcript.model_fields) - {"type"}

    def test_encodings_are_these(self) -> None:
        """No more, no fewer."""
        assert [row[0] for row in rows(TEXT, "## Audio")] == list(Encoding)

    def test_error_codes_are_these(self) -> None:
        """No more, no fewer."""
        codes = [row[0] for row in rows(TEXT, "### `error`")]

        assert codes == list(get_args(wire.ErrorCode))

    def test_close_codes_are_these(self) -> None:
        """Those of the protocol, of its route, and of the web server."""
        codes = [int(row[0]) for row in rows(TEXT, "## Close codes")]
        code = "".join(
            (ROOT / path).read_text()
            for path in ("protocols/native/protocol.py", "api/routes/live.py")
        )

        ours = {CloseCode[name] for name in re.findall(r"CloseCode\.(\w+)", code)}
        of_uvicorn = {CloseCode.MESSAGE_TOO_BIG, CloseCode.SERVICE_RESTART}
        assert len(ours) == 5
        assert set(codes) == ours | of_uvicorn | {TAKEN_OVER}

    def test_what_ready_says_of_lost_connections_is_this(self) -> None:
        """All fields that only sessions have that may go on."""
        named = [row[0] for row in rows(TEXT, "### `ready`")]

        others = {*wire.Listening.model_fields, "id", "model"}
        assert set(named) == set(wire.Ready.model_fields) - others

    def test_closes_after_which_clients_may_come_back_are_these(self) -> None:
        """And the bounds of what is kept for them."""
        after = TEXT.split("## Lost connections")[1].split("\n## ")[0]

        assert f"with {CloseCode.INTERNAL_ERROR:d} or {COMING_BACK} |" in after
        without_a_close = CloseCode.ABNORMAL_CLOSURE
        assert {without_a_close, CloseCode.INTERNAL_ERROR, COMING_BACK} == LOST
        assert f"newest {MOST_MESSAGES} messages are kept" in after
        assert f"of at most {MOST_BYTES // 1024} KiB" in after

    def test_causes_are_these(self) -> None:
        """Each is explained."""
        for cause in get_args(wire.CauseName):
            assert f"`{cause}`" in TEXT

    def test_settings_it_mentions_exist(self) -> None:
        """By their names in the environment."""
        names = set(re.findall(r"`([A-Z][A-Z_]+_[A-Z_]+)`", TEXT))

        assert names <= {name.upper() for name in Settings.model_fields}

    def test_the_other_numbers_are_right(self) -> None:
        """The longest text message, and the flushes that may wait."""
        assert f"{MAX_MESSAGE_CHARS:,} characters" in TEXT
        assert f"While {_MAX_FLUSHES} flushes wait" in TEXT
