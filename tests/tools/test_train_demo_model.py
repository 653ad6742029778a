"""The training tool: what it refuses, what it feeds the network, what it ships."""

from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio.samples import SAMPLE_RATE, Samples
from tools.demo_model import augment, network, voices
from tools.demo_model.clips import (
    NO_WORD,
    SHORT_STRINGS_UNTIL,
    UNKNOWN,
    Cast,
    Steps,
    compose,
    draw_clips,
)
from tools.demo_model.export import card, tokenizer_model
from tools.demo_model.scoring import count_errors
from tools.demo_model.vocabulary import TOKENS, Word, decode_greedily, encode, spell
from tools.demo_model.voices import HeldOutRecording, MissingInput, Split, Voice
from tools.train_demo_model import Trainer, parse_options
from weights.tokenizers import read_vocabulary

ASSETS = Path(__file__).parents[2] / "assets" / "demo"


def tone(seconds: float, hertz: float = 300.0) -> Samples:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * time), np.float32)


def voice(name: str, language: str, *, human: bool = False) -> Voice:
    speaker = Voice(name, language, human)
    for digit in range(10):
        speaker.add_recording((Word(language, digit),), tone(0.3, 200 + 50 * digit))
    return speaker


def cast() -> Cast:
    return Cast([voice("a", "en", human=True), voice("b", "en"), voice("c", "cmn")])


