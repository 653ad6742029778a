"""Check and measure a GPU in one run: correctness, speed and number of streams.

    python -m benchmarks.gpu --output benchmarks/results/gpu.jsonl
    python -m benchmarks.gpu --device mps --card omniASR_CTC_300M_v2

Four parts for each arithmetic that is asked for:

`correctness`  composed recordings through a card's model, on the device and in
               float32 on the CPU: how far the logits are off, and how many labels,
               texts and letters are the same.
`speed`        the 300M architecture: windows of 2 to 40 s, one at a time, from array
               to labels, and the real-time factor of each.
`batches`      the same, for more and more windows in a pass.
`streams`      how many live streams the card's model serves, and how late their finals
               and partials are, as `capacity.py` says it, in real time, with the
               scheduler's and the VAD's threads. Then the same for each released size:
               its random weights take the time of real ones, and a text is made up, as
               they hear none. A size that there is no memory for is passed over.

With memory, where the device tells it: the most that was in use. Medians over rounds;
the first, which loads kernels, is written down by itself. The 300M model has seeded
random weights unless the card is another than the demo model's: its own are used then.

Prints a line of JSON for each figure, then the environment, which also go to a file,
and a table. Status 1 if float32 on the device is not the CPU's, or if another
arithmetic fails the start-up check.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from audio.samples import SAMPLE_RATE
from benchmarks import arithmetic, capacity
from benchmarks.capacity import Bench
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.corpus import composer
from benchmarks.networks.instant_model import TakingAsLong
from engine.interface import Model, ModelInput
from live.options import PROFILES
from model import ASRModel
from weights.devices import choose_device, out_of_memory

DEMO: Final = "omniASR_CTC_demo"
ARCH: Final = "300m_v2"
SIZES: Final = ("300m_v2", "1b_v2", "3b_v2", "7b_v2")
DTYPES: Final = ("float32", "bfloat16", "float16")

# In float32 a GPU sums in another order, and may round products to TF32.
_MOST_WRONG_FLOAT32: Final = 0.01

_BATCH_S: Final = 4  # about what a partial holds


@dataclass(frozen=True, slots=True)
class Options:
    """The parts to measure."""

    device: str
    card: str
    dtypes: tuple[str, ...]
    windows_s: tuple[int, ...]
    batches: tuple[int, ...]
    rounds: int
    clips: int
    seconds: float
    most: int
    sizes: tuple[str, ...]


def noise(length_s: float) -> ModelInput:
    """Make a window of noise; its content does not matter for speed."""
    n_samples = round(length_s * SAMPLE_RATE)
    chance = np.random.default_rng(n_samples)
    return ModelInput(chance.standard_normal(n_samples).astype(np.float32))


def forget_peak(device: torch.device) -> None:
    """Begin to count the most memory in use anew, where that is counted."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> int | None:
    """Tell the most memory in use; None if the device does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() >> 20
    return None


def pass_s(model: ASRModel, windows: Sequence[ModelInput], rounds: int) -> list[float]:
    """Time passes, from arrays to labels; the first is the first of its shape."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        model.label_frames(windows)  # whose labels are on the CPU: it has waited
        taken.append(time.perf_counter() - began)
    return taken


def correctness(model: ASRModel, reference: ASRModel, n_clips: int) -> Row:
    """Compare a model with the same one in float32 on the CPU."""
    chance, recordings = Random(0), composer.load()
    clips = [
        composer.random_composition(recordings, 8, rng=chance).samples
        for _ in range(n_clips)
    ]
    check = model.check_arithmetic()
    return {
        "part": "correctness",
        **arithmetic.compare(model, reference, clips),
        "self_check_error": round(check.error, 5),
        "right": check.passed
        and (model.dtype != torch.float32 or check.error <= _MOST_WRONG_FLOAT32),
    }


def speed(model: ASRModel, windows_s: Sequence[int], rounds: int) -> Iterator[Row]:
    """Time one window after another, of each length."""
    for length_s in windows_s:
        forget_peak(model.device)
        first, *taken = pass_s(model, [noise(length_s)], rounds)
        yield {
            "part": "speed",
            "window_s": length_s,
            "first_ms": round(1000 * first, 2),
            "median_ms": round(1000 * median(taken), 2),
            "real_time_factor": round(median(taken) / length_s, 6),
            "peak_mib": peak_mib(model.device),
        }


def batches(model: ASRModel, sizes: Sequence[int], rounds: int) -> Iterator[Row]:
    """Time more and more windows in a pass."""
    for n_windows in sizes:
        forget_peak(model.device)
        first, *taken = pass_s(model, [noise(_BATCH_S)] * n_windows, rounds)
        yield {
            "part": "batches",
            "window_s": _BATCH_S,
            "n_windows": n_windows,
            "first_ms": round(1000 * first, 2),
            "median_ms": round(1000 * median(taken), 2),
            "ms_per_window": round(1000 * median(taken) / n_windows, 2),
            "peak_mib": peak_mib(model.device),
        }


