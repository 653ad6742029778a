"""Attention in blocks says what PyTorch's own kernel says."""

import pytest
import torch
from torch import Tensor

from network import kernels
from network.kernels import attend_at_once, attend_in_blocks


def qkv(n_windows: int, n_heads: int, n_frames: int) -> tuple[Tensor, ...]:
    """Make queries, keys and values that lie in memory as the network's do."""
    generator = torch.Generator().manual_seed(n_frames)
    shape = (n_windows, n_frames, 3, n_heads, 16)
    parts = 2 * torch.randn(shape, generator=generator)
    return parts.permute(2, 0, 3, 1, 4).unbind(0)


class TestBlocks:
    @pytest.mark.parametrize("most_weights", [1, 30_000, 1 << 20])
    @pytest.mark.parametrize("n_frames", [1, 7, 300, 513, 1100])
    @pytest.mark.parametrize("n_windows", [1, 3])
    def test_blocks_of_any_size_give_what_all_at_once_gives(
        self,
        n_windows: int,
        n_frames: int,
        most_weights: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """For every window and head, in float32 to rounding."""
        monkeypatch.setattr(kernels, "_MOST_WEIGHTS", most_weights)
        parts = qkv(n_windows, 3, n_frames)

        ours, theirs = attend_in_blocks(*parts), attend_at_once(*parts)

        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5

    @pytest.mark.parametrize("n_frames", [50, 700])
    def test_in_bfloat16_they_are_off_by_its_rounding(self, n_frames: int) -> None:
        """Beside the same numbers in float32."""
        parts = [part.bfloat16() for part in qkv(1, 3, n_frames)]
        exact = attend_at_once(*(part.float() for part in parts))

        ours = attend_in_blocks(*parts)

        assert ours.dtype is torch.bfloat16
        assert (ours.float() - exact).norm() < 0.02 * exact.norm()
