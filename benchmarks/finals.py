"""Show how the edges of a span change its text: why finals differ from files.

    python -m benchmarks.finals
    python -m benchmarks.finals --suite S3 --setup agent --streams 4

A final has the text of a file with the same samples. `streaming.py` compares it with a
clip of other samples: the clip has 0.3 s of room tone before the first word and after
the last; a final begins 0.3 s before voice activity detection finds speech, and ends
0.1 s after it finds the end. So each utterance is decoded over both spans, and over the
final's span with one property of the clip at a time: its beginning, its end, the
samples of its normalisation. Then the clip is compared with itself, a quarter, half and
three quarters of a frame later: this shows how far a model's text depends on the place
of the cut, and a difference of that size does not come from the server. The final is
also compared with the average of these four.

Differences are in points of word error rate, with a paired bootstrap over utterances.
The program prints a line of JSON for each, a table, and the utterances in which the
final differs, with the changes that remove the difference. Partials have no influence,
so none are made.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from audio.frames import FRAME_SHIFT
from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.common.statistics import ratio
from benchmarks.corpus import suites
from benchmarks.corpus.suites import Stream
from benchmarks.streams.offline import AROUND, Offline
from engine.interface import Normalisation
from live.events import LiveEvent, UtteranceFinal
from live.options import PROFILES, StreamOptions
from live.session import StreamSession
from model import ASRModel
from vad.silero import SileroVad, VadStream

_BLOCK: Final = SAMPLE_RATE // 50

Words = tuple[str, ...]
Span = tuple[int, int]  # the first sample, and one past the last


@dataclass(frozen=True, slots=True)
class Case:
    """An utterance, and where its two recordings begin and end.

    Attributes:
        clip: Span with 0.3 s around the words.
        final: Span from the start of the first final with a part of the utterance to
            the end of the last; None if there is none.
    """

    name: str
    samples: Samples
    said: Words
    clip: Span
    final: Span | None


# What is decoded, and what it is normalised over.
Variant = Callable[[Case, Span], tuple[Span, Span]]

FINAL: Final = "the final"
CLIP: Final = "the clip"
# One thing of the clip at a time.
CHANGES: Final[dict[str, Variant]] = {
    "the clip's beginning": lambda c, f: _as_is((c.clip[0], f[1])),
    "the clip's end": lambda c, f: _as_is((f[0], c.clip[1])),
    "the clip's normalisation": lambda c, f: (f, c.clip),
}
# The model looks at its audio every 20 ms from the beginning on. A clip that begins a
# fraction of that later lies otherwise on this grid; whole frames make no difference.
_MOVES_MS: Final = (5, 10, 15)
_EARLIER: Final = 5 * FRAME_SHIFT


def _as_is(span: Span) -> tuple[Span, Span]:
    return span, span


def _moved(by_ms: int) -> Variant:
    by = by_ms * SAMPLE_RATE // 1000
    return lambda c, f: _as_is((c.clip[0] + by, c.clip[1] + by))


def _later(by_ms: int) -> str:
    return f"the clip, {by_ms} ms later"


VARIANTS: Final[dict[str, Variant]] = {
    FINAL: lambda c, f: _as_is(f),
    CLIP: lambda c, f: _as_is(c.clip),
    **{f"the final with {what}": change for what, change in CHANGES.items()},
    **{_later(by_ms): _moved(by_ms) for by_ms in _MOVES_MS},
    "the clip, begun 100 ms earlier": lambda c, f: _as_is(
        (max(0, c.clip[0] - _EARLIER), c.clip[1])
    ),
}
# Wherever a clip happens to begin, it lies on one of these grids, more or less.
GRIDS: Final = (CLIP, *map(_later, _MOVES_MS))
EXCESS: Final = "the final, less the clip on average over four grids"


def cases(stream: Stream, spans: Sequence[Span]) -> list[Case]:
    """Pair what was said in a stream with the spans of its finals."""
    found = []
    for number, one in enumerate(stream.utterances):
        own = [span for span in spans if span[0] < one.end and span[1] > one.start]
        found.append(
            Case(
                name=f"{stream.name}, {number + 1}",
                samples=stream.samples,
                said=tuple(word.text for word in one.words),
                clip=(max(0, one.start - AROUND), one.end + AROUND),
                final=(own[0][0], own[-1][1]) if own else None,
            )
        )
    return found


class Bench:
    """A model, and its texts of spans of audio."""

    def __init__(self, card: str) -> None:
        self._model = ASRModel.load(card, dtype="float32")
        self._vad = SileroVad()
        self._offline = Offline(
            self._model.label_frames,
            self._model.vocabulary,
            self._model.spike_offsets,
            self._vad,
        )

    def spans(self, stream: Stream, options: StreamOptions) -> list[Span]:
        """Send a stream, and say where its finals begin and end."""
        session = StreamSession(
            vocabulary=self._model.vocabulary,
            offsets=self._model.spike_offsets,
            options=replace(options, partials=False),
        )
        ear = VadStream(self._vad)
        events: list[LiveEvent] = []
        for first in range(0, len(stream.samples), _BLOCK):
            block = stream.samples[first : first + _BLOCK]
            events += session.push_audio(block, ear.push_audio(block))
            events += self._answer(session)
        events += session.end() + self._answer(session)
        finals = (event for event in events if isinstance(event, UtteranceFinal))
        return [(final.start, final.end) for final in finals]

    def _answer(self, session: StreamSession) -> list[LiveEvent]:
        return [
            event
            for request in session.requests()
            for event in session.accept(
                request, self._model.label_frames([request.window])[0]
            )
        ]

    def words(self, case: Case, variant: Variant) -> Words:
        """Decode an utterance; one that has no final says nothing."""
        if case.final is None and variant is VARIANTS[FINAL]:
            return ()
        span, over = variant(case, case.clip if case.final is None else case.final)
        heard = slice(*over)
        normalisation = None
        if over != span:
            own = case.samples[heard]
            normalisation = Normalisation(float(own.mean()), float(own.std()))
        segments = self._offline.segments(case.samples[slice(*span)], normalisation)
        return tuple(word.text for segment in segments for word in segment.words)


def figures(
    every: Sequence[Case], heard: Mapping[str, Sequence[Words]]
) -> Iterator[Row]:
    """Count the errors of each variant, and how they differ from the clip's.

    The last row has by how much the final's exceed those of the clip on average over
    the grids.
    """
    n_words = [len(case.said) for case in every]
    edits = {
        name: np.array(
            [Levenshtein.distance(c.said, w) for c, w in zip(every, own, strict=True)]
        )
        for name, own in heard.items()
    }
    for name, own in edits.items():
        change = own - edits[CLIP]
        differ = [a != b for a, b in zip(heard[name], heard[CLIP], strict=True)]
        yield {
            "what": name,
            "wer": 100 * float(own.sum()) / sum(n_words),
            "gap": _points(change, n_words),
            "differ": sum(differ),
            "worse": int((change > 0).sum()),
            "better": int((change < 0).sum()),
        }
    mean = np.mean([edits[name] for name in GRIDS], axis=0)
    yield {"what": EXCESS, "gap": _points(edits[FINAL] - mean, n_words)}


def _points(change: Sequence[float], n_words: Sequence[int]) -> dict[str, float]:
    gap = ratio(zip(change, n_words, strict=True))
    assert gap is not None, "nothing was said"
    return {key: 100 * value for key, value in asdict(gap).items()}


def table(rows: Sequence[Row]) -> str:
    """Write the figures as Markdown.

    Args:
        rows: Rows of variants; others are left out.
    """
    head = ["decoded", "WER, %", "- clip, points (95 %)", "differ", "worse", "better"]
    return documents.table(
        head,
        [
            [
                row["what"],
                f"{row['wer']:.2f}" if "wer" in row else "",
                "{value:+.2f} ({low:+.2f} to {high:+.2f})".format(**row["gap"]),
                *(str(row.get(key, "")) for key in ("differ", "worse", "better")),
            ]
            for row in rows
            if "what" in row
        ],
    )


def differences(every: Sequence[Case], heard: Mapping[str, Sequence[Words]]) -> str:
    """List utterances whose final differs from the clip, and what undoes that."""
    lines = []
    for k, case in enumerate(every):
        final, clip = heard[FINAL][k], heard[CLIP][k]
        if final == clip:
            continue
        cures = [what for what in CHANGES if heard[f"the final with {what}"][k] == clip]
        lines += [
            f"{case.name}: cured by {', '.join(cures) or 'none alone'}",
            *(
                f"  {who:5} {' '.join(words)}"
                for who, words in (
                    ("said", case.said),
                    ("final", final),
                    ("clip", clip),
                )
            ),
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finals", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--suite", default="S1", choices=suites.PLANS)
    add("--setup", default="captions", choices=PROFILES)
    add("--streams", type=int, help="at most (default: all)")
    add("--quick", action="store_true", help="one short stream")
    add("--card", default="omniASR_CTC_demo", help="the model (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench = Bench(chosen.card)
    streams = suites.compose(chosen.suite, suites.load(), quick=chosen.quick)
    every = [
        case
        for stream in streams[: chosen.streams]
        for case in cases(stream, bench.spans(stream, PROFILES[chosen.setup]))
    ]
    heard: dict[str, Sequence[Words]] = {}
    for name, variant in VARIANTS.items():
        heard[name] = [bench.words(case, variant) for case in every]
    rows = list(figures(every, heard))
    run = {"suite": chosen.suite, "setup": chosen.setup, "n_utterances": len(every)}
    for row in (*rows, {**run, **environment(), **processor()}):
        print(json.dumps(row))
    print(table(rows))
    print(differences(every, heard))


if __name__ == "__main__":
    main(sys.argv[1:])
