"""Read off logits what is wanted of each frame, as one table of whole numbers.

Logits are as wide as the vocabulary and stay on the device. What leaves it is one small
array, so that host and device meet once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLANK = 0  # as in `text.ctc`


def read_out(logits: Tensor, *, n_best: int, labels: Tensor) -> Tensor:
    """Make a table of the most likely labels and what the model thought of them.

    Args:
        logits: Shape (n, n_labels).
        n_best: How many of the best labels are wanted, with log probabilities.
        labels: Labels whose log probabilities are wanted, int64.

    Returns:
        int32, shape (n, 3 + 2 * n_best + len(labels)), on the device: the best label,
        its probability and that of blank; the `n_best`, their log probabilities; those
        of `labels`. Probabilities are float32, seen as whole numbers.
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
    """What `read_out` has made, on the host.

    Attributes:
        ids: The best label of each frame, int32, shape (n,).
        probs: Its probability, float32.
        blank_probs: That of blank, float32.
        best_ids: Shape (n, n_best), int32.
        best_log_probs: Of these, float32.
        log_probs: Of the labels that were wanted, shape (n, n_labels), float32.
    """

    ids: NDArray[np.int32]
    probs: NDArray[np.float32]
    blank_probs: NDArray[np.float32]
    best_ids: NDArray[np.int32]
    best_log_probs: NDArray[np.float32]
    log_probs: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.int32], *, n_best: int) -> "Table":
        """Take a table of rows apart."""
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
