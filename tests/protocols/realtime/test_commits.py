"""When commits and clears are answered: at once, or with the final of a commit."""

from collections import deque
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from protocols.realtime.commits import Commits, State


def known() -> Commits:
    """Commits alone end utterances; one is answered and has no final yet."""
    commits = Commits()
    assert commits.commit(turns=False)
    return commits


def unknown() -> Commits:
    """Silence may end utterances; no commit waits for its answer."""
    commits = known()
    commits.note_cuttable_audio()
    commits.note_final()
    return commits


def waited_for() -> Commits:
    """Silence may end utterances, and a commit waits for its answer."""
    commits = unknown()
    commits.commit(turns=True)
    return commits


def settling() -> Commits:
    """Turn detection is off again, and the first commit without it waits."""
    commits = unknown()
    commits.commit(turns=False)
    return commits


STATES = {
    known: State.KNOWN,
    unknown: State.UNKNOWN,
    waited_for: State.UNKNOWN,
    settling: State.SETTLING,
}


@pytest.mark.parametrize("prepare", STATES)
class TestTransitions:
    """The table in the module's docstring, cell by cell."""

    def test_the_state_is_reached(self, prepare: Callable[[], Commits]) -> None:
        """By the steps that the function takes."""
        assert prepare().state is STATES[prepare]

    def test_audio_that_silence_may_cut_makes_numbers_unknown(
        self, prepare: Callable[[], Commits]
    ) -> None:
        """Whatever was known before."""
        commits = prepare()

        commits.note_cuttable_audio()

        assert commits.state is State.UNKNOWN

    @pytest.mark.parametrize("turns", [True, False])
    def test_a_commit_is_answered_where_its_number_is_known(
        self, prepare: Callable[[], Commits], turns: bool
    ) -> None:
        """Without turn detection it may lead out of the unknown."""
        commits = prepare()
        before = commits.n_open

        answered = commits.commit(turns=turns)

        assert answered == (STATES[prepare] is State.KNOWN)
        assert commits.n_open == before + 1
        settles = STATES[prepare] is State.UNKNOWN and not turns
        assert commits.state is (State.SETTLING if settles else STATES[prepare])

    def test_a_clear_waits_behind_a_commit_that_waits(
        self, prepare: Callable[[], Commits]
    ) -> None:
        """It changes no state."""
        commits = prepare()

        assert commits.clear() == (prepare in (known, unknown))
        assert commits.state is STATES[prepare]


class TestFinals:
    @pytest.mark.parametrize(
        ("prepare", "after"),
        [
            (known, [State.KNOWN]),
            (waited_for, [State.UNKNOWN]),
            (settling, [State.KNOWN]),
        ],
    )
    def test_they_lead_back(
        self, prepare: Callable[[], Commits], after: list[State]
    ) -> None:
        """One for each commit; only turn detection keeps numbers unknown."""
        assert states_after_finals(prepare()) == after

    def test_they_answer_the_clears_behind_their_commit(self) -> None:
        """Up to the next commit, and no further."""
        commits = unknown()
        commits.commit(turns=True)
        commits.clear()
        commits.clear()
        commits.commit(turns=True)
        commits.commit(turns=True)
        commits.clear()

        assert [commits.note_final() for _ in range(3)] == [2, 0, 1]

    def test_an_answered_commit_does_not_settle(self) -> None:
        """Its audio came before that which silence may cut."""
        commits = known()
        commits.note_cuttable_audio()
        commits.commit(turns=False)

        assert states_after_finals(commits) == [State.SETTLING, State.KNOWN]

    def test_all_that_wait_are_answered_before_numbers_are_known(self) -> None:
        """A commit that was answered at once would overtake them."""
        commits = settling()
        commits.commit(turns=False)
        commits.commit(turns=False)

        assert states_after_finals(commits) == [
            State.SETTLING,
            State.SETTLING,
            State.KNOWN,
        ]

    def test_audio_undoes_what_was_settled(self) -> None:
        """Turn detection came on again before the commit had its final."""
        commits = settling()
        commits.note_cuttable_audio()

        assert states_after_finals(commits) == [State.UNKNOWN]

    def test_there_is_none_without_a_commit(self) -> None:
        """A stream that made one would have miscounted."""
        with pytest.raises(IndexError):
            Commits().note_final()


def states_after_finals(commits: Commits) -> list[State]:
    """Give all open commits their finals; return the state after each."""
    states = []
    while commits.n_open:
        commits.note_final()
        states.append(commits.state)
    return states


