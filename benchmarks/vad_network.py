"""Compare our arithmetic of Silero VAD with the network in its package.

    python -m benchmarks.vad_network
    python -m benchmarks.vad_network --rounds 1000

One thread, seeded noise. A call takes one frame of each of several streams, as in live
streams, or the 31 frames of a second of one stream, as in a recording. The package's
network takes one frame of each stream at a time. All networks take turns, and have to
find the same probabilities. The table has medians of the thread's processor time.

ONNX Runtime takes part if it is installed (requirements/benchmarks.in).
"""

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from benchmarks.common.environment import environment, processor
from vad.silero import Floats, SileroVad, VadStates, keep_numpy_to_one_thread
from vad.spans import FRAME_SAMPLES

# Streams, and frames of each, in one call.
SIZES: Final = ((1, 1), (4, 1), (16, 1), (32, 1), (1, 31))

_N_CONTEXT: Final = 64  # samples before a frame that the network hears as well
_N_STATE: Final = 128
_TOLERANCE: Final = 1e-5

# Computes the probabilities of frames, shape (n_streams, n_frames, 512).
Network = Callable[[Floats], Floats]

# Computes probabilities of one frame of each stream with its context, shape (n, 576),
# and the next state.
Step = Callable[[Any, Any], tuple[Any, Any]]


def ours(vad: SileroVad, frames: Floats) -> Floats:
    """Compute all frames of all streams in one call."""
    found, _ = vad.probabilities(list(frames), VadStates.fresh(len(frames)))
    return np.stack(found)


def frame_by_frame(step: Step, state: Any, frames: Floats) -> Floats:
    """Call a network that takes one frame of each stream at a time."""
    context = np.zeros((len(frames), _N_CONTEXT), np.float32)
    found = []
    for k in range(frames.shape[1]):
        heard = np.concatenate([context, frames[:, k]], axis=1)
        context = frames[:, k, -_N_CONTEXT:]
        probabilities, state = step(heard, state)
        found.append(np.asarray(probabilities).reshape(-1))
    return np.stack(found, axis=1)


def torch_script(folder: Path) -> Network:
    """Load the package's TorchScript, without the part that keeps a state."""
    load: Callable[[Path], Any] = torch.jit.load  # has no types
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
        network = load(folder / "silero_vad.jit")._model

    def step(heard: Floats, state: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            found: tuple[Any, Any] = network(torch.from_numpy(heard), state)
        return found

    return lambda frames: frame_by_frame(step, torch.zeros(0), frames)


def onnx(folder: Path) -> Network:
    """Load the package's ONNX network."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # not its remarks about the package's file
    session = onnxruntime.InferenceSession(
        folder / "silero_vad.onnx", options, providers=["CPUExecutionProvider"]
    )
    rate = np.array(16_000)

    def step(heard: Floats, state: Any) -> tuple[Any, Any]:
        found = session.run(None, {"input": heard, "state": state, "sr": rate})
        return found[0], found[1]

    def compute(frames: Floats) -> Floats:
        state = np.zeros((2, len(frames), _N_STATE), np.float32)
        return frame_by_frame(step, state, frames)

    return compute


def networks() -> dict[str, Network]:
    """Load all that can be compared here."""
    # Found without importing it: that would change torch's threads.
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise SystemExit("The package silero-vad is not installed.")
    folder = Path(package.origin).parent / "data"
    vad = SileroVad()
    found: dict[str, Network] = {
        "ours": lambda frames: ours(vad, frames),
        "TorchScript": torch_script(folder),
    }
    if importlib.util.find_spec("onnxruntime") is not None:
        found["ONNX"] = onnx(folder)
    return found


def measure(
    computed_by: dict[str, Network], n_streams: int, n_frames: int, *, rounds: int
) -> dict[str, float]:
    """Return the microseconds that one call takes each network.

    Raises:
        SystemExit: Two networks find different probabilities.
    """
    shape = (n_streams, n_frames, FRAME_SAMPLES)
    noise = np.random.default_rng(0).standard_normal(shape) * 0.1
    frames = noise.astype(np.float32)
    wanted = computed_by["ours"](frames)
    times: dict[str, list[float]] = {name: [] for name in computed_by}
    for _ in range(rounds):
        for name, compute in computed_by.items():
            began = time.thread_time()
            found = compute(frames)
            times[name].append(time.thread_time() - began)
            if np.abs(found - wanted).max() > _TOLERANCE:
                raise SystemExit(f"{name} differs from ours.")
    return {name: 1e6 * median(taken) for name, taken in times.items()}


def main() -> None:
    """Print a table; the last line is all of it as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vad_network", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=300)
    chosen = parser.parse_args()
    keep_numpy_to_one_thread()
    torch.set_num_threads(1)
    found = networks()
    calls = []
    print("streams  frames  " + "".join(f"{name:>24}" for name in found))
    for n_streams, n_frames in SIZES:
        us = measure(found, n_streams, n_frames, rounds=chosen.rounds)
        cells = [f"{t:11.0f} µs ({t / us['ours']:5.2f} x)" for t in us.values()]
        print(f"{n_streams:7d} {n_frames:7d}  " + "".join(f"{c:>24}" for c in cells))
        calls.append({"streams": n_streams, "frames": n_frames, "us": us})
    print(json.dumps({"calls": calls, **environment(), **processor()}))


if __name__ == "__main__":
    main()
