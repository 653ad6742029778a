"""Take the requested labels of each frame from logits, as one table of integers.

Logits are as wide as the vocabulary and stay on the device. Only one small array leaves
it, so that the host waits for the device once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLANK = 0  # as in `text.ctc`


@dataclass(frozen=True, slots=True)
class Restriction:
    """Some frames whose best label is chosen from some labels.

    Attributes:
        frames: The frames.
        labels: The labels, int64, on the device of the logits; at least one.
    """

    frames: slice
    labels: Tensor


def restrictions_within(
    restricted: Sequence[Restriction], first: int, n_rows: int
) -> list[Restriction]:
    """Return the restrictions of a block of a pass.

    Args:
        restricted: Those of the pass; their frames count from its first row.
        first: The block's first row.
        n_rows: Number of its rows.

    Returns:
        Those of frames in the block; their frames count from the block's first row.
    """
    found = []
    for own in restricted:
        start = max(own.frames.start - first, 0)
        end = min(own.frames.stop - first, n_rows)
        if start < end:
            found.append(replace(own, frames=slice(start, end)))
    return found


def read_out(
    logits: Tensor,
    *,
    n_best: int,
    labels: Tensor,
    restricted: Sequence[Restriction] = (),
) -> Tensor:
    """Make a table of the most likely labels and their probabilities.

    Args:
        logits: The logits, shape (n, n_labels).
        n_best: Number of best labels to return, with log probabilities.
        labels: Labels whose log probabilities to return, int64.
        restricted: Frames whose best label is not chosen from all labels. Its
            probability is that over all labels nevertheless.

    Returns:
        int32, shape (n, 3 + 2 * n_best + len(labels)), on the device: the best label,
        its probability and that of blank; the `n_best`, their log probabilities; those
        of `labels`. Probabilities are float32, stored as integers.
    """
    best, ids = logits.max(dim=-1)
    for own in restricted:
        allowed = logits[own.frames].index_select(1, own.labels)
        best[own.frames], found = allowed.max(dim=-1)
        ids[own.frames] = own.labels[found]
    log_norm = logits.float().logsumexp(dim=-1, keepdim=True)
    both = torch.stack([best, logits[:, BLANK]], dim=1).float() - log_norm
    columns = [ids.int()[:, None], both.exp().view(torch.int32)]
    if n_best:
        values, best_ids = logits.topk(n_best, dim=-1)
        log_probs = values.float() - log_norm
        columns += [best_ids.int(), log_probs.view(torch.int32)]
    if len(labels):
        values = logits.index_select(1, labels).float() - log_norm
        columns.append(values.view(torch.int32))
    return torch.cat(columns, dim=1)


@dataclass(frozen=True, slots=True)
class Table:
    """The table of `read_out`, on the host.

    Attributes:
        ids: The best label of each frame, int32, shape (n,).
        probs: Its probability, float32.
        blank_probs: Probability of blank, float32.
        best_ids: The best labels, shape (n, n_best), int32.
        best_log_probs: Their log probabilities, float32.
        log_probs: Log probabilities of the requested labels, shape (n, n_labels),
            float32.
    """

    ids: NDArray[np.int32]
    probs: NDArray[np.float32]
    blank_probs: NDArray[np.float32]
    best_ids: NDArray[np.int32]
    best_log_probs: NDArray[np.float32]
    log_probs: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.int32], *, n_best: int) -> "Table":
        """Split a table of rows."""
        ids, probs, blank_probs = np.ascontiguousarray(rows[:, :3].T)
        further = np.ascontiguousarray(rows[:, 3:])
        return cls(
            ids,
            probs.view(np.float32),
            blank_probs.view(np.float32),
            further[:, :n_best],
            further[:, n_best : 2 * n_best].view(np.float32),
            further[:, 2 * n_best :].view(np.float32),
        )
