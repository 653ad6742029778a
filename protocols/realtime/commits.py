"""Decide when a commit is answered: at once, or when its utterance is known.

`committed` names an item, and an item is an utterance. Utterances are numbered in the
order in which they end. While only commits end them, the number of a commit's utterance
is known at once. With turn detection, silence may end other utterances before it, in
audio that is not processed yet. Then the number is known only when the commit's final
comes, and the answer waits for that. Answers keep their order: behind one that waits,
all wait.

A commit's final is the final that the stream makes because of it. This module ignores
finals of utterances that silence ends.

| State    | cuttable audio | commit, turns on | turns off        | clear  | final |
|----------|----------------|------------------|------------------|--------|-------|
| KNOWN    | → UNKNOWN      | answer           | answer           | answer | stay  |
| UNKNOWN  | stay           | wait             | wait, → SETTLING | (1)    | stay  |
| SETTLING | → UNKNOWN      | wait             | wait             | wait   | (2)   |

1. It waits if a commit waits before it; else it is answered.
2. → KNOWN after the final of the last commit that waits; else stay.

The final of a waiting commit brings its answer; then the clears that wait between it
and the next commit are answered.

Pure: no I/O, clock, settings or threads.
"""

from collections import deque
from enum import Enum


class State(Enum):
    """What is known about the utterance that the next commit ends."""

    KNOWN = "its number"
    UNKNOWN = "nothing: silence may cut the audio before it"
    SETTLING = "that its number is known once no commit before it waits"


class Commits:
    """The commits of one session that have no final yet, and the clears behind them.

    Attributes:
        state: Decides whether the next commit is answered at once.
    """

    def __init__(self) -> None:
        self.state = State.KNOWN
        self._n_answered = 0  # answered commits that have no final yet
        # For each commit that waits for its answer, the clears that wait behind it.
        self._waiting: deque[int] = deque()

    @property
    def n_open(self) -> int:
        """Commits without a final."""
        return self._n_answered + len(self._waiting)

    def note_cuttable_audio(self) -> None:
        """Note that audio came in which silence may end utterances."""
        self.state = State.UNKNOWN

    def commit(self, *, turns: bool) -> bool:
        """Note a commit.

        Args:
            turns: Whether silence ends utterances, too, from here on.

        Returns:
            Whether to answer it now. Its utterance is the last of the `n_open` next.
        """
        if self.state is State.KNOWN:
            self._n_answered += 1
            return True
        self._waiting.append(0)
        if self.state is State.UNKNOWN and not turns:
            self.state = State.SETTLING
        return False

    def clear(self) -> bool:
        """Note a clear; return whether to answer it now."""
        if self._waiting:
            self._waiting[-1] += 1
            return False
        return True

    def note_final(self) -> int:
        """Note the final of the oldest commit; return how many clears to answer."""
        if self._n_answered:
            self._n_answered -= 1
            return 0
        n_clears = self._waiting.popleft()
        if self.state is State.SETTLING and not self._waiting:
            self.state = State.KNOWN
        return n_clears
