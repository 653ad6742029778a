"""Compare the kernels of a forward pass with others that do the same.

    python -m benchmarks.alternatives
    python -m benchmarks.alternatives --rounds 15

In the sizes of the 300M architecture, with seeded random weights, on one thread, in
float32 unless the name says otherwise. For every step both ways take turns, and their
results have to be the same. Figures are medians over rounds of processor time, which
other programs hardly change.

Writes a line of JSON for each step and number of rows (frames of 20 ms), then the
environment, then a table.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import documents
from benchmarks.common.documents import Row
from benchmarks.common.environment import environment, processor
from benchmarks.networks import contenders
from network.architecture import ARCHITECTURES, Architecture
from network.kernels import (
    Linear,
    PlainLinear,
    arithmetic_for,
    attend_at_once,
    attend_in_blocks,
    maker_for,
)
from network.tensors import Weights, blocks_for
from network.wav2vec2 import PositionalConvolution

_CPU: Final = torch.device("cpu")

# Undocumented, hence without types.
_ops: Any = torch.ops


@dataclass(frozen=True, slots=True)
class Step:
    """Two ways to do something.

    Attributes:
        name: The way in use, and the way that was tried instead.
        n_rows: Number of rows (frames).
        tolerance: Largest difference, relative to the largest number.
    """

    name: str
    n_rows: int
    done: Callable[[], Tensor]
    tried: Callable[[], Tensor]
    tolerance: float = 1e-3


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def _layer(n_in: int, n_out: int) -> tuple[Tensor, Tensor, Linear]:
    """Return a weight, a bias, and the layer that is made of them."""
    weight, bias = _random(n_out, n_in) / n_in**0.5, _random(n_out)
    return weight, bias, maker_for(_CPU, torch.float32)(weight, bias)


def orders(sizes: Architecture, n: int) -> Iterator[Step]:
    """Weights in oneDNN's order; as they are; transposed, as BLAS has them."""
    weight, bias, layer = _layer(sizes.model_dim, sizes.ffn_dim)
    rows, transposed = _random(n, sizes.model_dim), weight.t().contiguous()
    plain = PlainLinear(weight, bias)
    name = "weights in oneDNN's order"
    yield Step(f"{name}; as they are", n, lambda: layer(rows), lambda: plain(rows))
    yield Step(
        f"{name}; transposed",
        n,
        lambda: layer(rows),
        lambda: torch.addmm(bias, rows, transposed),
    )


