"""Put the spellings of many phrases into one trie of arrays.

A node is a label after those of its parents; phrases with the same beginning share
nodes. Nodes lie level by level, and within a level those of one parent are neighbours,
so that a level is a slice, and a step through the trie takes a few numpy operations.

Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from text.phrases import Spelling

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NEVER = -np.inf

# Numbers of the nodes before the first labels, counted from the number of nodes: that
# of phrases that begin a word, and that of phrases that may also follow a letter.
STRICT, LOOSE = 0, 1


@dataclass(frozen=True)
class Trie:
    """Spellings, label by label; all arrays are of shape (n_nodes,).

    Attributes:
        parent: The node before; from n_nodes on it is `STRICT` or `LOOSE`.
        label: Label of the vocabulary.
        bonus: Bonus of a phrase that ends here; -inf if none does.
        best_bonus: The highest bonus that can still be reached.
        levels: Where each depth begins, and where the last one ends.
        spellings: Spellings that end at a node, by node.
    """

    parent: Ints
    label: Ints
    bonus: Floats
    best_bonus: Floats
    levels: tuple[int, ...]
    spellings: dict[int, Spelling]

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def labels(self) -> Ints:
        """All labels that occur, in order."""
        return np.unique(self.label)

    @cached_property
    def column(self) -> Ints:
        """Index of each node's label in `labels`."""
        return np.searchsorted(self.labels, self.label)

    @cached_property
    def repeats(self) -> Bools:
        """Whether a node has its parent's label, so that a blank lies between."""
        known = np.append(self.label, [-1, -1])
        return np.asarray(known[self.parent] == self.label)

    @cached_property
    def ends(self) -> Ints:
        """Nodes at which a phrase ends."""
        return np.flatnonzero(self.bonus > NEVER)

    @cached_property
    def loose_ends(self) -> Ints:
        """Ends of phrases that a letter may follow."""
        return np.array([n for n in self.ends if self.spellings[n].joins_after], int)

    @cached_property
    def loose_roots(self) -> dict[int, int]:
        """First labels of phrases that may follow a letter, and their nodes."""
        nodes = np.flatnonzero(self.parent == len(self) + LOOSE)
        return {int(self.label[node]): int(node) for node in nodes}

    @property
    def is_loose(self) -> bool:
        """Whether any phrase may be next to a letter."""
        return bool(self.loose_roots) or bool(len(self.loose_ends))

    def pruned(self, ends: Ints) -> "Trie":
        """Return a trie of only the phrases that end at some nodes."""
        keep = np.zeros(len(self), bool)
        ahead = ends
        while len(ahead):
            keep[ahead] = True
            ahead = np.unique(self.parent[ahead])
            ahead = ahead[ahead < len(self)]
        kept = np.flatnonzero(keep)
        number = np.cumsum(keep) - 1
        number = np.append(number, [len(kept) + STRICT, len(kept) + LOOSE])
        bonus = np.full(len(self), NEVER)
        bonus[ends] = self.bonus[ends]
        return Trie(
            parent=number[self.parent[kept]],
            label=self.label[kept],
            bonus=bonus[kept],
            best_bonus=self.best_bonus[kept],
            levels=tuple(dict.fromkeys(int(keep[:n].sum()) for n in self.levels)),
            spellings={int(number[end]): self.spellings[end] for end in ends.tolist()},
        )


def build(spellings: Iterable[tuple[Spelling, float]]) -> Trie:
    """Build the trie of spellings and their bonuses.

    Of two phrases with the same spelling the first counts.
    """
    known: dict[tuple[int, ...], tuple[Spelling, float]] = {}
    for spelling, bonus in spellings:
        known.setdefault(spelling.labels, (spelling, bonus))
    ordered = sorted(
        known.values(), key=lambda own: (own[0].joins_before, own[0].labels)
    )
    parents: list[int] = []
    labels: list[int] = []
    bonuses: list[float] = []
    ends: dict[int, Spelling] = {}
    levels = [0]
    at = [-1 - (LOOSE if own.joins_before else STRICT) for own, _ in ordered]
    depth = 0
    while any(depth < len(own.labels) for own, _ in ordered):
        numbers: dict[tuple[int, int], int] = {}
        for k, (spelling, bonus) in enumerate(ordered):
            if depth >= len(spelling.labels):
                continue
            label = spelling.labels[depth]
            key = (at[k], label)
            if key not in numbers:
                numbers[key] = len(labels)
                parents.append(at[k])
                labels.append(label)
                bonuses.append(NEVER)
            at[k] = numbers[key]
            if depth == len(spelling.labels) - 1:
                bonuses[at[k]] = bonus
                ends[at[k]] = spelling
        levels.append(len(labels))
        depth += 1
    parent = np.array(parents, int)
    before = parent < 0
    parent[before] = len(labels) - 1 - parent[before]
    bonus_of = np.array(bonuses, float)
    return Trie(
        parent=parent,
        label=np.array(labels, int),
        bonus=bonus_of,
        best_bonus=_best_below(bonus_of, parent),
        levels=tuple(levels),
        spellings=ends,
    )


def _best_below(bonus: Floats, parent: Ints) -> Floats:
    best = np.append(bonus, [NEVER, NEVER])
    for node in range(len(bonus) - 1, -1, -1):
        best[parent[node]] = max(best[parent[node]], best[node])
    return best[: len(bonus)]
