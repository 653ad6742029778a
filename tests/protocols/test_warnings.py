"""Warnings, and the header that has them."""

import json

import pytest

from audio.samples import SAMPLE_RATE
from protocols import warnings
from protocols.warnings import DEMO_MODEL, HEADER, in_header
from schemas import AnswerWarning


class TestTexts:
    def test_nothing_is_said_about_nothing(self) -> None:
        """An answer without warnings has none of them, not an empty one."""
        assert not warnings.keywords_left_out(())
        assert not warnings.recording_cut_off(stated=SAMPLE_RATE, missing=0)
        assert not warnings.files_left_out(1)
        assert not warnings.parameters_ignored(())

    @pytest.mark.parametrize("name", ["json", "verbose_json"])
    def test_events_have_these_formats(self, name: str) -> None:
        """Others have no effect on them."""
        assert not warnings.format_not_streamed(name)
        assert warnings.format_not_streamed("srt")

    def test_a_cut_is_told_in_seconds(self) -> None:
        """Both figures that a person compares."""
        (found,) = warnings.recording_cut_off(
            stated=9 * SAMPLE_RATE, missing=7 * SAMPLE_RATE
        )

        assert "states 9.0 s, but only 2.0 s" in found.message

    def test_lists_of_names_end(self) -> None:
        """A URL may have thousands, each as long as the URL."""
        (found,) = warnings.parameters_ignored(["x" * 5_000] * 50, known=("a", "b"))

        assert len(found.message) < 3_000
        assert "and 30 more" in found.message
        assert found.message.endswith("It may have a, b.")


class TestHeader:
    def test_there_is_none_without_warnings(self) -> None:
        """So its presence says something."""
        assert in_header(()) == {}

    def test_it_has_each_code_and_message(self) -> None:
        """As JSON, which every client can read."""
        (value,) = in_header([DEMO_MODEL]).values()

        assert json.loads(value) == [DEMO_MODEL.model_dump()]

    def test_it_is_short_and_ascii_whatever_is_named(self) -> None:
        """Headers hold nothing else, and proxies allow about 4 kB of them."""
        named = AnswerWarning(code="keywords_left_out", message="四\n" * 3_000)

        value = in_header([DEMO_MODEL, named])[HEADER]

        assert value.isascii()
        assert value.isprintable()
        assert len(value) < 3_000
