"""Measure what sharing a pass saves, by the length and the number of windows.

    python -m benchmarks.batches
    python -m benchmarks.batches --model omniASR_CTC_300M_v2 --dtype bfloat16

Processor time of one thread, the best of several passes, for each window. The rules
in `engine/work_queue.py` for CPUs come from here.
"""

import argparse
import json
import time

import numpy as np
import torch

from audio.samples import SAMPLE_RATE
from benchmarks.common.environment import environment
from engine.interface import ModelInput
from model import ASRModel

_SIZES = (1, 2, 4, 8)
_MOST_S = 32  # of audio in one pass
_N_PASSES = 5


def cost_ms(model: ASRModel, *, length_s: float, n_windows: int) -> float:
    """Measure a pass; return milliseconds for each window of it."""
    rng = np.random.default_rng(0)
    n_samples = round(length_s * SAMPLE_RATE)
    windows = [
        ModelInput(rng.standard_normal(n_samples).astype(np.float32))
        for _ in range(n_windows)
    ]
    taken = []
    for _ in range(_N_PASSES):
        began = time.thread_time()
        model.label_frames(windows)
        taken.append(time.thread_time() - began)
    return 1000 * min(taken) / n_windows


def main() -> None:
    """Print a table; the last line is all of it as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batches", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", default="omniASR_CTC_demo")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--lengths", type=float, nargs="+", default=[1, 2, 4, 8, 16], help="seconds"
    )
    chosen = parser.parse_args()
    model = ASRModel.load(chosen.model, dtype=chosen.dtype, num_threads=1)
    torch.set_num_threads(1)
    print("window   " + "".join(f"{size:>5d} together" for size in _SIZES))
    rows = []
    for length_s in chosen.lengths:
        costs = [
            cost_ms(model, length_s=length_s, n_windows=size)
            for size in _SIZES
            if size * length_s <= _MOST_S or size == 1
        ]
        rows.append({"length_s": length_s, "ms_per_window": costs})
        print(f"{length_s:5.1f} s  " + "".join(f"{c:11.1f} ms" for c in costs))
    print(json.dumps({"dtype": model.dtype_name, "rows": rows, **environment()}))


if __name__ == "__main__":
    main()
