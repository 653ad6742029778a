"""Measure what thresholds of turns are worth: early ends that hold, turns cut, delays.

    python -m benchmarks.turns
    python -m benchmarks.turns --streams 0 --output benchmarks/results/turns.jsonl \
      --document docs/deepgram.md

The suites S3 (utterances of 2 to 15 s, 0.8 to 2 s apart) and S5 (pauses of 0.3 to 0.7 s
inside utterances) go through the session that serves live streams, in simulated time
(`benchmarks/streams/simulation.py`), with the thresholds of Deepgram's Flux turned into
silences as the server does it (`protocols/deepgram/thresholds.py`).

A turn is cut where it ends before the last word of its utterance has. An early end
holds if the turn ends with it. Delays count from the end of the last word: of turns
that were not cut, and of early ends that held.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.common import documents
from benchmarks.common.environment import environment
from benchmarks.corpus import suites
from benchmarks.corpus.suites import Stream
from benchmarks.streams.policies import SessionPolicy
from benchmarks.streams.simulation import Simulation
from benchmarks.streams.traces import Message, Trace, seconds
from live.options import PROFILES
from live.session import StreamSession
from model import ASRModel
from protocols.deepgram.thresholds import Thresholds
from vad.silero import SileroVad

SUITES = ("S3", "S5")
# Eager and final.
THRESHOLDS = ((0.3, 0.7), (0.5, 0.7), (0.3, 0.8), (0.3, 0.9), (0.5, 0.9), (0.7, 0.9))
RESULTS = "turns.jsonl"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, as its client saw it; seconds after the last word, where known.

    Attributes:
        cut: Whether it ended before its utterance did.
        end_s: When it ended.
        early_s: When the early end came that it ended with; None without one.
        n_early: Early ends, those that were taken back among them.
    """

    cut: bool
    end_s: float
    early_s: float | None
    n_early: int


@dataclass(frozen=True, slots=True)
class Row:
    """What came of two thresholds in a suite; delays in milliseconds."""

    suite: str
    eager: float
    final: float
    utterances: int
    turns: int
    cut: int
    early: int
    held: int
    early_p50: int
    early_p95: int
    end_p50: int
    end_p95: int


def turns_of(stream: Stream, trace: Trace) -> list[Turn]:
    """Say of each turn with a word when it ended, and whether that was too soon."""
    return [
        _turn(stream, trace, message)
        for message in trace.messages
        if message.final and message.text
    ]


def _turn(stream: Stream, trace: Trace, final: Message) -> Turn:
    begun = [one for one in stream.utterances if one.start < final.position]
    truth = begun[-1] if begun else stream.utterances[0]
    ends = [one for one in trace.early_ends if one.utterance == final.utterance]
    last = ends[-1] if ends else None
    held = last is not None and last.text is not None
    if last is not None and held:
        assert last.text == final.text, "the final is another"
    end_s = seconds(truth.end)
    return Turn(
        cut=final.position < truth.end,
        end_s=final.at_s - end_s,
        early_s=last.at_s - end_s if last is not None and held else None,
        n_early=sum(one.text is not None for one in ends),
    )


def summed_up(
    suite: str, thresholds: tuple[float, float], n: int, turns: Sequence[Turn]
) -> Row:
    """Sum up the turns of a suite, in which there were so many utterances."""
    whole = [turn for turn in turns if not turn.cut]
    early = [turn.early_s for turn in whole if turn.early_s is not None]
    ends = [turn.end_s for turn in whole]
    return Row(
        suite,
        *thresholds,
        utterances=n,
        turns=len(turns),
        cut=sum(turn.cut for turn in turns),
        early=sum(turn.n_early for turn in turns),
        held=sum(turn.early_s is not None for turn in turns),
        early_p50=_ms(early, 50),
        early_p95=_ms(early, 95),
        end_p50=_ms(ends, 50),
        end_p95=_ms(ends, 95),
    )


def _ms(found: Sequence[float], percent: int) -> int:
    return round(1000 * float(np.percentile(found, percent))) if found else 0


class Bench:
    """The model and its ear."""

    def __init__(self, dtype: str) -> None:
        self.model = ASRModel.load("omniASR_CTC_demo", dtype=dtype)
        self._vad = SileroVad()

    def run(self, stream: Stream, eager: float, final: float) -> list[Turn]:
        """Send a stream to its end."""
        thresholds = Thresholds(eot_threshold=final, eager_eot_threshold=eager)
        options = replace(
            PROFILES["agent"],
            endpoint_silence=thresholds.endpoint_silence,
            eager_silence=thresholds.eager_silence,
        )
        session = StreamSession(
            vocabulary=self.model.vocabulary,
            offsets=self.model.spike_offsets,
            options=options,
        )
        policy = SessionPolicy(session)
        trace = Simulation(stream, policy, self.model.label_frames, self._vad).run()
        return turns_of(stream, trace)


def table(rows: Sequence[Row]) -> str:
    """Write the results as a table of a document."""
    head = [
        "suite, eager / final",
        "turns cut",
        "early ends a turn",
        "of them held",
        "early p50 / p95, ms",
        "end p50 / p95, ms",
    ]
    body = [
        [
            f"{row.suite}, {row.eager:g} / {row.final:g}",
            f"{row.cut} of {row.turns}",
            f"{row.early / row.turns:.2f}" if row.turns else "",
            f"{100 * row.held / row.early:.0f} %" if row.early else "",
            f"{row.early_p50} / {row.early_p95}",
            f"{row.end_p50} / {row.end_p95}",
        ]
        for row in rows
    ]
    return documents.table(head, body)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--streams", type=int, default=5, help="of each suite; 0: all")
    add("--dtype", default="float32")
    add("--output", type=Path, help="where to write the results as JSON lines")
    add("--document", type=Path, help="the document with their table")
    options = parser.parse_args(arguments)
    bench, material = Bench(options.dtype), suites.load()
    rows = []
    for suite in SUITES:
        streams = suites.compose(suite, material)
        streams = streams[: options.streams or len(streams)]
        n = sum(len(stream.utterances) for stream in streams)
        for eager, final in THRESHOLDS:
            turns = [turn for one in streams for turn in bench.run(one, eager, final)]
            rows.append(summed_up(suite, (eager, final), n, turns))
            print(json.dumps(asdict(rows[-1])), flush=True)
    print(table(rows))
    if options.output is not None:
        made_with = {**environment(), "dtype": bench.model.dtype_name}
        lines = [json.dumps({**asdict(row), **made_with}) + "\n" for row in rows]
        options.output.write_text("".join(lines), "utf-8")
    if options.document is not None:
        document = options.document.read_text("utf-8")
        filled = documents.fill(document, RESULTS, table(rows))
        options.document.write_text(filled, "utf-8")


if __name__ == "__main__":
    main()