def streams(model: Model, *, seconds: float, most: int) -> Row:
    """Find how many live streams are served, each sending at its own pace."""
    bench = Bench(model, PROFILES["captions"], seconds, real_time=True)
    found, outcomes = capacity.capacity(bench, most=most)
    return {
        "part": "streams",
        "served": found,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def streams_of_sizes(options: Options, dtype: torch.dtype) -> Iterator[Row]:
    """Find how many live streams each size serves."""
    device = choose_device(options.device)
    for size in options.sizes:
        head = {"device": str(device), "card": size}
        try:
            model = capacity.random_model(size, dtype, device)
            speaking = TakingAsLong(model)
            row = streams(speaking, seconds=options.seconds, most=options.most)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            row = {"part": "streams", "served": None, "outcomes": []}
        yield head | row


def measure(options: Options) -> Iterator[Row]:
    """Go through all arithmetics and parts."""
    reference = ASRModel.load(options.card, device="cpu", dtype="float32")
    for dtype in options.dtypes:
        model = ASRModel.load(
            options.card, device=options.device, dtype=dtype, on_failed_check="stop"
        )
        head = {"device": model.device_name, "arithmetic": dtype}
        yield (
            head | {"card": options.card} | correctness(model, reference, options.clips)
        )
        big = model
        if options.card == DEMO:
            big = capacity.random_model(ARCH, model.dtype, model.device)
        for row in speed(big, options.windows_s, options.rounds):
            yield head | {"card": big.name} | row
        for row in batches(big, options.batches, options.rounds):
            yield head | {"card": big.name} | row
        del big
        yield (
            head
            | {"card": options.card}
            | streams(model, seconds=options.seconds, most=options.most)
        )
        numbers = model.dtype
        del model
        for row in streams_of_sizes(options, numbers):
            yield {"arithmetic": dtype} | row


def table(rows: Sequence[Row]) -> str:
    """Write what matters of every arithmetic, as Markdown."""
    names = list(dict.fromkeys(row["arithmetic"] for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        for name, text in _figures(row):
            cells.setdefault(name, {})[row["arithmetic"]] = text
    body = [
        [what, *(own.get(name, "") for name in names)] for what, own in cells.items()
    ]
    return documents.table(["", *names], body)


def _figures(row: Row) -> Iterator[tuple[str, str]]:
    memory = f", {row['peak_mib']} MiB" if row.get("peak_mib") else ""
    if row["part"] == "correctness":
        yield "logits off float32 on the CPU", f"{row['error_of_logits']:.2%}"
        yield "labels equal", f"{row['labels_equal']:.2%}"
        yield "texts equal", f"{row['texts_equal']:.1%}"
    elif row["part"] == "speed":
        text = f"{row['median_ms']:.1f} ms, RTF {row['real_time_factor']:.4f}{memory}"
        yield f"{row['card']}, one window of {row['window_s']} s", text
    elif row["part"] == "batches":
        text = f"{row['ms_per_window']:.2f} ms each{memory}"
        yield f"{row['n_windows']} windows of {row['window_s']} s", text
    else:
        served = row["served"]
        text = "no memory" if served is None else str(served)
        yield f"{row['card']}, live streams served", text
        # Of the most that are served, and of one if not even that is.
        outcomes = [o for o in row["outcomes"] if o["n_streams"] == max(1, served)]
        for outcome in outcomes[-1:]:
            p50, p95 = (1000 * outcome[f"wait_{q}_s"] for q in ("p50", "p95"))
            what = f"{row['card']}, flush to final then, p50 / p95"
            yield what, f"{p50:.0f} / {p95:.0f} ms"
            lag = f"{1000 * outcome['lag_p95_s']:.0f} ms"
            yield f"{row['card']}, partials behind the speaker, p95", lag


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, Path | None]:
    """Read the command line: what to measure, and where to write it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--device", default="auto", help="cuda, cuda:N, mps, cpu")
    parser.add_argument("--card", default=DEMO)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--windows", nargs="+", type=int, default=[2, 5, 10, 30, 40])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=50, help="for correctness")
    parser.add_argument("--seconds", type=float, default=30.0, help="of streams")
    parser.add_argument("--most", type=int, default=512, help="streams to try")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="that are released")
    parser.add_argument("--output", type=Path, help="file for the lines of JSON")
    given = parser.parse_args(arguments)
    options = Options(
        device=given.device,
        card=given.card,
        dtypes=tuple(given.dtypes),
        windows_s=tuple(given.windows),
        batches=tuple(given.batches),
        rounds=given.rounds,
        clips=given.clips,
        seconds=given.seconds,
        most=given.most,
        sizes=tuple(given.sizes),
    )
    return options, given.output


def device_name(device: str) -> str:
    """Say what the device is."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return chosen.type


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if something is computed wrongly."""
    options, output = parse(arguments)
    rows: list[Row] = []
    for row in measure(options):
        rows.append(row)
        print(json.dumps(row), flush=True)
    about: dict[str, Any] = {
        "device": device_name(options.device),
        "cuda": torch.version.cuda,
        **environment(),
        **processor(),
    }
    print(json.dumps(about))
    if output is not None:
        lines = (json.dumps(row) + "\n" for row in [*rows, about])
        output.write_text("".join(lines), "utf-8")
    print(table(rows))
    wrong = [r for r in rows if r["part"] == "correctness" and not r["right"]]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
