"""The accuracy bench: counting, calibration, manifests, and the table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audio.samples import Samples
from benchmarks import accuracy
from benchmarks.accuracy import Hypothesis, Outcome
from benchmarks.common.scoring import (
    Edit,
    HeardWord,
    Score,
    calibrate,
    calibration_error,
    compare,
    normalise,
    script_of,
    split_words,
)
from benchmarks.corpus import manifest
from benchmarks.corpus.disturbances import DISTURBANCES, read_audio
from benchmarks.corpus.manifest import Entry, ManifestError, WordTime

DEMO = Path(__file__).parents[2] / "assets" / "demo"
SYNTHETIC = Path(__file__).parents[1] / "data" / "synthetic" / "manifest.jsonl"
SYNTHETIC_ENTRIES = manifest.read(SYNTHETIC)


class TestComparing:
    """Word and character edits, and which words of the hypothesis are right."""

    @pytest.mark.parametrize(
        ("reference", "hypothesis", "sub", "dele", "ins"),
        [
            ("one two three", "one two three", 0, 0, 0),
            ("one two three", "one too three", 1, 0, 0),
            ("one two three", "one three", 0, 1, 0),
            ("one three", "one two three", 0, 0, 1),
            ("one two", "", 0, 2, 0),
            ("", "one", 0, 0, 1),
            ("一二三", "一三", 0, 1, 0),
        ],
    )
    def test_edits_are_counted_by_kind(
        self, reference: str, hypothesis: str, sub: int, dele: int, ins: int
    ) -> None:
        """Substitutions, deletions and insertions are told apart."""
        score = compare(reference, hypothesis, audio_s=1.0).score

        assert (score.substitutions, score.deletions, score.insertions) == (
            sub,
            dele,
            ins,
        )

    def test_the_character_rate_counts_letters(self) -> None:
        """One letter of seven is wrong."""
        score = compare("one two", "one too", audio_s=1.0).score

        assert score.word_error_rate == pytest.approx(1 / 2)
        assert score.character_error_rate == pytest.approx(1 / 7)

    def test_confidence_goes_with_the_word_it_is_about(self) -> None:
        """The wrong word is the one in the middle."""
        heard = compare(
            "one two three",
            "one too three",
            audio_s=1.0,
            confidences=(0.9, 0.4, 0.8),
        ).heard

        assert heard == (
            HeardWord(0.9, True),
            HeardWord(0.4, False),
            HeardWord(0.8, True),
        )

    def test_confidences_that_do_not_match_the_words_are_left_out(self) -> None:
        """Normalisation may join or split words; then nothing is known."""
        heard = compare("one", "one two", audio_s=1.0, confidences=(0.9,)).heard

        assert heard == ()

    def test_each_edit_says_what_was_heard_instead(self) -> None:
        """Nothing, of a word that was left out; a word, of nothing."""
        said, heard = "two one three four five", "too one four five six"
        compared = compare(said, heard, audio_s=1.0)

        assert compared.said == tuple(said.split())
        assert compared.edits == (
            Edit("two", "too"),
            Edit("three", ""),
            Edit("", "six"),
        )

    def test_scores_add_up(self) -> None:
        """The rate of a sum is over all words, not a mean of rates."""
        long = compare("one two three", "one two three", audio_s=3.0).score
        short = compare("one", "two", audio_s=1.0).score

        total = long + short

        assert total.word_error_rate == pytest.approx(1 / 4)
        assert total.n_clips == 2
        assert total.audio_s == 4.0

    def test_nothing_said_has_no_rate_but_insertions_per_minute(self) -> None:
        """Two words in 30 s of noise are four a minute."""
        score = compare("", "one two", audio_s=30.0).score

        assert score.word_error_rate is None
        assert score.insertions_per_minute == 4.0

    @given(st.text("abc ", max_size=20), st.text("abc ", max_size=20))
    def test_edits_explain_the_difference_in_length(self, one: str, two: str) -> None:
        """Insertions less deletions is how many words there are more."""
        reference, hypothesis = normalise(one), normalise(two)
        score = compare(reference, hypothesis, audio_s=1.0).score

        longer = len(split_words(hypothesis)) - len(split_words(reference))
        assert score.insertions - score.deletions == longer


class TestText:
    """What counts as a word, and what is not scored."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Eins,  ZWEI. Drei!", "eins zwei drei"),
            ("don\u2019t", "dont"),
            ("fu\u0308nf", "fünf"),
            ("पाँच छह।", "पाँच छह"),
        ],
    )
    def test_case_and_punctuation_are_not_scored(
        self, text: str, expected: str
    ) -> None:
        """Combining marks of a script are letters and stay."""
        assert normalise(text) == expected

    def test_unspaced_scripts_are_split_by_character(self) -> None:
        """Marks stay with what they combine with."""
        assert split_words("one 二三 पाँच") == ("one", "二", "三", "पाँच")

    @pytest.mark.parametrize(
        ("text", "script"),
        [("fünf", "Latin"), ("पाँच", "Devanagari"), ("五", "Cjk"), ("", "")],
    )
    def test_the_script_is_named(self, text: str, script: str) -> None:
        """By Unicode's names of the letters."""
        assert script_of(text) == script


