"""Training clips: words put together, at random but reproducibly.

The clips of a step depend on the seed and the number of the step alone, so a
resumed run sees what an uninterrupted one would have seen. All clips of a part
have one length and no padding: ragged batches trained four times slower. Lengths
follow a curriculum, without which the network never leaves the plateau where it
answers nothing but blanks: single words first, then a few, then strings.

A composed clip knows where its words are, so every frame has a label as well:
the word it lies in, or none. Only inside of what a synthesiser spoke fluently is
it unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from audio.samples import SAMPLE_RATE, Samples
from tools.demo_model.augment import (
    Batch,
    change_speed,
    non_speech,
    roughen,
    standardise,
    trim_quiet,
)
from tools.demo_model.vocabulary import Word, spell
from tools.demo_model.voices import Utterance, Voice

PARTS: Final = 2  # of a step; they are computed side by side
PART_S: Final = 16  # seconds of audio in each
SINGLE_WORDS_UNTIL: Final = 300  # steps
SHORT_STRINGS_UNTIL: Final = 900
SECONDS: Final = (2, 4, 8)  # lengths of clips
SECONDS_SHARES: Final = (0.25, 0.4, 0.35)
MAX_GAPS_S: Final = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
MAX_GAP_SHARES: Final = (0.1, 0.2, 0.2, 0.3, 0.1, 0.1)
FRAME_SAMPLES: Final = 400  # what the network hears at each frame
HOP: Final = 320
NO_WORD: Final = 0  # label of a frame
UNKNOWN: Final = -1
HUMAN_SHARE: Final = 0.5
STRANGER_SHARE: Final = 0.4  # of those
MIXED_SHARE: Final = 0.25  # clips in which the voice changes from word to word
BILINGUAL_SHARE: Final = 0.04
NON_SPEECH_SHARE: Final = 0.06
TRIMMED_SHARE: Final = 0.6  # words cut to their louder part


@dataclass(frozen=True, slots=True)
class Clips:
    """One part of a step.

    Attributes:
        waves: Standardised audio, shape (clips, samples).
        words: What is said in each clip.
        frame_labels: The label of the word in each of the network's frames,
            `NO_WORD` or `UNKNOWN`; shape (clips, frames).
    """

    waves: Batch
    words: tuple[tuple[Word, ...], ...]
    frame_labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clip:
    """Words put together, and each frame's label; shapes (samples,), (frames,)."""

    samples: Samples
    words: tuple[Word, ...]
    frame_labels: NDArray[np.int64]


class Cast:
    """All voices, and a fair way to draw from them."""

    def __init__(self, voices: Sequence[Voice]) -> None:
        human = [voice for voice in voices if voice.human]
        self._recorded = [voice for voice in human if not voice.stranger]
        self._strangers = [voice for voice in human if voice.stranger]
        self._synthetic: dict[str, list[Voice]] = {}
        for voice in voices:
            if not voice.human:
                self._synthetic.setdefault(voice.language, []).append(voice)
        self._languages = sorted(self._synthetic)
        weights = [1.5 if name == "en" else 1.0 for name in self._languages]
        self._weights = np.array(weights) / sum(weights)

    def draw(self, rng: np.random.Generator, *, like: Voice | None = None) -> Voice:
        """Draw a voice; with `like`, one of the same language."""
        human = rng.random() < HUMAN_SHARE
        if like is not None and like.language != "en":
            return _choose(self._synthetic[like.language], rng)
        if human and self._strangers and rng.random() < STRANGER_SHARE:
            return _choose(self._strangers, rng)
        if human and self._recorded:
            return _choose(self._recorded, rng)
        if like is not None:
            return _choose(self._synthetic["en"], rng)
        name = str(rng.choice(self._languages, p=self._weights))
        return _choose(self._synthetic[name], rng)


def _choose(voices: Sequence[Voice], rng: np.random.Generator) -> Voice:
    return voices[int(rng.integers(len(voices)))]