class TestHeldOutRecordings:
    """Recordings 0 to 4 are the test set, and are never opened."""

    @pytest.mark.parametrize("index", range(5))
    def test_a_test_recording_is_refused_by_name(self, index: int) -> None:
        """The name is enough: the file need not even exist."""
        with pytest.raises(HeldOutRecording, match=f"3_george_{index}"):
            voices.parse_recording(Path(f"3_george_{index}.wav"))

    def test_a_training_recording_is_taken_apart(self) -> None:
        """Digit, speaker and index come from the name."""
        assert voices.parse_recording(Path("x/3_george_15.wav")) == (3, "george", 15)

    def test_a_folder_is_read_without_them(self, tmp_path: Path) -> None:
        """Unreadable test recordings do no harm, since they are not read."""
        for index in range(5):
            (tmp_path / f"7_george_{index}.wav").write_bytes(b"not audio")
        soundfile.write(tmp_path / "7_george_5.wav", tone(0.3), 8000)

        found = voices.recorded_voices(tmp_path, indices=range(50))

        assert [one.name for one in found] == ["george"]
        assert [u.words for u in found[0].utterances] == [(Word("en", 7),)]

    def test_a_speaker_can_be_left_out(self, tmp_path: Path) -> None:
        """The left-out speaker gives no voice."""
        for speaker in ("george", "lucas"):
            soundfile.write(tmp_path / f"7_{speaker}_9.wav", tone(0.3), 8000)

        found = voices.recorded_voices(tmp_path, indices=[9], without="lucas")

        assert [one.name for one in found] == ["george"]

    def test_a_folder_without_any_is_an_error(self, tmp_path: Path) -> None:
        """The message names the folder and what it should hold."""
        soundfile.write(tmp_path / "7_george_46.wav", tone(0.3), 8000)
        soundfile.write(tmp_path / "a_voice_memo.wav", tone(0.3), 8000)
        expected = f"{tmp_path} has no recordings .* with n from 5 to 45"

        with pytest.raises(MissingInput, match=expected):
            voices.recorded_voices(tmp_path, indices=range(5, 46))

    def test_nobody_but_the_left_out_speaker_is_an_error(self, tmp_path: Path) -> None:
        """At least one speaker has to be left."""
        soundfile.write(tmp_path / "7_george_46.wav", tone(0.3), 8000)

        with pytest.raises(MissingInput, match="of others than george"):
            voices.recorded_voices(tmp_path, indices=[46], without="george")

    def test_a_missing_synthesiser_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So is the package that has it."""
        monkeypatch.setenv("PATH", str(tmp_path))

        with pytest.raises(MissingInput, match=r"espeak-ng is not installed .* apt"):
            voices.synthetic_voices(tmp_path / "voices", Split.HELD_OUT)

    def test_held_out_synthetic_voices_are_none_of_the_others(self) -> None:
        """No variant is on both lists."""
        assert not {*voices.VARIANTS} & {*voices.HELD_OUT_VARIANTS}
        assert not {*voices.SELECTION_VARIANTS} & {*voices.HELD_OUT_VARIANTS}
        assert not {*voices.SELECTION_VARIANTS} & {*voices.VARIANTS}
        assert not {*voices.FLITE} & {*voices.HELD_OUT_FLITE}

    def test_the_checkpoint_is_not_chosen_on_the_test_set(self) -> None:
        """Selection recordings lie within 5 to 49."""
        assert not {*voices.SELECTION} & {*voices.TEST_INDICES}


class TestAugmentation:
    """Every effect keeps its promise on length, level and pitch."""

    @pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
    def test_stretching_changes_the_length_and_not_the_pitch(
        self, factor: float
    ) -> None:
        """A tone of 300 Hz stays one, and lasts `factor` times as long."""
        stretched = augment.stretch(tone(1.0), factor)

        spectrum = np.abs(np.fft.rfft(stretched))
        hertz = np.argmax(spectrum) * SAMPLE_RATE / len(stretched)
        assert len(stretched) == pytest.approx(factor * 16000, abs=2)
        assert hertz == pytest.approx(300, abs=10)

    @pytest.mark.parametrize("factor", [0.8, 1.25])
    def test_a_higher_speed_is_shorter_and_higher(self, factor: float) -> None:
        """Pitch and duration change together."""
        faster = augment.change_speed(tone(1.0), factor)

        spectrum = np.abs(np.fft.rfft(faster))
        hertz = np.argmax(spectrum) * SAMPLE_RATE / len(faster)
        assert len(faster) == pytest.approx(16000 / factor, abs=2)
        assert hertz == pytest.approx(300 * factor, abs=5)

    @pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
    def test_formants_move_and_the_pitch_stays(self, factor: float) -> None:
        """A buzz of 125 Hz with a resonance at 1000 Hz, which moves alone."""
        time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
        shape = [1 / (1 + ((125 * k - 1000) / 250) ** 2) for k in range(1, 60)]
        waves = [a * np.sin(2 * np.pi * 125 * k * time) for k, a in enumerate(shape, 1)]
        buzz = np.asarray(0.1 * np.sum(waves, axis=0), np.float32)

        moved = augment.shift_formants(buzz, factor)

        power = np.abs(np.fft.rfft(moved)) ** 2
        hertz = np.arange(len(power)) * SAMPLE_RATE / len(moved)
        harmonics = power[np.abs(hertz % 125 - 62.5) > 52.5].sum() / power.sum()
        assert moved.shape == buzz.shape
        assert harmonics > 0.95
        assert hertz[np.argmax(power)] == pytest.approx(1000 * factor, abs=63)

    def test_formants_can_move_along_a_curve(self) -> None:
        """A level curve is one factor; a bent one moves each place by its own."""
        noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32)

        level = augment.shift_formants(noise, [1.1] * 6)
        bent = augment.shift_formants(noise, [1.1, 1.1, 1.1, 0.9, 0.9, 0.9])

        np.testing.assert_allclose(level, augment.shift_formants(noise, 1.1), atol=1e-5)
        assert np.abs(bent - level).max() > 0.01

    def test_trimming_cuts_what_is_quieter(self) -> None:
        """Quiet ends go, the loud middle stays to within a window and a fade."""
        quiet = 0.01 * tone(0.1)
        clip = np.concatenate([quiet, tone(0.3), quiet])

        trimmed = augment.trim_quiet(clip, -30)

        assert len(trimmed) == pytest.approx(0.3 * SAMPLE_RATE, abs=160)
        assert augment.trim_quiet(clip, -50).shape == clip.shape

    @pytest.mark.parametrize(("codec", "container", "bit_rate"), voices.CODECS)
    def test_a_codec_keeps_the_time_line(
        self, codec: str, container: str, bit_rate: int
    ) -> None:
        """What comes back is as long as what went in, and not shifted."""
        rng = np.random.default_rng(0)
        clip = tone(3.0) * np.repeat(rng.uniform(0, 1, 30), 1600).astype(np.float32)

        decoded = augment.transcode(clip, codec, container, bit_rate)

        assert decoded.shape == clip.shape
        assert np.corrcoef(decoded, clip)[0, 1] > 0.9

    @given(seed=st.integers(0, 2**32))
    def test_roughening_keeps_shape_and_stays_finite(self, seed: int) -> None:
        """Whatever is drawn, a batch stays a batch of finite samples."""
        clips = np.stack([tone(0.5), np.zeros(8000, np.float32)])

        rough = augment.roughen(clips, np.random.default_rng(seed))

        assert rough.shape == clips.shape
        assert rough.dtype == np.float32
        assert np.isfinite(rough).all()

    @given(seed=st.integers(0, 2**32))
    def test_non_speech_is_within_full_scale(self, seed: int) -> None:
        """Silence, noise and music have the length asked for and do not clip."""
        clip = augment.non_speech(8000, np.random.default_rng(seed))

        assert clip.shape == (8000,)
        assert np.abs(clip).max() <= 1.0

    def test_the_input_is_normalised_as_the_server_does(self) -> None:
        """Zero mean and unit variance with layer norm's epsilon."""
        clips = np.stack([tone(0.5) + 0.2, 1e-3 * tone(0.5)])

        expected = torch.nn.functional.layer_norm(torch.from_numpy(clips), (8000,))

        np.testing.assert_allclose(
            augment.standardise(clips), expected.numpy(), atol=1e-4
        )

    def test_companding_is_close_at_every_level(self) -> None:
        """The error of 8-bit mu-law follows the level: about 38 dB below it."""
        for level in (1.0, 0.1, 0.02):
            clip = level * tone(0.2)[None]
            error = augment.companded(clip) - clip
            assert error.std() < 0.03 * clip.std()


