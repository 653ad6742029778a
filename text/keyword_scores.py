"""The model's scores of each frame, in the form that keywords need.

All scores are log probabilities minus that of the frame's best label, so they are at
most 0, and the best label costs nothing. Labels that are not among the alternatives are
only known to be no better than the last of them.

Pure: no I/O, clock, settings or threads.
"""

import numpy as np

from text.ctc import BLANK, FrameLabels
from text.keyword_trie import Floats, Ints
from text.phrases import Alphabet, Kind

# Highest assumed probability of a label that is not among the alternatives.
_MISSING = -8.0

# Score of a kind of labels that the vocabulary lacks. Finite, because such scores are
# added up and subtracted from each other.
_NEVER = -1e9


class Scores:
    """The frames of one window; arrays are of shape (n_frames,).

    Args:
        frames: Frames with alternatives.
        alphabet: Alphabet of the model.

    Attributes:
        silent: Score of the best label that writes nothing.
        boundary: Score of the best label that separates words.
        letter: Score of the best label that is part of a word.
        silent_label: The best label that writes nothing.
        boundary_label: The best label that separates words.
        letter_label: The best label that is part of a word; -1 if it is unknown.
    """

    def __init__(self, frames: FrameLabels, alphabet: Alphabet) -> None:
        assert frames.alternatives is not None, "keywords need alternatives"
        self._ids = frames.alternatives.ids
        log_probs = frames.alternatives.log_probs.astype(float)
        own = self._ids == frames.ids[:, None]
        self._base = np.where(own, log_probs, -np.inf).max(axis=1, initial=-np.inf)
        hidden = np.isinf(self._base)
        self._base[hidden] = np.log(np.maximum(frames.probs[hidden], 1e-30))
        self._scores = np.minimum(log_probs - self._base[:, None], 0.0)
        missing = np.minimum(log_probs[:, -1], _MISSING)
        self._missing = np.minimum(missing - self._base, 0.0)
        self._n_labels = len(alphabet.kinds)
        self._kinds = alphabet.kinds[self._ids]
        self._own = (frames.ids, alphabet.kinds[frames.ids])
        self.silent, self.silent_label = self._best(Kind.SILENT, BLANK)
        space = alphabet.space
        self.boundary, self.boundary_label = self._best(
            Kind.BOUNDARY, -1 if space is None else space
        )
        if not (alphabet.kinds == Kind.BOUNDARY).any():
            self.boundary[:] = _NEVER
        self.letter, self.letter_label = self._best(Kind.LETTER, -1)

    def __len__(self) -> int:
        return len(self._base)

    def of_labels(self, labels: Ints) -> Floats:
        """Return the scores of some labels, shape (n_labels, n_frames)."""
        column = np.full(self._n_labels, -1)
        column[labels] = np.arange(len(labels))
        found = np.repeat(self._missing[None, :], len(labels), axis=0)
        columns = column[self._ids]
        frame, rank = np.nonzero(columns >= 0)
        found[columns[frame, rank], frame] = self._scores[frame, rank]
        return found

    def prob(self, frame: int, label: int) -> float:
        """Return the model's posterior probability of a label."""
        ranks = np.flatnonzero(self._ids[frame] == label)
        score = self._scores[frame, ranks[0]] if len(ranks) else self._missing[frame]
        return float(np.exp(score + self._base[frame]))

    def _best(self, kind: Kind, default: int) -> tuple[Floats, Ints]:
        """Find the best label of a kind in each frame."""
        scores = np.where(self._kinds == kind, self._scores, -np.inf)
        rank = scores.argmax(axis=1)
        frame = np.arange(len(rank))
        best = scores[frame, rank]
        label = self._ids[frame, rank].astype(int)
        unknown = np.isinf(best)
        best[unknown] = self._missing[unknown]
        label[unknown] = default
        own, own_kind = self._own
        mine = own_kind == kind
        best[mine] = 0.0
        label[mine] = own[mine]
        return best, label
