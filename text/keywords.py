"""Recognise words and phrases more easily that a client expects.

It takes labels of frames and gives labels of frames: a keyword is written where the
model nearly recognised it, and everything after it (words, times, confidence,
stitching, agreement) works as without keywords. A keyword of n letters may cost
`boost x (n - 2)` nats more than the model's best labels. A bonus for every letter was
rejected: short words are nearly recognised everywhere, and did ten times the harm.

Rejected: the published word spotter, which broke six times as many other words at equal
recall, since characters do not show it where words begin; and beam search, which loses
rare names by pruning. A keyword gets its bonus only when it is complete, so that no
bonus has to be taken back.

Pure: no I/O, clock, settings or threads. Safe to use from several threads.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from text import keyword_trie
from text.ctc import FrameLabels, Vocabulary
from text.keyword_path import Found, best_path
from text.keyword_scores import Scores
from text.keyword_trie import Floats, Ints, Trie
from text.phrases import Alphabet, Kind, Spelling

# Nats a letter. The best value depends on how sure a model is of its letters; see
# `python -m benchmarks.keywords`.
DEFAULT_BOOST = 2.5
MAX_BOOST = 5.0

# Number of alternatives to request from the model. For two small models eight are as
# good as all labels; among ten thousand labels there are more rivals.
N_BEST = 16

# Letters of a keyword without a bonus: short words match too often by chance.
FREE_LETTERS = 2

# Lists whose tries are kept, because sessions use the same list again and again.
_KEPT = 64


class Speller:
    """Writes keywords where the model nearly recognised them.

    Args:
        vocabulary: Vocabulary of the model.
        boost: Nats that a keyword may cost for each of its letters; 0 for no keywords.
        free_letters: Number of letters that do not count.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        boost: float = DEFAULT_BOOST,
        free_letters: int = FREE_LETTERS,
    ) -> None:
        self._alphabet = Alphabet(vocabulary)
        self._boost = boost
        self._free_letters = free_letters
        self._trie = lru_cache(_KEPT)(self._build)
        self._left_out = lru_cache(_KEPT)(self._cannot_spell)

    def left_out(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """Return the phrases that the vocabulary cannot spell."""
        return self._left_out(tuple(phrases))

    def spell(self, frames: FrameLabels, phrases: tuple[str, ...]) -> FrameLabels:
        """Find keywords in one window.

        Args:
            frames: The model's labels, with alternatives.
            phrases: The keywords, spelled as in the text.

        Returns:
            The same frames with the keywords' labels and spellings where keywords are;
            the alternatives are left out.
        """
        heard = (self._alphabet.kinds[frames.ids] == Kind.LETTER).any()
        trie = self._trie(phrases) if self._boost and heard else None
        if trie is None or not len(trie):
            return replace(frames, alternatives=None)
        scores = Scores(frames, self._alphabet)
        best = best_path(scores, trie)
        pen = _Pen(frames, scores, self._alphabet)
        for found in best.found():
            pen.write(found, best.trie)
        return pen.frames()

    def _cannot_spell(self, phrases: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(p for p in phrases if not self._alphabet.can_spell(p))

    def _build(self, phrases: tuple[str, ...]) -> Trie:
        return keyword_trie.build(
            (spelling, self.bonus(spelling))
            for phrase in phrases
            for spelling in self._alphabet.spellings(phrase)
        )

    def bonus(self, spelling: Spelling) -> float:
        """Return the nats that a spelling may cost."""
        return self._boost * max(0.0, spelling.n_letters - self._free_letters)


class _Pen:
    """Writes keywords over the labels of a window."""

    def __init__(self, frames: FrameLabels, scores: Scores, alphabet: Alphabet) -> None:
        self._frames = frames
        self._scores = scores
        self._alphabet = alphabet
        self._ids = frames.ids.copy()
        self._probs = frames.probs.copy()
        self._written: dict[int, str] = {}

    def frames(self) -> FrameLabels:
        """Return the labels as they are now."""
        return FrameLabels(
            self._ids, self._probs, self._frames.blank_probs, written=self._written
        )

    def write(self, found: Found, trie: Trie) -> None:
        """Write a keyword of the best path."""
        spelling = trie.spellings[found.node]
        changes = {**self._around(found), **self._aligned(found, spelling)}
        if changes and not trie.bonus[found.node]:
            return  # it gets no bonus, and may be there by chance
        for frame, label in changes.items():
            self._ids[frame] = label
            self._probs[frame] = self._scores.prob(frame, label)
        begin = found.first
        _, beginnings = self._spelled(self._ids[begin : found.last + 1])
        vocabulary = self._alphabet.vocabulary
        for k, label, text in zip(
            beginnings, spelling.labels, spelling.texts, strict=True
        ):
            if text != vocabulary.texts[label]:
                self._written[begin + k] = text

    def _around(self, found: Found) -> dict[int, int]:
        """Put spaces around a keyword, and silence after the space before it."""
        changes: dict[int, int] = {}
        if found.boundary is not None:
            if found.boundary >= 0:
                self._put(Kind.BOUNDARY, found.boundary, changes)
            for frame in range(found.boundary + 1, found.first):
                self._put(Kind.SILENT, frame, changes)
        if found.closed:
            self._put(Kind.BOUNDARY, found.last + 1, changes)
        return changes

    def _put(self, kind: Kind, frame: int, changes: dict[int, int]) -> None:
        """Give a frame the best label of a kind, unless it has one already."""
        if self._alphabet.kinds[self._ids[frame]] != kind:
            best = (
                self._scores.silent_label
                if kind is Kind.SILENT
                else self._scores.boundary_label
            )
            changes[frame] = int(best[frame])

    def _aligned(self, found: Found, spelling: Spelling) -> dict[int, int]:
        """Return the frames of a keyword that get another label."""
        frames = slice(found.first, found.last + 1)
        own = self._ids[frames]
        labels = np.array(spelling.labels)
        pauses = (
            found.paused and not found.closed
        )  # otherwise the next label would merge
        if np.array_equal(self._spelled(own)[0], labels) and not (
            pauses and self._alphabet.kinds[own[-1]] != Kind.SILENT
        ):
            return {}
        columns, inverse = np.unique(labels, return_inverse=True)
        emissions = self._scores.of_labels(columns)[inverse][:, frames]
        silent = self._scores.silent[frames]
        path = align(emissions, silent, labels, pauses=pauses)
        silence = self._scores.silent_label[frames]
        wanted = np.where(path < 0, silence, labels[path])
        differ = np.flatnonzero(wanted != own).tolist()
        return {found.first + k: int(wanted[k]) for k in differ}

    def _spelled(self, ids: NDArray[np.int32]) -> tuple[Ints, list[int]]:
        """Return the labels that frames write, and where each begins."""
        begins = np.flatnonzero(np.diff(ids, prepend=-1))
        writes = self._alphabet.kinds[ids[begins]] != Kind.SILENT
        return ids[begins][writes].astype(int), begins[writes].tolist()


def align(emissions: Floats, silent: Floats, labels: Ints, *, pauses: bool) -> Ints:
    """Align labels with frames.

    Args:
        emissions: Scores of the labels, shape (n_labels, n_frames).
        silent: Scores of a blank, shape (n_frames,).
        labels: The labels, in order.
        pauses: Whether the last frame must be a blank.

    Returns:
        Which of the labels each frame has, -1 for a blank; shape (n_frames,).
    """
    n_frames = emissions.shape[1]
    n_states = 2 * len(labels)  # each label, and the blank after it
    own = np.empty((n_states, n_frames))
    own[0::2], own[1::2] = emissions, silent
    skips = np.zeros(n_states, bool)  # whether the blank before may be left out
    skips[2::2] = labels[1:] != labels[:-1]
    scores = np.full(n_states, -np.inf)
    scores[0] = own[0, 0]
    steps = np.zeros((n_frames, n_states), int)
    for frame in range(1, n_frames):
        ways = np.full((3, n_states), -np.inf)
        ways[0] = scores
        ways[1, 1:] = scores[:-1]
        ways[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
        steps[frame] = ways.argmax(axis=0)
        scores = ways.max(axis=0) + own[:, frame]
    state = n_states - 2 + int(pauses or scores[-1] > scores[-2])
    path = np.empty(n_frames, int)
    for frame in range(n_frames - 1, -1, -1):
        path[frame] = -1 if state % 2 else state // 2
        state -= steps[frame, state]
    return path
