"""Load degrades text evenly and refuses last: whole streams, in simulated time.

The machine takes 20 ms for a second of audio while it is quiet, which is enough for
ten people in conversation; see `tests/support/machine.py`.
"""

from collections.abc import Awaitable, Sequence
from statistics import fmean

import pytest

from benchmarks.capacity import MIN_PARTIALS, largest
from tests.support.machine import Heard, Machine, SlowLoop, run, silence, speech

COST = 0.02
SECONDS = 20.0


def talk(
    machine: Machine, n: int, *, within_s: float = 2.0, at_s: float = 0.0
) -> list[Awaitable[Heard]]:
    """Have people begin to talk within some seconds, each for a while."""
    return [
        machine.listen(speech(k, SECONDS), at_s=at_s + within_s * k / n)
        for k in range(n)
    ]


@pytest.fixture(scope="module")
def alone() -> list[Heard]:
    """The text of each of many streams when it is alone."""
    return [run(Machine(COST).listen(speech(k, SECONDS)))[0] for k in range(30)]


@pytest.fixture(scope="module")
def n_served(alone: Sequence[Heard]) -> int:
    """So many have nine tenths of the text that they have alone."""

    def is_served(n: int) -> bool:
        heard = run(*talk(Machine(COST, min_streams=n), n))
        return fmean(shares(heard, alone)) >= MIN_PARTIALS

    return largest(is_served, most=len(alone))


def shares(heard: Sequence[Heard], alone: Sequence[Heard]) -> list[float]:
    """How much text each has, in proportion to what it has alone."""
    return [
        len(own.partials) / len(same.partials)
        for own, same in zip(heard, alone, strict=False)
    ]


class TestSharing:
    def test_with_twice_as_many_as_are_served_each_goes_on_to_have_text(
        self, n_served: int, alone: list[Heard]
    ) -> None:
        """Finals are in time, and have the same text as without other streams."""
        machine = Machine(COST, min_streams=2 * n_served)

        heard = run(*talk(machine, 2 * n_served))

        assert n_served >= 10
        assert any(machine.tight)
        assert all(own.refused is None for own in heard)
        assert max(own.longest_gap_s for own in heard) <= 3.0
        assert max(own.slowest_final_s for own in heard) <= 0.5
        for own, same in zip(heard, alone, strict=False):
            assert own.texts == same.texts

    def test_those_that_are_let_in_have_text_every_two_seconds(
        self, n_served: int
    ) -> None:
        """They are as many as have nine tenths of their text."""
        heard = run(*talk(Machine(COST), 2 * n_served))

        inside = [own for own in heard if own.refused is None]
        assert len(inside) >= n_served
        assert max(own.longest_gap_s for own in inside) <= 2.0

    def test_they_do_without_the_same(self, n_served: int, alone: list[Heard]) -> None:
        """None keeps its text at the expense of others."""
        machine = Machine(COST, min_streams=2 * n_served)
        left = shares(run(*talk(machine, 2 * n_served)), alone)

        assert max(left) <= 1.5 * min(left)
        assert max(left) < 1


class TestAlone:
    def test_one_stream_has_text_on_a_machine_that_is_slowed_to_a_fifth(self) -> None:
        """Another program has the processor; nothing is taken away on top."""
        machine = Machine(COST, speed=lambda now: 1.0 if now < 5 else 0.2)

        (heard,) = run(machine.listen(speech(1, 3 * SECONDS)))

        assert not any(machine.tight)
        assert heard.longest_gap_s <= 2.0
        assert heard.slowest_final_s <= 2.0

    def test_nor_is_anything_on_one_that_is_slow_for_a_moment(self) -> None:
        """Every ten seconds it stands still for one."""
        machine = Machine(COST, speed=lambda now: 0.05 if now % 10 < 1 else 1.0)

        (heard,) = run(machine.listen(speech(1, 2 * SECONDS)))

        assert not any(machine.tight)
        assert heard.longest_gap_s <= 3.0


