"""The measurement of languages: what it counts, and its goals on the bundled model."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import languages
from benchmarks.common import documents
from benchmarks.keywords import Clip
from languages.hints import read_hints
from model import ASRModel
from text.ctc import Word


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, 0, 1, 0.5, True) for text in texts)


class TestCounting:
    def test_foreign_letters_are_counted_by_words(self) -> None:
        """Beside errors and confidence."""
        clips = [Clip(np.zeros(1, np.float32), ("eins", "zwei"))]

        row = languages.mask_row(clips, [words("eins", "दो")], "deu_Latn")

        assert row == {
            "n_words": 2,
            "wer": 0.5,
            "heard": 2,
            "foreign": 1,
            "confidence": 0.5,
        }

    def test_names_are_counted_and_how_many_are_right(self) -> None:
        """By scripts alone; texts of few words apart from long ones."""
        hints = read_hints(None, ["hi", "de", "zh"])

        rows = languages.detection_rows(
            ["एक", "eins zwei drei vier", "123"], [1, 4, 3], "hin_Deva", hints
        )

        every, longer = (row for row in rows if row["by"] == "scripts")
        assert (every["n"], every["named"], every["right"]) == (3, 2, 1)
        assert (longer["n"], longer["named"], longer["right"]) == (1, 1, 0)


class TestMeasuring:
    def test_lists_keep_other_scripts_out_and_do_no_harm(
        self, demo_model: ASRModel
    ) -> None:
        """A short form of what the document's tables show."""
        corpora = {
            name: clips
            for name, clips in languages.bundled(9).items()
            if name in ("en", "hi")
        }

        rows = list(languages.measure(demo_model, corpora, ["noise-10-db"]))

        of = {(r["set"], r["mask"]): r for r in rows if r["kind"] == "mask"}
        for name in corpora:
            assert of[name, "own"]["foreign"] == 0
            assert of[name, "own"]["wer"] <= of[name, "none"]["wer"]
            assert of[name, "wrong"]["heard"] < of[name, "own"]["heard"]
        named = [r for r in rows if r["kind"] == "detection" and r["hints"] == "list"]
        assert all(r["right"] == r["named"] == r["n"] for r in named)

    def test_everything_is_printed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Own recordings make up the list; the tables come last."""
        manifest = Path(languages.__file__).parents[1] / "tests/data/synthetic"
        output = tmp_path / "rows.jsonl"

        languages.main(
            [
                *("--recordings", str(manifest / "manifest.jsonl"), "--quick"),
                *("--condition", "clean", "--output", str(output)),
            ]
        )

        rows = documents.read_rows(output)
        assert {r["set"] for r in rows if "set" in r} == {"es", "de", "hi", "cmn"}
        assert "| all |" in capsys.readouterr().out


class TestGoals:
    """Of the committed figures."""

    def test_lists_do_no_harm(self) -> None:
        """Own scripts never add errors, no letter is foreign, confidence is low."""
        rows = documents.read_rows(documents.RESULTS / "languages.jsonl")
        of = {
            (r["set"], r["condition"], r["mask"]): r
            for r in rows
            if r.get("kind") == "mask"
        }
        for name, condition, mask in of:
            row, plain = of[name, condition, mask], of[name, condition, "none"]
            if mask == "own":
                assert row["wer"] <= plain["wer"]
                assert row["foreign"] == 0
            if mask == "wrong" and row["confidence"] is not None:
                assert row["confidence"] < 0.5 * plain["confidence"]

    def test_languages_are_found(self) -> None:
        """Among listed ones nearly always; without a list, what is named is right."""
        rows = documents.read_rows(documents.RESULTS / "languages_detection.jsonl")
        by_words = [r for r in rows if r.get("by") == "words"]

        def shares(hints: str, least: int) -> tuple[float, float]:
            own = [
                r for r in by_words if (r["hints"], r["min_words"]) == (hints, least)
            ]
            n, named, right = (
                sum(r[name] for r in own) for name in ("n", "named", "right")
            )
            return right / n, right / max(named, 1)

        assert shares("list", 1)[0] >= 0.95
        assert shares("list", 4)[0] >= 0.98
        assert shares("none", 1)[1] >= 0.99

    def test_lists_cost_nothing_that_can_be_measured(self) -> None:
        """A pass takes as long with one as without."""
        rows = documents.read_rows(documents.RESULTS / "languages_cost.jsonl")
        ratios = [r["ratio"] for r in rows if r.get("what") == "pass"]

        assert max(ratios) <= 1.02
