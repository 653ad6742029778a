"""Compute a linear layer, by the quickest kernel that is right on this machine.

Nine tenths of the network's arithmetic are these products. On x86-64 oneDNN takes
weights that were put in its own order once; a plain product would reorder or copy
them in every call, which costs most for short windows. The operators are PyTorch's
own, though not documented, so each kind of layer is tried on a small product before
it is used, and a plain one takes its place where it fails.

int8 layers hold weights as 8-bit numbers, each row with a scale of its own, and
round what comes in to 8 bits call by call.
"""

import logging
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
    """8-bit weights, and rows rounded to 8 bits as they come.

    Only for CPUs. Each output has a scale of its own, each call one for its rows.
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

    Without these instructions two products are added in 16 bits, which is too
    little for 8 bits each; rows are then rounded to 7 bits.
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
