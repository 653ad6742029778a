"""Measure live streaming: latency, stability, errors, endpoints and cost.

    python -m benchmarks.streaming [--suite S1 ...] [--setup captions ...]
    python -m benchmarks.streaming --quick
    python -m benchmarks.streaming --real-time
    python -m benchmarks.streaming --vary hop=0.2,margin=0.48 --suite S1
    python -m benchmarks.streaming --partials CARD

Streams of known words (`benchmarks/corpus/suites.py`) go through the session and the
queue that serve live streams, in simulated time that is charged with the computing as
measured (`benchmarks/streams/simulation.py`); so do two other servers' policies
(`benchmarks/streams/policies.py`). With `--real-time`, S1 also goes through a loopback
socket to a server process, sent by a client process on an absolute schedule.

With `--partials`, another model makes partials, as with PARTIALS_CARD; the two take
turns. `benchmarks/networks/quick_demo.py` writes one that is smaller than the demo
model.

The clients' messages are kept in `--traces`, one file a stream; streams with a file are
not run again, so an interrupted run continues. From the traces come a result line for
each suite and setup (`--output`), a table, a comparison with the goals, and a plot of
each.

WER gaps are on words joined from recordings. `--real` measures on your own recordings,
with the decode of the whole recording as the truth.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio.samples import SAMPLE_RATE
from benchmarks.corpus import suites
from benchmarks.corpus.disturbances import read_audio
from benchmarks.corpus.suites import Stream
from benchmarks.streams import plots, real_time, trace_files
from benchmarks.streams import report as stream_report
from benchmarks.streams.metrics import measure
from benchmarks.streams.offline import Offline
from benchmarks.streams.policies import (
    Policy,
    Read,
    SeedPolicy,
    SessionPolicy,
    WhisperStreamingPolicy,
    reader,
)
from benchmarks.streams.report import Stretch
from benchmarks.streams.simulation import Simulation
from benchmarks.streams.trace_files import Run
from engine.interface import Model
from engine.two_models import TwoModels
from live.options import PROFILES, StreamOptions
from live.session import StreamSession
from model import ASRModel
from vad.silero import SileroVad
from weights.places import public_name

COMMITS = ", client commits"
OTHERS: dict[str, Callable[[Read], Policy]] = {
    "seed": SeedPolicy,
    "whisper_streaming": WhisperStreamingPolicy,
}
REAL = "real"

# The default runs: those of the goals, and the other policies where they are weak.
PLAN = (
    *((name, "captions") for name in ("S1", "S4", "S3", "S5", "S2", "S9", "S8")),
    *((name, "captions") for name in ("S7", "S6")),
    ("S1", "captions" + COMMITS),
    ("S3", "agent"),
    ("S1", "agent"),
    ("S5", "quality"),
    ("S1", "quality"),
    *((name, other) for name in ("S1", "S4") for other in OTHERS),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of the command line."""

    suite: list[str]
    setup: list[str]
    streams: int
    quick: bool
    real_time: bool
    real: list[Path]
    vary: dict[str, float]
    card: str
    partials: str
    model_dir: Path | None
    dtype: str
    speech_dir: Path | None
    traces: Path
    output: Path | None
    plots: Path | None
    readme: Path | None
    report_only: bool


def varied(text: str) -> dict[str, float]:
    """Read `hop=0.2,margin=0.48`, in seconds."""
    pairs = (part.split("=") for part in text.split(","))
    return {name: float(value) for name, value in pairs}


