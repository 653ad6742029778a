"""The judgements of the soak, and its short form against a real server."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import soak
from benchmarks.common.processes import ROOT
from benchmarks.corpus.composer import Composition, SpokenWord
from benchmarks.soak import Sample, judge, slope_mb
from benchmarks.streams.visitors import Doubt, Tally

# CI has more time than a developer.
SECONDS = os.environ.get("SOAK_SECONDS", "30")

IDLE = Sample(0.0, 800.0, 20, 30, 0)


def run_of(seconds: int, mb_a_minute: float) -> list[Sample]:
    return [
        replace(IDLE, at_s=float(at), memory_mb=800 + mb_a_minute * at / 60)
        for at in range(0, seconds + 1, 10)
    ]


def content() -> Tally:
    tally = Tally()
    for way in ("native", "realtime", "file", "garbage"):
        tally.expect(way, 1, 1)
    return tally


def said(text: str) -> Composition:
    nothing = np.zeros(0, np.float32)
    words = (SpokenWord(word, 0, 0) for word in text.split())
    return Composition(nothing, tuple(words))


def verdict(
    samples: list[Sample],
    tally: Tally | None = None,
    *,
    end: Sample = IDLE,
    later_s: float = 0.1,
) -> dict[str, bool | None]:
    seconds = samples[-1].at_s
    finals = [
        (float(at), 0.1 if at < 2 * seconds / 3 else later_s)
        for at in range(int(seconds))
    ]
    found = judge(samples, IDLE, end, tally or content(), finals)
    return {own.what: own.holds for own in found}


class TestVerdict:
    def test_a_server_that_stays_the_same_is_content(self) -> None:
        """Everything holds."""
        assert set(verdict(run_of(1800, 0.5)).values()) == {True}

    @pytest.mark.parametrize(
        ("what", "end"),
        [
            ("threads", replace(IDLE, n_threads=21)),
            ("descriptors", replace(IDLE, n_descriptors=31)),
            ("files", replace(IDLE, n_files=1)),
        ],
    )
    def test_what_is_left_behind_is_found(self, what: str, end: Sample) -> None:
        """One is enough; everything else still holds."""
        found = verdict(run_of(1800, 0), end=end)

        assert [name for name, holds in found.items() if not holds] == [what]

    def test_memory_that_grows_is_found(self) -> None:
        """By a megabyte a minute."""
        assert slope_mb(run_of(1800, 10)) == pytest.approx(10)
        assert verdict(run_of(1800, 1.5))["memory"] is False

    def test_finals_that_become_slower_are_found(self) -> None:
        """By a tenth."""
        assert verdict(run_of(1800, 0), later_s=0.109)["finals"] is True
        assert verdict(run_of(1800, 0), later_s=0.12)["finals"] is False

    def test_a_short_run_does_not_judge_them(self) -> None:
        """It would be chance."""
        found = verdict(run_of(60, 50), later_s=1)

        assert found["memory"] is found["finals"] is None
        assert found["answers"]

    def test_a_wrong_answer_is_found_and_so_is_none_at_all(self) -> None:
        """Whatever else is right."""
        tally, quiet = content(), content()
        heard = "three four five"
        tally.settle(Doubt("file", (said("one two three"),), heard), "one two three")
        del quiet.right["native"]

        assert verdict(run_of(1800, 0), tally)["answers"] is False
        assert verdict(run_of(1800, 0), quiet)["answers"] is False


class TestTally:
    def test_a_misheard_word_is_no_wrong_answer(self) -> None:
        """A quarter of the words may be misheard, and one in any case."""
        tally = Tally()
        tally.judge("file", [said("one")], "nine")
        tally.judge("file", [said("one two three four")], "one two three x")
        assert tally.right["file"] == 2
        tally.judge("file", [said("one"), said("one two three four")], "one two")

        (doubt,) = tally.doubts
        assert doubt.clips[-1].text == "one two three four"
        assert not tally.wrong

    def test_what_is_misheard_when_idle_as_well_is_no_wrong_answer(self) -> None:
        """Anything else is, even if it is nearer to what was said."""
        tally = Tally()
        for again in ("one two", "one two three", ""):
            tally.settle(
                Doubt("native", (said("one two three four"),), "one two"), again
            )

        assert tally.misheard["native"] == 1
        assert len(tally.wrong) == 2


def test_a_short_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    """Streams, recordings, garbage and clients that leave, against a real server."""
    output, plot = tmp_path / "soak.json", tmp_path / "soak.svg"
    arguments = ["--seconds", SECONDS, "--output", str(output), "--plot", str(plot)]

    status = soak.main(arguments)

    found = json.loads(output.read_text("utf-8"))
    assert status == 0, (found["verdict"], found["wrong"])
    assert found["left"]
    assert plot.read_text("utf-8").count("<polyline") == 5


def test_the_half_hour_that_is_committed_holds_and_is_what_the_page_says() -> None:
    """All of its verdict."""
    found = json.loads((ROOT / "benchmarks/results/soak.json").read_text("utf-8"))
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")

    assert found["seconds"] >= 1800
    assert len(found["verdict"]) == 6
    for own in found["verdict"]:
        assert own["holds"], own
        assert f"| {own['what']} | {own['found']} |" in page
