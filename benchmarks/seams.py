"""Measure how many words a recording loses where it is cut during speech.

    python -m benchmarks.seams
    python -m benchmarks.seams --seams 50

Recordings of one speaker each are composed with pauses of known length and cut into
windows of 16 seconds, the shortest that the overlaps allow, so that seams are many;
otherwise they are processed like every upload. Without voice activity detection windows
end after 16 seconds, even in the middle of words; with it, in pauses if there are any.

Words that were doubled or lost within 0.3 s of a cut are counted, by aligning the text
with the reference. The base rate is that of the same model at the same place
without a seam: 16 seconds of which the place of the cut is the middle, in one window.
The difference is the seam error rate. Its 95 % interval is a percentile bootstrap over
recordings (Efron 1979), and the goal is that it contains 0 for all cuts that are
forced together. Cuts in pauses have their own row: they leave out silence, and with it
the words that the model invents there, so they may be better than no cut.

Prints a table, then a line of JSON.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from audio.frames import FRAME_SHIFT
from audio.samples import SAMPLE_RATE
from audio_chunker import OVERLAP, AudioChunker, Window
from benchmarks.common.environment import environment
from benchmarks.corpus import composer
from benchmarks.corpus.composer import Composition, Recording, SpokenWord
from engine.interface import ModelInput
from model import ASRModel
from recordings.segments import SegmentReader
from recordings.stitcher import Stitcher
from text.ctc import FrameLabels, Word
from vad.silero import SileroVad, VadStream

MAX_WINDOW: Final = 4 * OVERLAP
NEAR: Final = round(0.3 * SAMPLE_RATE)
RECORDING_S: Final = 100.0

_FORCED = "all forced cuts"
_BATCH = 8
_N_DRAWS = 2000
# A word may be paired with a word so much earlier or later, but preferably with a
# nearer one.
_MAX_SHIFT = SAMPLE_RATE
_SHIFT_COST = 0.01 / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Condition:
    """How recordings are composed and cut."""

    name: str
    pauses_s: tuple[float, float]
    vad: bool = False


CONDITIONS: Final = (
    Condition("no pauses", (0.0, 0.0)),
    Condition("up to 0.5 s", (0.0, 0.5)),
    Condition("up to 2 s", (0.0, 2.0)),
    Condition("up to 2 s, VAD", (0.0, 2.0), vad=True),
)


@dataclass(frozen=True, slots=True)
class Edits:
    """Words near a place that were lost, invented or mistaken."""

    deletions: int = 0
    insertions: int = 0
    substitutions: int = 0

    @property
    def n_doubled_or_lost(self) -> int:
        return self.deletions + self.insertions


@dataclass(frozen=True, slots=True)
class Seam:
    """What was wrong near one cut, and at the same place without a cut."""

    recording: int
    stitched: Edits
    base: Edits


@dataclass(frozen=True, slots=True)
class Rate:
    """Words doubled or lost at a seam, over the base rate, and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def contains_zero(self) -> bool:
        return self.low <= 0 <= self.high


# --- hearing --------------------------------------------------------------------


def cut(samples: NDArray[np.float32], vad: SileroVad | None) -> list[Window]:
    """Cut a recording as the server would, into shorter windows."""
    chunker = AudioChunker(vad_enabled=vad is not None, max_window=MAX_WINDOW)
    if vad is None:
        return [*chunker.push_audio(samples), *chunker.finish()]
    ear = VadStream(vad)
    return [
        *chunker.push_audio(samples, ear.push_audio(samples)),
        *chunker.finish(ear.finish()),
    ]


def label(model: ASRModel, windows: Sequence[Window]) -> list[FrameLabels]:
    labels: list[FrameLabels] = []
    for start in range(0, len(windows), _BATCH):
        batch = [ModelInput(w.samples) for w in windows[start : start + _BATCH]]
        labels += model.label_frames(batch)
    return labels


def words(
    model: ASRModel, windows: Sequence[Window], labels: Sequence[FrameLabels]
) -> list[Word]:
    """Read the words of a recording off its windows, as the server does."""
    reader = SegmentReader(model.vocabulary, model.spike_offsets)
    return [
        word
        for window, frames in zip(windows, labels, strict=True)
        for part in reader.add_window(window, frames)
        for word in part.segment.words
    ]


