"""Take the requested labels of each frame from logits, as one table of integers.

Logits are as wide as the vocabulary and stay on the device. Only one small array leaves
it, so that the host waits for the device once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLANK = 0  # as in `text.ctc`


def read_out(logits: Tensor, *, n_best: int, labels: Tensor) -> Tensor:
    """Make a table of the most likely labels and their probabilities.

    Args:
        logits: The logits, shape (n, n_labels).
        n_best: Number of best labels to return, with log probabilities.
        labels: Labels whose log probabilities to return, int64.

    Returns:
        int32, shape (n, 3 + 2 * n_best + len(labels)), on the device: the best label,
        its probability and that of blank; the `n_best`, their log probabilities; those
        of `labels`. Probabilities are float32, stored as integers.
    """
    best, ids = logits.max(dim=-1)
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
