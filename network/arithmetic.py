"""Choose what a network is computed with: its number formats, and their kernels.

Linear layers have the format that was asked for. With 8-bit ones the rest stays as
exact as the processor computes quickly: what flows between layers is float32, and
the other products, those of convolutions and attention, are in bfloat16 where the
processor has it, else in float32.
"""

import platform
from dataclasses import dataclass

import torch

from network.attention import Attend, attend_at_once, attend_in_blocks
from network.linear_layers import MakeLinear, PlainLinear, maker_for


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a network is computed with.

    Attributes:
        flowing: Of what flows between the layers.
        products: Of convolutions and of attention.
        make_linear: Makes a linear layer of a weight and a bias.
        attend: Lets every frame look at all others.
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
    """Whether PyTorch can be asked; elsewhere its answers mean something else."""
    return platform.machine().lower() in ("x86_64", "amd64")
