"""Hold a checkpoint's tensors as they are computed with, and say how much at once.

Frames are worked on in blocks, so that what is between two layers stays in the
processor's cache and the memory of a pass does not grow with the width of its
widest layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from network.kernels import PLAIN, Arithmetic, Linear


@dataclass(frozen=True, slots=True)
class Blocks:
    """How much is worked on at once.

    Attributes:
        frames: Whose samples go through the convolutions.
        rows: Of a linear layer.
        padded: Whether windows of unequal lengths are filled up to the longest, so
            that many take no more operators than one.
    """

    frames: int
    rows: int
    padded: bool = False


# 1.2 s of audio, whose widest layer takes 8 MB.
_ON_CPU = Blocks(frames=60, rows=512)

# Elsewhere a block is a set of kernels to launch, and caches are small anyway: only
# memory is kept in bounds, at 80 s of a batch and 11 minutes; `network/batches.py` says
# how much that is.
_ELSEWHERE = Blocks(frames=4000, rows=32_768, padded=True)

# Rows of which there are logits at once, as wide as the vocabulary.
MOST_LOGITS = 8192


def blocks_for(device: torch.device) -> Blocks:
    """Return what pays on a device."""
    return _ON_CPU if device.type == "cpu" else _ELSEWHERE


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint's tensors, and what they are to be computed with.

    Attributes:
        state: By the names of `Architecture.shapes`.
        blocks: How much is worked on at once; None for what pays on the device.
    """

    state: Mapping[str, Tensor]
    device: torch.device
    arithmetic: Arithmetic = PLAIN
    blocks: Blocks | None = None

    @property
    def at_once(self) -> Blocks:
        """How much is worked on at once."""
        return self.blocks or blocks_for(self.device)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Return one tensor, where and as it is computed with.

        It is a copy: a tensor of the checkpoint keeps the whole file mapped.

        Args:
            dtype: By default that of what flows between the layers.
        """
        dtype = dtype or self.arithmetic.flowing
        return self.state[name].to(self.device, dtype, copy=True)

    def linear(self, *names: str) -> Linear:
        """Make one layer of one or more that have the same input."""
        weights = [self.tensor(f"{name}.weight") for name in names]
        biases = [self.tensor(f"{name}.bias") for name in names]
        return self.arithmetic.make_linear(joined(weights), joined(biases))

    def norm(self, name: str, dtype: torch.dtype | None = None) -> "LayerNorm":
        parts = (self.tensor(f"{name}.{part}", dtype) for part in ("weight", "bias"))
        return LayerNorm(*parts)


def joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Normalise every row."""

    weight: Tensor
    bias: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.layer_norm(rows, self.weight.shape, self.weight, self.bias)


def cut_rows(rows: Tensor, most: int) -> Sequence[Tensor]:
    """Cut rows into blocks of at most `most`, about equal."""
    return rows.tensor_split(-(-len(rows) // most))
