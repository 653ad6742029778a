"""Widen words from the frames that spelled them to their sound.

A CTC model emits a letter somewhere inside its sound, in one frame or two, so a word's
frames begin after its sound begins and stop well before it ends. Between the last frame
of one word and the first of the next lies a gap: the rest of one sound, perhaps a
pause, and the beginning of the other sound. This module places the two edges in each
gap. It chooses the pair with the best score on two kinds of evidence:

* How far the model's frames usually lie inside the sound. That differs between
  models, so a card may state it (`SpikeOffsets`). It decides where the level shows
  nothing, in noise or in speech without a pause.
* The level in each of four bands above its noise floor; with several bands, a low hum
  does not hide a hiss. A loud frame is evidence for a word. A quiet frame is evidence
  for a pause only as far as the word would have been louder: in noise, the soft end of
  a word is quiet too.

Rejected: trusting quiet frames whatever the noise, which lost the soft ends of words
(at 10 dB, worse than the offsets alone); a single band, which missed hissing sounds in
a hum; the model's probability of blank, which is 1 to three digits both in the rest of
a word and in a pause.

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

# Levels are measured, and edges placed, in steps of 10 ms: fine compared with the
# remaining errors, and long enough for the lowest band.
HOP = SAMPLE_RATE // 100

# 200 to 800 Hz, two octaves and the rest, as bins of the spectrum of one hop (100 Hz
# each). Below 200 Hz lie rumble and the strongest part of a hum, above 3.2 kHz only
# hissing sounds. A narrower lowest band would exceed its floor by chance.
_BAND_BINS = (2, 8, 16, 32, HOP // 2 + 1)

# A frame so far below the loudest one is not part of a word, even if the pauses are
# digital zeros.
_DYNAMIC_RANGE_DB = 60.0

# A tenth of the frames lie below the noise floor. Fluent speech has hardly more pauses,
# and a pause between two words fills as much of most gaps; the very lowest frames would
# be exceptions of the noise.
_FLOOR_SHARE = 0.1

# Steady noise, measured over such a short time, exceeds its floor by so much.
_MARGIN_DB = 4.0
# So far above or below the margin, a frame is certainly sound, or not.
_SLOPE_DB = 6.0

# Assumed range of a word from its loudest to its softest sound.
_WORD_RANGE_DB = 35.0

# Weight of a frame: its neighbours have the same sound and are no new evidence.
# Together with the spread it limits how far a continuing sound, such as a word that the
# model missed, can move an edge: 320 ms beyond the offset.
_FRAME_WEIGHT = 0.5

# Standard deviation of the offsets. The demo model's is 60 ms; it is wider here
# because the tails are longer than a normal distribution's.
_SPREAD = 80 * SAMPLE_RATE // 1000

_TINY = 1e-12  # added to powers before a logarithm is taken

# Frames whose spectrum is taken at once: what is between two steps stays in the cache,
# and its memory need not be asked of the system each time.
_BLOCK = 200


@dataclass(frozen=True, slots=True)
class SpikeOffsets:
    """How far a model's frames lie inside the sound of a word, in samples.

    The defaults, for models without measurements, are half a letter at the pace of read
    speech, about 13 letters a second.

    Attributes:
        start: Time from the beginning of the sound to the first frame.
        end: Time from the end of the last frame to the end of the sound.
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

    Every word still contains its frames, words neither overlap nor leave the window,
    and only their times change. The frames of two words may overlap, since they have
    400 samples every 320; the words then meet in the middle of the overlap.

    Args:
        words: All words of the window, in order, as `text.ctc.words` returns them.
        samples: Samples of the window; finite.
        position: Position of the window's first sample.
        offsets: How far the model's frames lie inside the sound.

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
    """Give words the times of their sound, without overlap.

    If two sounds overlap, their words meet in the middle. Each word contains its
    frames, unless the frames of two words overlap.

    Args:
        words: Words in order, with the times of their frames.
        starts: Where the sound of each word begins.
        ends: Where it ends, at or after the end of the word's frames.
        earliest: Earliest start of the first word.
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
    """Return where two words meet, by the edges of their frames and their sounds."""
    if left >= right:
        return (left + right) // 2
    return min(max((end + start) // 2, left), right)


def band_levels(samples: Samples) -> Floats:
    """Measure the level in four bands every 10 ms.

    Neighbouring frames are averaged (1 : 2 : 1). This reduces the variation of noise by
    some 2 dB, and widens sounds by at most one frame on each side.

    Returns:
        Decibels, shape (n_samples // HOP, 4).
    """
    n = len(samples) // HOP
    if n == 0:
        return np.empty((0, len(_BAND_BINS) - 1))
    frames = samples[: n * HOP].reshape(n, HOP)
    bands = np.concatenate(
        [_band_powers(frames[k : k + _BLOCK]) for k in range(0, n, _BLOCK)]
    )
    padded = np.concatenate([bands[:1], bands, bands[-1:]])
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    levels: Floats = 10 * np.log10(smooth + _TINY)
    return levels


def _band_powers(frames: Samples) -> Floats:
    """Measure the power in each band; shape (n, HOP) in, (n, 4) out."""
    spectrum = np.fft.rfft(frames * np.hanning(HOP), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    sums = np.add.reduceat(power, _BAND_BINS[:-1], axis=1)
    bands: Floats = sums / np.diff(_BAND_BINS)
    return bands


def _floor(levels: Floats) -> Floats:
    """Estimate the noise of the window in each band, in decibels."""
    if len(levels) == 0:
        return np.zeros(levels.shape[1])
    loudest = levels.max() - _DYNAMIC_RANGE_DB
    return np.maximum(_quantile(levels), loudest)


def _quantile(levels: Floats) -> Floats:
    """Return the level of each band below which `_FLOOR_SHARE` of the frames lie."""
    k = int(_FLOOR_SHARE * (len(levels) - 1))
    lowest: Floats = np.partition(levels, k, axis=0)[k]
    return lowest


class _Gap:
    """The evidence in the frames between two words."""

    def __init__(self, first: int, last: int, levels: Floats, floor: Floats) -> None:
        """Weigh the frames `first` to `last`, exclusive; there is at least one.

        If noise grew within the window, the whole gap is above the window's floor; the
        gap's own floor then shows its quietest stretch.
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

        The headroom, the audible share of a word's range, is cubed: the edges of words
        are their softest parts, and noise hides them first.
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
    """Return the end of one word and the start of the next, at least a frame apart.

    This distance separates words without a pause at the quietest place.
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
    """Return the sum of the values before each edge: one more than values."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums
