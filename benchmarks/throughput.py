"""Measure the speed of the 300M architecture, beside other ways to run it.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --rounds 3 --windows 2 5 --only ours-float32 ...

On one machine, in one run, with the same number of threads: our network in each
arithmetic the processor has; Meta's `ASRInferencePipeline` called on arrays, in
bfloat16 as it ships and in float32; and ONNX Runtime on fairseq2's own module,
exported here, in float32 and with dynamic 8-bit products. The weights are random and
seeded, the same for all.

Contenders take turns, window by window, so that other work on the machine affects all
of them (with `--threads 1` their processor time is measured, which other work hardly
changes). Ratios are medians over rounds, of two runs of the same round. `floor` is the
time of the window's products alone at the rate of the fastest product, which is
measured in every round as well. Texts are compared with those of the pipeline in
float32. Ours in float32 has to be equal, except for letters whose best two labels are
equally likely; otherwise the status is 1.

Writes a line of JSON for each contender and window, then the environment, then a
table. `--isa AVX2` hides the processor's newer instructions from PyTorch and oneDNN
(not from ONNX Runtime, which has no such switch).
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import editdistance
import torch

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.corpus import composer
from benchmarks.networks import contenders
from benchmarks.networks.contenders import Run
from weights.devices import choose_dtype

WINDOWS_S: Final = (2, 5, 10, 30)
REFERENCE: Final = "pipeline-float32"
AS_SHIPPED: Final = "pipeline-bfloat16"

# Random weights leave some letters undecided; more would be another network.
_LEAST_AGREEMENT: Final = 0.99

_OTHERS: Final = (AS_SHIPPED, REFERENCE, "onnx-float32", "onnx-int8")


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    names: tuple[str, ...]
    windows_s: tuple[int, ...]
    rounds: int
    threads: int
    work_dir: Path


@dataclass(slots=True)
class Measured:
    """All runs of one contender over one window, a run for each round."""

    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.runs)

    def times_faster_than(self, other: "Measured") -> float:
        """Return the other's time divided by ours, in the median round."""
        return median(
            theirs.seconds / ours.seconds
            for ours, theirs in zip(self.runs, other.runs, strict=True)
        )

    def agreement(self, other: "Measured") -> float:
        """Share of letters that are the other's."""
        ours, theirs = self.runs[0].text, other.runs[0].text
        return 1 - editdistance.eval(ours, theirs) / max(1, len(theirs))


Results = dict[tuple[str, int], Measured]


def native_arithmetic() -> tuple[str, ...]:
    """Name what this processor computes quickly."""
    best = choose_dtype("auto", torch.device("cpu"))
    return ("float32", "int8") + (("bfloat16",) if best == torch.bfloat16 else ())


def parse_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = [f"{k}-{a}" for k in ("floor", "ours") for a in native_arithmetic()]
    default += _OTHERS
    parser.add_argument("--only", nargs="+", default=default, choices=default)
    parser.add_argument("--windows", nargs="+", type=int, default=WINDOWS_S)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--isa", choices=("AVX2", "AVX512_CORE"))
    parser.add_argument("--work-dir", type=Path, help="keeps the model's files")
    given = parser.parse_args(arguments)
    if given.isa:  # read by libraries when a contender's process starts
        os.environ["ONEDNN_MAX_CPU_ISA"] = given.isa
        os.environ["ATEN_CPU_CAPABILITY"] = given.isa.removesuffix("_CORE").lower()
        os.environ["MKL_ENABLE_INSTRUCTIONS"] = given.isa.removesuffix("_CORE")
    folder = given.work_dir or contenders.WORK_DIR
    return Options(
        tuple(given.only), tuple(given.windows), given.rounds, given.threads, folder
    )


def clips(windows_s: Sequence[int]) -> dict[int, Samples]:
    """Compose a clip of each length."""
    recordings, made = composer.load(), {}
    for length_s in windows_s:
        words = composer.random_composition(recordings, 4 * length_s, rng=Random(0))
        made[length_s] = words.samples[: length_s * SAMPLE_RATE]
    return made


