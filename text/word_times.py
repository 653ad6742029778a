"""Widen words from the frames that spelled them to the sound they were spoken in.

A CTC model says a letter somewhere inside its sound, in one frame or two, so a
word's frames begin after its sound and stop well before it ends. Between the
last frame of one word and the first of the next lies a gap: the rest of the one
sound, perhaps a pause, the beginning of the other. This module puts the two
edges into each gap, the pair that scores best on two kinds of evidence:

* How far the model's frames usually lie inside the sound. That differs between
  models, so a card may say it (`SpikeOffsets`); it decides where nothing can be
  heard, in noise or in speech without a pause.
* Whether anything sounds: the level in each of four bands above its noise floor,
  so that a low hum does not hide a hiss. A frame that stands out speaks for a
  word. A quiet frame speaks for the pause only as far as the word would have
  stood out: in noise the soft end of a word is quiet too.

What was rejected: to believe quiet frames whatever the noise lost the soft ends
of words (at 10 dB, worse than the offsets alone); one band was deaf to hissing
sounds in a hum; the model's probability of blank is 1 to three digits in the
rest of a word as in a pause, and tells nothing.

Source: two-state segmentation by accumulated log-likelihood ratios (Page 1954,
"Continuous Inspection Schemes"), with a normal prior on the edges. The ratios
are not estimated but shaped by hand; the constants below are all there is.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audio.samples import SAMPLE_RATE, Samples
from text.ctc import Word

Floats = NDArray[np.float64]

# Levels are measured, and edges placed, in steps of 10 ms: fine beside the
# errors that remain, long enough for the lowest band.
HOP = SAMPLE_RATE // 100

# 200 to 800 Hz, two octaves and the rest, as bins of the spectrum of one hop
# (100 Hz each). Below lie rumble and the strongest of a hum, above 3.2 kHz only
# hissing sounds. A narrower lowest band would rise above its floor by chance.
_BAND_BINS = (2, 8, 16, 32, HOP // 2 + 1)

# Nothing so far below the loudest frame is a word, be the pauses digital zeros.
_DYNAMIC_RANGE_DB = 60.0

# The floor is what a tenth of the frames stay below. Fluent speech hardly pauses
# longer, and a pause between two words fills as much of most gaps; the very
# lowest frames would be the noise at its rarest.
_FLOOR_SHARE = 0.1

# Steady noise measured over so short a time rises this far above its floor.
_MARGIN_DB = 4.0
# A frame is certain to be sound, or not, this far from the margin.
_SLOPE_DB = 6.0

# Words are taken to span this range from their loudest to their softest sound.
_WORD_RANGE_DB = 35.0

# Weight of a frame: its neighbours hear the same sound and are no new evidence.
# Together with the spread it bounds how far a sound that goes on, such as that
# of a word the model did not hear, can pull an edge: 320 ms past the offset.
_FRAME_WEIGHT = 0.5

# Standard deviation of the offsets. The demo model's is 60 ms; it is wider here
# because the tails are longer than a normal distribution's.
_SPREAD = 80 * SAMPLE_RATE // 1000

_TINY = 1e-12  # added to powers before a logarithm is taken


@dataclass(frozen=True, slots=True)
class SpikeOffsets:
    """How far a model's frames lie inside the sound of a word, in samples.

    The defaults, for models nobody has measured, are half a letter at the pace
    of read speech, about 13 letters a second.

    Attributes:
        start: From the beginning of the sound to the first frame.
        end: From the end of the last frame to the end of the sound.
    """

    start: int = 40 * SAMPLE_RATE // 1000
    end: int = 40 * SAMPLE_RATE // 1000


UNMEASURED = SpikeOffsets()


def widen(
    words: Sequence[Word],
    samples: Samples,
    *,
    position: int = 0,
    offsets: SpikeOffsets = UNMEASURED,
) -> tuple[Word, ...]:
    """Give the words of one window the times of their sound.

    Every word still contains its frames, words neither overlap nor leave the
    window, and nothing but their times changes. Frames of 400 samples every 320
    may themselves overlap; two words then meet in the middle of that.

    Args:
        words: All words of the window, in order, as `text.ctc.words` returns them.
        samples: The window; finite.
        position: Sample position of its first sample.
        offsets: What is known of the model.

    Raises:
        ValueError: A word lies outside the window.
    """
    if not words:
        return ()
    if words[0].start < position or words[-1].end > position + len(samples):
        raise ValueError(
            f"Words from {words[0].start} to {words[-1].end} lie outside the window "
            f"from {position} to {position + len(samples)}."
        )
    levels = band_levels(samples)
    floor = _floor(levels)
    spans = [(word.start - position, word.end - position) for word in words]
    edges = [_first_start(spans[0], levels, floor, offsets)]
    for left, right in pairwise(spans):
        edges += _between(left, right, levels, floor, offsets)
    edges.append(_last_end(spans[-1], levels, floor, offsets))
    return tuple(
        replace(word, start=position + start, end=position + end)
        for word, start, end in zip(words, edges[::2], edges[1::2], strict=True)
    )


def part(
    words: Sequence[Word],
    starts: Sequence[int],
    ends: Sequence[int],
    *,
    earliest: int,
) -> tuple[Word, ...]:
    """Give words the times of their sound, as far as these do not overlap.

    Where two sounds do, their words meet in the middle. Each word contains its frames,
    as far as those do not overlap themselves.

    Args:
        words: In order, with the times of their frames.
        starts: Where the sound of each begins.
        ends: Where it ends, at or after the end of the word's frames.
        earliest: Where the first may begin.
    """
    found: list[Word] = []
    for k, word in enumerate(words):
        start, end = max(starts[k], earliest), ends[k]
        if k + 1 < len(words) and end > starts[k + 1]:
            end = _meeting(word.end, words[k + 1].start, end, starts[k + 1])
        earliest = max(start, end)
        found.append(replace(word, start=start, end=earliest))
    return tuple(found)


def _meeting(left: int, right: int, end: int, start: int) -> int:
    """Return where two words meet, given their frames' and their sounds' edges."""
    if left >= right:
        return (left + right) // 2
    return min(max((end + start) // 2, left), right)


def band_levels(samples: Samples) -> Floats:
    """Measure the level in four bands every 10 ms.

    Neighbouring frames are averaged (1 : 2 : 1), which steadies noise by some
    2 dB and makes sound seem to begin and end one frame too wide at most.

    Returns:
        Decibels, shape (n_samples // HOP, 4).
    """
    n = len(samples) // HOP
    if n == 0:
        return np.empty((0, len(_BAND_BINS) - 1))
    frames = samples[: n * HOP].reshape(n, HOP) * np.hanning(HOP)
    spectrum = np.fft.rfft(frames, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.add.reduceat(power, _BAND_BINS[:-1], axis=1) / np.diff(_BAND_BINS)
    padded = np.concatenate([bands[:1], bands, bands[-1:]])
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    levels: Floats = 10 * np.log10(smooth + _TINY)
    return levels


def _floor(levels: Floats) -> Floats:
    """Estimate the noise of the window in each band, in decibels."""
    if len(levels) == 0:
        return np.zeros(levels.shape[1])
    loudest = levels.max() - _DYNAMIC_RANGE_DB
    return np.maximum(_quantile(levels), loudest)


def _quantile(levels: Floats) -> Floats:
    """Return the level of each band that `_FLOOR_SHARE` of the frames stay below."""
    k = int(_FLOOR_SHARE * (len(levels) - 1))
    lowest: Floats = np.partition(levels, k, axis=0)[k]
    return lowest


class _Gap:
    """What can be heard in the frames between two words."""

    def __init__(self, first: int, last: int, levels: Floats, floor: Floats) -> None:
        """Weigh the frames `first` up to `last`, exclusive, of which there is one.

        Where noise grew in mid-window, the whole gap stands out against the floor
        of the window; the gap's own floor then shows its quietest stretch.
        """
        inside = levels[first:last]
        self._levels = levels
        self._floor = np.maximum(floor, _quantile(inside))
        above = (inside - self._floor).max(axis=1) - _MARGIN_DB
        evidence = _FRAME_WEIGHT * np.clip(above / _SLOPE_DB, -1, 1)
        self._sound = _running_sum(np.maximum(evidence, 0))
        self._quiet = _running_sum(np.minimum(evidence, 0))
        self._edges = HOP * np.arange(first, last + 1)

    def evidence(self, span: tuple[int, int]) -> Floats:
        """Sum the evidence that all frames up to each edge belong to a word.

        Its headroom, how much of a word's range the noise leaves to be heard, is
        cubed: what is softest about words is their edges, and those drown first.
        """
        own = self._levels[span[0] // HOP : max(span[1] // HOP, span[0] // HOP + 1)]
        peak = (own - self._floor).max() - _MARGIN_DB
        headroom = min(max(float(peak) / _WORD_RANGE_DB, 0.0), 1.0)
        return self._sound + headroom**3 * self._quiet

    def log_prior(self, expected: int) -> Floats:
        """Return the logarithm of each edge's prior probability, less a constant."""
        deviation = (self._edges - expected) / _SPREAD
        log_density: Floats = -0.5 * deviation * deviation
        return log_density

    def edge(self, index: int) -> int:
        return int(self._edges[index])


def _between(
    left: tuple[int, int],
    right: tuple[int, int],
    levels: Floats,
    floor: Floats,
    offsets: SpikeOffsets,
) -> tuple[int, int]:
    """Return the end of one word and the start of the next, one frame apart or more.

    That least distance lets words without a pause part where it is quietest.
    """
    gap = _gap(left[1], right[0], levels, floor)
    if gap is None:
        middle = (left[1] + right[0]) // 2
        return middle, middle
    end_score = gap.evidence(left) + gap.log_prior(left[1] + offsets.end)
    start_score = gap.log_prior(right[0] - offsets.start) - gap.evidence(right)
    best_end = np.maximum.accumulate(end_score)
    start = 1 + int(np.argmax(best_end[:-1] + start_score[1:]))
    end = int(np.argmax(end_score[:start]))
    return gap.edge(end), gap.edge(start)


def _first_start(
    span: tuple[int, int], levels: Floats, floor: Floats, offsets: SpikeOffsets
) -> int:
    gap = _gap(0, span[0], levels, floor)
    if gap is None:
        return span[0]
    score = gap.log_prior(span[0] - offsets.start) - gap.evidence(span)
    return gap.edge(int(np.argmax(score)))


def _last_end(
    span: tuple[int, int], levels: Floats, floor: Floats, offsets: SpikeOffsets
) -> int:
    gap = _gap(span[1], len(levels) * HOP, levels, floor)
    if gap is None:
        return span[1]
    score = gap.log_prior(span[1] + offsets.end) + gap.evidence(span)
    return gap.edge(int(np.argmax(score)))


def _gap(start: int, end: int, levels: Floats, floor: Floats) -> _Gap | None:
    """Return the gap between two samples; None if no whole frame lies in it."""
    first, last = -(-start // HOP), end // HOP
    return _Gap(first, last, levels, floor) if first < last else None


def _running_sum(values: Floats) -> Floats:
    """Sum what lies before each edge; one more than values."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums
