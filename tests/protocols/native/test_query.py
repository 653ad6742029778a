"""What the URL of a native socket sets."""

import pytest

from audio.encoding import Encoding
from protocols.native.messages import BadMessage
from protocols.native.query import Query, Resume, read


def test_options_are_those_of_config() -> None:
    """With their types."""
    items = [
        ("sample_rate", "8000"),
        ("encoding", "mulaw"),
        ("language", "fr"),
        ("interim", "false"),
    ]

    assert read(items).wanted == {
        "sample_rate": 8_000,
        "encoding": Encoding.MULAW,
        "language": "fr",
        "interim": False,
    }


def test_an_empty_value_was_not_sent() -> None:
    """Programs that build URLs leave some empty; of two, the last counts."""
    items = [("language", ""), ("sample_rate", "1"), ("sample_rate", "16000")]

    assert read(items) == Query({"sample_rate": 16_000})


def test_unknown_names_are_kept_to_be_told() -> None:
    """In their order, each once."""
    items = [("model", "x"), ("language", "de"), ("temperature", "0"), ("model", "y")]

    assert read(items) == Query({"language": "de"}, ("model", "temperature"))


def test_a_session_to_go_on_with_is_named_by_its_token() -> None:
    """Numbers alone name none."""
    token, number, position = ("resume", "x"), ("seq", "17"), ("position", "32000")

    assert read([token]).resume == Resume("x")
    assert read([token, number, position]).resume == Resume("x", 17, 32_000)
    assert read([number, position]) == Query()
    assert "x" not in repr(Resume("x", 17))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq", "-1"),
        ("seq", "1.5"),
        ("position", "٣"),
        ("position", "1" * 16),
        ("sample_rate", "4000"),
        ("sample_rate", "16k"),
        ("encoding", "opus"),
        ("language", "x" * 65),
        ("interim", "maybe"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    """With the place, because `config` has the same names."""
    with pytest.raises(BadMessage, match=rf"^URL\.{name}: "):
        read([(name, value)])