def parse_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description="Measure live streaming.")
    add = parser.add_argument
    setups = [f"{name}{end}" for name in PROFILES for end in ("", COMMITS)]
    add("--suite", nargs="+", default=[], choices=[*suites.PLANS, REAL])
    add("--setup", nargs="+", default=[], choices=[*setups, *OTHERS])
    add("--streams", type=int, default=0, help="of each suite at most; 0: all")
    add("--quick", action="store_true", help="one short stream of each")
    add("--real-time", action="store_true", help="S1 also over a socket")
    add("--real", type=Path, nargs="*", default=[], help="recordings of your own")
    add("--vary", type=varied, default={}, help="options of the profile, in seconds")
    add("--card", default="omniASR_CTC_demo", help="the model (default: %(default)s)")
    add("--partials", default="", help="another model for partials")
    add("--model-dir", type=Path, help="folder of further cards")
    add("--dtype", default="auto")
    add("--speech-dir", type=Path, help="recordings of digits (default: the tests')")
    add("--traces", type=Path, default=Path("streaming-traces"))
    add("--output", type=Path, help="write the result lines")
    add("--plots", type=Path, help="write a plot of each suite and setup")
    add("--readme", type=Path, help="put the goals' table into this document")
    add("--report-only", action="store_true", help="run nothing, read the traces")
    return Options(**vars(parser.parse_args(arguments)))


class Bench:
    """The model, the speech, and all runs."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._model = ASRModel.load(
            options.card, model_dir=options.model_dir, dtype=options.dtype
        )
        self._quick: ASRModel | None = None
        self._both: Model = self._model
        if options.partials:
            self._quick = ASRModel.load(
                options.partials, model_dir=options.model_dir, dtype=options.dtype
            )
            self._both = TwoModels(self._model, self._quick)
        self._vad = SileroVad()
        self._material = suites.load(options.speech_dir)
        self._composed: dict[str, list[Stream]] = {}
        self._offline = Offline(
            self._model.label_frames,
            self._model.vocabulary,
            self._model.spike_offsets,
            self._vad,
        )
        self._commit = stream_report.commit()

    @property
    def environment(self) -> dict[str, Any]:
        return {
            "model": self._named(self._model),
            **({"partials": self._named(self._quick)} if self._quick else {}),
            "dtype": self._model.dtype_name,
            **stream_report.environment(),
        }

    def _named(self, model: ASRModel) -> str:
        """Return a model's name without the path of its folder."""
        return public_name(model.name, model_dir=self._options.model_dir)

    def plan(self) -> Iterator[tuple[str, str]]:
        """Say which suites are run under which setups."""
        options = self._options
        if not (options.suite or options.setup):
            yield from PLAN
            if options.real:
                yield REAL, "captions"
            return
        for name in options.suite or suites.PLANS:
            for setup in options.setup or ("captions",):
                yield name, setup

    def streams(self, suite: str) -> list[Stream]:
        """Compose a suite, or read the recordings."""
        if suite not in self._composed:
            if suite == REAL:
                found = suites.real(self._options.real, read_audio)
                found = [self._offline.as_reference(one) for one in found]
            else:
                quick = self._options.quick
                found = suites.compose(suite, self._material, quick=quick)
            n = self._options.streams or len(found)
            self._composed[suite] = found[:n]
        return self._composed[suite]

    def run(self) -> None:
        """Run what is not there yet: the first streams of everything first."""
        plan = list(self.plan())
        for index in range(max(len(self.streams(suite)) for suite, _ in plan)):
            for suite, setup in plan:
                if index < len(self.streams(suite)):
                    self._run(suite, self.streams(suite)[index], setup)

    def path(self, setup: str, stream: Stream, driver: str = "simulated") -> Path:
        vary = "".join(f" {key}={value}" for key, value in self._options.vary.items())
        return self._options.traces / driver / (setup + vary) / f"{stream.name}.jsonl"

    def _run(self, suite: str, stream: Stream, setup: str) -> None:
        path = self.path(setup, stream)
        if path.exists():
            return
        simulation = Simulation(
            stream,
            self._policy(setup),
            self._both.label_frames,
            self._vad,
            commit=setup.endswith(COMMITS),
        )
        trace = simulation.run()
        offline = self._offline.words(stream)
        trace_files.write(
            path, Run(suite, stream.name, setup, offline, trace, self._commit)
        )
        print(f"{suite} {stream.name}, {setup}: {trace.compute_s:.1f} s", flush=True)

    def _policy(self, setup: str) -> Policy:
        vocabulary = self._model.vocabulary
        if setup in OTHERS:
            return OTHERS[setup](reader(vocabulary))
        session = StreamSession(
            vocabulary=vocabulary,
            offsets=self._model.spike_offsets,
            options=self._stream_options(setup),
            quick=self._both.traits.quick,
        )
        return SessionPolicy(session)

    def _stream_options(self, setup: str) -> StreamOptions:
        options = PROFILES[setup.removesuffix(COMMITS)]
        vary: dict[str, Any] = {
            key: round(value * SAMPLE_RATE) for key, value in self._options.vary.items()
        }
        return replace(options, **vary)

    def run_real_time(self) -> None:
        """Send S1 through a socket, all streams one after the other."""
        options = self._options
        streams = [
            one
            for one in self.streams("S1")
            if not self.path("captions", one, "real time").exists()
        ]
        traces = real_time.run(
            streams,
            options.traces / "server.log",
            MODEL_CARD=options.card,
            PARTIALS_CARD=options.partials,
            DTYPE=options.dtype,
            NUM_THREADS="1",
        )
        for stream, (trace, late_ms) in zip(streams, traces, strict=False):
            offline = self._offline.words(stream)
            run = Run(
                "S1", stream.name, "captions", offline, trace, self._commit, late_ms
            )
            trace_files.write(self.path("captions", stream, "real time"), run)
            print(f"S1 {stream.name}, in real time", flush=True)

    def rows(self) -> list[dict[str, Any]]:
        """Measure what was run."""
        rows = []
        drivers = [("simulated", suite, setup) for suite, setup in self.plan()]
        drivers += [("real time", "S1", "captions")]
        for driver, suite, setup in drivers:
            stretches = list(self._stretches(driver, suite, setup))
            if not stretches:
                continue
            head = {"suite": suite, "setup": setup, "driver": driver}
            if self._options.vary:
                head["vary"] = str(self._options.vary)
            figures = stream_report.figures(stretches)
            row = {**head, **figures, **self.environment}
            rows.append(stream_report.rounded(row))
            if self._options.plots is not None:
                name = f"{suite} {setup} {driver}".replace(",", "").replace(" ", "-")
                plots.write(self._options.plots / f"{name}.svg", head, stretches)
        return rows

    def _stretches(self, driver: str, suite: str, setup: str) -> Iterator[Stretch]:
        for stream in self.streams(suite):
            path = self.path(setup, stream, driver)
            if path.exists():
                run = trace_files.read(path)
                measured = measure(stream, run.trace, run.offline)
                yield Stretch(stream.duration_s, run.commit, run.trace, measured)


