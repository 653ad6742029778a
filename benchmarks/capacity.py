"""Find how many live streams one model serves, and what happens with more.

    python -m benchmarks.capacity
    python -m benchmarks.capacity --real-time --seconds 120 --dtype auto

Streams of continuous speech send 100 ms at a time; `paced.py` says how, and what
simulated time is. A number of streams is served if all of them, at once, have

- 95 % of their finals within 0.25 s after the request,
- partials that do not lag more and more behind the speaker,
- at least 90 % of the partials that each of them has alone.

There are four parts; `--parts` chooses among them:

`capacity`  the largest number that is served.
`seed`      the same for the original omniASR-server: windows of 7.5 s, one every 2.5 s,
            and the rest at the end, one clip at a time through omnilingual-asr's
            pipeline. It has no partials to compare.
`overload`  twice as many streams as are served, then half as many: each must still
            have text at least every 2 s, and finals must equal those of streams that
            were alone; then the overload must end.
`context`   the share of the model's time that one stream of the 300M model takes, with
            random weights, with its whole context and with that of an overloaded
            server.

No stream is refused here. A run in real time on a machine with other work means
little; so the load of the last minute is printed.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from audio.samples import SAMPLE_RATE
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment
from benchmarks.streams import paced
from benchmarks.streams.paced import Outcome, Part, Run, Stack
from engine.interface import CacheKey, Model, ModelInput, Normalisation
from engine.load import SHORT_CONTEXT
from live.options import PROFILES, StreamOptions
from model import ASRModel
from network.architecture import from_card
from network.kernels import arithmetic_for
from network.tensors import Weights
from network.wav2vec2 import Wav2Vec2, reference_logits
from text.ctc import Vocabulary
from weights import cards, fairseq2_assets
from weights.loading import LoadedModel

MAX_WAIT_S = 0.25
MIN_PARTIALS = 0.9
MAX_LAG_SLOPE = 0.005  # in short runs, less may be chance
RECOVER_WITHIN_S = 10.0

_SEED_WINDOW_S = 7.5
_SEED_EVERY_S = 2.5
_FINAL_S = 6.0

PARTS = ("capacity", "seed", "overload", "context")


@dataclass(frozen=True, slots=True)
class Bench:
    """The parts that all runs share."""

    model: Model
    options: StreamOptions
    seconds: float
    real_time: bool

    @contextmanager
    def stack(self) -> Iterator[Stack]:
        opened = paced.in_real_time if self.real_time else paced.in_simulated_time
        with opened(self.model) as own:
            yield own

    def run(self, parts: Sequence[Part]) -> Run:
        """Run a stream for each part, all at once, on a fresh stack."""
        factory: Callable[[], asyncio.AbstractEventLoop] | None = None
        if not self.real_time:
            factory = paced.SimulatedLoop
        with self.stack() as own, asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(paced.run(own, parts, self.options))


# --- capacity ---


def served(outcome: Outcome, *, alone_per_s: float) -> bool:
    """Whether streams were served within the limits.

    Args:
        alone_per_s: Partials a second of the same streams, each by itself.
    """
    return (
        outcome.wait_p95_s <= MAX_WAIT_S
        and outcome.lag_slope <= MAX_LAG_SLOPE
        and outcome.partials_per_s >= MIN_PARTIALS * alone_per_s
    )


def largest(is_served: Callable[[int], bool], *, most: int) -> int:
    """Find the largest number that is served, to an eighth; 0 if one is too many."""
    good, bad = 0, 1
    while bad <= most and is_served(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        if is_served(middle):
            good = middle
        else:
            bad = middle
    return good


def capacity(bench: Bench, *, most: int) -> tuple[int, list[Outcome]]:
    """Find how many streams are served; return all outcomes, too."""
    outcomes: list[Outcome] = []
    alone: dict[float, float] = {}

    def alone_per_s(part: Part) -> float:
        if part.first_flush_s not in alone:
            outcome = bench.run([part]).outcome()
            alone[part.first_flush_s] = outcome.partials_per_s
        return alone[part.first_flush_s]

    def is_served(n_streams: int) -> bool:
        parts = paced.parts(n_streams, bench.seconds)
        outcome = bench.run(parts).outcome()
        outcomes.append(outcome)
        print(row(outcome), flush=True)
        # The words decide how many streams are served, so each stream has others.
        return served(outcome, alone_per_s=fmean(map(alone_per_s, parts)))

    print(HEAD)
    found = largest(is_served, most=most)
    return found, outcomes


HEAD = (
    "streams  final p50  final p95  partials/s  lag p95  lag grows  tight  model busy"
)


def row(outcome: Outcome) -> str:
    """One line of the table."""
    return (
        f"{outcome.n_streams:7d} {outcome.wait_p50_s:8.3f} s"
        f" {outcome.wait_p95_s:8.3f} s {outcome.partials_per_s:11.2f}"
        f" {outcome.lag_p95_s:6.2f} s {1000 * outcome.lag_slope:5.1f} ms/s"
        f" {outcome.tight:6.0%} {outcome.busy:10.0%}"
    )


# --- the original server's policy ---


def seed_costs(
    card: str, lengths_s: Sequence[float], dtype: torch.dtype
) -> list[float]:
    """Measure the upstream pipeline, one clip at a time, in one thread."""
    from omnilingual_asr.models.inference.pipeline import ASRInferencePipeline

    fairseq2_assets.start(cards.ASSETS / "demo")
    pipeline = ASRInferencePipeline(card, device="cpu", dtype=dtype)
    speech = paced.parts(1, max(lengths_s))[0].samples
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    for length_s in lengths_s:
        clip = speech[: round(length_s * SAMPLE_RATE)]
        taken = []
        for _ in range(4):
            began = time.thread_time()
            pipeline.transcribe(
                [{"waveform": clip, "sample_rate": SAMPLE_RATE}], batch_size=1
            )
            taken.append(time.thread_time() - began)
        found.append(median(taken[1:]))
    torch.set_num_threads(n_threads)
    return found


def seed_waits(n_streams: int, window_s: float, rest_s: float) -> list[float]:
    """Queue windows one after another for two minutes; return the finals' waits.

    Args:
        n_streams: Number of streams, evenly staggered.
        window_s: Seconds that a window takes.
        rest_s: Seconds that a final takes.
    """
    arrivals = []
    for number in range(n_streams):
        first = number / n_streams
        for k in range(int(120 / _SEED_EVERY_S)):
            arrivals.append((_SEED_EVERY_S * (k + first), window_s, False))
        for k in range(int(120 / _FINAL_S)):
            arrivals.append((_FINAL_S * (k + first), rest_s, True))
    free_at, waits = 0.0, []
    for at, takes, is_final in sorted(arrivals):
        free_at = max(free_at, at) + takes
        if is_final:
            waits.append(free_at - at)
    return waits


def seed(card: str, dtype: torch.dtype, *, most: int) -> dict[str, float]:
    """Find how many streams the original server's policy serves."""
    # A final has the audio since the last window, and the context before it.
    window_s, rest_s = seed_costs(card, (_SEED_WINDOW_S, 5.0), dtype)

    def is_served(n_streams: int) -> bool:
        return (
            float(np.quantile(seed_waits(n_streams, window_s, rest_s), 0.95))
            <= MAX_WAIT_S
        )

    found = largest(is_served, most=most)
    print(
        f"A window of 7.5 s takes {window_s:.3f} s of one core, one of 5 s "
        f"{rest_s:.3f} s: {found} streams."
    )
    return {"window_s": window_s, "final_s": rest_s, "streams": found}


