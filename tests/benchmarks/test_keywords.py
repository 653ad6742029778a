"""The measurement of keywords: what it counts, and its goals on the bundled model."""

import json
from pathlib import Path

import pytest
import soundfile

from audio.samples import SAMPLE_RATE
from benchmarks import keywords
from benchmarks.common import documents
from benchmarks.corpus import composer
from benchmarks.keywords import Corpus, Counts
from model import ASRModel
from text.keywords import Speller

DIGITS = tuple(composer.WORDS)


class TestCounting:
    def test_broken_are_right_words_gone_wrong_and_inserted_ones(self) -> None:
        """And words of the list are counted by themselves."""
        counts = Counts()

        counts.note(
            ("one", "two", "three"),
            ("one", "tow", "three"),
            ("won", "two", "three", "four"),
            {"two", "one"},
        )

        assert counts.row() == {
            "n_words": 3,
            "wer": pytest.approx(2 / 3, abs=1e-4),
            "recall": 0.5,
            "broken": pytest.approx(2000 / 3, abs=0.01),
        }

    def test_words_that_nobody_says_can_be_written(self, demo_model: ASRModel) -> None:
        """And neither they nor near ones are said."""
        speller = Speller(demo_model.vocabulary)

        absent = keywords.absent_names({"akan"}, ("Seri",), speller)
        near = keywords.near_words(DIGITS, set(DIGITS))

        assert len(absent) > keywords.N_ABSENT
        assert not speller.left_out(absent)
        assert not {"akan", "seri"} & set(absent)
        assert len(near) == keywords.N_NEAR
        assert not set(DIGITS) & set(near)


@pytest.fixture(scope="module")
def corpus(demo_model: ASRModel) -> Corpus:
    clips = keywords.strings("en test recordings", composer.load(), 18)
    speller = Speller(demo_model.vocabulary)
    return Corpus("digits", tuple(clips), keywords.lists_of(DIGITS, clips, speller))


class TestMeasuring:
    def test_the_right_list_helps_and_names_that_nobody_says_do_no_harm(
        self, demo_model: ASRModel, corpus: Corpus
    ) -> None:
        """A short form of what the document's table shows."""
        rows = list(
            keywords.measure_lists(
                demo_model, corpus, [2.5], conditions=("clean", "noise-5-db")
            )
        )

        of = {(row["list"], row["condition"]): row for row in rows}
        for condition in ("clean", "noise-5-db"):
            plain = of["none", condition]["wer"]
            assert of["all", condition]["wer"] <= plain
            assert of["100 absent", condition]["broken"] <= 0.7

    def test_recordings_of_ones_own_are_measured_with_ones_own_list(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """All lines are written, and a table."""
        for index, one in enumerate(composer.load(speakers=("lucas",))[:3]):
            soundfile.write(tmp_path / f"{index}.wav", one.samples, SAMPLE_RATE)
        manifest = tmp_path / "own.jsonl"
        entries = [{"audio": f"{k}.wav", "text": "Zero"} for k in range(3)]
        manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        listed = tmp_path / "list.txt"
        listed.write_text("Zero\nHäagen-Dazs\n")
        output = tmp_path / "rows.jsonl"

        keywords.main(
            [
                *("--recordings", str(manifest), "--keywords", str(listed)),
                *("--condition", "clean", "--quick", "--output", str(output)),
                *("--boost", "2", "3"),
            ]
        )

        rows = documents.read_rows(output)
        assert {row["set"] for row in rows if row.get("kind") == "list"} == {"own"}
        assert {row["words"] for row in rows if row.get("kind") == "noise"} == {0}
        assert "| own, all | 2 |" in capsys.readouterr().out

    def test_a_list_without_recordings_is_refused(self) -> None:
        """They go together."""
        with pytest.raises(SystemExit):
            keywords.main(["--keywords", "list.txt"])


class TestGoals:
    """Of the committed figures, as far as they are about this repository's speech."""

    def test_they_are_met(self) -> None:
        """Ten digits, names that are not said, silence, and the time it takes."""
        rows = documents.read_rows(documents.RESULTS / "keywords.jsonl")
        of = {
            (row["set"], row["list"], row["condition"]): row
            for row in rows
            if row.get("kind") == "list" and row.get("boost", 2.5) == 2.5
        }

        assert of["digits", "all", "clean"]["wer"] <= 0.006
        assert of["digits", "all", "noise-5-db"]["wer"] <= 0.024
        for condition in keywords.CONDITIONS:
            assert of["digits", "100 absent", condition]["broken"] <= 0.7
            assert of["digits", "100 absent", condition]["ms_per_s"] <= 2
        assert not any(row["words"] for row in rows if row.get("kind") == "noise")
