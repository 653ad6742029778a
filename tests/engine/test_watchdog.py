"""The watchdog barks when something is owed and nothing comes, and not otherwise."""

import pytest

from engine.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dog(clock: Clock) -> Watchdog:
    return Watchdog(clock)


class TestSilence:
    def test_nothing_owed_is_no_trouble(self, dog: Watchdog, clock: Clock) -> None:
        """An idle night does not count."""
        dog.expect()()
        clock.now += 36_000

        assert dog.trouble is None

    def test_what_is_asked_after_an_idle_time_has_its_20_s(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """They begin when it is asked."""
        clock.now += 36_000
        dog.expect()
        clock.now += 19.9
        before = dog.trouble
        clock.now += 0.2

        assert before is None
        assert dog.trouble == "Audio has waited 20 s without any result."

    def test_any_result_is_a_sign_of_life(self, dog: Watchdog, clock: Clock) -> None:
        """A long queue alone is no trouble."""
        dog.expect()
        for _ in range(10):
            clock.now += 15
            dog.begin(1)()
            dog.succeed()

            assert dog.trouble is None

    def test_what_is_owed_soon_is_overdue_by_itself(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """Results of the model say nothing about voice activity detection."""
        settle = dog.expect(soon=True)
        clock.now += 20.1
        dog.begin(1)()
        dog.succeed()

        assert dog.trouble == "Audio has waited 20 s without any result."
        settle()
        assert dog.trouble is None

    def test_so_is_a_pass_on_a_device_of_its_own(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """Results of the other model say nothing about it."""
        ended = dog.begin(1, soon=True)
        for _ in range(3):
            clock.now += 8
            dog.succeed()
        during = dog.stuck_s
        ended()

        assert during == 4
        assert dog.stuck_s is None

    def test_the_oldest_that_is_still_owed_counts(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """What was settled, or given up, does not."""
        settle = dog.expect()
        clock.now += 15
        dog.expect()
        settle()
        settle()
        clock.now += 15
        before = dog.trouble
        clock.now += 6

        assert before is None
        assert dog.trouble is not None

    def test_a_pass_expected_to_take_long_is_waited_for(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """Four times as long, and no longer; then 20 s hold again."""
        dog.expect()
        end = dog.begin(expected_s=30)
        clock.now += 119
        patient = dog.trouble
        clock.now += 2
        impatient = dog.trouble
        end()
        dog.succeed()
        clock.now += 21

        assert patient is None
        assert impatient == "Audio has waited 121 s without any result."
        assert dog.trouble == "Audio has waited 21 s without any result."

    def test_the_slowest_of_simultaneous_passes_counts(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """The end of a quick one changes nothing."""
        dog.expect()
        end_of_slow, end_of_quick = dog.begin(expected_s=30), dog.begin(expected_s=1)
        end_of_quick()
        dog.succeed()
        clock.now += 100
        patient = dog.trouble
        end_of_slow()

        assert patient is None
        assert dog.trouble == "Audio has waited 100 s without any result."


class TestStuck:
    def test_it_is_known_for_how_long(self, dog: Watchdog, clock: Clock) -> None:
        """From the moment on at which results were overdue."""
        idle = dog.stuck_s
        dog.expect()
        clock.now += 19
        patient = dog.stuck_s
        clock.now += 31

        assert idle is None
        assert patient is None
        assert dog.stuck_s == 30

    def test_a_pass_that_nobody_waits_for_is_still_owed(
        self, dog: Watchdog, clock: Clock
    ) -> None:
        """Until it ends."""
        given_up = dog.expect()
        ended = dog.begin(expected_s=1)
        clock.now += 25
        given_up()
        during = dog.trouble
        ended()

        assert during == "Audio has waited 25 s without any result."
        assert dog.trouble is None
        assert dog.stuck_s is None


class TestFailures:
    def test_three_in_a_row_are_trouble(self, dog: Watchdog) -> None:
        """It is told which kind of error, and nothing of its text."""
        for _ in range(2):
            dog.fail(ValueError("secret"))
        before = dog.trouble
        dog.fail(KeyError("secret"))

        assert before is None
        assert dog.trouble is not None
        assert "failed 3 times in a row, at last with KeyError" in dog.trouble
        assert "secret" not in dog.trouble

    def test_one_that_succeeds_begins_the_count_anew(self, dog: Watchdog) -> None:
        """Also after trouble."""
        for _ in range(3):
            dog.fail(ValueError())
        dog.succeed()
        after = dog.trouble
        dog.fail(ValueError())
        dog.fail(ValueError())

        assert after is None
        assert dog.trouble is None

    def test_each_of_two_models_is_counted_by_itself(self, dog: Watchdog) -> None:
        """The other one's success says nothing."""
        for _ in range(3):
            dog.fail(ValueError(), quick=True)
            dog.succeed()
        broken = dog.trouble
        dog.succeed(quick=True)

        assert broken is not None
        assert dog.trouble is None
