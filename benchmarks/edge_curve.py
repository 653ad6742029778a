"""Measure how a model errs near the edges of its window, and set the margins by it.

    python -m benchmarks.edge_curve [--card NAME] [--suite S1 S2 S9] [--clips 24]

A model that was trained on whole clips makes errors where a window ends in the middle
of speech. How many, and how far from the edge, depends on the model. So this
measurement gives the margins of live streaming, for each model and script.

Clips with known words are decoded whole; that is the truth. Then windows of the
same clip end, or begin, every 0.2 s, and each of the truth's tokens is looked for:
the same label, at most 3 frames away. The share that is missing, and the share of
tokens that the truth does not have, are counted by distance from the edge: e(d).

* The right margin R is the smallest from which on both stay within 0.5 % of what
  they are 1.5 s away and more. That floor is the model's own indecision: a letter
  on the verge of another falls with any change of the window. The tokens that count
  are those that one hop commits, from R to R + 0.32 s.
* R2 is the same where two windows must agree, as live streaming asks: only a token
  that is missing in both of two windows 0.2 s apart, or wrong in both, counts.
* The left context L is the same with 0.2 % for windows that begin in speech.
* The half-width of a cut is the 99th percentile of how many frames a token moves
  from window to window, plus one: a run of blanks must go on for so long on both
  sides of a cut, or a token may be lost or doubled there.

All of it twice: with windows normalised each over itself, and with one
normalisation, measured on the first second of speech, for all windows of a clip.

From the latter, which is how live streams are heard, come the settings that the last
lines print: the worst R2 of all suites for `MARGIN_S`, and for `CHUNK_DURATION` the
worst L, that margin and one hop.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from audio.frames import FRAME_SHIFT, MAX_WINDOW_SAMPLES, n_frames
from audio.samples import SAMPLE_RATE, Samples, seconds
from benchmarks.corpus import suites
from benchmarks.corpus.suites import Stream
from engine.interface import ModelInput, Normalisation
from live.options import CHUNK_DURATION_S, MARGIN_S, PROFILES
from model import ASRModel
from text import ctc
from text.ctc import Token

RIGHT_GOAL = 0.005
LEFT_GOAL = 0.002

SAME_FRAMES = 3  # how far away a token is the same token
JITTER_FRAMES = 10  # how far away a token is looked for to see how far it moved

# The shortest hop of a profile: what is committed at once, and one point of the curve.
HOP_FRAMES = PROFILES["agent"].hop // FRAME_SHIFT
_STEP = SAMPLE_RATE // 5
_SHORTEST = SAMPLE_RATE // 2  # of a window
_AROUND = round(0.3 * SAMPLE_RATE)  # what a clip has before and after its words
_LONGEST_FRAMES = 300  # distances beyond are of no interest
_FAR_FRAMES = 75  # distances beyond show no edge any more

_FRAMES_A_SECOND = SAMPLE_RATE // FRAME_SHIFT

Counts = NDArray[np.int64]
Spike = tuple[int, int]  # label and first frame of a token
Decode = Callable[[ModelInput], tuple[Token, ...]]


class Curve:
    """Mismatches with the truth by distance from an edge, in frames."""

    def __init__(self) -> None:
        self.said: Counts = np.zeros(_LONGEST_FRAMES, np.int64)
        self.missing: Counts = np.zeros(_LONGEST_FRAMES, np.int64)
        self.extra: Counts = np.zeros(_LONGEST_FRAMES, np.int64)
        # Matched tokens by distance and by how many frames they moved.
        self.moved: Counts = np.zeros((_LONGEST_FRAMES, JITTER_FRAMES + 1), np.int64)

    def add_labels(
        self,
        truth: Sequence[Spike],
        heard: Sequence[Spike],
        distance: Callable[[int], int],
        *,
        claimed: Sequence[Spike] | None = None,
    ) -> None:
        """Compare what was heard with the truth about it.

        Args:
            truth: Those in the window only.
            heard: A token that is not among these is missing.
            distance: Tells a frame's distance from the edge.
            claimed: One among these that is not in the truth is wrong; None: `heard`.
        """
        for label, frame in truth:
            at = distance(frame)
            if not 0 <= at < _LONGEST_FRAMES:
                continue
            self.said[at] += 1
            moved = _nearest(label, frame, heard)
            if moved <= JITTER_FRAMES:
                self.moved[at, moved] += 1
            if moved > SAME_FRAMES:
                self.missing[at] += 1
        for label, frame in heard if claimed is None else claimed:
            at = distance(frame)
            if 0 <= at < _LONGEST_FRAMES and _nearest(label, frame, truth) > (
                SAME_FRAMES
            ):
                self.extra[at] += 1

    def missing_at(self, frames: int) -> float:
        """Return the share of tokens from a distance to one hop further missing."""
        return self._share(self.missing, frames)

    def extra_at(self, frames: int) -> float:
        """Return how many tokens are heard there that are not, for each one said."""
        return self._share(self.extra, frames)

    def error_at(self, frames: int) -> float:
        """Return the worse of the two."""
        return max(self.missing_at(frames), self.extra_at(frames))

    @property
    def floor(self) -> float:
        """The errors that do not depend on the edge."""
        said = max(1, self.said[_FAR_FRAMES:].sum())
        missing, extra = self.missing[_FAR_FRAMES:], self.extra[_FAR_FRAMES:]
        return float(max(missing.sum(), extra.sum()) / said)

    def within(self, goal: float) -> int:
        """Return the smallest distance from which on errors stay near the floor."""
        limit = self.floor + goal
        for frames in reversed(range(_FAR_FRAMES)):
            if self.error_at(frames) > limit:
                return frames + 1
        return 0

    def half_width(self, frames: int) -> int:
        """Return the blanks that a cut needs on both sides at a distance."""
        counts = self.moved[frames:].sum(axis=0)
        below = np.cumsum(counts) >= 0.99 * counts.sum()
        return int(np.argmax(below)) + 1

    def _share(self, counts: Counts, frames: int) -> float:
        end = frames + HOP_FRAMES
        return float(counts[frames:end].sum() / max(1, self.said[frames:end].sum()))


@dataclass(frozen=True, slots=True)
class Edges:
    """The curves of both edges under one kind of normalisation."""

    right: Curve
    agreed: Curve  # at the right edge, where two windows agree
    left: Curve


def _nearest(label: int, frame: int, tokens: Sequence[Spike]) -> int:
    """Return how many frames away the nearest token with a label is."""
    return min(
        (abs(frame - other) for own, other in tokens if own == label),
        default=JITTER_FRAMES + 1,
    )


def clips(streams: Sequence[Stream], n: int) -> Iterator[Samples]:
    """Cut out utterances with a little silence around them, spread over streams."""
    utterances = [(stream, one) for stream in streams for one in stream.utterances]
    for stream, one in utterances[:: max(1, len(utterances) // n)][:n]:
        # What a model can hear whole.
        end = min(one.end + _AROUND, one.start + MAX_WINDOW_SAMPLES // 2)
        yield stream.samples[one.start - _AROUND : end]


def frozen(clip: Samples) -> Normalisation:
    """Measure the first second of speech, as a live stream does."""
    speech = clip[_AROUND : _AROUND + SAMPLE_RATE]
    return Normalisation(float(speech.mean()), float(speech.std()))


def measure(
    clip: Samples,
    decode: Decode,
    normalisation: Normalisation | None,
    edges: Edges,
    rng: Random,
) -> None:
    """Count the errors of all windows of one clip that end or begin early."""

    def hear(start: int, end: int) -> list[Spike]:
        window = ModelInput(clip[start:end], normalisation=normalisation)
        first = start // FRAME_SHIFT
        return [(token.id, first + token.first_frame) for token in decode(window)]

    truth = hear(0, len(clip))
    offset = rng.randrange(_STEP)
    last: list[Spike] = []
    for end in range(_SHORTEST + offset, len(clip) - _AROUND, _STEP):
        n = n_frames(end)
        known = [(label, frame) for label, frame in truth if frame < n]
        heard = hear(0, end)
        edges.right.add_labels(known, heard, _before(n))
        n_last = n_frames(end - _STEP)
        shared = [(label, frame) for label, frame in known if frame < n_last]
        both = [one for one in heard if _nearest(*one, last) <= SAME_FRAMES]
        edges.agreed.add_labels(shared, heard + last, _before(n), claimed=both)
        last = heard
    for begin in range(_AROUND + offset, len(clip) - _SHORTEST, _STEP):
        first = begin // FRAME_SHIFT
        known = [(label, frame) for label, frame in truth if frame >= first]
        edges.left.add_labels(
            known, hear(first * FRAME_SHIFT, len(clip)), _after(first)
        )


def _before(n_frames: int) -> Callable[[int], int]:
    return lambda frame: n_frames - 1 - frame


def _after(first_frame: int) -> Callable[[int], int]:
    return lambda frame: frame - first_frame


def drift(clip: Samples, decode: Decode) -> tuple[int, int]:
    """Count tokens of a whole clip, and those that a frozen normalisation changes."""
    own = Curve()
    truth = [(token.id, token.first_frame) for token in decode(ModelInput(clip))]
    other = decode(ModelInput(clip, normalisation=frozen(clip)))
    own.add_labels(
        truth, [(token.id, token.first_frame) for token in other], lambda frame: 0
    )
    return int(own.said.sum()), int(max(own.missing.sum(), own.extra.sum()))


def table(title: str, curve: Curve, distances: Sequence[int]) -> str:
    """Write a curve as Markdown."""
    lines = [
        f"| {title}: distance s | tokens | missing % | extra % | moved 0 | 1 | 2 | 3 "
        "| 4+ frames % |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for frames in distances:
        if not curve.said[frames : frames + HOP_FRAMES].sum():
            continue
        end = frames + HOP_FRAMES
        moved = curve.moved[frames:end].sum(axis=0)
        shares = 100 * moved / max(1, moved.sum())
        by_frames = [*shares[:4], shares[4:].sum()]
        cells = [
            f"{frames / _FRAMES_A_SECOND:.2f}",
            str(curve.said[frames:end].sum()),
            f"{100 * curve.missing_at(frames):.2f}",
            f"{100 * curve.extra_at(frames):.2f}",
            *(f"{share:.1f}" for share in by_frames),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def settings(edges: Edges) -> str:
    """Say what to set from the curves."""
    rows = (
        ("right margin R", edges.right, RIGHT_GOAL),
        ("R2, two agree", edges.agreed, RIGHT_GOAL),
        ("left context L", edges.left, LEFT_GOAL),
    )
    lines = [
        f"{name}: {curve.within(goal) / _FRAMES_A_SECOND:.2f} s "
        f"(within {goal:.1%} of the floor, {curve.floor:.2%})"
        for name, curve, goal in rows
    ]
    width = edges.right.half_width(edges.right.within(RIGHT_GOAL))
    return "\n".join([*lines, f"cut half-width: {width} blank frames on each side"])


def variables(every: Sequence[Edges], hop_s: float) -> str:
    """Write what to set for a model, as lines of an environment file.

    Args:
        every: Its curves, one or more.
        hop_s: Seconds from one partial to the next.
    """
    margins = [edges.agreed.within(RIGHT_GOAL) for edges in every]
    contexts = [edges.left.within(LEFT_GOAL) for edges in every]
    margin_s = MARGIN_S.nearest(max(margins) / _FRAMES_A_SECOND)
    window_s = max(contexts) / _FRAMES_A_SECOND + margin_s + hop_s
    window_s = CHUNK_DURATION_S.nearest(window_s)
    return f"MARGIN_S={margin_s:.2f}\nCHUNK_DURATION={window_s:.2f}"


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure a model's errors near window edges; print the margins."
    )
    add = parser.add_argument
    add("--card", default="omniASR_CTC_demo", help="the model (default: %(default)s)")
    add("--model-dir", type=Path, help="folder of further cards")
    add("--device", default="auto")
    add("--dtype", default="auto")
    add("--suite", nargs="+", choices=suites.PLANS, default=["S1", "S2", "S9"])
    add("--speech-dir", type=Path, help="recordings of digits (default: the tests')")
    add("--clips", type=int, default=24, help="utterances of each suite")
    add("--profile", choices=PROFILES, default="captions", help="whose hop is counted")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_options(arguments)
    model = ASRModel.load(
        options.card,
        model_dir=options.model_dir,
        device=options.device,
        dtype=options.dtype,
    )

    def decode(window: ModelInput) -> tuple[Token, ...]:
        return ctc.tokens(model.label_frames([window])[0], model.vocabulary)

    material = suites.load(options.speech_dir)
    print(f"{model.description}; {options.clips} clips of each suite\n")
    as_live: list[Edges] = []
    for normalised in ("each window over itself", "frozen for the utterance"):
        fixed = normalised.startswith("frozen")
        for name in options.suite:
            edges = Edges(Curve(), Curve(), Curve())
            rng = Random(name)
            n_tokens = n_changed = 0
            streams = suites.compose(name, material)
            for clip in clips(streams, options.clips):
                measure(clip, decode, frozen(clip) if fixed else None, edges, rng)
                if fixed:
                    said, changed = drift(clip, decode)
                    n_tokens, n_changed = n_tokens + said, n_changed + changed
            print(f"## {name}, normalisation: {normalised}\n")
            print(table("right edge", edges.right, (0, 4, 8, *range(16, 97, 8))))
            print()
            print(table("two agree", edges.agreed, (0, 4, 8, *range(16, 97, 8))))
            print()
            print(table("left edge", edges.left, (0, 8, *range(16, 241, 16))))
            print(f"\n{settings(edges)}")
            if fixed:
                as_live.append(edges)
                share = n_changed / max(1, n_tokens)
                print(f"whole clips, frozen against own normalisation: {share:.2%}")
            print(flush=True)
    print("## Settings for this model\n")
    print(variables(as_live, seconds(PROFILES[options.profile].hop)))


if __name__ == "__main__":
    main(sys.argv[1:])
