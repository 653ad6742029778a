"""Find the keywords in a window whose bonus exceeds their cost.

Free text and whole keywords compete in one graph. Free text is a frame's best letter, a
space or silence, so the model's best labels cost nothing. A keyword has to be spelled
label by label, between spaces or the edges of the window, and gets its bonus when it is
complete. The best path through the graph is found exactly.

There are three passes, each over less than the one before:

1. Over the whole trie, as if keywords could begin anywhere without cost. A phrase that
   does not gain here cannot gain at all; mostly no phrase is left.
2. Over the remaining phrases, back and forth, to find the frames in which each could
   be. The first two passes are in `text/keyword_lattice.py`.
3. Over these frames one by one, with all rules about the neighbours of a keyword.

In a script without spaces keywords may be next to letters, but not next to the same
label, with which CTC would merge them.

Source: Graves et al. 2006 (best path), on the graph of a keyword loop; token passing
with word links, Young et al. 1989.
Pure: no I/O, clock, settings or threads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from text.keyword_lattice import active_frames, worthwhile
from text.keyword_scores import Scores
from text.keyword_trie import LOOSE, NEVER, STRICT, Bools, Trie

# Sums of the same numbers in different orders differ by less.
_ROUNDING = 1e-6


class Found(NamedTuple):
    """A keyword on the best path.

    Attributes:
        node: Node of the trie at which its phrase ends.
        first: Its first frame.
        last: Its last frame; blanks may follow its last label.
        paused: Whether its last frame is a blank.
        boundary: Frame of the space before it, after which all frames are silent; -1
            for the edge of the window, None if it follows a letter.
        closed: Whether the frame after it is a space.
        before: The keyword before it.
    """

    node: int
    first: int
    last: int
    paused: bool
    boundary: int | None
    closed: bool
    before: "Found | None"


@dataclass(frozen=True, slots=True)
class BestPath:
    """The best path through a window.

    Attributes:
        score: Its score relative to the model's best labels, bonuses included.
        last: Its last keyword.
        trie: The trie of its nodes.
    """

    score: float
    last: Found | None
    trie: Trie

    def found(self) -> Iterator[Found]:
        """Yield its keywords, the last first."""
        found = self.last
        while found is not None:
            yield found
            found = found.before


def best_path(scores: Scores, trie: Trie, *, prune: bool = True) -> BestPath:
    """Find the best path through a window.

    Args:
        scores: Scores of its frames.
        trie: Trie of all keywords.
        prune: Whether to leave out phrases that cannot be on the path; the score is the
            same.
    """
    if not len(scores) or not len(trie):
        return BestPath(0.0, None, trie)
    active = np.ones(len(scores), bool)
    if prune:
        # If only silence separates two keywords, one of them may be worth a loss.
        slack = _ROUNDING - (scores.silent.min() if trie.is_loose else 0.0)
        trie = trie.pruned(worthwhile(scores, trie, slack))
        if not len(trie):
            return BestPath(0.0, None, trie)
        active = active_frames(scores, trie, slack)
    return _Walk(scores, trie, active).run()


class _Free(NamedTuple):
    """Free text up to a frame: its score, the last keyword and space before it."""

    score: float = NEVER
    last: Found | None = None
    boundary: int | None = None


class _Entry(NamedTuple):
    """A state that a keyword may follow without a space, and the excluded label."""

    free: _Free
    label: int


class _Walk:
    """Goes through a window frame by frame, where there may be keywords.

    Each node has two states: its label, and the blank after it. After the nodes' states
    come three for the contexts in which a keyword may begin.
    """

    def __init__(self, scores: Scores, trie: Trie, active: Bools) -> None:
        self._trie = trie
        self._active = active
        self._emissions = np.ascontiguousarray(scores.of_labels(trie.labels).T)
        self._free = _FreeText(scores)
        self._silent = scores.silent.tolist()
        self._letter_label = scores.letter_label.tolist()
        n = len(trie)
        self._strict, self._loose, self._other = n + STRICT, n + LOOSE, n + LOOSE + 1
        self._parent = trie.parent.copy()
        self._merging = np.where(trie.repeats, NEVER, 0.0)
        self._labels = np.full(n + 3, NEVER)
        self._blanks = np.full(n + 3, NEVER)
        # The context in which each of them began.
        self._labels_from = np.zeros(n + 3, int)
        self._blanks_from = np.zeros(n + 3, int)
        self._begun: list[tuple[int, _Free]] = []

    def run(self) -> BestPath:
        """Return the best path."""
        n_frames = len(self._silent)
        edges = np.diff(self._active, prepend=False, append=False).nonzero()[0].tolist()
        done = 0
        ended, loose = _Free(), list[_Entry]()
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            self._free.skip(done, first)
            self._labels[:] = self._blanks[:] = NEVER
            for frame in range(first, end):
                self._enter(frame, loose)
                self._step(frame)
                self._free.go_on(frame, ended, [entry.free for entry in loose])
                ended = self._ended(frame)
                loose = self._loosely_ended(frame)
            done = end
            if end < n_frames:
                self._free.go_on(end, ended, [entry.free for entry in loose])
                ended, loose = _Free(), []
                done += 1
        self._free.skip(done, n_frames)
        best = max(ended, self._free.best, key=_score)
        return BestPath(best.score, best.last, self._trie)

    def _enter(self, frame: int, loose: Sequence[_Entry]) -> None:
        """Let keywords begin in a frame."""
        self._begin(self._strict, frame, self._free.between)
        if not self._trie.loose_roots:
            return
        letter = self._letter_label[frame - 1] if frame else -1
        entries = [
            _Entry(self._free.between, -1),
            _Entry(self._free.paused._replace(boundary=None), -1),
            _Entry(self._free.inside._replace(boundary=None), letter),
            *loose,
        ]
        entries.sort(key=lambda entry: entry.free.score, reverse=True)
        best = entries[0]
        self._begin(self._loose, frame, best.free)
        node = self._trie.loose_roots.get(best.label)
        if node is not None:
            other = next(own for own in entries if own.label != best.label)
            self._begin(self._other, frame, other.free)
            self._parent[node] = self._other

    def _begin(self, at: int, frame: int, free: _Free) -> None:
        self._blanks[at] = free.score
        self._blanks_from[at] = len(self._begun)
        self._begun.append((frame, free))

    def _step(self, frame: int) -> None:
        """Continue all keywords that may be in a frame."""
        n, parent = len(self._trie), self._parent
        labels, blanks = self._labels[:n], self._blanks[:n]
        before_label = self._labels[parent] + self._merging
        before_blank = self._blanks[parent]
        came_from = np.where(
            before_label > before_blank,
            self._labels_from[parent],
            self._blanks_from[parent],
        )
        before = np.maximum(before_label, before_blank)
        self._blanks_from[:n] = np.where(
            labels > blanks, self._labels_from[:n], self._blanks_from[:n]
        )
        np.maximum(labels, blanks, out=blanks)
        blanks += self._silent[frame]
        stays = labels >= before
        self._labels_from[:n] = np.where(stays, self._labels_from[:n], came_from)
        np.maximum(labels, before, out=labels)
        labels += self._emissions[frame][self._trie.column]
        for node in self._trie.loose_roots.values():
            parent[node] = self._loose

    def _ended(self, frame: int) -> _Free:
        """Return the best complete keyword; a space or the window's edge follows."""
        ends = self._trie.ends
        complete = np.maximum(self._labels[ends], self._blanks[ends])
        complete += self._trie.bonus[ends]
        best = int(complete.argmax())
        node = int(ends[best])
        paused = bool(self._blanks[node] > self._labels[node])
        came_from = (self._blanks_from if paused else self._labels_from)[node]
        closed = frame + 1 < len(self._silent)
        return self._complete(node, frame, complete[best], came_from, paused, closed)

    def _loosely_ended(self, frame: int) -> list[_Entry]:
        """Return the best keywords that a letter may follow: three at most."""
        ends = self._trie.loose_ends
        if not len(ends):
            return []
        of_ends = self._trie.label[ends]
        bonus = self._trie.bonus[ends]
        after_blank = self._blanks[ends] + bonus
        after_label = self._labels[ends] + bonus
        best = int(after_blank.argmax())
        chosen = [(best, after_blank[best], self._blanks_from, -1)]
        for _ in range(2):  # at most one of them ends with the first label of the next
            best = int(after_label.argmax())
            label = int(of_ends[best])
            chosen.append((best, after_label[best], self._labels_from, label))
            after_label[of_ends == label] = NEVER
        return [
            _Entry(
                self._complete(node, frame, score, came_from[node], label < 0, False),
                label,
            )
            for index, score, came_from, label in chosen
            for node in [int(ends[index])]
            if score > NEVER
        ]

    def _complete(
        self,
        node: int,
        frame: int,
        score: float,
        came_from: int,
        paused: bool,
        closed: bool,
    ) -> _Free:
        if score == NEVER:
            return _Free()
        first, free = self._begun[came_from]
        found = Found(node, first, frame, paused, free.boundary, closed, free.last)
        return _Free(float(score), found)