def cuts(
    model: ASRModel, windows: Sequence[Window], labels: Sequence[FrameLabels]
) -> list[int]:
    """Find the sample positions where one window took over from another."""
    stitcher = Stitcher(model.vocabulary)
    parts = [stitcher.add_window(w, f) for w, f in zip(windows, labels, strict=True)]
    return [
        window.position if part.cut is None else part.cut * FRAME_SHIFT
        for window, part in zip(windows[1:], parts[1:], strict=True)
    ]


# --- comparing ------------------------------------------------------------------


def edits_near(
    place: int, spoken: Sequence[SpokenWord], heard: Sequence[Word]
) -> Edits:
    """Align words half a window around a place; count what is wrong near it."""

    def around(word: SpokenWord | Word) -> bool:
        return abs(word.start + word.end - 2 * place) <= MAX_WINDOW

    def near(word: SpokenWord | Word) -> bool:
        return word.start - NEAR <= place <= word.end + NEAR

    truth = [word for word in spoken if around(word)]
    found = [word for word in heard if around(word)]
    n = {"deletions": 0, "insertions": 0, "substitutions": 0}
    for said, got in align(truth, found):
        word = said or got
        if word is None or not near(word):
            continue
        if got is None:
            n["deletions"] += 1
        elif said is None:
            n["insertions"] += 1
        elif said.text != got.text:
            n["substitutions"] += 1
    return Edits(**n)


