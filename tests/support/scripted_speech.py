"""Recordings that say what a scripted encoder hears in them, frame by frame.

The value of a sample is its label, so faint that nothing measures it as sound.
What the encoder says of a frame can be read off any window that contains it, and a
recording decoded in one piece is the truth for all ways to cut it. Only near the
edges of a window, where these cut through sound, does it hear nonsense.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from audio.frames import FRAME_SHIFT, n_frames
from audio.samples import Samples
from audio_chunker import WORD_PAUSE, Window
from tests.support.fakes import ALPHABET
from text.ctc import BLANK, FrameLabels, Vocabulary
from vad.spans import FRAME_SAMPLES

VOCABULARY = Vocabulary(("", *ALPHABET))
SPACE = VOCABULARY.texts.index(" ")

_STEP = 1e-9  # of sample values, from one label to the next


@dataclass(frozen=True, slots=True)
class Script:
    """What is said in a recording.

    Attributes:
        labels: Label of each frame, shape (n_frames,).
        spoken: The frames in which each word sounds, first and one past the last.
    """

    labels: NDArray[np.int32]
    spoken: tuple[tuple[int, int], ...]

    @property
    def samples(self) -> Samples:
        values = (self.labels * _STEP).astype(np.float32)
        return np.repeat(values, FRAME_SHIFT)

    @property
    def probabilities(self) -> list[float]:
        """What an infallible voice activity detection says."""
        speech = np.zeros(len(self.labels) * FRAME_SHIFT, bool)
        for first, end in self.spoken:
            speech[first * FRAME_SHIFT : end * FRAME_SHIFT] = True
        padded = np.pad(speech, (0, -len(speech) % FRAME_SAMPLES))
        return [float(p) for p in padded.reshape(-1, FRAME_SAMPLES).any(axis=1)]


def write(
    rng: Random, *, n_words: int, longest_pause: int, letters: str = "abc"
) -> Script:
    """Write a script of random words with pauses of up to so many frames between.

    Words of few different letters repeat themselves and each other. A space lies
    anywhere in its pause.
    """
    labels = [BLANK] * 20
    spoken = []
    for k in range(n_words):
        if k:
            pause = [BLANK] * (2 + rng.randint(0, longest_pause))
            pause.insert(rng.randint(1, len(pause) - 1), SPACE)
            labels += pause
        first = len(labels)
        for n in range(rng.randint(1, 5)):
            blanks = [BLANK] * (rng.randint(1, 4) if n else 0)
            label = VOCABULARY.texts.index(rng.choice(letters))
            labels += blanks + [label] * rng.randint(1, 3)
        # Letters are heard inside the sound of a word, not at its edges.
        spoken.append((first - 2, len(labels) + 2))
    labels += [BLANK] * 20
    return Script(np.array(labels, np.int32), tuple(spoken))


@dataclass(frozen=True, slots=True)
class Encoder:
    """Reads labels off samples; wrong near edges that cut through sound.

    Attributes:
        n_wrong: Frames at such an edge that are wrong.
    """

    n_wrong: int = 0

    def label(self, samples: Samples) -> FrameLabels:
        n = n_frames(len(samples))
        ids = np.round(samples[: n * FRAME_SHIFT : FRAME_SHIFT] / _STEP)
        ids = ids.astype(np.int32)
        rng = np.random.default_rng(len(samples) + int(ids.sum()))
        quiet = WORD_PAUSE // 2 // FRAME_SHIFT - 2  # what is left beside a pause
        wrong = rng.integers(0, len(VOCABULARY.texts), (2, self.n_wrong))
        if self.n_wrong and (ids[:quiet] > SPACE).any():
            ids[: self.n_wrong] = wrong[0]
        if self.n_wrong and (ids[-quiet:] > SPACE).any():
            ids[-self.n_wrong :] = wrong[1]
        # A probability of its own for each frame and label.
        probs = 0.5 + 0.4 * np.abs(np.sin(1.0 + ids))
        blank = np.where(ids == BLANK, probs, 1 - probs)
        return FrameLabels(ids, probs.astype(np.float32), blank.astype(np.float32))

    def label_all(self, windows: Sequence[Window]) -> list[FrameLabels]:
        return [self.label(window.samples) for window in windows]