class TestDrawnVoices:
    """Speakers that espeak-ng does not have."""

    def test_a_variant_is_what_espeak_reads(self) -> None:
        """A header, then one setting a line; frequencies are per cent."""
        lines = voices.drawn_variant("drawn7", Random(0)).splitlines()

        settings = [line.split() for line in lines]
        assert settings[:2] == [["language", "variant"], ["name", "drawn7"]]
        formants = [one for one in settings if one[0] == "formant"]
        assert [int(one[1]) for one in formants] == list(range(9))
        assert all(10 <= int(one[2]) <= 180 for one in formants)

    def test_some_have_formants_that_do_not_belong_together(self) -> None:
        """Most have a whole throat: its formants are moved by about the same."""
        rng = Random(0)

        def spread() -> float:
            lines = voices.drawn_variant("x", rng).splitlines()
            settings = [line.split() for line in lines if line.startswith("formant")]
            moved = [int(one[2]) for one in settings]
            return max(moved) / min(moved)

        spreads = [spread() for _ in range(100)]
        whole = sum(one < 1.2 for one in spreads)
        assert 50 <= whole <= 75
        assert max(spreads) > 2

    def test_no_two_are_alike(self) -> None:
        """Each draw is another speaker."""
        rng = Random(0)

        drawn = {voices.drawn_variant("x", rng) for _ in range(voices.N_DRAWN)}

        assert len(drawn) == voices.N_DRAWN


class TestStrangers:
    """Recorded words in the mouths of others."""

    def test_each_says_every_word_in_his_own_way(self) -> None:
        """As many words; other samples; one language, and human as its speaker."""
        speaker = voice("george", "en", human=True)

        others = voices.strangers(speaker, seed=1)

        assert len(others) == voices.N_STRANGERS
        assert all(other.human and other.stranger for other in others)
        said = [utterance.words for utterance in speaker.utterances]
        for other in others:
            assert [utterance.words for utterance in other.utterances] == said
        firsts = {other.utterances[0].pcm.tobytes() for other in others}
        assert len(firsts) == voices.N_STRANGERS

    def test_flite_lends_its_words_too_and_espeak_does_not(self) -> None:
        """Behind flite's voices are recordings, behind espeak-ng's are none."""
        orders = list(voices._orders(Path(), voices.Split.TRAINING))

        lending = {
            order.voice
            for order in orders
            if voices.of_recordings(Voice(order.voice, "en", human=False))
        }

        assert lending == {o.voice for o in orders if o.command[0] == "flite"}
        assert len(lending) == len(voices.FLITE)

    def test_they_take_turns_with_the_speakers_they_come_from(self) -> None:
        """Both are heard, the recorded speakers more."""
        speaker = voice("george", "en", human=True)
        others = voices.strangers(speaker, seed=1)
        both = Cast([speaker, *others, voice("b", "en")])
        rng = np.random.default_rng(0)

        drawn = [both.draw(rng) for _ in range(400)]

        n_strangers = sum(one.stranger for one in drawn)
        n_recorded = sum(one is speaker for one in drawn)
        assert 0 < n_strangers < n_recorded


