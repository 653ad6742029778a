"""Choose a network's number formats and the fastest kernels.

Nine tenths of the network's arithmetic are products in linear layers. On x86-64 oneDNN
takes weights that were arranged once in its own order; a plain product would reorder or
copy them in every call, which costs most for short windows. The operators are
PyTorch's, but not documented. So each kind of layer is tried on a small product before
it is used, and a plain one replaces it if it fails. int8 layers hold weights as 8-bit
numbers, each row with its own scale, and round their input to 8 bits in every call.

In attention every frame of a window hears all frames of it. PyTorch's own kernel never
stores the weights between frames. But in bfloat16, on processors that have it without
AMX, its products are no faster than in float32, while a plain product of matrices,
which goes through oneDNN, is twice as fast. There the weights are stored, in blocks
that stay in the cache.

Linear layers have the requested format. With 8-bit layers, the rest is as exact as the
processor can compute fast: the data between layers is float32, and the other products,
those of convolutions and attention, are in bfloat16 if the processor has it, else in
float32.
"""

import logging
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

Linear = Callable[[Tensor], Tensor]  # (n, n_in) -> (n, n_out)
MakeLinear = Callable[[Tensor, Tensor], Linear]  # from weight and bias

# A kernel that is off by more than this on a small product is not used.
_TOLERANCES: Final = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 0.005}

# Undocumented, hence without types.
_ops: Any = torch.ops


@dataclass(frozen=True, slots=True)
class PlainLinear:
    """PyTorch's own choice of kernel.

    Attributes:
        weight: Shape (n_out, n_in).
        bias: Shape (n_out,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self.weight, self.bias)


class PackedLinear:
    """oneDNN's kernel, with its weights in oneDNN's order."""

    __slots__ = ("_bias", "_weight")

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight: Tensor = _ops.mkldnn._reorder_linear_weight(weight.contiguous())
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        product: Tensor = _ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, "none", [], ""
        )
        return product


class Int8Linear:
    """8-bit weights, and input rows rounded to 8 bits.

    Only for CPUs. Each output has its own scale; each call has one for its rows.
    """

    __slots__ = ("_packed",)

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        scales = weight.abs().amax(dim=1).clamp_min(1e-12) / 127
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            # Deprecated since 2.13, without a replacement outside of compilation.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            quantised = torch.quantize_per_channel(
                weight.float(), scales.double(), zeros, 0, torch.qint8
            )
        self._packed: Any = _ops.quantized.linear_prepack(quantised, bias.float())

    def __call__(self, rows: Tensor) -> Tensor:
        product: Tensor = _ops.quantized.linear_dynamic(
            rows, self._packed, not _has_vnni()
        )
        return product


@cache
def _has_vnni() -> bool:
    """Whether sums of 8-bit products cannot overflow.

    Without VNNI two products are added in 16 bits, which is too little for factors of
    8 bits; rows are then rounded to 7 bits.
    """
    return bool(torch.cpu._is_vnni_supported())


def maker_for(device: torch.device, dtype: torch.dtype) -> MakeLinear:
    """Choose the kind of linear layers for a device and its arithmetic.

    Raises:
        RuntimeError: There is no 8-bit arithmetic for the device.
    """
    if dtype == torch.int8:
        if device.type != "cpu" or not _works(Int8Linear, torch.float32, 0.05):
            raise RuntimeError(f"PyTorch has no 8-bit linear layers for {device}.")
        return Int8Linear
    if device.type == "cpu" and _works(PackedLinear, dtype, _TOLERANCES[dtype]):
        return PackedLinear
    return PlainLinear


@cache
def _works(kind: MakeLinear, dtype: torch.dtype, tolerance: float) -> bool:
    """Try a kind of linear layer on a small product."""
    weight = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    rows, bias = weight[:7].clone(), weight[:, 0].clone()
    wanted = functional.linear(rows, weight, bias)
    try:
        got = kind(weight.to(dtype), bias.to(dtype))(rows.to(dtype)).float()
    except (RuntimeError, AttributeError) as error:
        logger.debug("%s does not work in %s: %s", kind, dtype, error)
        return False
    return bool((got - wanted).norm() <= tolerance * wanted.norm())


# --- attention ---

# Query, key and value, (n_windows, n_heads, n_frames, n) each; returns the same shape.
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

# Weights that are stored at once: 2 MB; and the most frames that they may belong to.
_MOST_WEIGHTS: Final = 1 << 20
_MOST_FRAMES: Final = 512


def attend_at_once(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by PyTorch's own choice of kernel."""
    return functional.scaled_dot_product_attention(query, key, value)


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by products of matrices, some heads and frames at a time."""
    n_frames, width = query.shape[2:]
    heads = (query * width**-0.5).flatten(0, 1)
    others, said = key.flatten(0, 1).mT.contiguous(), value.flatten(0, 1).contiguous()
    n_rows = min(n_frames, _MOST_FRAMES)
    n_heads = max(1, _MOST_WEIGHTS // (n_rows * n_frames))
    mixed = torch.empty_like(said)
    for first in range(0, len(heads), n_heads):
        some = slice(first, first + n_heads)
        for start in range(0, n_frames, n_rows):
            frames = slice(start, start + n_rows)
            weights = torch.bmm(heads[some, frames], others[some]).softmax(dim=-1)
            mixed[some, frames] = torch.bmm(weights, said[some])
    return mixed.view(query.shape)


# --- which of them ---


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Number formats and kernels of a network.

    Attributes:
        flowing: Format of the data between the layers.
        products: Format of convolutions and of attention.
        make_linear: Makes a linear layer from a weight and a bias.
        attend: Computes attention.
    """

    flowing: torch.dtype
    products: torch.dtype
    make_linear: MakeLinear = PlainLinear
    attend: Attend = attend_at_once


PLAIN = Arithmetic(torch.float32, torch.float32)


def arithmetic_for(device: torch.device, dtype: torch.dtype) -> Arithmetic:
    """Choose the kernels for a device and the data type of its linear layers.

    Raises:
        RuntimeError: There is no 8-bit arithmetic for the device.
    """
    flowing = products = torch.float32 if dtype == torch.int8 else dtype
    if dtype == torch.int8 and cpu_has_bfloat16():
        products = torch.bfloat16
    attend = attend_at_once
    if device.type == "cpu" and products == torch.bfloat16:
        if cpu_has_bfloat16() and not _cpu_has_amx():
            attend = attend_in_blocks
    return Arithmetic(flowing, products, maker_for(device, dtype), attend)


def cpu_has_bfloat16() -> bool:
    """Whether the processor has AMX or AVX512-BF16."""
    return _cpu_has_amx() or (_is_x86() and bool(torch.cpu._is_avx512_bf16_supported()))


def _cpu_has_amx() -> bool:
    return _is_x86() and bool(torch.cpu._is_amx_tile_supported())


def _is_x86() -> bool:
    """Whether the processor is x86; elsewhere PyTorch's answers mean something else."""
    return platform.machine().lower() in ("x86_64", "amd64")
