"""Compare layers of the transformer with what `torch.compile` makes of them.

    python -m benchmarks.compiled
    python -m benchmarks.compiled --layers 6 --windows 2 10 --rounds 5

Layers of the 300M architecture with seeded random weights, in float32 on one thread: as
`network/wav2vec2.py` runs them, in plain PyTorch, and in PyTorch compiled with
freezing, which lets the compiler choose the order of weights. They take turns, and
their results have to be the same. Figures are medians over rounds of processor time;
for the first compiled call, which compiles, it is wall-clock time. Every length of
window is compiled separately.

Needs a C++ compiler. Writes a line of JSON for each window, then the environment, then
a table.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.networks import contenders
from network.architecture import ARCHITECTURES, Architecture
from network.kernels import Linear, PlainLinear, arithmetic_for
from network.tensors import LayerNorm, Weights
from network.wav2vec2 import Layer

FRAMES_A_SECOND: Final = 50

# Relative to the largest value: thousands of products are summed in another order.
_TOLERANCE: Final = 1e-3

Run = Callable[[Tensor], Tensor]  # (n_frames, dim) -> the same
Compile = Callable[[nn.Module], Run]


def random_weights(architecture: Architecture) -> Weights:
    """Draw the weights of the layers, about as large as trained ones."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        for name, shape in architecture.shapes().items()
        if name.startswith("encoder.layers.")
    }
    return Weights(state, torch.device("cpu"))


def our_layers(weights: Weights, architecture: Architecture) -> Run:
    """Build the layers as the server does."""
    chosen = arithmetic_for(weights.device, torch.float32)
    own = replace(weights, arithmetic=chosen)
    layers = [Layer(own, architecture, k) for k in range(architecture.n_layers)]

    @torch.inference_mode()
    def run(rows: Tensor) -> Tensor:
        rows = rows.clone()  # they work in place
        for layer in layers:
            rows = layer(rows, [len(rows)])
        return rows

    return run


class PlainLayer(nn.Module):
    """A layer of modules: freezing looks for weights in these."""

    def __init__(self, weights: Weights, architecture: Architecture, index: int):
        super().__init__()
        layer = Layer(weights, architecture, index)
        self.attend = layer._attend_equal
        self.attention_norm = _norm(layer._attention_norm)
        self.qkv, self.attended = _linear(layer._qkv), _linear(layer._attended)
        self.ffn_norm = _norm(layer._ffn_norm)
        self.inner, self.outer = _linear(layer._inner), _linear(layer._outer)

    def forward(self, rows: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(rows))
        rows = rows + self.attended(self.attend(qkv, 1, None))
        hidden = functional.gelu(self.inner(self.ffn_norm(rows)))
        return rows + self.outer(hidden)  # type: ignore[no-any-return]


def plain_layers(weights: Weights, architecture: Architecture) -> nn.Module:
    """Build the layers in plain PyTorch."""
    layers = [
        PlainLayer(weights, architecture, k) for k in range(architecture.n_layers)
    ]
    return nn.Sequential(*layers).eval()


def _linear(plain: Linear) -> nn.Linear:
    assert isinstance(plain, PlainLinear)
    n_out, n_in = plain.weight.shape
    module = nn.Linear(n_in, n_out, device="meta")
    module.load_state_dict({"weight": plain.weight, "bias": plain.bias}, assign=True)
    return module


def _norm(plain: LayerNorm) -> nn.LayerNorm:
    module = nn.LayerNorm(len(plain.bias), device="meta")
    module.load_state_dict({"weight": plain.weight, "bias": plain.bias}, assign=True)
    return module


def frozen(layers: nn.Module) -> Run:
    """Compile with freezing, for one length and one thread."""
    torch._dynamo.reset()
    options: dict[str, Any] = {
        "freezing": True,
        "cpp.threads": 1,
        "force_disable_caches": True,  # each run compiles anew
    }
    return torch.compile(layers, dynamic=False, options=options)


@torch.no_grad()
def measure(
    architecture: Architecture,
    windows_s: Sequence[int],
    *,
    rounds: int,
    compile_: Compile = frozen,
) -> Iterator[Row]:
    """Run the layers of an architecture over windows; yield a row for each.

    Raises:
        ArithmeticError: Their results differ.
    """
    weights, clock = random_weights(architecture), contenders.clock_for(threads=1)
    ours, plain = our_layers(weights, architecture), plain_layers(weights, architecture)
    for window_s in windows_s:
        generator = torch.Generator().manual_seed(window_s)
        n_frames = FRAMES_A_SECOND * window_s - 1
        rows = torch.randn(n_frames, architecture.model_dim, generator=generator)
        began, compiled = time.perf_counter(), compile_(plain)
        compiled(rows)
        first_call_s = time.perf_counter() - began
        runs: dict[str, Run] = {"ours": ours, "plain": plain, "compiled": compiled}
        calls = {name: partial(run, rows) for name, run in runs.items()}
        taken = contenders.take_turns(calls, rounds=rounds, clock=clock)
        _check_same([run(rows) for run in runs.values()])
        yield {
            "window_s": window_s,
            "n_layers": architecture.n_layers,
            **{f"{name}_ms": round(1000 * taken[name], 1) for name in runs},
            "first_call_s": round(first_call_s, 1),
        }


def _check_same(outcomes: Sequence[Tensor]) -> None:
    first, *others = outcomes
    worst = max(float((first - other).abs().max()) for other in others)
    if worst > _TOLERANCE * float(first.abs().max()):
        raise ArithmeticError(f"The results differ by {worst}.")


def table(rows: Sequence[Row]) -> str:
    """Write the times as Markdown.

    Args:
        rows: Rows of all windows; others are left out.
    """
    own = [row for row in rows if "window_s" in row]
    names = {
        "ours_ms": "as served, ms",
        "plain_ms": "plain PyTorch, ms",
        "compiled_ms": "compiled, ms",
        "first_call_s": "the call that compiles, s",
    }
    head = [f"{own[0]['n_layers']} layers", *(f"{row['window_s']} s" for row in own)]
    body = [[name, *(f"{row[key]:.0f}" for row in own)] for key, name in names.items()]
    return documents.table(head, body)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--windows", nargs="+", type=int, default=[2, 10])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    architecture = replace(ARCHITECTURES[contenders.ARCH], n_layers=chosen.layers)
    rows = []
    for row in measure(architecture, chosen.windows, rounds=chosen.rounds):
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(json.dumps({**environment(), **processor(), "threads": 1}))
    print(table(rows))


if __name__ == "__main__":
    main()