class _FreeText:
    """Free text: the model's best letters, spaces and silence.

    Attributes:
        between: After a space, or nothing yet.
        inside: A letter was the last.
        paused: Silence after a letter.
    """

    def __init__(self, scores: Scores) -> None:
        self._boundary = scores.boundary
        self._letter = scores.letter
        self._silent = scores.silent
        self._silence = np.zeros(len(scores) + 1)
        np.cumsum(scores.silent, out=self._silence[1:])
        self.between = _Free(0.0, None, -1)
        self.inside = _Free()
        self.paused = _Free()

    @property
    def best(self) -> _Free:
        return max(self.between, self.inside, self.paused, key=_score)

    def go_on(self, frame: int, ended: _Free, loose: Sequence[_Free]) -> None:
        """Continue for a frame, perhaps after keywords.

        Args:
            frame: The next frame.
            ended: The best keyword that a space may follow.
            loose: Keywords that a letter may follow.
        """
        silent = float(self._silent[frame])
        within = max(self.inside, self.paused, key=_score)
        before = max(ended, within, self.between, key=_score)
        by_space = before.score + float(self._boundary[frame])
        letters = max(self.between, within, *loose, key=_score)
        if by_space >= self.between.score + silent:
            self.between = _Free(by_space, before.last, frame)
        else:
            self.between = self.between._replace(score=self.between.score + silent)
        self.inside = _Free(letters.score + float(self._letter[frame]), letters.last)
        self.paused = _Free(within.score + silent, within.last)

    def skip(self, first: int, end: int) -> None:
        """Continue over frames without keywords."""
        if end - first < _WORTH_SKIPPING:
            for frame in range(first, end):
                self.go_on(frame, _Free(), ())
            return
        # The model's best labels cost nothing, so only the place of the last space, or
        # of the last letter, counts.
        before = self.best
        within = max(self.inside, self.paused, key=_score)
        silence = self._silence[end] - self._silence[first + 1 : end + 1]
        all_silent = float(self._silence[end] - self._silence[first])
        by_space = self._boundary[first:end] + silence
        by_letter = self._letter[first:end] + silence
        at = int(by_space.argmax())
        if before.score + by_space[at] >= self.between.score + all_silent:
            score = before.score + float(by_space[at])
            self.between = _Free(score, before.last, first + at)
        else:
            self.between = self.between._replace(score=self.between.score + all_silent)
        score = before.score + float(by_letter[:-1].max())
        paused = _Free(score, before.last)
        silent = _Free(within.score + all_silent, within.last)
        self.paused = max(paused, silent, key=_score)
        self.inside = _Free(before.score + float(self._letter[end - 1]), before.last)


# Fewer frames are faster one by one.
_WORTH_SKIPPING = 4


def _score(free: _Free) -> float:
    return free.score
