"""Linear layers of every kind compute what a plain one computes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from network.kernels import (
    Int8Linear,
    MakeLinear,
    PackedLinear,
    PlainLinear,
    _works,
    maker_for,
)

CPU = torch.device("cpu")


def layer(n_in: int, n_out: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n_in)
    weight = torch.randn(n_out, n_in, generator=generator) / n_in**0.5
    return weight, torch.randn(n_out, generator=generator)


def error_of(kind: MakeLinear, n_rows: int, n_in: int, n_out: int) -> float:
    """Relative error on random rows."""
    weight, bias = layer(n_in, n_out)
    rows = torch.randn(n_rows, n_in, generator=torch.Generator().manual_seed(1))
    wanted = functional.linear(rows, weight, bias)
    got = kind(weight, bias)(rows)
    assert got.shape == wanted.shape
    return float((got - wanted).norm() / wanted.norm())


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Forget which kinds were found to work, before and after."""
    _works.cache_clear()
    yield
    _works.cache_clear()


class TestKinds:
    @pytest.mark.parametrize("n_rows", [1, 7, 500, 513])
    @pytest.mark.parametrize(("n_in", "n_out"), [(192, 576), (1024, 64), (80, 3)])
    def test_the_chosen_kind_computes_products_in_float32(
        self, n_rows: int, n_in: int, n_out: int
    ) -> None:
        """For any number of rows."""
        kind = maker_for(CPU, torch.float32)

        assert error_of(kind, n_rows, n_in, n_out) < 1e-5

    @pytest.mark.parametrize("n_rows", [1, 7, 500])
    def test_8_bit_layers_are_off_by_their_rounding(self, n_rows: int) -> None:
        """Some, but a few per cent at most."""
        assert 1e-4 < error_of(Int8Linear, n_rows, 192, 576) < 0.04

    def test_a_row_of_weights_that_is_nothing_stays_nothing(self) -> None:
        """Its scale is no division by zero."""
        weight, bias = torch.zeros(3, 8), torch.tensor([1.0, -2.0, 0.5])

        got = Int8Linear(weight, bias)(torch.ones(2, 8))

        assert torch.allclose(got, bias.expand(2, 3), atol=1e-6)

    def test_other_devices_have_plain_layers(self) -> None:
        """Theirs are quick as they are; 8-bit ones do not exist there."""
        cuda = torch.device("cuda")

        assert maker_for(cuda, torch.float16) is PlainLinear
        with pytest.raises(RuntimeError, match="no 8-bit linear layers for cuda"):
            maker_for(cuda, torch.int8)


@pytest.mark.usefixtures("forgetful")
class TestTrials:
    def test_a_kind_that_is_not_there_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a PyTorch without oneDNN, or of another day."""

        def missing(self: PackedLinear, weight: Tensor, bias: Tensor) -> None:
            raise AttributeError("_reorder_linear_weight")

        monkeypatch.setattr(PackedLinear, "__init__", missing)

        assert maker_for(CPU, torch.float32) is PlainLinear

    def test_a_kind_that_is_wrong_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever it returns."""
        monkeypatch.setattr(PackedLinear, "__call__", lambda self, rows: rows[:, :24])
        monkeypatch.setattr(Int8Linear, "__call__", lambda self, rows: rows[:, :24])

        assert maker_for(CPU, torch.float32) is PlainLinear
        with pytest.raises(RuntimeError, match="no 8-bit"):
            maker_for(CPU, torch.int8)
