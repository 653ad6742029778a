"""Show how long each part of the network takes, beside the time of its products.

    python -m benchmarks.parts
    python -m benchmarks.parts --windows 2 30 --dtypes int8 --threads 1

It runs the 300M architecture with seeded random weights, as `throughput.py` does. Every
part is timed where it is called, without the timed parts that it calls. A part's floor
is the time of its products at the rate of the fastest product, which is measured in
every round. So the table shows why a pass is slower than its floor. Figures are medians
over rounds. With `--threads 1` they are the thread's processor time, which other
programs hardly change.

Writes a line of JSON for each part, then the environment, then a table.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from torch.nn import functional

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.networks import contenders
from benchmarks.networks.contenders import Clock
from benchmarks.throughput import clips, native_arithmetic
from engine.interface import ModelInput
from model import ASRModel
from network.architecture import ARCHITECTURES, Architecture
from network.wav2vec2 import Wav2Vec2

GELU: Final = "GELU"
NORM: Final = "normalisation"
REST: Final = "the rest"
WHOLE: Final = "all"


class Stopwatch:
    """Sums up the time inside of calls, without that of timed calls in them.

    Args:
        clock: The clock that measures calls.

    Attributes:
        seconds: Seconds of each part.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = [0.0]  # timed calls within each call that is under way

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a callable that does the same, and counts for a part."""

        def run(*arguments: Any, **options: Any) -> Any:
            self._inside.append(0.0)
            began = self._clock()
            returned = call(*arguments, **options)
            took = self._clock() - began
            self.seconds[part] += took - self._inside.pop()
            self._inside[-1] += took
            return returned

        return run


def parts_of(network: Wav2Vec2) -> Iterator[tuple[object, str, str]]:
    """List a network's callables: their owner, their attribute, their part."""
    yield functional, "gelu", GELU
    for convolution in network.features._convolutions:
        yield convolution, "_convolved", "convolutions"
        yield convolution, "_norm", NORM
    frontend, head = network._frontend, network._head
    yield frontend, "_norm", NORM
    if frontend._proj is not None:
        yield frontend, "_proj", "projection"
    yield frontend, "_positions", "positional convolution"
    for layer in network._layers:
        yield layer, "_attention_norm", NORM
        yield layer, "_qkv", "query, key, value"
        yield layer, "_attend", "attention"
        yield layer, "_attended", "attention's output"
        yield layer, "_ffn_norm", NORM
        yield layer, "_inner", "feed-forward"
        yield layer, "_outer", "feed-forward"
    yield head, "_norm", NORM
    yield head, "_proj", "head"


@contextmanager
def watched(network: Wav2Vec2, watch: Stopwatch) -> Iterator[None]:
    """Time every part of a network."""
    found = list(parts_of(network))
    before = [getattr(owner, name) for owner, name, _ in found]
    for (owner, name, part), call in zip(found, before, strict=True):
        setattr(owner, name, watch.timed(part, call))
    try:
        yield
    finally:
        for (owner, name, _), call in zip(found, before, strict=True):
            setattr(owner, name, call)


def measure(
    model: ASRModel,
    architecture: Architecture,
    clip: Samples,
    *,
    rounds: int,
    clock: Clock,
) -> list[Row]:
    """Run a window again and again; return a row for each part, and for all."""
    floor, rates = contenders.floor_of(model.dtype), []
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for round_number in range(rounds + 1):
        watch = Stopwatch(clock)
        with watched(model._network, watch):
            watch.timed(REST, model.label_frames)([ModelInput(clip)])
        if not round_number:  # the first warms up
            continue
        rates.append(floor.rate(clock))
        for part, seconds in watch.seconds.items():
            taken[part].append(seconds)
        taken[WHOLE].append(sum(watch.seconds.values()))
    rate = median(rates)
    products = contenders.flops_by_part(architecture, len(clip))
    products[WHOLE] = sum(products.values())
    return [
        {
            "arithmetic": model.dtype_name,
            "window_s": len(clip) // SAMPLE_RATE,
            "part": part,
            "median_ms": round(1000 * median(taken[part]), 2),
            "share": round(median(taken[part]) / median(taken[WHOLE]), 4),
            "floor_ms": round(1000 * products.get(part, 0) / rate, 2),
        }
        for part in sorted(taken, key=lambda part: (part == WHOLE, -sum(taken[part])))
    ]


def table(rows: Sequence[Row]) -> str:
    """Write the time of every part and its floor, as Markdown.

    Args:
        rows: Rows of all runs and parts; others are left out.
    """
    own = {(r["arithmetic"], r["window_s"], r["part"]): r for r in rows if "part" in r}
    runs = list(dict.fromkeys(key[:2] for key in own))
    body = []
    for part in dict.fromkeys(part for *_, part in own):
        cells = [_cell(own[*run, part]) for run in runs]
        body.append([part, *cells])
    ratios = [_cell_of_ratio(own[*run, WHOLE]) for run in runs]
    body.append(["all over its floor", *ratios])
    head = ["ms, and its floor", *(f"{name}, {length} s" for name, length in runs)]
    return documents.table(head, body)


def _cell(row: Row) -> str:
    floor = f" ({row['floor_ms']:.0f})" if row["floor_ms"] else ""
    return f"{row['median_ms']:.0f}{floor}"


def _cell_of_ratio(row: Row) -> str:
    return f"{row['median_ms'] / row['floor_ms']:.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts", description=__doc__.splitlines()[0]
    )
    names = list(contenders.DTYPES)
    parser.add_argument("--windows", nargs="+", type=int, default=[2, 10, 30])
    parser.add_argument(
        "--dtypes", nargs="+", choices=names, default=native_arithmetic()
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work-dir", type=Path, help="keeps the model's files")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = contenders.clock_for(given.threads)
    folder = given.work_dir or contenders.WORK_DIR
    contenders.prepare(folder, onnx=False)
    rows: list[Row] = []
    architecture = ARCHITECTURES[contenders.ARCH]
    for name in given.dtypes:
        model = contenders.our_model(folder, contenders.DTYPES[name])
        for clip in clips(given.windows).values():
            rows += measure(model, architecture, clip, rounds=given.rounds, clock=clock)
    for row in rows:
        print(json.dumps(row))
    print(json.dumps({**environment(), **processor(), "threads": given.threads}))
    print(table(rows))


if __name__ == "__main__":
    main()