# --- invariants -------------------------------------------------------------------

Name = tuple[Literal["commit", "clear"], int]


class Session(RuleBasedStateMachine):
    """A client that asks for anything, and a stream that is as late as it likes.

    The stream does what the client asked for, in order. In audio that it listens to
    with turn detection, silence may end an utterance at any time. What it tells is
    heard in order, at any time.
    """

    @initialize(turns=st.booleans())
    def connect(self, turns: bool) -> None:
        """Begin with or without turn detection."""
        self.commits = Commits()
        self.turns = self.stream_turns = self.had_turns = turns
        self.todo: deque[bool | Name | Literal["audio"]] = deque()
        self.cuttable = False  # silence may end what the stream listens to
        self.number = 0  # of the last utterance that ended
        self.told: deque[tuple[int, int | None]] = deque()  # number, its commit
        self.last_final = 0
        self.asked: list[Name] = []
        self.answered: list[Name] = []
        self.promised: dict[int, int] = {}  # the number by which a commit was answered
        self.finals: dict[int, int] = {}  # the number that it had

    @rule()
    def append(self) -> None:
        """Send audio."""
        self.todo.append("audio")
        if self.turns:
            self.commits.note_cuttable_audio()

    @rule()
    def switch(self) -> None:
        """Turn detection on or off; audio comes before anything is ended."""
        self.turns = not self.turns
        self.had_turns = True
        self.todo.append(self.turns)

    @rule()
    def commit(self) -> None:
        """Ask for the end of an utterance."""
        name: Name = ("commit", len(self.asked))
        self.asked.append(name)
        self.todo.append(name)
        if self.commits.commit(turns=self.turns):
            self.promised[name[1]] = self.last_final + self.commits.n_open
            self.answered.append(name)

    @rule()
    def clear(self) -> None:
        """Have audio forgotten."""
        name: Name = ("clear", len(self.asked))
        self.asked.append(name)
        self.todo.append(name)
        if self.commits.clear():
            self.answered.append(name)

    @precondition(lambda self: self.todo)
    @rule()
    def work(self) -> None:
        """Let the stream do the next thing."""
        match self.todo.popleft():
            case bool() as turns:
                self.stream_turns = turns
            case "audio":
                self.cuttable |= self.stream_turns
            case ("commit", number):
                self._end(number)
            case ("clear", _):
                self.cuttable = False

    @precondition(lambda self: self.cuttable and self.stream_turns)
    @rule()
    def fall_silent(self) -> None:
        """Let silence end an utterance."""
        self._end(None)

    @precondition(lambda self: self.told)
    @rule()
    def hear(self) -> None:
        """Take what the stream tells next."""
        self.last_final, commit = self.told.popleft()
        if commit is None:
            return
        self.finals[commit] = self.last_final
        if ("commit", commit) not in self.answered:
            self.answered.append(("commit", commit))
        for _ in range(self.commits.note_final()):
            self.answered.append(self.asked[len(self.answered)])
            assert self.answered[-1][0] == "clear"

    @invariant()
    def answers_keep_their_order(self) -> None:
        """So `cleared` comes after the answers to all commits before it."""
        assert self.answered == self.asked[: len(self.answered)]

    @invariant()
    def an_answer_names_the_utterance_that_the_commit_ends(self) -> None:
        """Whatever the stream had not told when it was given."""
        for commit, number in self.finals.items():
            assert self.promised.get(commit, number) == number

    @invariant()
    def without_turn_detection_nothing_waits(self) -> None:
        """As long as there was none at all."""
        assert self.had_turns or self.answered == self.asked

    @invariant()
    def the_state_says_whether_answers_wait(self) -> None:
        """Only where numbers are unknown there may be some and none."""
        waits = len(self.answered) < len(self.asked)
        assert waits or self.commits.state in (State.KNOWN, State.UNKNOWN)
        assert not waits or self.commits.state is not State.KNOWN

    def teardown(self) -> None:
        """Come to the end: everything is answered once, and has one final."""
        if not hasattr(self, "commits"):
            return
        while self.todo:
            self.work()
        while self.told:
            self.hear()
        assert self.answered == self.asked
        assert list(self.finals) == [n for kind, n in self.asked if kind == "commit"]
        assert self.promised.items() <= self.finals.items()
        assert self.commits.n_open == 0

    def _end(self, commit: int | None) -> None:
        self.number += 1
        self.cuttable = False
        self.told.append((self.number, commit))


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