@contextmanager
def running(options: Options) -> Iterator[dict[str, Any]]:
    """Run every contender in a process of its own; yield the pipes to them."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in options.names:
        ours, theirs = context.Pipe()
        arguments = (theirs, name, options.work_dir, options.threads)
        process = context.Process(target=contenders.work, args=arguments, daemon=True)
        process.start()
        processes.append(process)
        theirs.close()  # so that a process that dies is noticed
        ours.recv()  # one at a time, since building takes memory
        pipes[name] = ours
    try:
        yield pipes
    finally:
        for pipe in pipes.values():
            pipe.send(None)
        for process in processes:
            process.join()


def measure(options: Options) -> Results:
    """Let all contenders take turns."""
    results: Results = defaultdict(Measured)
    made = clips(options.windows_s)
    with running(options) as pipes:
        for round_number in range(options.rounds + 1):
            for length_s, clip in made.items():
                for name, pipe in pipes.items():
                    pipe.send(clip)
                    run = pipe.recv()
                    if round_number:  # the first warms up
                        results[name, length_s].runs.append(run)
    return results


def rows(results: Results, options: Options) -> Iterator[Row]:
    """Describe every contender and window."""
    for (name, length_s), measured in results.items():
        row = {
            "contender": name,
            "window_s": length_s,
            "median_s": round(measured.seconds, 4),
            "fastest_s": round(min(run.seconds for run in measured.runs), 4),
            "real_time_factor": round(measured.seconds / length_s, 4),
            "peak_mib": max(run.peak_bytes for run in measured.runs) >> 20,
        }
        if not name.startswith("floor"):
            for other in options.names:
                faster = measured.times_faster_than(results[other, length_s])
                row[f"times_faster_than_{other}"] = round(faster, 2)
            if REFERENCE in options.names:
                agreement = measured.agreement(results[REFERENCE, length_s])
                row["letters_equal"] = round(agreement, 4)
        yield row


def table(rows: Sequence[Row]) -> str:
    """Write the times, ours over the others', and the memory, as Markdown.

    Args:
        rows: Rows of all contenders and windows; others are left out.
    """
    own = {(r["contender"], r["window_s"]): r for r in rows if "contender" in r}
    names = list(dict.fromkeys(name for name, _ in own))
    windows = list(dict.fromkeys(window for _, window in own))
    body = []
    for name in names:
        all_of = [own[name, window] for window in windows]
        peak = max(row["peak_mib"] for row in all_of)
        times = [f"{1000 * row['median_s']:.0f} ms" for row in all_of]
        body.append([name, *times, f"{peak} MiB" if peak else ""])
    for name in (name for name in names if name.startswith("ours")):
        floor = name.replace("ours", "floor")
        for other in [n for n in names if n in _OTHERS or n == floor]:
            key = f"times_faster_than_{other}"
            ratios = [own[name, window][key] for window in windows]
            if other == floor:
                cells = [f"{1 / ratio:.2f}" for ratio in ratios]
                body.append([f"{name}: time over its floor", *cells, ""])
            else:
                cells = [f"{ratio:.2f} x" for ratio in ratios]
                body.append([f"{name} over {other}", *cells, ""])
    return documents.table(["", *(f"{w} s" for w in windows), "peak"], body)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if our text is not the pipeline's."""
    options = parse_options(arguments if arguments is not None else sys.argv[1:])
    contenders.prepare(
        options.work_dir, onnx=any(name.startswith("onnx") for name in options.names)
    )
    results = measure(options)
    measured = list(rows(results, options))
    for row in measured:
        print(json.dumps(row))
    print(json.dumps({**environment(), **processor(), "threads": options.threads}))
    print(table(measured))
    if not {"ours-float32", REFERENCE} <= set(options.names):
        return 0
    worst = min(
        results["ours-float32", w].agreement(results[REFERENCE, w])
        for w in options.windows_s
    )
    return 0 if worst >= _LEAST_AGREEMENT else 1


if __name__ == "__main__":
    raise SystemExit(main())
