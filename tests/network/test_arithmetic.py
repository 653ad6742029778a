"""Which numbers a network is computed in."""

import pytest
import torch

from network import kernels
from network.kernels import (
    Int8Linear,
    arithmetic_for,
    attend_at_once,
    attend_in_blocks,
    cpu_has_bfloat16,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_data_type_is_for_everything(dtype: torch.dtype) -> None:
    """Unless linear layers have 8 bits."""
    chosen = arithmetic_for(CPU, dtype)

    assert (chosen.flowing, chosen.products) == (dtype, dtype)


@pytest.mark.parametrize(
    ("native", "products"), [(True, torch.bfloat16), (False, torch.float32)]
)
def test_beside_8_bits_other_products_are_in_bfloat16_where_it_is_quick(
    native: bool, products: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What flows between layers stays in float32."""
    monkeypatch.setattr(kernels, "cpu_has_bfloat16", lambda: native)

    chosen = arithmetic_for(CPU, torch.int8)

    assert (chosen.flowing, chosen.products) == (torch.float32, products)
    assert chosen.make_linear is Int8Linear


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
@pytest.mark.parametrize(
    ("native", "amx", "by_blocks"),
    [(False, False, False), (True, False, True), (True, True, False)],
)
def test_only_native_bfloat16_without_amx_attends_by_blocks(
    native: bool,
    amx: bool,
    by_blocks: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Elsewhere PyTorch's kernel is faster, or was not measured."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)

    wanted = attend_in_blocks if by_blocks else attend_at_once
    assert arithmetic_for(CPU, dtype).attend is wanted
    assert arithmetic_for(CPU, torch.float32).attend is attend_at_once
    assert arithmetic_for(torch.device("cuda"), torch.bfloat16).attend is attend_at_once


def test_processors_other_than_x86_are_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What PyTorch says of their instructions means something else."""
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)

    assert not cpu_has_bfloat16()
