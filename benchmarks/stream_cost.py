"""Say what a live stream costs with a quick and a strong model, and with one alone.

    python -m benchmarks.stream_cost ROWS.jsonl --output stream_cost.jsonl

Passes of released sizes are measured, with random weights: a window as partials have
it, and one as finals have it, in one thread. How often each model hears a second of
audio comes from result lines of `benchmarks.streaming`, which have to be there for one
model alone and with `--partials`. The product is the share of a core, or of a device,
that a stream takes.

A size has the passes of its own number of layers, but all its layers share one layer's
weights, so that the largest fits into memory. A layer of the large sizes does not fit
into a processor's cache, so this takes the time of separate ones.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from audio.samples import SAMPLE_RATE
from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment
from benchmarks.networks.random_model import random_state
from engine.interface import ModelInput
from model import ASRModel
from network.architecture import ARCHITECTURES
from network.kernels import arithmetic_for
from network.tensors import Weights
from network.wav2vec2 import Wav2Vec2
from text.ctc import Vocabulary
from weights.devices import choose_device, choose_dtype
from weights.loading import LoadedModel

QUICK, STRONG = "300m_v2", "7b_v2"

# Windows of partials and of finals, in seconds.
_PARTIAL_S, _FINAL_S = 3, 6
_PASSES = 3


@torch.inference_mode()
def model_of(size: str, device: torch.device, dtype: torch.dtype) -> ASRModel:
    """Make a model of a released size whose layers are all the same."""
    whole = ARCHITECTURES[size]
    one = replace(whole, n_layers=1)
    state = random_state(one)
    network = Wav2Vec2(Weights(state, device, arithmetic_for(device, dtype)), one)
    network._layers = network._layers * whole.n_layers
    vocabulary = Vocabulary(tuple("" for _ in range(whole.n_labels)))
    loaded = LoadedModel(network, lambda wave: wave, vocabulary)
    return ASRModel(loaded, name=size, device=device, dtype=dtype)


def cost(model: ASRModel, seconds: int) -> float:
    """Return the seconds that a second of audio takes in a window of some length."""
    noise = np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE)
    window = ModelInput(noise.astype(np.float32))
    model.label_frames([window])
    taken = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        model.label_frames([window])
        taken.append(time.perf_counter() - began)
    return median(taken) / seconds


def costs(device: torch.device, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """Measure both sizes."""
    found = {}
    for size in (QUICK, STRONG):
        model = model_of(size, device, dtype)
        found[size] = {
            "partial": cost(model, _PARTIAL_S),
            "final": cost(model, _FINAL_S),
        }
        print(size, found[size], file=sys.stderr, flush=True)
    return found


def streams(
    rows: Sequence[Row], costs: dict[str, dict[str, float]]
) -> Iterator[dict[str, Any]]:
    """Give, for each suite and setup that both kinds of rows have, what they cost."""
    alone = {_key(row): row for row in rows if "partials" not in row}
    for row in rows:
        if "partials" not in row or _key(row) not in alone:
            continue
        heard = row["encoded_quick_per_audio"]
        strong = row["encoded_per_audio"] - heard
        before = alone[_key(row)]["encoded_per_audio"]
        finals = costs[STRONG]["final"] * strong
        yield {
            "suite": row["suite"],
            "setup": row["setup"],
            "heard_quick": heard,
            "heard_strong": strong,
            "heard_alone": before,
            "both": costs[QUICK]["partial"] * heard + finals,
            # Its finals have longer windows, but most of what it hears are partials.
            "alone": costs[STRONG]["partial"] * before,
        }


def _key(row: Row) -> tuple[str, str, str]:
    return row["suite"], row["setup"], row["driver"]


def table(rows: Sequence[Row]) -> str:
    """Write the costs as Markdown."""
    head = ["suite, setup", "heard by 300M", "by 7B", "by 7B alone"]
    head += ["cost of 300M + 7B", "of 7B alone", "less by"]
    body = [
        [
            f"{row['suite']}, {row['setup']}",
            *(f"{row[key]:.2f}" for key in ("heard_quick", "heard_strong")),
            f"{row['heard_alone']:.2f}",
            f"{row['both']:.2f}",
            f"{row['alone']:.2f}",
            f"{row['alone'] / row['both']:.1f} times",
        ]
        for row in rows
        if "suite" in row
    ]
    return documents.table(head, body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write what streams cost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=Path, nargs="+", help="of benchmarks.streaming")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args(arguments)
    device = choose_device(chosen.device)
    dtype = choose_dtype(chosen.dtype, device)
    torch.set_num_threads(1)
    rows = [row for path in chosen.rows for row in documents.read_rows(path)]
    measured = costs(device, dtype)
    found: list[Row] = list(streams(rows, measured))
    found.append({"costs": measured, "dtype": str(dtype), **environment()})
    if chosen.output is not None:
        text = "".join(json.dumps(row) + "\n" for row in found)
        chosen.output.write_text(text, "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