def blocks(sizes: Architecture, n: int) -> Iterator[Step]:
    """A product of a few rows at a time, or of all at once."""
    _, _, layer = _layer(sizes.ffn_dim, sizes.model_dim)
    rows, most = _random(n, sizes.ffn_dim), blocks_for(_CPU).rows
    parts = rows.tensor_split(-(-n // most))
    yield Step(
        f"at most {most} rows at a time; all at once",
        n,
        lambda: torch.cat([layer(part) for part in parts]),
        lambda: layer(rows),
    )


def gelu(sizes: Architecture, n: int) -> Iterator[Step]:
    """GELU after the product, or in it."""
    weight, bias, layer = _layer(sizes.model_dim, sizes.ffn_dim)
    rows, packed = (
        _random(n, sizes.model_dim),
        _ops.mkldnn._reorder_linear_weight(weight),
    )
    yield Step(
        "GELU after the product; in it",
        n,
        lambda: functional.gelu(layer(rows)),
        lambda: _ops.mkldnn._linear_pointwise(rows, packed, bias, "gelu", [], "none"),
    )


def attention(sizes: Architecture, n: int) -> Iterator[Step]:
    """PyTorch's kernel, or products and a softmax."""
    width = sizes.model_dim // sizes.n_heads
    qkv = _random(1, n, 3, sizes.n_heads, width).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)  # as PyTorch's fast kernel wants them
    heads, others, said = query[0], key[0].mT, value[0]
    yield Step(
        "PyTorch's attention; written out",
        n,
        lambda: functional.scaled_dot_product_attention(query, key, value),
        lambda: ((heads @ others * width**-0.5).softmax(-1) @ said)[None],
    )


def attention_in_bfloat16(sizes: Architecture, n: int) -> Iterator[Step]:
    """Products of matrices in blocks, where that is done, or PyTorch's kernel."""
    if arithmetic_for(_CPU, torch.bfloat16).attend is not attend_in_blocks:
        return
    width = sizes.model_dim // sizes.n_heads
    qkv = _random(1, n, 3, sizes.n_heads, width).bfloat16().permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    yield Step(
        "attention in bfloat16 by blocks; PyTorch's",
        n,
        lambda: attend_in_blocks(query, key, value),
        lambda: attend_at_once(query, key, value),
        tolerance=0.03,
    )


def positions(sizes: Architecture, n: int) -> Iterator[Step]:
    """The positional convolution, or products on overlapping views."""
    shapes, name = sizes.shapes(), "encoder_frontend.pos_encoder.conv"
    state = {key: _random(*shapes[key]) for key in shapes if key.startswith(name)}
    layer = PositionalConvolution(Weights(state, _CPU), sizes)
    n_groups, kernel = sizes.n_position_groups, sizes.position_kernel
    width, frames = sizes.model_dim // n_groups, _random(n, sizes.model_dim)
    weights = layer._weight.view(n_groups, width, width, kernel).permute(0, 3, 2, 1)
    products = weights.reshape(n_groups, kernel * width, width).contiguous()
    bias = layer._bias.view(n_groups, 1, width)

    def tried() -> Tensor:
        padded = functional.pad(frames, (0, 0, kernel // 2, kernel // 2))
        groups = padded.view(-1, n_groups, width).transpose(0, 1).contiguous()
        size, strides = (n_groups, n, kernel * width), (groups.stride(0), width, 1)
        moved = torch.baddbmm(bias, groups.as_strided(size, strides), products)
        return functional.gelu(moved.transpose(0, 1).reshape(1, n, -1))

    yield Step(
        "positional convolution; as products",
        n,
        lambda: layer(frames[None]),
        tried,
    )


Kind = Callable[[Architecture, int], Iterator[Step]]

KINDS: Final[tuple[tuple[Kind, tuple[int, ...]], ...]] = (
    (orders, (50, 100, 200, 500)),
    (blocks, (1500,)),
    (gelu, (100, 500)),
    (attention, (500, 1500)),
    (attention_in_bfloat16, (100, 250, 500, 1500)),
    (positions, (100, 500, 1500)),
)


@torch.inference_mode()
def measure(step: Step, *, rounds: int) -> Row:
    """Time both ways.

    Raises:
        ArithmeticError: Their results differ.
    """
    done, tried = step.done(), step.tried()
    worst = float((done - tried).abs().max())
    if worst > step.tolerance * float(done.abs().max()):
        raise ArithmeticError(f"{step.name}: the results differ by {worst}.")
    taken = contenders.take_turns(
        {"done": step.done, "tried": step.tried},
        rounds=rounds,
        clock=contenders.clock_for(threads=1),
    )
    return {
        "step": step.name,
        "n_rows": step.n_rows,
        **{f"{way}_ms": round(1000 * seconds, 2) for way, seconds in taken.items()},
    }


def table(rows: Sequence[Row]) -> str:
    """Write the times as Markdown.

    Args:
        rows: Rows of all steps; others are left out.
    """
    head = ["what is done; instead of what", "rows", "ms", "instead of ms"]
    body = [
        [
            row["step"],
            str(row["n_rows"]),
            f"{row['done_ms']:.1f}",
            f"{row['tried_ms']:.1f}",
        ]
        for row in rows
        if "step" in row
    ]
    return documents.table(head, body)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.alternatives", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for kind, sizes in KINDS:
        for n_rows in sizes:
            for step in kind(ARCHITECTURES[contenders.ARCH], n_rows):
                rows.append(measure(step, rounds=chosen.rounds))
                print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({**environment(), **processor(), "threads": 1}))
    print(table(rows))


if __name__ == "__main__":
    main()