class TestLettingIn:
    def test_a_slow_first_pass_decides_nothing(self) -> None:
        """It took fifty times as long as all that follow."""
        for rehearsals in ([50 * COST], [50 * COST, COST, COST]):
            machine = Machine(COST, rehearsals=rehearsals)

            heard = run(*talk(machine, 5))

            assert all(own.refused is None for own in heard)

    def test_silent_sockets_cost_nothing(self) -> None:
        """Sixty of them take no place from speaking streams."""
        machine = Machine(COST)
        silent = [machine.listen(silence(2 * SECONDS), at_s=0.2 * k) for k in range(60)]

        heard = run(*silent, *talk(machine, 5, at_s=15))

        assert all(own.refused is None for own in heard)
        assert max(own.longest_gap_s for own in heard[60:]) <= 1.5

    def test_a_crowd_is_let_in_as_far_as_there_is_time(self) -> None:
        """Each of those has text every two seconds, and its finals in time."""
        machine = Machine(COST)

        heard = run(*talk(machine, 40, within_s=0.5))

        inside = [own for own in heard if own.refused is None]
        assert 10 <= len(inside) < 40
        assert max(own.longest_gap_s for own in inside) <= 2.0
        assert max(own.slowest_final_s for own in inside) <= 1.0

    def test_some_are_let_in_on_the_slowest_machine(self) -> None:
        """Though not even one of them can be served there."""
        machine = Machine(10 * COST, min_streams=4)

        heard = run(*[machine.listen(speech(k, 4.0)) for k in range(6)])

        assert [own.refused is None for own in heard] == [True] * 4 + [False] * 2
        assert all(own.finals for own in heard[:4])

    def test_after_an_idle_hour_the_slow_one_before_is_forgotten(self) -> None:
        """The first speaking streams show how fast the machine is now."""
        machine = Machine(
            COST, speed=lambda now: 0.1 if now < 60 else 1.0, rehearsals=[10 * COST] * 3
        )

        heard = run(
            *talk(machine, 4),
            *talk(machine, 10, within_s=10.0, at_s=3600),
        )

        assert all(own.refused is None for own in heard)


class TestCompany:
    def test_recordings_and_streams_get_along(self) -> None:
        """Text stays frequent, and the recording is done in the time that is left."""
        machine = Machine(COST)

        heard = run(machine.transcribe(30), *talk(machine, 3))

        assert all(own.refused is None for own in heard)
        assert max(own.longest_gap_s for own in heard) <= 2.0
        assert max(own.slowest_final_s for own in heard) <= 1.5

    def test_a_flood_takes_nothing_from_those_who_speak(self) -> None:
        """Ten minutes of audio sent at once are heard in the time that is left."""
        machine = Machine(COST)
        flood = machine.listen(speech(99, 600.0), speed=1000.0)

        flooding, *heard = run(flood, *talk(machine, 3))

        assert max(own.longest_gap_s for own in heard) <= 1.5
        assert max(own.slowest_final_s for own in heard) <= 1.0
        assert flooding.ended is not None
        assert flooding.ended <= 60.0


class TestTheEventLoop:
    """With a model that takes next to no time, and 50 ms for a second of a stream."""

    def machine(self, *, slowness: float = 1.0) -> tuple[Machine, SlowLoop]:
        host = SlowLoop(0.05, slowness=slowness)
        return Machine(1e-5, host=host, max_streams=1000), host

    def test_a_crowd_is_let_in_as_far_as_the_loop_has_time(self) -> None:
        """Messages of those wait for a moment, not for seconds."""
        machine, host = self.machine()
        first = machine.listen(speech(99, 10.0))

        heard = run(host.measure(14), first, *talk(machine, 30, within_s=4.0, at_s=8))

        n_inside = sum(own.refused is None for own in heard)
        assert 10 <= n_inside <= 15
        assert host.longest_wait_s <= 0.6

    def test_sockets_that_send_nothing_take_no_place(self) -> None:
        """Dozens of them, and then people who speak."""
        machine, host = self.machine()
        idle = [machine.listen(silence(0), at_s=1 + 0.1 * k) for k in range(60)]

        heard = run(host.measure(14), *idle, *talk(machine, 8, at_s=10))

        assert all(own.refused is None for own in heard)

    def test_a_busy_neighbour_refuses_no_one(self) -> None:
        """Everything takes half as long again, but not more of the processor."""
        machine, host = self.machine(slowness=1.5)

        heard = run(host.measure(15), *talk(machine, 10, within_s=10.0, at_s=1))

        assert all(own.refused is None for own in heard)

    def test_a_recording_sent_at_once_takes_no_place(self) -> None:
        """It takes all of the loop's time that is left, and could wait."""
        machine, host = self.machine()
        flood = machine.listen(speech(99, 200.0), at_s=1, speed=1000.0)

        heard = run(host.measure(9), flood, *talk(machine, 6, at_s=6))

        assert all(own.refused is None for own in heard)