class TestThreads:
    def test_there_are_no_more_than_parts_of_a_step(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A third would idle, and its time would be counted."""
        with pytest.raises(SystemExit):
            parse_options(["--speech-dir", ".", "--work-dir", ".", "--threads", "3"])

        assert "--threads: invalid choice: 3" in capsys.readouterr().err


class TestStages:
    """A run from nothing, and one that goes on from finished weights."""

    def test_finished_weights_are_trained_further(self, tmp_path: Path) -> None:
        """It begins with what ships, past the curriculum."""
        weights = ASSETS / "omniASR_CTC_demo.pt"
        arguments = ["--speech-dir", ".", "--work-dir", str(tmp_path)]
        arguments += ["--start-from", str(weights)]

        trainer = Trainer(parse_options(arguments))

        shipped = torch.load(weights, weights_only=True)["model"]
        assert trainer.step > SHORT_STRINGS_UNTIL
        for name, value in trainer.model.state_dict().items():
            torch.testing.assert_close(value, shipped[name].float())

    def test_a_stopped_run_goes_on_where_it_was(self, tmp_path: Path) -> None:
        """Two steps, or one, a new trainer and one more: the same weights."""
        options = parse_options(["--speech-dir", ".", "--work-dir", str(tmp_path)])
        steps = Steps(cast(), seed=1)
        batches = [steps[0], steps[1]]

        through = Trainer(options)
        for clips in batches:
            through.learn(clips)
        first = Trainer(options)
        first.learn(batches[0])
        first.save()
        second = Trainer(options)
        second.resume()
        second.learn(batches[1])

        assert second.step == 2
        for one, other in zip(through.parameters, second.parameters, strict=True):
            torch.testing.assert_close(one, other)


class TestClips:
    """Batches depend on seed and step alone, and say what their labels say."""

    @pytest.mark.parametrize("step", [0, 600, 2000])
    def test_a_step_is_reproducible(self, step: int) -> None:
        """A resumed run sees what an uninterrupted one sees."""
        first = draw_clips(cast(), seed=1, step=step)
        again = draw_clips(cast(), seed=1, step=step)

        np.testing.assert_array_equal(first.waves, again.waves)
        assert first.words == again.words

    def test_seeds_differ(self) -> None:
        """Another seed, another batch."""
        first = draw_clips(cast(), seed=1, step=0)
        other = draw_clips(cast(), seed=2, step=0)

        assert first.words != other.words

    @given(seed=st.integers(0, 2**32))
    def test_a_clip_holds_whole_words(self, seed: int) -> None:
        """Each word of 0.3 s fits, at the fastest speed that is drawn."""
        rng = np.random.default_rng(seed)

        clip = compose(cast(), rng, n=32000, max_words=16)

        assert clip.samples.shape == (32000,)
        assert 1 <= len(clip.words) <= 16
        sounding = np.count_nonzero(clip.samples)
        assert sounding >= len(clip.words) * 0.9 * 0.3 * 16000 / 1.3

    @given(seed=st.integers(0, 2**32))
    def test_frames_are_labelled_with_the_word_they_lie_in(self, seed: int) -> None:
        """In order, with nothing between words, wherever something sounds."""
        clip = compose(cast(), np.random.default_rng(seed), n=32000, max_words=16)

        labels = clip.frame_labels
        changes = np.flatnonzero(np.diff(labels, prepend=-9))
        heard = [label for label in labels[changes] if label != NO_WORD]
        assert labels.shape == ((32000 - 400) // 320 + 1,)
        assert [key for key, _ in groupby(word.label for word in clip.words)] == [
            key for key, _ in groupby(heard)
        ]

    def test_words_within_fluent_speech_have_no_known_place(self) -> None:
        """A synthesiser does not say when it says what."""
        fluent = Voice("a", "en", human=True)
        fluent.add_recording((Word("en", 1), Word("en", 2)), tone(0.6))

        clip = compose(
            Cast([fluent, voice("b", "en")]),
            np.random.default_rng(3),
            n=16000,
            max_words=2,
        )

        assert set(clip.frame_labels) == {NO_WORD, UNKNOWN}


class TestVocabulary:
    """Text and tokens."""

    def test_unspaced_words_are_joined_without_a_space(self) -> None:
        """Only within the script: a change of language is a space."""
        words = [Word("en", 1), Word("cmn", 2), Word("cmn", 3), Word("hi", 4)]

        assert spell(words) == "one 二三 चार"

    def test_text_survives_encoding(self) -> None:
        """Repeated letters need a blank between them, as CTC has it."""
        text = "three fünf पाँच 九"
        frames = [label for token in encode(text) for label in (token, 0)]

        assert decode_greedily(frames) == text

    def test_labels_of_words_are_distinct(self) -> None:
        """The auxiliary output has one label for every word, and the blank."""
        labels = {
            Word(language, digit).label
            for language in voices.ACCENTS
            for digit in range(10)
        }

        assert labels == set(range(1, 51))

    def test_unspaced_text_is_scored_by_character(self) -> None:
        """One wrong character of three is one word error of three."""
        assert count_errors("一二三", "一八三").rate == pytest.approx(1 / 3)


class TestNetwork:
    """The fast way through the weights is fairseq2's function."""

    def test_it_equals_the_module_it_trains(self) -> None:
        """Same weights, same audio, same logits."""
        torch.manual_seed(0)
        model = network.create_model().eval()
        waves = torch.randn(2, 12000)

        from fairseq2.nn import BatchLayout

        with torch.inference_mode():
            ours, middle = network.forward(model, waves)
            theirs, _ = model(waves, BatchLayout(tuple(waves.shape), None))

        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert middle.shape == (2, ours.shape[1], network.MODEL_DIM)

    @pytest.mark.parametrize("kernel", [2, 3])
    def test_the_convolution_has_the_gradients_of_its_definition(
        self, kernel: int
    ) -> None:
        """Checked by finite differences; an odd number of frames leaves a rest."""
        torch.manual_seed(0)
        shapes = ((2, 11, 3), (4, 3 * kernel), (4,))
        inputs = tuple(
            torch.randn(shape, dtype=torch.float64, requires_grad=True)
            for shape in shapes
        )

        assert torch.autograd.gradcheck(network.BlockConv.apply, inputs)

    def test_every_weight_is_trained(self) -> None:
        """The gradient reaches all parameters, the weight norm's among them."""
        model = network.create_model()
        head = network.WordHead()

        logits, middle = network.forward(model, torch.randn(1, 8000))
        (logits.logsumexp(-1).sum() + head(middle).logsumexp(-1).sum()).backward()

        for name, parameter in [*model.named_parameters(), *head.named_parameters()]:
            assert parameter.grad is not None, name


class TestShippedFiles:
    """What the tool would write is what the repository holds."""

    def test_the_card_is_the_one_that_ships(self) -> None:
        """But for the offsets of its word times, which are measured afterwards."""
        shipped = (ASSETS / "omniASR_CTC_demo.yaml").read_text("utf-8")

        assert shipped.startswith(card())
        assert shipped.removeprefix(card()).count("\n") == 3

    def test_the_tokenizer_spells_the_tokens(self, tmp_path: Path) -> None:
        """Every token decodes to its text."""
        path = tmp_path / "tokenizer.model"
        path.write_bytes(tokenizer_model())

        texts = read_vocabulary(path).texts

        assert texts[4:] == TOKENS[4:]

    def test_the_checkpoint_is_small_enough_for_the_repository(self) -> None:
        """8 MB at most."""
        assert (ASSETS / "omniASR_CTC_demo.pt").stat().st_size <= 8e6

    def test_positions_have_sixteen_channels_a_group(self) -> None:
        """With fewer, bfloat16 is computed wrongly on some processors."""
        assert network.MODEL_DIM // network.N_POSITIONAL_GROUPS % 16 == 0
