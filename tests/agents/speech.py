"""What the voice agents hear: recorded words, at the pace they are spoken."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
from av import AudioFrame, AudioResampler
from rapidfuzz.distance import Levenshtein

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.corpus import composer, wav
from benchmarks.corpus.composer import Composition

MODEL = "omniASR_CTC_demo"

# Silence after which every framework ends a turn.
PAUSE_S = 1.2
WORDS = 6

# A recording that is longer holds its word and, after more silence than ends a turn,
# a click.
_LONGEST_WORD = SAMPLE_RATE


@dataclass(frozen=True)
class Conversation:
    """Utterances with silence after each.

    Attributes:
        as_files: What the server hears in each when it is sent as a file.
    """

    utterances: tuple[Composition, ...]
    as_files: tuple[str, ...] = ()

    @property
    def samples(self) -> Samples:
        return np.concatenate([each.samples for each in self.utterances])

    def word_errors(self, texts: Sequence[str]) -> float:
        """Word error rate of all texts together, of any number of turns."""
        said = " ".join(each.text for each in self.utterances).split()
        return Levenshtein.distance(said, " ".join(texts).split()) / len(said)

    def check(self, texts: Sequence[str]) -> None:
        """Assert that texts are within 2 points of those of the files."""
        as_files = self.word_errors(self.as_files)
        assert self.word_errors(texts) <= as_files + 0.02, (texts, self.as_files)


def compose(n: int, *, seed: int = 7) -> Conversation:
    """Compose so many utterances; the first ones are always the same."""
    rng = Random(seed)
    recordings = [
        each for each in composer.load() if len(each.samples) <= _LONGEST_WORD
    ]
    return Conversation(tuple(_utterance(recordings, rng) for _ in range(n)))


def _utterance(recordings: list[composer.Recording], rng: Random) -> Composition:
    speaker = rng.choice(composer.SPEAKERS)
    own = [each for each in recordings if each.speaker == speaker]
    return composer.compose(
        [rng.choice(own) for _ in range(WORDS)],
        [rng.uniform(0.0, 0.08) for _ in range(WORDS - 1)],
        rng=rng,
        lead_s=0.4,
        tail_s=PAUSE_S,
    )


def pcm(samples: Samples, rate: int = SAMPLE_RATE) -> bytes:
    """Write samples as 16-bit PCM at a rate."""
    if rate != SAMPLE_RATE:
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = AudioResampler("flt", "mono", rate)
        parts = [*resampler.resample(frame), *resampler.resample(None)]
        samples = np.concatenate([part.to_ndarray()[0] for part in parts])
    return wav.pcm(samples)


async def spoken(
    samples: Samples, rate: int = SAMPLE_RATE, *, frame_s: float = 0.02
) -> AsyncIterator[bytes]:
    """Give 16-bit PCM frame by frame, each when it has been spoken."""
    data = pcm(samples, rate)
    n_bytes = 2 * round(rate * frame_s)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for k, start in enumerate(range(0, len(data), n_bytes), start=1):
        await asyncio.sleep(began + k * frame_s - loop.time())
        yield data[start : start + n_bytes]


def silence(seconds: float) -> Samples:
    """Give room tone, as between the utterances."""
    tone = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    return (3e-4 * tone).astype(np.float32)


def only_grows(texts: Sequence[str]) -> bool:
    """Whether each text begins with the one before."""
    return all(later.startswith(earlier) for earlier, later in pairwise(texts))
