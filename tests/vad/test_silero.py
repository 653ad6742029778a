"""Silero VAD in numpy: the same numbers as its TorchScript, and sound judgement."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from audio.samples import SAMPLE_RATE, Samples
from benchmarks import word_times
from benchmarks.corpus import composer
from vad.silero import SileroVad, VadStates, VadStream
from vad.spans import (
    FAINT_PROB,
    FRAME_SAMPLES,
    START_PROB,
    STAY_PROB,
    SpeechSpans,
    SpeechStart,
)

# The package's network is read in PyTorch's older way, deprecated since 2.13.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def vad() -> SileroVad:
    return SileroVad()


@pytest.fixture(scope="module")
def speech() -> Samples:
    composition = composer.random_composition(
        composer.load(), 30, rng=Random(1), pauses_s=(0.0, 1.0)
    )
    n = len(composition.samples) // FRAME_SAMPLES * FRAME_SAMPLES
    return composition.samples[:n]


def torchscript(audio: Samples) -> list[float]:
    """What the package's own code says."""
    package = importlib.util.find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    script = torch.jit.load(  # type: ignore[no-untyped-call]
        Path(package.origin).parent / "data/silero_vad.jit"
    )
    with torch.inference_mode():
        return [
            float(script(torch.tensor(frame), SAMPLE_RATE))
            for frame in audio.reshape(-1, FRAME_SAMPLES)
        ]


class TestNumbers:
    def test_they_are_those_of_the_torchscript(
        self, vad: SileroVad, speech: Samples
    ) -> None:
        """Up to the last digits of float32."""
        frames = [speech.reshape(-1, FRAME_SAMPLES)]

        found, _ = vad.probabilities(frames, VadStates.fresh())

        np.testing.assert_allclose(found[0], torchscript(speech), atol=1e-4)

    def test_streams_share_a_call_and_nothing_else(
        self, vad: SileroVad, speech: Samples
    ) -> None:
        """Each is told what it would be told alone."""
        frames = speech[: 120 * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        streams = [frames[:40], frames[40:85], frames[85:]]
        alone = [vad.probabilities([own], VadStates.fresh())[0][0] for own in streams]

        first, states = vad.probabilities(
            [streams[0][:7], streams[1][:25], streams[2][:1]], VadStates.fresh(3)
        )
        second, _ = vad.probabilities(
            [streams[0][7:], streams[1][25:], streams[2][1:]], states
        )

        for own, before, after in zip(alone, first, second, strict=True):
            together = np.concatenate([before, after])
            np.testing.assert_allclose(together, own, atol=1e-5)

    def test_a_stream_may_come_in_blocks_of_any_length(
        self, vad: SileroVad, speech: Samples
    ) -> None:
        """The rest at the end is filled up with silence."""
        audio = speech[:-100]
        rng = Random(0)
        whole, cut = VadStream(vad), VadStream(vad)

        found = []
        position = 0
        while position < len(audio):
            n = rng.randint(0, 3000)
            found += cut.push_audio(audio[position : position + n])
            position += n
        found += cut.finish()

        expected = whole.push_audio(audio) + whole.finish()
        assert len(found) == len(speech) // FRAME_SAMPLES
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_torch_keeps_its_threads(self) -> None:
        """Importing the package would leave one to the whole process."""
        program = (
            "import torch; torch.set_num_threads(3); "
            "from vad.silero import SileroVad; SileroVad(); "
            "assert torch.get_num_threads() == 3"
        )

        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

    def test_numpy_may_be_kept_to_one_thread(self) -> None:
        """Without taking any from torch."""
        program = (
            "import torch; torch.set_num_threads(3); from vad import silero; "
            "silero.keep_numpy_to_one_thread(); "
            "from threadpoolctl import threadpool_info; "
            "blas = [p for p in threadpool_info() if p['user_api'] == 'blas']; "
            "assert [p['num_threads'] for p in blas] == [1]; "
            "assert torch.get_num_threads() == 3"
        )

        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


class TestJudgement:
    def test_every_word_is_heard(self, vad: SileroVad) -> None:
        """Of five people, with and without pauses."""
        recordings = composer.load()
        for seed in range(5):
            composition = composer.random_composition(
                recordings, 30, rng=Random(seed), pauses_s=(0.0, 1.5)
            )
            stream = VadStream(vad)
            found = np.array(stream.push_audio(composition.samples) + stream.finish())
            for word in composition.words:
                own = found[word.start // FRAME_SAMPLES : word.end // FRAME_SAMPLES + 1]
                assert own.max() >= START_PROB

    def test_a_silence_it_reports_holds_no_word(self, vad: SileroVad) -> None:
        """But for a soft beginning or end of up to 250 ms."""
        recordings = composer.load()
        for seed in range(5):
            composition = composer.random_composition(
                recordings, 30, rng=Random(seed), pauses_s=(0.0, 2.0)
            )
            stream, spans = VadStream(vad), SpeechSpans()
            n = len(composition.samples)
            found = [
                *spans.push_probabilities(stream.push_audio(composition.samples)),
                *spans.finish(n),
            ]
            inside = np.zeros(n, bool)
            for start, end in zip(found[::2], found[1::2], strict=True):
                assert isinstance(start, SpeechStart)
                inside[max(0, start.position - 4000) : end.position + 4000] = True
            for word in composition.words:
                assert inside[word.start : word.end].all()

    @pytest.mark.parametrize(
        "sound", [word_times.white, word_times.pink, word_times.hum]
    )
    @pytest.mark.parametrize("peak", [0.003, 0.3])
    def test_noise_is_not_speech(
        self, vad: SileroVad, sound: word_times.Noise, peak: float
    ) -> None:
        """Half a minute of each, soft and loud; not even what may be."""
        found = probabilities_of(vad, sound, peak)

        assert max(found) < FAINT_PROB

    @pytest.mark.parametrize("peak", [0.003, 0.3])
    def test_music_is_hardly_ever_taken_for_speech(
        self, vad: SileroVad, peak: float
    ) -> None:
        """At most for a second of half a minute, which costs little."""
        found = probabilities_of(vad, word_times.music, peak)

        n_speech = sum(p >= STAY_PROB for p in found)
        assert n_speech * FRAME_SAMPLES <= SAMPLE_RATE

    def test_digital_silence_is_silence(self, vad: SileroVad) -> None:
        """For a minute."""
        found = VadStream(vad).push_audio(np.zeros(60 * SAMPLE_RATE, np.float32))

        assert max(found) < STAY_PROB


def probabilities_of(
    vad: SileroVad, sound: word_times.Noise, peak: float
) -> list[float]:
    noise = sound(30 * SAMPLE_RATE, np.random.default_rng(0))
    stream = VadStream(vad)
    samples = (peak * noise / np.abs(noise).max()).astype(np.float32)
    return stream.push_audio(samples) + stream.finish()
