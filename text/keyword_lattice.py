"""Find the keywords that are possible in a window, and the frames of each.

It computes all frames of a trie's level at once: the best score of a label in a frame
is a maximum over the frames in which the label may have begun, which is a running
maximum over cumulated scores. So a level takes a few numpy operations, however long the
window is, and most branches of a trie end after a few levels.

The results are upper bounds: here a keyword may begin in any frame without cost,
whatever is before it. `text/keyword_path.py` decides.

Pure: no I/O, clock, settings or threads.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from text.keyword_scores import Scores
from text.keyword_trie import NEVER, Bools, Floats, Ints, Trie

# Most cells of each array in the search back and forth: 16 MB.
_MOST_CELLS = 2_000_000


def worthwhile(scores: Scores, trie: Trie, slack: float) -> Ints:
    """Return the ends of phrases that could gain in some frame."""
    lattice = _Lattice(scores, trie)
    found: list[Ints] = []
    alive = np.arange(0)
    labels = blanks = np.empty((0, len(scores)))
    for depth, (first, last) in enumerate(pairwise(trie.levels)):
        nodes = np.arange(first, last)
        if depth:
            at = np.searchsorted(alive, trie.parent[nodes])
            at = np.minimum(at, max(len(alive) - 1, 0))
            nodes_kept = len(alive) and alive[at] == trie.parent[nodes]
            nodes, at = nodes[nodes_kept], at[nodes_kept]
            if not len(nodes):
                break
            labels = lattice.labels(nodes, blanks[at], labels[at])
        else:
            labels = lattice.first_labels(nodes)
        best = labels.max(axis=1)
        found.append(nodes[best + trie.bonus[nodes] >= -slack])
        keep = best + trie.best_bonus[nodes] >= -slack
        alive, labels = nodes[keep], labels[keep]
        if not len(alive):
            break
        blanks = lattice.blanks(labels)
    return np.concatenate(found)


def active_frames(scores: Scores, trie: Trie, slack: float) -> Bools:
    """Return the frames in which a phrase could be that gains.

    If the search would need much memory, it returns all frames.
    """
    if len(trie) * len(scores) > _MOST_CELLS:
        return np.ones(len(scores), bool)
    lattice = _Lattice(scores, trie)
    n_frames = len(scores)
    labels = np.empty((len(trie), n_frames))
    blanks = np.empty_like(labels)
    levels = [slice(*edges) for edges in pairwise(trie.levels)]
    for depth, level in enumerate(levels):
        nodes = np.arange(level.start, level.stop)
        parent = trie.parent[level]
        labels[level] = (
            lattice.labels(nodes, blanks[parent], labels[parent])
            if depth
            else lattice.first_labels(nodes)
        )
        blanks[level] = lattice.blanks(labels[level])
    active = np.zeros(n_frames, bool)
    below = (np.empty((0, n_frames)), np.empty(0, int))
    for level in reversed(levels):
        nodes = np.arange(level.start, level.stop)
        to_go = lattice.to_go(nodes, *below)
        active |= (labels[level] + to_go.of_labels >= -slack).any(axis=0)
        active |= (blanks[level] + to_go.of_blanks >= -slack).any(axis=0)
        below = (to_go.before, nodes)
    return active


class _ToGo(NamedTuple):
    """The best further gain, shape (n_nodes, n_frames)."""

    of_labels: Floats  # after a node's label in a frame
    of_blanks: Floats  # after a blank behind the label
    before: Floats  # before the label, which begins in the next frame


class _Lattice:
    """Nodes of a trie over the frames of a window, all frames at once."""

    def __init__(self, scores: Scores, trie: Trie) -> None:
        self._trie = trie
        self._scores = scores.of_labels(trie.labels)
        self._sums = np.zeros((len(trie.labels), len(scores) + 1))
        np.cumsum(self._scores, axis=1, out=self._sums[:, 1:])
        self._silence = np.zeros(len(scores) + 1)
        np.cumsum(scores.silent, out=self._silence[1:])

    def first_labels(self, nodes: Ints) -> Floats:
        """Return the best score of nodes without parents in each frame."""
        sums = self._sums[self._trie.column[nodes]]
        return np.asarray(_accumulated(-sums[:, :-1]) + sums[:, 1:])

    def labels(self, nodes: Ints, blanks: Floats, labels: Floats) -> Floats:
        """Return the same for other nodes, given their parents' scores."""
        sums = self._sums[self._trie.column[nodes]]
        before = np.maximum(blanks, labels)
        repeats = self._trie.repeats[nodes]
        before[repeats] = blanks[repeats]
        begun = np.full(before.shape, NEVER)
        np.subtract(before[:, :-1], sums[:, 1:-1], out=begun[:, 1:])
        return np.asarray(_accumulated(begun) + sums[:, 1:])

    def blanks(self, labels: Floats) -> Floats:
        """Return the best score of a blank after nodes in each frame."""
        begun = np.full(labels.shape, NEVER)
        np.subtract(labels[:, :-1], self._silence[1:-1], out=begun[:, 1:])
        return np.asarray(_accumulated(begun) + self._silence[1:])

    def to_go(self, nodes: Ints, before: Floats, below: Ints) -> _ToGo:
        """Look ahead from the nodes of a level.

        Args:
            nodes: All nodes of the level.
            before: Best further gain at the nodes below.
            below: All nodes of the next level.
        """
        ends = self._trie.bonus[nodes][:, None]
        after_blank = np.repeat(ends, self._scores.shape[1], axis=1)
        after_label = after_blank.copy()
        parent = self._trie.parent[below] - nodes[0]
        np.maximum.at(after_blank, parent, before)
        others = ~self._trie.repeats[below]
        np.maximum.at(after_label, parent[others], before[others])
        silence = self._silence[1:]
        of_blanks = _accumulated((after_blank + silence)[:, ::-1])[:, ::-1] - silence
        np.maximum(
            after_label[:, :-1],
            np.diff(silence) + of_blanks[:, 1:],
            out=after_label[:, :-1],
        )
        sums = self._sums[self._trie.column[nodes]][:, 1:]
        of_labels = _accumulated((after_label + sums)[:, ::-1])[:, ::-1] - sums
        entering = np.full(of_labels.shape, NEVER)
        np.add(
            of_labels[:, 1:],
            self._scores[self._trie.column[nodes]][:, 1:],
            out=entering[:, :-1],
        )
        return _ToGo(of_labels, of_blanks, entering)


def _accumulated(values: Floats) -> Floats:
    """Return running maxima along the frames."""
    return np.asarray(np.maximum.accumulate(values, axis=1))