class TestCalibration:
    """Confidence is compared with how often it was right."""

    def test_honest_confidence_has_no_error(self) -> None:
        """Three of four words at 0.75 are right."""
        words = [HeardWord(0.75, True)] * 3 + [HeardWord(0.75, False)]

        assert calibration_error(calibrate(words)) == pytest.approx(0)

    def test_overconfidence_is_the_distance(self) -> None:
        """Sure of everything and right half the time is wrong by a half."""
        words = [HeardWord(1.0, True), HeardWord(1.0, False)]

        (only,) = calibrate(words)

        assert (only.low, only.high, only.n_words) == (0.99, 1, 2)
        assert calibration_error([only]) == pytest.approx(0.5)

    @given(st.lists(st.floats(0, 1)))
    def test_every_word_is_in_one_bin(self, confidences: list[float]) -> None:
        """Bounds belong to one side only."""
        bins = calibrate(HeardWord(value, True) for value in confidences)

        assert sum(one.n_words for one in bins) == len(confidences)


class TestManifest:
    """Lists of recordings in two forms."""

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        """Nothing is lost between the two."""
        audio = tmp_path / "a" / "b.flac"
        audio.parent.mkdir()
        audio.touch()
        words = (WordTime("पाँच", 0.1, 0.5),)
        entries = [Entry(audio, "पाँच", "hi", "test", words), Entry(audio, "")]

        manifest.write(tmp_path / "manifest.jsonl", entries)

        assert manifest.read(tmp_path / "manifest.jsonl") == entries

    def test_columns_are_path_text_and_language(self, tmp_path: Path) -> None:
        """The language may be left out; an empty line is skipped."""
        (tmp_path / "a.wav").touch()
        listing = tmp_path / "list.tsv"
        listing.write_text("a.wav\tfünf\tde\n\na.wav\tone two\n", "utf-8")

        assert manifest.read(listing) == [
            Entry(tmp_path / "a.wav", "fünf", "de"),
            Entry(tmp_path / "a.wav", "one two"),
        ]

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("list.tsv", "only-a-path.wav"),
            ("list.tsv", "missing.wav\tone"),
            ("list.jsonl", '{"audio": "a.wav"}'),
            ("list.jsonl", "not json"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, name: str, line: str) -> None:
        """The message says which file and which line."""
        path = tmp_path / name
        path.write_text(line + "\n", "utf-8")

        with pytest.raises(ManifestError, match=f"{name}, line 1"):
            manifest.read(path)


