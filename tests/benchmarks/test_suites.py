"""The streaming suites: what they promise of the speech that they are composed of."""

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio.samples import SAMPLE_RATE
from benchmarks.corpus import composer, suites
from benchmarks.corpus.suites import PLANS, Material, Stream, compose, load

Whole = Callable[[str], list[Stream]]


@pytest.fixture(scope="module")
def material() -> Material:
    return load()


@pytest.fixture(scope="module")
def whole(material: Material) -> Whole:
    """Composes a suite of full size, once."""
    return cache(lambda name: compose(name, material))


def pauses_s(stream: Stream) -> list[float]:
    """Between the words of the same utterance."""
    return [
        (after.start - before.end) / SAMPLE_RATE
        for one in stream.utterances
        for before, after in pairwise(one.words)
    ]


class TestCompose:
    @pytest.mark.parametrize("name", PLANS)
    def test_there_is_enough_of_it(self, name: str, whole: Whole) -> None:
        """A thousand words; and 150 utterances, where they are not monologues."""
        streams = whole(name)

        assert sum(len(stream.words) for stream in streams) >= 1000
        utterances = sum(len(stream.utterances) for stream in streams)
        assert utterances >= 150 or name == "S4"

    @pytest.mark.parametrize(
        ("name", "shortest", "longest"),
        [("S1", 0.15, 0.3), ("S2", 0.02, 0.08), ("S4", 0.02, 0.3), ("S5", 0.15, 0.7)],
    )
    def test_pauses_within_utterances_are_as_said(
        self, name: str, shortest: float, longest: float, whole: Whole
    ) -> None:
        """To a sample."""
        found = [pause for one in whole(name)[:3] for pause in pauses_s(one)]

        assert min(found) >= shortest - 1e-4
        assert max(found) <= longest + 1e-4

    def test_the_monologue_lasts_two_minutes(self, whole: Whole) -> None:
        """And is one utterance."""
        streams = whole("S4")

        assert all(len(stream.utterances) == 1 for stream in streams)
        assert all(110 < stream.duration_s < 150 for stream in streams)

    def test_utterances_of_s3_last_2_to_15_seconds(self, whole: Whole) -> None:
        """More or less: recordings differ in length."""
        lengths = [
            (one.end - one.start) / SAMPLE_RATE
            for stream in whole("S3")
            for one in stream.utterances
        ]

        assert min(lengths) < 2.5
        assert 10 < max(lengths) < 20

    def test_words_are_repeated_in_s8(self, material: Material) -> None:
        """Each of them."""
        (stream,) = compose("S8", material, quick=True)

        for one in stream.utterances:
            texts = [word.text for word in one.words]
            runs = sum(a != b for a, b in pairwise(texts)) + 1
            assert len(texts) >= 2 * runs

    def test_the_level_steps_in_s7(self, whole: Whole) -> None:
        """By 12 dB between two words, up or down."""
        kinds = {one.kind for stream in whole("S7")[:4] for one in stream.utterances}

        assert kinds == {"up", "down"}

    def test_noise_is_as_loud_as_said(self, material: Material) -> None:
        """Measured in the lead, against the words without it."""
        noisy = compose("S6", material, quick=True)[0]

        lead = noisy.samples[: noisy.words[0].start]
        spoken = np.concatenate(
            [noisy.samples[word.start : word.end] for word in noisy.words]
        )
        snr_db = 10 * np.log10((spoken.var() - lead.var()) / lead.var())
        assert noisy.utterances[0].kind == "20 dB"
        assert snr_db == pytest.approx(20, abs=0.5)

    def test_mandarin_has_a_word_for_each_character(self, material: Material) -> None:
        """In a script without spaces."""
        (stream,) = compose("S9", material, quick=True)

        assert all(len(word.text) == 1 for word in stream.words)
        assert all("\u4e00" <= word.text <= "\u9fff" for word in stream.words)

    def test_it_is_the_same_every_time(self, material: Material) -> None:
        """To the sample."""
        first, second = (compose("S6", material, quick=True)[0] for _ in range(2))

        assert np.array_equal(first.samples, second.samples)
        assert first.utterances == second.utterances

    def test_words_lie_where_they_sound(self, material: Material) -> None:
        """And what is between them is room tone."""
        (stream,) = compose("S1", material, quick=True)

        for before, after in pairwise(stream.words):
            assert np.abs(stream.samples[before.start : before.end]).max() > 0.1
            assert np.abs(stream.samples[before.end : after.start]).max() < 0.01


class TestFolders:
    def test_a_recording_with_a_silence_inside_is_left_out(
        self, tmp_path: Path
    ) -> None:
        """Its word ends long before it does."""
        one, two = composer.load(speakers=("lucas",), indexes=(0,))[1:3]
        silence = np.zeros(SAMPLE_RATE // 2, np.float32)
        clicks = np.concatenate([two.samples, silence, two.samples[-2000:]])
        for name, samples in (("1_ann_0", one.samples), ("2_ann_0", clicks)):
            soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE)

        assert [recording.word for recording in load(tmp_path).spoken] == ["one"]

    def test_recordings_of_ones_own_are_read(self, tmp_path: Path) -> None:
        """All speakers and indexes, whatever they are called."""
        for digit, speaker, index in ((1, "ann", 7), (2, "bob", 0)):
            recording = composer.load(indexes=(0,))[digit]
            path = tmp_path / f"{digit}_{speaker}_{index}.wav"
            soundfile.write(path, recording.samples, SAMPLE_RATE)

        found = load(tmp_path).spoken

        assert {(one.word, one.speaker) for one in found} == {
            ("one", "ann"),
            ("two", "bob"),
        }

    def test_what_is_written_has_its_words_beside_it(self, tmp_path: Path) -> None:
        """One line each, with the samples where they begin and end."""
        suites.main([str(tmp_path), "--suite", "S3", "--quick"])

        lines = (tmp_path / "S3" / "manifest.jsonl").read_text().splitlines()
        first = json.loads(lines[0])
        samples, rate = soundfile.read(tmp_path / "S3" / first["audio"])
        assert set(first) == {"audio", "word", "start", "end", "utterance"}
        assert rate == SAMPLE_RATE
        assert np.abs(samples[first["start"] : first["end"]]).max() > 0.1

    def test_recordings_without_a_truth_get_silence_around(
        self, tmp_path: Path
    ) -> None:
        """So that their end can be found."""
        (stream,) = suites.real(
            [tmp_path / "x.wav"], lambda path: np.ones(100, np.float32)
        )

        assert stream.name == "x"
        assert stream.utterances == ()
        assert stream.samples[:100].max() == 0
        assert stream.samples.sum() == 100
