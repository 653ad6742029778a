"""How many threads a pass gets: on machines that behave as real ones were seen to."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from network.thread_choice import Pass, ThreadChoice, Trial, candidates, quickest


@dataclass
class Machine:
    """Cores, other programs, and passes that come at regular times.

    Attributes:
        took_s: What a second of audio takes, by number of threads.
        share: Share of that time in which the thread of the pass has a core.
        free: Cores that others leave, or None if the system does not tell.
        every_s: A pass begins so long after the last one, or when that ends.
    """

    took_s: Callable[[int], float]
    share: Callable[[int], float] = lambda threads: 1.0
    free: float | None = 2.0
    every_s: float = 0.3
    now: float = 0.0
    in_trials: list[int] = field(default_factory=list)

    def run(
        self, choice: ThreadChoice, seconds: float, audio_s: float = 4.0
    ) -> list[Trial]:
        """Run passes for a while; return the trials that ended."""
        until, trials = self.now + seconds, []
        while self.now < until:
            threads = choice.threads
            took_s = audio_s * self.took_s(threads)
            self.now += took_s
            own = Pass(audio_s, took_s, took_s * self.share(threads))
            if trial := choice.note_pass(self.now, own, free=self.free):
                trials.append(trial)
            self.in_trials.append(threads)
            self.now += max(0.0, self.every_s - took_s)
        return trials


def quiet(threads: int) -> float:
    """Two cores to ourselves: two threads are quicker."""
    return {1: 0.004, 2: 0.0025}[threads]


def beside_one(threads: int) -> float:
    """Another program has one of them: two threads wait for each other."""
    return {1: 0.004, 2: 0.02}[threads]


def waiting(threads: int) -> float:
    """What two threads then have of their time."""
    return {1: 1.0, 2: 0.5}[threads]


def crowded(n_free: int) -> Machine:
    """Eight cores, some of them free: more threads wait for those that have none."""
    return Machine(
        lambda threads: 0.02 / threads if threads <= n_free else 0.02,
        lambda threads: 1.0 if threads <= n_free else 0.4,
        free=float(n_free),
    )


def choice_of(most: int, first: int) -> ThreadChoice:
    return ThreadChoice(candidates(most), first, now=0.0)


class TestCandidates:
    @pytest.mark.parametrize(
        ("most", "expected"),
        [
            (1, (1,)),
            (2, (2, 1)),
            (4, (4, 3, 2, 1)),
            (8, (8, 7, 6, 4, 2, 1)),
            (64, (64, 63, 48, 32, 16, 8, 4, 2, 1)),
        ],
    )
    def test_few_numbers_say_enough(self, most: int, expected: tuple[int, ...]) -> None:
        """So that all can be tried at start, and one step is worth a trial."""
        assert candidates(most) == expected

    def test_of_equal_ones_the_least_is_quickest(self) -> None:
        """Other programs have the rest."""
        assert quickest({8: 0.100, 4: 0.101, 2: 0.13}) == 4
        assert quickest({2: 0.10, 1: 0.17}) == 2


class TestQuiet:
    def test_all_threads_stay_and_nothing_is_tried(self) -> None:
        """Not in an hour."""
        choice, machine = choice_of(2, 2), Machine(quiet)

        assert machine.run(choice, 3600) == []
        assert set(machine.in_trials) == {2}

    def test_one_slow_pass_changes_nothing(self) -> None:
        """Nor two."""
        choice, machine = choice_of(2, 2), Machine(quiet)
        machine.run(choice, 60)
        machine.took_s = lambda threads: 10 * quiet(threads)
        machine.run(choice, 0.5)
        machine.took_s = quiet

        assert machine.run(choice, 60) == []

    def test_passes_without_audio_say_nothing(self) -> None:
        """A window may be shorter than a frame."""
        choice = choice_of(2, 2)

        for _ in range(20):
            assert choice.note_pass(9.0, Pass(0.0, 1.0, 0.0), free=2.0) is None
        assert choice.threads == 2


class TestNeighbours:
    def test_beside_another_program_fewer_threads_are_chosen(self) -> None:
        """Within three seconds of live text."""
        choice, machine = choice_of(2, 2), Machine(quiet)
        machine.run(choice, 60)
        machine.took_s, machine.share, machine.free = beside_one, waiting, 1.0

        (trial,) = machine.run(choice, 3)

        assert (trial.before, trial.tried, trial.chosen) == (2, 1, 1)
        assert trial.ratio is not None
        assert trial.ratio < 0.5
        assert str(trial) == (
            f"Threads of a pass: 1. Tried 1 instead of 2: "
            f"passes took {trial.ratio:.2f} times as long."
        )

    def test_while_it_runs_more_are_not_even_tried(self) -> None:
        """Its core is seen to be taken."""
        choice = choice_of(2, 1)
        machine = Machine(beside_one, waiting, free=1.0)

        assert machine.run(choice, 3600) == []

    def test_when_it_has_gone_all_threads_come_back(self) -> None:
        """Within five seconds."""
        choice = choice_of(2, 1)
        machine = Machine(beside_one, waiting, free=1.0)
        machine.run(choice, 60)
        machine.took_s, machine.share, machine.free = quiet, lambda threads: 1.0, 2.0

        (trial,) = machine.run(choice, 5)

        assert (trial.before, trial.chosen) == (1, 2)

    def test_threads_that_never_sleep_are_seen_by_what_passes_take(self) -> None:
        """The thread of the pass has a core, and looks out for the other in vain."""
        choice, machine = choice_of(2, 2), Machine(quiet)
        machine.run(choice, 60)
        machine.took_s, machine.free = beside_one, 1.0

        (trial,) = machine.run(choice, 3)

        assert trial.chosen == 1

    def test_on_many_cores_one_step_leaves_one_core(self) -> None:
        """To the one program that wants it."""
        choice = choice_of(8, 8)
        machine = crowded(n_free=7)

        trials = machine.run(choice, 600)

        assert [trial.chosen for trial in trials] == [7]

    def test_many_programs_are_left_their_cores_at_once(self) -> None:
        """A thread more would be no better than all; and again all come back."""
        choice = choice_of(8, 8)
        machine = crowded(n_free=2)

        (down,) = machine.run(choice, 60)
        machine.took_s = lambda threads: 0.02 / threads
        machine.share, machine.free = (lambda threads: 1.0), 8.0
        (up,) = machine.run(choice, 60)

        assert (down.chosen, up.chosen) == (2, 8)

    def test_where_free_cores_cannot_be_seen_it_takes_more_trials(self) -> None:
        """Each with fewer than the last, until one helps."""
        choice = choice_of(8, 8)
        machine = crowded(n_free=2)
        machine.free = None

        trials = machine.run(choice, 60)

        assert [trial.tried for trial in trials[:4]] == [7, 6, 4, 2]
        assert [trial.chosen for trial in trials[:4]] == [8, 8, 8, 2]


class TestTrials:
    def test_fewer_that_are_slower_are_not_taken_and_rarely_tried(self) -> None:
        """As under a quota of 1.5 cores: two threads are held up, and still quicker."""
        choice = choice_of(2, 2)
        machine = Machine(lambda threads: {1: 0.04, 2: 0.03}[threads], waiting)

        trials = machine.run(choice, 3600)

        assert {trial.chosen for trial in trials} == {2}
        assert 5 < len(trials) < 30
        assert machine.in_trials.count(1) < 0.02 * len(machine.in_trials)

    def test_more_that_are_slower_are_given_up_at_once(self) -> None:
        """After the one that starts the threads and one more."""
        choice = choice_of(2, 1)
        machine = Machine(beside_one, waiting, free=2.0)  # as it seems

        trials = machine.run(choice, 20)

        assert [trial.chosen for trial in trials] == [1] * len(trials)
        assert machine.in_trials.count(2) == 2 * len(trials)

    def test_they_cost_a_hundredth_of_the_time_at_most(self) -> None:
        """Also where they cost much: passes of seconds, each worse by seconds."""
        choice = choice_of(2, 1)
        machine = Machine(lambda threads: {1: 0.2, 2: 0.5}[threads], free=2.0)

        trials = machine.run(choice, 10_000)

        lost_s = machine.in_trials.count(2) * 4 * 0.3
        assert len(trials) > 1
        assert lost_s < 0.02 * 10_000

    def test_where_free_cores_cannot_be_seen_more_are_tried_now_and_then(self) -> None:
        """So a server does not stay slow for ever."""
        choice = choice_of(2, 1)
        machine = Machine(beside_one, waiting, free=None)

        blind = machine.run(choice, 600)
        machine.took_s, machine.share = quiet, lambda threads: 1.0
        seen = machine.run(choice, 600)

        assert 2 <= len(blind) <= 8
        assert seen[-1].chosen == 2

    def test_a_pass_is_compared_with_those_of_its_length(self) -> None:
        """A short window costs more for each second of it, with any number."""
        choice, machine = choice_of(2, 2), Machine(quiet)
        short = 0.5
        for _ in range(20):  # both kinds are known
            machine.run(choice, 0.5)
            machine.took_s = lambda threads: 6 * quiet(threads)
            machine.run(choice, 0.5, audio_s=short)
            machine.took_s = quiet

        assert choice.threads == 2
        assert set(machine.in_trials) == {2}

    def test_a_trial_without_anything_to_compare_ends(self) -> None:
        """And changes nothing."""
        choice = choice_of(2, 2)
        machine = Machine(beside_one, waiting, free=1.0)
        while choice.threads == 2:
            machine.run(choice, 0.1)

        (trial,) = machine.run(choice, 30, audio_s=40.0)[:1]

        assert trial.ratio is None
        assert trial.chosen == 2
        assert "no pass could be compared" in str(trial)
