"""Choose what a network is computed with: its number formats, and their kernels.

Linear layers have the format that was asked for. With 8-bit ones the rest stays as
exact as the processor computes quickly: what flows between layers is float32, and
the other products, those of convolutions and attention, are in bfloat16 where the
processor has it, else in float32.
"""

import platform
from dataclasses import dataclass

import torch

from attention import Attend, attend_at_once, attend_for
from linear_layers import MakeLinear, PlainLinear, maker_for


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
    attend = attend_for(device, products)
    return Arithmetic(flowing, products, maker_for(device, dtype), attend)


def cpu_has_bfloat16() -> bool:
    """Whether the processor has AMX or AVX512-BF16."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return bool(
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    )
