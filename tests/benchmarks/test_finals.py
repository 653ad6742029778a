"""The benchmark of what a span's edges do to its text."""

import json

import numpy as np
import pytest

from benchmarks import finals
from benchmarks.corpus.composer import SpokenWord
from benchmarks.corpus.suites import Stream, Utterance
from benchmarks.finals import CLIP, EXCESS, FINAL, GRIDS, VARIANTS, Case

SILENCE = np.zeros(100_000, np.float32)


def case(said: str) -> Case:
    return Case("S1-00, 1", SILENCE, tuple(said.split()), (0, 9000), (500, 8000))


def test_it_prints_every_variant_and_what_undoes_a_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two utterances, with the bundled model."""
    finals.main(["--quick"])

    lines = capsys.readouterr().out.splitlines()
    *rows, run = (json.loads(line) for line in lines if line.startswith("{"))
    assert [row["what"] for row in rows] == [*VARIANTS, EXCESS]
    assert run["n_utterances"] == 2
    assert finals.table(rows).splitlines()[-1] in lines
    by_name = {row["what"]: row for row in rows}
    assert by_name[CLIP]["gap"]["value"] == by_name[CLIP]["differ"] == 0
    assert by_name[FINAL]["wer"] < 30


def test_errors_are_compared_with_the_clips_and_with_their_average() -> None:
    """In points: one word of ten is ten points."""
    every = [case("one two three four five"), case("six seven eight nine zero")]
    right = [one.said for one in every]
    wrong = [every[0].said[:-1], every[1].said]
    heard = dict.fromkeys(VARIANTS, right)
    heard |= {FINAL: wrong, GRIDS[1]: wrong, GRIDS[2]: wrong}

    *rows, excess = finals.figures(every, heard)

    (row,) = (row for row in rows if row["what"] == FINAL)
    assert row["gap"]["value"] == row["wer"] == pytest.approx(10)
    assert (row["differ"], row["worse"], row["better"]) == (1, 1, 0)
    assert excess["gap"]["value"] == pytest.approx(10 - 10 * 2 / len(GRIDS))


def test_differences_say_what_undoes_them() -> None:
    """And nothing of utterances in which the final says what the clip says."""
    every = [case("one two"), case("three")]
    right = [one.said for one in every]
    wrong = [("one", "too"), ("three",)]
    heard = dict.fromkeys(VARIANTS, right) | {
        FINAL: wrong,
        "the final with the clip's end": wrong,
    }

    first, *others = finals.differences(every, heard).splitlines()

    assert first.endswith("cured by the clip's beginning, the clip's normalisation")
    assert len(others) == 3


def test_an_utterance_in_two_finals_reaches_from_the_first_to_the_last() -> None:
    """And one that has none has no span."""
    words = [SpokenWord("one", 20_000, 30_000), SpokenWord("two", 70_000, 80_000)]
    stream = Stream("S1-00", SILENCE, tuple(Utterance((word,)) for word in words))

    first, second = finals.cases(stream, [(16_000, 25_000), (25_000, 33_000)])

    assert first.final == (16_000, 33_000)
    assert first.clip == (20_000 - 4800, 30_000 + 4800)
    assert second.final is None