class TestBench:
    """From a manifest to a table, with a recogniser that is scripted."""

    @pytest.fixture
    def entries(self, tmp_path: Path) -> list[Entry]:
        rng = np.random.default_rng(0)
        made = []
        for name, text, seconds in (("a", "one two", 1), ("b", "", 3)):
            path = tmp_path / f"{name}.flac"
            soundfile.write(path, 0.1 * rng.standard_normal(8000 * seconds), 8000)
            made.append(Entry(path, text, "en" if text else "", f"set {name}"))
        return made

    @staticmethod
    def recognise(
        clips: list[Samples], scripts: list[frozenset[str]]
    ) -> list[Hypothesis]:
        """Hear "one too" in everything that is short."""
        short = Hypothesis("one too", (0.95, 0.5))
        return [short if len(clip) < 20000 else Hypothesis("", ()) for clip in clips]

    def test_every_clip_is_scored_under_every_disturbance(
        self, entries: list[Entry]
    ) -> None:
        """First as it is, then disturbed."""
        names = ["noise-20-db", "mu-law"]
        outcomes = list(accuracy.run(entries, self.recognise, disturb=names))

        heard = [outcome.disturbance for outcome in outcomes]
        assert heard == [name for name in ("none", *names) for _ in entries]
        assert outcomes[0].audio_s == pytest.approx(1.0, abs=0.01)
        assert outcomes[0].comparison.score.substitutions == 1
        assert outcomes[1].comparison.score == Score(n_clips=1, audio_s=3.0)

    @pytest.mark.parametrize(
        ("languages", "asked"),
        [
            ([], [set(), set()]),
            (["hi", "ru"], [{"Deva", "Cyrl"}] * 2),
            (["own"], [{"Latn"}, set()]),
        ],
    )
    def test_clips_may_be_restricted_to_scripts(
        self, entries: list[Entry], languages: list[str], asked: list[set[str]]
    ) -> None:
        """Those of a list, or of each clip's language where it is known."""
        told: list[frozenset[str]] = []

        def recognise(
            clips: list[Samples], scripts: list[frozenset[str]]
        ) -> list[Hypothesis]:
            told.extend(scripts)
            return [Hypothesis("one दो да", (0.9, 0.9, 0.9))] * len(clips)

        outcomes = list(accuracy.run(entries, recognise, languages=languages))

        assert told == asked
        assert accuracy.foreign(outcomes).endswith("script: 2 of 3 heard.")

    def test_an_unknown_language_is_refused(self, tmp_path: Path) -> None:
        """Before anything is loaded."""
        with pytest.raises(SystemExit):
            accuracy.parse_options([str(tmp_path), "--languages", "en", "xx"])

    def test_the_table_has_a_row_for_each_kind(self, entries: list[Entry]) -> None:
        """By set, language, script, duration and disturbance."""
        outcomes = list(accuracy.run(entries, self.recognise, disturb=["opus"]))

        rows = accuracy.table(accuracy.rows(outcomes)).splitlines()

        names = [row.split("|")[1].strip() for row in rows if row.startswith("|")]
        assert names[2:10] == [
            "set: set a",
            "set: set b",
            "language: en",
            "script: Latin",
            "duration: 0 to 2 s",
            "disturbance: none",
            "disturbance: opus",
            "all speech",
        ]
        assert "| all speech | 1 | 2 | 50.00 |" in "\n".join(rows)

    def test_words_that_are_misheard_are_listed_most_frequent_first(self) -> None:
        """With what is heard instead; disturbed clips do not count."""
        heard = [("three two", "eight two"), ("three", "eight"), ("three", "thre")]
        heard += [("two", ""), ("", "six"), ("three", "three")]
        outcomes = [
            Outcome(
                Entry(Path("a"), said),
                "none",
                1.0,
                text,
                compare(said, text, audio_s=1),
            )
            for said, text in heard
        ]
        outcomes.append(replace(outcomes[3], disturbance="opus"))

        assert accuracy.misheard(outcomes, 2).splitlines()[2:] == [
            "| three | 4 | 3 | eight 2, thre 1 |",
            "| (nothing) |  | 1 | six 1 |",
        ]
        assert "| two | 2 | 1 | (nothing) 1 |" in accuracy.misheard(outcomes, 20)

    def test_each_outcome_is_one_json_line(self, entries: list[Entry]) -> None:
        """With both texts and every count."""
        outcome = next(accuracy.run(entries, self.recognise))

        fields = json.loads(accuracy.json_line(outcome))

        assert fields["reference"] == "one two"
        assert fields["hypothesis"] == "one too"
        assert fields["substitutions"] == 1
        assert fields["words"][1] == {"confidence": 0.5, "correct": False}

    def test_a_list_of_recordings_is_all_it_takes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As the README has it, with the bundled model: a table and JSON lines."""
        entry = next(e for e in SYNTHETIC_ENTRIES if e.audio.stem == "es-3")
        listing = tmp_path / "list.tsv"
        listing.write_text(f"{entry.audio}\t{entry.text}\tes\n", "utf-8")
        output, rows = tmp_path / "clips.jsonl", tmp_path / "rows.jsonl"
        arguments = [str(listing), "--disturb", "noise-10-db", "opus", "--words", "5"]
        arguments += ["--device", "cpu", "--dtype", "float32", "--threads", "1"]

        accuracy.main([*arguments, "--output", str(output), "--rows", str(rows)])

        table = capsys.readouterr().out
        assert accuracy.table(accuracy.read_rows(rows)) in table
        assert "| language: es | 1 | 3 |" in table
        assert "| disturbance: opus | 1 | 3 |" in table
        assert "| word | said | misheard | as |" in table
        assert len(output.read_text("utf-8").splitlines()) == 3

    def test_rows_are_kept_as_lines(self, entries: list[Entry], tmp_path: Path) -> None:
        """A file of rows gives the same table again."""
        rows = accuracy.rows(list(accuracy.run(entries, self.recognise)))
        path = tmp_path / "rows.jsonl"
        lines = [accuracy.row_line(name, rows[name]) + "\n" for name in rows]

        path.write_text("".join(lines), "utf-8")

        assert accuracy.read_rows(path) == rows

    def test_all_stands_for_every_disturbance(self) -> None:
        """And an unknown one is refused with the list of those there are."""
        assert accuracy.parse_options(["a.tsv", "--disturb", "all"]).disturb == [
            *DISTURBANCES
        ]
        with pytest.raises(SystemExit):
            accuracy.parse_options(["a.tsv", "--disturb", "moonlight"])

    def test_fewer_words_than_none_are_refused(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """They would otherwise be counted from the end of the list."""
        with pytest.raises(SystemExit):
            accuracy.parse_options(["a.tsv", "--words", "-1"])

        assert "--words: -1" in capsys.readouterr().err

    def test_a_clip_too_long_for_the_model_is_refused(self, tmp_path: Path) -> None:
        """With the advice to cut it."""
        path = tmp_path / "long.flac"
        soundfile.write(path, np.zeros(41 * 8000), 8000)

        with pytest.raises(ManifestError, match="cut it into sentences"):
            list(accuracy.run([Entry(path, "one")], self.recognise))


class TestDisturbances:
    """Each does what its name says, the same each time."""

    @pytest.fixture
    def clip(self) -> Samples:
        return read_audio(SYNTHETIC.parent / "de-3.flac")

    @staticmethod
    def disturb(name: str, clip: Samples) -> Samples:
        return DISTURBANCES[name](clip, np.random.default_rng(1))

    @pytest.mark.parametrize("name", DISTURBANCES)
    def test_the_same_seed_gives_the_same_samples(
        self, name: str, clip: Samples
    ) -> None:
        """Mono float32 within full scale, and something has changed."""
        once, again = self.disturb(name, clip), self.disturb(name, clip)

        np.testing.assert_array_equal(once, again)
        assert once.dtype == np.float32
        assert once.ndim == 1
        assert not np.array_equal(once, clip)

    @pytest.mark.parametrize("db", [20, 10, 5])
    def test_noise_has_the_level_that_was_asked_for(
        self, db: int, clip: Samples
    ) -> None:
        """At 10 dB its power is a tenth of the clip's."""
        noise = self.disturb(f"noise-{db}-db", clip) - clip

        ratio = noise.var() / clip.var()
        assert ratio == pytest.approx(10 ** (-db / 10), rel=0.05)

    @pytest.mark.parametrize(
        ("name", "factor"),
        [
            ("speed-0.85", 0.85),
            ("speed-1.2", 1.2),
            ("tempo-0.75", 0.75),
            ("tempo-1.3", 1.3),
        ],
    )
    def test_faster_speech_is_shorter(
        self, name: str, factor: float, clip: Samples
    ) -> None:
        """Within a frame of the filter."""
        changed = self.disturb(name, clip)

        assert len(changed) == pytest.approx(len(clip) / factor, abs=1200)

    @pytest.mark.parametrize(("name", "higher"), [("speed-1.2", 1.2), ("tempo-1.3", 1)])
    def test_speed_moves_the_pitch_and_tempo_does_not(
        self, name: str, higher: float
    ) -> None:
        """A tone of 400 Hz tells them apart."""
        tone = np.sin(2 * np.pi * 400 / 16000 * np.arange(32000)).astype(np.float32)

        changed = self.disturb(name, 0.5 * tone)

        hertz = np.argmax(np.abs(np.fft.rfft(changed))) * 16000 / len(changed)
        assert hertz == pytest.approx(400 * higher, rel=0.02)

    @pytest.mark.parametrize("name", ["8-khz", "mu-law"])
    def test_a_narrow_band_has_nothing_above_4_khz(self, name: str) -> None:
        """White noise shows the edge."""
        noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32)

        spectrum = np.abs(np.fft.rfft(self.disturb(name, 0.1 * noise)))

        edge = len(spectrum) * 4200 // 8000
        assert spectrum[edge:].mean() < 0.02 * spectrum[:edge].mean()

    @pytest.mark.parametrize(
        ("name", "db"), [("step-down-20-db", -20), ("step-up-20-db", 20)]
    )
    def test_a_step_changes_the_second_half(self, name: str, db: int) -> None:
        """And leaves the first as it was."""
        quiet = np.full(1000, 0.01, np.float32)

        changed = self.disturb(name, quiet)

        np.testing.assert_array_equal(changed[:500], quiet[:500])
        np.testing.assert_allclose(changed[500:], 0.01 * 10 ** (db / 20), rtol=1e-5)