# --- overload ---


def overload(bench: Bench, n_served: int) -> dict[str, Any]:
    """Run twice as many streams, then half as many; compare the finals."""
    n_streams = 2 * n_served
    n_staying = max(1, n_served // 2)
    stays_s = bench.seconds + RECOVER_WITHIN_S + 6
    n_short = round(bench.seconds * SAMPLE_RATE)
    parts = [
        part if number < n_staying else replace(part, samples=part.samples[:n_short])
        for number, part in enumerate(paced.parts(n_streams, stays_s))
    ]
    run = bench.run(parts)
    different = [
        (mine, alone)
        for log, texts in zip(run.logs, _alone(bench, parts), strict=True)
        for mine, alone in zip_longest(log.texts, texts)
        if mine != alone
    ]
    relieved_s = bench.seconds + paced.BEGIN_OVER_S
    troubled = [at for at, tight in run.tight if tight]
    found = {
        "streams": n_streams,
        "samples_lost": sum(
            len(part) - log.n_samples for part, log in zip(parts, run.logs, strict=True)
        ),
        "finals": sum(len(log.finals) for log in run.logs),
        "finals_that_differ": len(different),
        "longest_gap_s": max(log.longest_gap_s(bench.seconds) for log in run.logs),
        "final_p95_s": run.outcome().wait_p95_s,
        "recovered_after_s": max(0.0, max(troubled, default=0.0) - relieved_s),
    }
    for mine, alone in different:
        print(f"Not as by itself: {mine}\n                  {alone}")
    print(json.dumps(found, indent=2))
    return found


def _alone(bench: Bench, parts: Sequence[Part]) -> Iterator[list[tuple[int, int, str]]]:
    """Run every part that differs by itself; yield the finals of each stream."""
    known: dict[tuple[float, int], list[tuple[int, int, str]]] = {}
    for part in parts:
        key = (part.first_flush_s, len(part))
        if key not in known:
            known[key] = bench.run([part]).logs[0].texts
        yield known[key]


# --- what less context saves ---


def context(model: ASRModel, options: StreamOptions) -> dict[str, float]:
    """Measure a stream's share of one core: partials, with less context, and finals."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {
        "partials": _cost_of_partials(model, options, options.left_context),
        "with_less_context": _cost_of_partials(model, options, SHORT_CONTEXT),
        "finals": _cost_of_final(model) / _FINAL_S,
    }
    torch.set_num_threads(n_threads)
    return found


def _cost_of_partials(model: ASRModel, options: StreamOptions, context: int) -> float:
    hop = options.hop // 320 * 320
    length = min(options.left_context, context) + options.margin + hop
    audio = np.random.default_rng(0).standard_normal(length + 8 * hop)
    key, taken = CacheKey(), []
    for start in range(0, 5 * hop, hop):
        samples = audio[start : start + length].astype(np.float32)
        window = ModelInput(samples, start, Normalisation(0.0, 1.0), key)
        taken.append(_time(model, window))
    return median(taken[1:]) / (hop / SAMPLE_RATE)


def _cost_of_final(model: ASRModel) -> float:
    n_samples = round(_FINAL_S * SAMPLE_RATE)
    noise = np.random.default_rng(1).standard_normal(n_samples).astype(np.float32)
    return median(_time(model, ModelInput(noise)) for _ in range(3))


def _time(model: ASRModel, window: ModelInput) -> float:
    began = time.thread_time()
    model.label_frames([window])
    return time.thread_time() - began


@torch.inference_mode()
def random_model(name: str, dtype: torch.dtype, device: torch.device) -> ASRModel:
    """Make a model of a released architecture with random weights."""
    architecture = from_card(name)
    arithmetic = arithmetic_for(device, dtype)
    chance = torch.Generator().manual_seed(0)
    state = {
        key: 0.02 * torch.randn(shape, generator=chance)
        for key, shape in architecture.shapes().items()
    }
    loaded = LoadedModel(
        Wav2Vec2(Weights(state, device, arithmetic), architecture),
        lambda wave: reference_logits(state, architecture, wave),
        Vocabulary(tuple("" for _ in range(architecture.n_labels))),
    )
    model = ASRModel(loaded, name=name, device=device, dtype=dtype)
    model.measure_memory()
    return model


# --- the table ---


def table(rows: Sequence[Row]) -> str:
    """Write what runs have found, as Markdown: a row for each finding."""
    body = []
    for row in rows:
        time_of = "real" if row["arguments"]["real_time"] else "simulated"
        body += [[f"{time_of} time: {what}", text] for what, text in _findings(row)]
    return documents.table(["", "measured"], body)


def _findings(row: Row) -> Iterator[tuple[str, str]]:
    if "capacity" in row:
        yield "streams served", str(row["capacity"])
        for outcome in sorted(row["outcomes"], key=lambda o: o["n_streams"]):
            yield f"{outcome['n_streams']} streams", _of_outcome(outcome)
    if "seed" in row:
        seed = row["seed"]
        yield "streams that the seed's behaviour serves", str(seed["streams"])
        yield "its windows of 7.5 s take", f"{1000 * seed['window_s']:.0f} ms of a core"
    if "overload" in row:
        yield f"{row['overload']['streams']} streams at once", _of_overload(row)
    if "context" in row:
        for name, share in row["context"].items():
            what = name.replace("_", " ")
            yield (
                f"one stream of 300M in {row['dtype']}, {what}",
                f"{share:.0%} of a core",
            )


def _of_outcome(outcome: Row) -> str:
    return (
        f"final {1000 * outcome['wait_p95_s']:.0f} ms after the flush at p95, "
        f"{outcome['partials_per_s']:.2f} partials a second, "
        f"model busy {outcome['busy']:.0%}"
    )


def _of_overload(row: Row) -> str:
    found = row["overload"]
    return (
        f"{found['samples_lost']} samples lost, {found['finals_that_differ']} of "
        f"{found['finals']} finals differ, at most {found['longest_gap_s']:.1f} s "
        f"without new text; over {found['recovered_after_s']:.1f} s after most "
        "have gone"
    )


# --- the command ---


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--real-time", action="store_true")
    parser.add_argument("--model", default="omniASR_CTC_demo")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--profile", choices=PROFILES, default="captions")
    parser.add_argument("--hop", type=float, help="seconds between partials")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a run")
    parser.add_argument("--most", type=int, default=256, help="streams to try")
    parser.add_argument("--served", type=int, help="skip the search for `overload`")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that are chosen; the last line is all of it as JSON."""
    chosen = parse(arguments)
    model = ASRModel.load(chosen.model, dtype=chosen.dtype)
    options = PROFILES[chosen.profile]
    if chosen.hop:
        options = replace(options, hop=round(chosen.hop * SAMPLE_RATE))
    bench = Bench(model, options, chosen.seconds, chosen.real_time)
    print(model.description)
    found: dict[str, Any] = {"arguments": vars(chosen), "dtype": model.dtype_name}
    n_served = chosen.served
    if "capacity" in chosen.parts:
        n_served, outcomes = capacity(bench, most=chosen.most)
        print(f"{n_served} streams are served.")
        found["capacity"] = n_served
        found["outcomes"] = [asdict(outcome) for outcome in outcomes]
    if "seed" in chosen.parts:
        found["seed"] = seed(chosen.model, model.dtype, most=chosen.most)
    if "overload" in chosen.parts and n_served:
        found["overload"] = overload(bench, n_served)
    if "context" in chosen.parts:
        del bench, model
        dtype, cpu = getattr(torch, found["dtype"]), torch.device("cpu")
        found["context"] = context(random_model("300m_v2", dtype, cpu), options)
    print(table([found]))
    print(json.dumps({**found, "load": os.getloadavg()[0], **environment()}))


if __name__ == "__main__":
    main()
