"""Compose utterances with known words and exact word times from recordings.

Each recording holds one word. It is trimmed where its level falls 35 dB below
its loudest 10 ms, faded over 5 ms and laid on a bed of quiet room tone, so that
a composition has neither clicks nor digital silence and the first and last
sample of every word are known.

The recordings are named `{digit}_{speaker}_{index}` and lie in one folder as
FLAC or WAV: `tests/data/digits`, or a copy of the whole data set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from av import AudioFrame, AudioResampler

from audio.samples import SAMPLE_RATE, Samples

DIGITS = Path(__file__).parents[2] / "tests" / "data" / "digits"
WORDS = "zero one two three four five six seven eight nine".split()
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "yweweler")

_LEVEL_WINDOW = SAMPLE_RATE // 100
_TRIM_DB = -35.0
_FADE = SAMPLE_RATE // 200
ROOM_TONE = 3e-4  # about -70 dBFS


@dataclass(frozen=True, slots=True)
class Recording:
    """One spoken word, trimmed; samples at 16 kHz."""

    word: str
    speaker: str
    index: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of a composition and the sample positions of its sound."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Composition:
    """Samples at 16 kHz and the words in them, in order."""

    samples: Samples
    words: tuple[SpokenWord, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def load(
    folder: Path = DIGITS,
    *,
    speakers: Sequence[str] = SPEAKERS,
    indexes: Iterable[int] = range(5),
) -> list[Recording]:
    """Read the recordings of some speakers and indexes, trimmed, at 16 kHz."""
    wanted = frozenset(indexes)
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".flac", ".wav"):
            continue
        digit, speaker, index = path.stem.split("_")
        if speaker in speakers and int(index) in wanted:
            samples = trim(_read(path))
            found.append(Recording(WORDS[int(digit)], speaker, int(index), samples))
    return found


def compose(
    recordings: Sequence[Recording],
    pauses_s: Sequence[float],
    *,
    rng: Random,
    lead_s: float = 0.3,
    tail_s: float = 0.3,
) -> Composition:
    """Join recordings with a pause after each but the last.

    Args:
        recordings: One or more, in order.
        pauses_s: One fewer than recordings.
        rng: Draws the level of each word, within 3 dB, and the room tone.
        lead_s: Room tone before the first word.
        tail_s: Room tone after the last.
    """
    parts: list[Samples] = []
    words: list[SpokenWord] = []
    position = round(lead_s * SAMPLE_RATE)
    gaps = [lead_s, *pauses_s, tail_s]
    for recording, gap in zip(recordings, gaps, strict=False):
        parts.append(np.zeros(round(gap * SAMPLE_RATE), np.float32))
        gain = 10 ** (rng.uniform(-3, 3) / 20)
        samples = _fade(recording.samples) * gain / np.abs(recording.samples).max()
        parts.append((0.5 * samples).astype(np.float32))
        words.append(SpokenWord(recording.word, position, position + len(samples)))
        following = gaps[len(words)]
        position += len(samples) + round(following * SAMPLE_RATE)
    parts.append(np.zeros(round(tail_s * SAMPLE_RATE), np.float32))
    joined = np.concatenate(parts)
    tone = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(joined))
    return Composition(joined + (ROOM_TONE * tone).astype(np.float32), tuple(words))


def random_composition(
    recordings: Sequence[Recording],
    n_words: int,
    *,
    rng: Random,
    pauses_s: tuple[float, float] = (0.0, 0.5),
) -> Composition:
    """Compose words of one speaker, drawn at random, with pauses in a range."""
    speaker = rng.choice(sorted({recording.speaker for recording in recordings}))
    own = [recording for recording in recordings if recording.speaker == speaker]
    chosen = [rng.choice(own) for _ in range(n_words)]
    pauses = [rng.uniform(*pauses_s) for _ in range(n_words - 1)]
    return compose(chosen, pauses, rng=rng)


def _read(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate == SAMPLE_RATE:
        return np.asarray(samples)
    frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
    frame.sample_rate = rate
    resampler = AudioResampler("flt", "mono", SAMPLE_RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in frames])


def trim(samples: Samples) -> Samples:
    """Cut both ends where the level is 35 dB below the loudest 10 ms."""
    n = len(samples) // _LEVEL_WINDOW
    windows = samples[: n * _LEVEL_WINDOW].reshape(n, _LEVEL_WINDOW)
    level = np.sqrt((windows.astype(np.float64) ** 2).mean(axis=1))
    loud = np.flatnonzero(level > level.max() * 10 ** (_TRIM_DB / 20))
    return samples[loud[0] * _LEVEL_WINDOW : (loud[-1] + 1) * _LEVEL_WINDOW]


def _fade(samples: Samples) -> Samples:
    faded = samples.copy()
    ramp = np.linspace(0, 1, _FADE, dtype=np.float32)
    faded[:_FADE] *= ramp
    faded[-_FADE:] *= ramp[::-1]
    return faded
