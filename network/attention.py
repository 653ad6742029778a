"""Let every frame of a window look at all frames of it, by the quickest kernel.

PyTorch's own kernel never writes down how much each frame looks at each other. In
bfloat16, though, on processors that have it without AMX, its products are no faster
than those of float32, while a plain product of matrices, which goes through oneDNN,
is twice as fast. There the frames' weights are written down, in blocks that stay in
the cache. `network/arithmetic.py` chooses.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

# Query, key and value, (n_windows, n_heads, n_frames, n) each; returns as much.
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

# Weights that are written down at once: 2 MB, and of how many frames they may be.
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