def align(
    spoken: Sequence[SpokenWord], heard: Sequence[Word]
) -> list[tuple[SpokenWord | None, Word | None]]:
    """Pair words by least edits and, of equally few, by least distance in time."""
    costs = np.zeros((len(spoken) + 1, len(heard) + 1))
    costs[:, 0] = np.arange(len(spoken) + 1)
    costs[0, :] = np.arange(len(heard) + 1)
    for i, said in enumerate(spoken, 1):
        for j, got in enumerate(heard, 1):
            costs[i, j] = min(
                costs[i - 1, j - 1] + _cost(said, got),
                costs[i - 1, j] + 1,
                costs[i, j - 1] + 1,
            )
    pairs: list[tuple[SpokenWord | None, Word | None]] = []
    i, j = len(spoken), len(heard)
    while i or j:
        cost = costs[i, j]
        if i and j and cost == costs[i - 1, j - 1] + _cost(spoken[i - 1], heard[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((spoken[i], heard[j]))
        elif i and cost == costs[i - 1, j] + 1:
            i -= 1
            pairs.append((spoken[i], None))
        else:
            j -= 1
            pairs.append((None, heard[j]))
    return pairs[::-1]


def _cost(said: SpokenWord, got: Word) -> float:
    shift = abs(said.start + said.end - got.start - got.end) / 2
    if shift > _MAX_SHIFT:
        return math.inf
    return (said.text != got.text) + shift * _SHIFT_COST


# --- measuring ------------------------------------------------------------------


def seams(
    model: ASRModel, composed: Composition, number: int, vad: SileroVad | None
) -> Iterator[Seam]:
    """Compare one recording's seams with the same places heard in one window."""
    windows = cut(composed.samples, vad)
    labels = label(model, windows)
    places = cuts(model, windows, labels)
    stitched = words(model, windows, labels)
    middles = [_window_around(place, composed) for place in places]
    for place, window, frames in zip(
        places, middles, label(model, middles), strict=True
    ):
        yield Seam(
            number,
            edits_near(place, composed.words, stitched),
            edits_near(place, composed.words, words(model, [window], [frames])),
        )


def _window_around(place: int, composed: Composition) -> Window:
    start = max(0, place - MAX_WINDOW // 2)
    start -= start % FRAME_SHIFT
    return Window(start, composed.samples[start : start + MAX_WINDOW])


def measure(
    model: ASRModel,
    condition: Condition,
    recordings: Sequence[Recording],
    *,
    n_seams: int,
    seed: int,
) -> list[Seam]:
    """Compose and cut recordings until there are so many seams, or a few more."""
    rng = Random(f"{seed} {condition.name}")
    vad = SileroVad() if condition.vad else None
    n_words = round(RECORDING_S / (0.45 + sum(condition.pauses_s) / 2))
    found: list[Seam] = []
    while len(found) < n_seams:
        composed = composer.random_composition(
            recordings, n_words, rng=rng, pauses_s=condition.pauses_s
        )
        number = found[-1].recording + 1 if found else 0
        found += seams(model, composed, number, vad)
    return found


def rate(found: Sequence[Seam]) -> Rate:
    """Estimate the seam error rate.

    Source: Efron 1979, percentile bootstrap; of clusters, Field and Welsh 2007.
    """
    sums: dict[int, list[int]] = {}
    for seam in found:
        own = sums.setdefault(seam.recording, [0, 0])
        own[0] += seam.stitched.n_doubled_or_lost - seam.base.n_doubled_or_lost
        own[1] += 1
    pairs = np.array(list(sums.values()))
    rng = np.random.default_rng(0)
    drawn = pairs[rng.integers(0, len(pairs), (_N_DRAWS, len(pairs)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
    total = pairs.sum(axis=0)
    return Rate(float(total[0] / total[1]), float(low), float(high))


# --- reporting ------------------------------------------------------------------


def _totals(found: Sequence[Seam]) -> dict[str, Any]:
    estimate = rate(found)
    return {
        "seams": len(found),
        "stitched": _sum([seam.stitched for seam in found]),
        "base": _sum([seam.base for seam in found]),
        "rate": {name: round(value, 4) for name, value in asdict(estimate).items()},
        "contains_zero": estimate.contains_zero,
    }


def _sum(edits: Sequence[Edits]) -> dict[str, int]:
    counts = [asdict(own) for own in edits]
    return {name: sum(own[name] for own in counts) for name in counts[0]}


def _print_header() -> None:
    columns = f"{'lost':>6}{'doubled':>9}{'mistaken':>10}"
    print(f"{'':16}{'':>7}{'at seams':>25}{'without':>25}")
    print(f"{'pauses':16}{'seams':>7}{columns}{columns}  rate and 95 % interval")


def _print_row(name: str, totals: dict[str, Any]) -> None:
    columns = "".join(
        f"{own['deletions']:6}{own['insertions']:9}{own['substitutions']:10}"
        for own in (totals["stitched"], totals["base"])
    )
    estimate = totals["rate"]
    interval = (
        f"{estimate['value']:+.4f}  [{estimate['low']:+.4f}, {estimate['high']:+.4f}]"
    )
    print(f"{name:16}{totals['seams']:7}{columns}  {interval}", flush=True)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="omniASR_CTC_demo", help="name of a card")
    parser.add_argument("--seams", type=int, default=200, help="for each condition")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Return 1 if the interval of all forced cuts does not contain 0."""
    options = _arguments(arguments)
    model = ASRModel.load(options.model, dtype="float32")
    recordings = composer.load()
    found: list[Seam] = []
    summary: dict[str, Any] = {}
    _print_header()
    for condition in CONDITIONS:
        own = measure(
            model, condition, recordings, n_seams=options.seams, seed=options.seed
        )
        summary[condition.name] = _totals(own)
        _print_row(condition.name, summary[condition.name])
        if not condition.vad:
            offset = found[-1].recording + 1 if found else 0
            found += [Seam(s.recording + offset, s.stitched, s.base) for s in own]
    summary[_FORCED] = _totals(found)
    _print_row(_FORCED, summary[_FORCED])
    reached = bool(summary[_FORCED]["contains_zero"])
    print(
        f"Goal: the interval of {_FORCED} contains 0; "
        f"{'reached' if reached else 'missed'}."
    )
    print(
        json.dumps(
            {
                "benchmark": "seams",
                "model": model.name,
                "seed": options.seed,
                "max_window_s": MAX_WINDOW / SAMPLE_RATE,
                **environment(),
                "conditions": summary,
            }
        )
    )
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
