"""Hold a checkpoint's tensors as they are computed with, and the sizes of blocks.

Frames are processed in blocks, so that the data between two layers stays in the
processor's cache and the memory of a pass does not grow with the width of its widest
layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from network.kernels import PLAIN, Arithmetic, Linear, PlainLinear


@dataclass(frozen=True, slots=True)
class Blocks:
    """How much is processed at once.

    Attributes:
        frames: Frames whose samples go through the convolutions.
        rows: Rows of a linear layer.
        padded: Whether windows of unequal lengths are padded to the longest, so that
            many need no more operators than one.
    """

    frames: int
    rows: int
    padded: bool = False


# 1.2 s of audio, whose widest layer takes 8 MB.
_ON_CPU = Blocks(frames=60, rows=512)

# On accelerators each block launches its kernels again, and caches are small anyway:
# the blocks only limit memory, to 80 s of a batch and 11 minutes; `network/batches.py`
# says how much that is.
_ELSEWHERE = Blocks(frames=4000, rows=32_768, padded=True)

# Rows whose logits exist at once; they are as wide as the vocabulary.
MOST_LOGITS = 8192


def blocks_for(device: torch.device) -> Blocks:
    """Return the best sizes of blocks for a device."""
    return _ON_CPU if device.type == "cpu" else _ELSEWHERE


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint's tensors, and their formats and kernels.

    Attributes:
        state: The tensors, by the names of `Architecture.shapes`.
        blocks: Sizes of blocks; None for the best ones for the device.
        lasting: Whether what is made of them outlives the checkpoint. A tensor of the
            checkpoint keeps the whole file mapped, so it has to be copied then.
    """

    state: Mapping[str, Tensor]
    device: torch.device
    arithmetic: Arithmetic = PLAIN
    blocks: Blocks | None = None
    lasting: bool = True

    @property
    def at_once(self) -> Blocks:
        """The sizes of blocks."""
        return self.blocks or blocks_for(self.device)

    def tensor(
        self, name: str, dtype: torch.dtype | None = None, *, lasting: bool = True
    ) -> Tensor:
        """Return one tensor on the device, in the format of the computation.

        Args:
            dtype: Its data type; by default that of the data between the layers.
            lasting: Whether it outlives the checkpoint, if others do.
        """
        dtype = dtype or self.arithmetic.flowing
        copy = lasting and self.lasting
        return self.state[name].to(self.device, dtype, copy=copy)

    def linear(self, *names: str) -> Linear:
        """Make one layer from one or more layers with the same input."""
        # Joining and packing make copies of their own.
        lasting = len(names) == 1 and self.arithmetic.make_linear is PlainLinear
        weights = [self.tensor(f"{name}.weight", lasting=lasting) for name in names]
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