def compose(cast: Cast, rng: np.random.Generator, *, n: int, max_words: int) -> Clip:
    """Say random words into a clip of `n` samples, from a random start."""
    voice = cast.draw(rng)
    mixed, bilingual = rng.random() < MIXED_SHARE, rng.random() < BILINGUAL_SHARE
    max_gap = rng.choice(MAX_GAPS_S, p=MAX_GAP_SHARES)
    room = int(n * rng.uniform(0.5, 1.0))
    speed = _speed(rng)
    spoken: list[tuple[int, Samples, tuple[Word, ...]]] = []  # from the first sample
    words: list[Word] = []
    used = 0
    while len(words) < max_words:
        if mixed or (bilingual and rng.random() < 0.4):
            voice = cast.draw(rng, like=None if bilingual else voice)
            speed = _speed(rng)
        piece, said = _say(voice, rng, speed)
        gap = int(SAMPLE_RATE * rng.uniform(0, max_gap)) if words else 0
        if len(words) + len(said) > max_words or used + gap + len(piece) > room:
            if words or len(piece) > n:
                break
            room, gap = n, 0
        spoken.append((used + gap, piece, said))
        words += said
        used += gap + len(piece)
    clip, labels = np.zeros(n, np.float32), np.full(n, NO_WORD)
    offset = int(rng.integers(n - used + 1))
    for begin, piece, said in spoken:
        place = slice(offset + begin, offset + begin + len(piece))
        clip[place] = piece
        labels[place] = said[0].label if len(said) == 1 else UNKNOWN
    return Clip(clip, tuple(words), _at_frames(labels))


def _at_frames(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take the label in the middle of each of the network's frames."""
    return labels[FRAME_SAMPLES // 2 : len(labels) - FRAME_SAMPLES // 2 + 1 : HOP]


def _speed(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.8, 1.25)) if rng.random() < 0.7 else 1.0


def _say(
    voice: Voice, rng: np.random.Generator, speed: float
) -> tuple[Samples, tuple[Word, ...]]:
    """Draw one utterance of a voice, at its own loudness, often closely trimmed."""
    utterance: Utterance = voice.utterances[int(rng.integers(len(voice.utterances)))]
    samples = change_speed(utterance.samples, speed * rng.uniform(0.97, 1.03))
    if rng.random() < TRIMMED_SHARE:
        samples = trim_quiet(samples, rng.uniform(-45, -28))
    return samples * np.float32(rng.uniform(0.35, 0.95)), utterance.words


def draw_clips(cast: Cast, *, seed: int, step: int, part: int = 0) -> Clips:
    """Return one part of a step."""
    rng = np.random.default_rng((seed, step, part))
    if step < SINGLE_WORDS_UNTIL:
        seconds, max_words = 1, 1
    elif step < SHORT_STRINGS_UNTIL:
        seconds, max_words = 2, 3
    else:
        seconds, max_words = int(rng.choice(SECONDS, p=SECONDS_SHARES)), 16
    n = seconds * SAMPLE_RATE
    clips: list[Clip] = []
    for _ in range(PART_S // seconds):
        if step >= SHORT_STRINGS_UNTIL and rng.random() < NON_SPEECH_SHARE:
            labels = _at_frames(np.full(n, NO_WORD))
            clips.append(Clip(non_speech(n, rng), (), labels))
        else:
            clips.append(compose(cast, rng, n=n, max_words=max_words))
    waves = roughen(np.stack([clip.samples for clip in clips]), rng)
    return Clips(
        standardise(waves),
        tuple(clip.words for clip in clips),
        np.stack([clip.frame_labels for clip in clips]),
    )


class Steps(Dataset[list[Clips]]):
    """The batches of a run in their parts, addressed by step."""

    def __init__(self, cast: Cast, seed: int) -> None:
        self._cast = cast
        self._seed = seed

    def __getitem__(self, step: int) -> list[Clips]:
        return [
            draw_clips(self._cast, seed=self._seed, step=step, part=part)
            for part in range(PARTS)
        ]


def evaluation_clips(
    voices: Sequence[Voice], *, count: int, seed: int
) -> list[tuple[Samples, str]]:
    """Strings of 1 to 9 digits of one voice, pauses of 0 to 0.5 s, unchanged."""
    rng = np.random.default_rng(seed)
    clips = []
    for index in range(count):
        voice = voices[index % len(voices)]
        single = [u for u in voice.utterances if len(u.words) == 1]
        chosen = [
            single[i] for i in rng.integers(len(single), size=rng.integers(1, 10))
        ]
        pieces = [_silence(rng, 0.4)]
        for utterance in chosen:
            loudness = np.float32(rng.uniform(0.5, 0.95))
            pieces += [utterance.samples * loudness, _silence(rng, 0.5)]
        text = spell([word for utterance in chosen for word in utterance.words])
        clips.append((np.concatenate([*pieces, _silence(rng, 0.4)]), text))
    return clips


def _silence(rng: np.random.Generator, max_s: float) -> Samples:
    return np.zeros(int(SAMPLE_RATE * rng.uniform(0, max_s)), np.float32)