class TestModelCard:
    """What `assets/demo/README.md` says is what was measured."""

    @pytest.mark.parametrize("name", ["accuracy.jsonl", "disturbed.jsonl"])
    def test_its_figures_are_those_of_the_bench(self, name: str) -> None:
        """Every row of the kept measurement, as the bench prints it."""
        rows = accuracy.read_rows(DEMO / name)

        lines = set((DEMO / "README.md").read_text("utf-8").splitlines())

        missing = {*accuracy.table(rows).splitlines()[2:]} - lines
        assert len(rows) > 5
        assert not missing


class TestSyntheticClips:
    """The clips in `tests/data/synthetic` are what their manifest says."""

    def test_all_languages_are_there(self) -> None:
        """The four that have no human recordings."""
        languages = {entry.language for entry in SYNTHETIC_ENTRIES}

        assert languages == {"es", "de", "hi", "cmn"}

    @pytest.mark.parametrize("entry", SYNTHETIC_ENTRIES, ids=lambda e: e.audio.stem)
    def test_words_are_in_order_and_within_the_clip(self, entry: Entry) -> None:
        """Times rise, and the words are those of the text."""
        info = soundfile.info(entry.audio)

        times = [time for word in entry.words for time in (word.start_s, word.end_s)]

        assert times == sorted(times)
        assert times[-1] <= info.duration
        assert info.samplerate == 16000
        assert [word.text for word in entry.words] == list(split_words(entry.text))

    @pytest.mark.parametrize("entry", SYNTHETIC_ENTRIES, ids=lambda e: e.audio.stem)
    def test_sound_is_where_the_words_are(self, entry: Entry) -> None:
        """Words are louder than what lies outside of all of them."""
        samples, rate = soundfile.read(entry.audio, dtype="float32")
        inside = np.zeros(len(samples), bool)
        for word in entry.words:
            inside[round(word.start_s * rate) : round(word.end_s * rate)] = True

        assert samples[inside].std() > 30 * samples[~inside].std()

    def test_they_take_less_than_a_megabyte(self) -> None:
        """They lie in the repository."""
        files = SYNTHETIC.parent.iterdir()

        assert sum(file.stat().st_size for file in files) < 1_000_000