def difference(rows: Sequence[dict[str, Any]]) -> str:
    """Compare S1 in simulated time with S1 through a socket, as Markdown."""
    found = {
        row["driver"]: row
        for row in rows
        if (row["suite"], row["setup"]) == ("S1", "captions")
    }
    if len(found) < 2:
        return ""
    lines = [
        "| S1, captions | simulated | real time | difference |",
        "|---|--:|--:|--:|",
    ]
    for key in ("first_partial_s", "first_seen_s", "committed_s", "endpoint_s"):
        for q in ("p50", "p95"):
            ours, theirs = found["simulated"][key][q], found["real time"][key][q]
            lines.append(
                f"| {key.removesuffix('_s').replace('_', ' ')} {q}, s | {ours:.3f} "
                f"| {theirs:.3f} | {theirs - ours:+.3f} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    options = parse_options(arguments)
    bench = Bench(options)
    if not options.report_only:
        bench.run()
        if options.real_time:
            bench.run_real_time()
    rows = bench.rows()
    if options.output is not None:
        stream_report.write_rows(options.output, rows)
    if options.readme is not None:
        filled = stream_report.fill(options.readme.read_text("utf-8"), rows)
        options.readme.write_text(filled, "utf-8")
    print()
    print(stream_report.suites_table(rows))
    print()
    print(stream_report.goals_table(rows))
    print()
    print(difference(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
