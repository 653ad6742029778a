"""When a model leaves memory and when it comes back: the decisions alone."""

import pytest

from engine.residence import Residence, Step


@pytest.fixture
def residence() -> Residence:
    """Of a model that was loaded at 100 s and may leave after a minute."""
    own = Residence(60)
    own.note_loaded(100, took_s=5)
    return own


def step(
    residence: Residence, *, windows: int = 0, streams: int = 0, closed: bool = False
) -> Step:
    return residence.next_step(n_windows=windows, n_streams=streams, closed=closed)


def idle(residence: Residence, now: float) -> Step:
    """Return what is done without work at a time."""
    residence.look(now, busy=False)
    return step(residence)


class TestUnloading:
    def test_it_is_due_after_so_long_without_work(self, residence: Residence) -> None:
        """Not a second earlier, and for one thread."""
        assert [idle(residence, now) for now in (159, 160, 161)] == [
            Step.WAIT,
            Step.UNLOAD,
            Step.WAIT,
        ]
        assert residence.moving

    def test_all_work_puts_it_off(self, residence: Residence) -> None:
        """Also work that came and went between two looks."""
        residence.look(150, busy=True)
        residence.note_work(155)

        assert idle(residence, 214) is Step.WAIT
        assert idle(residence, 215) is Step.UNLOAD

    def test_work_that_comes_at_the_last_moment_goes_first(
        self, residence: Residence
    ) -> None:
        """Between the look and the thread that would unload."""
        assert residence.look(160, busy=False)
        assert step(residence, windows=1) is Step.SERVE
        assert step(residence) is Step.WAIT
        assert residence.look(161, busy=False)
        assert step(residence, streams=1) is Step.WAIT
        assert step(residence) is Step.WAIT

    def test_by_default_it_stays(self) -> None:
        """UNLOAD_AFTER_S=0."""
        own = Residence(0)
        own.note_loaded(0, took_s=1)

        assert idle(own, 1e9) is Step.WAIT


class TestLoadingAgain:
    @pytest.fixture
    def away(self, residence: Residence) -> Residence:
        assert idle(residence, 160) is Step.UNLOAD
        residence.note_unloaded()
        return residence

    def test_a_window_or_a_stream_wants_it_and_one_thread_loads(
        self, away: Residence
    ) -> None:
        """The others wait."""
        assert step(away) is Step.WAIT
        assert step(away, streams=1) is Step.LOAD
        assert step(away, windows=3, streams=1) is Step.WAIT
        away.note_loaded(170, took_s=2)
        assert step(away, windows=3) is Step.SERVE
        assert away.load_s == 2

    def test_after_a_failure_only_a_window_tries_again(self, away: Residence) -> None:
        """An open stream would read the disk for ever."""
        assert step(away, windows=1) is Step.LOAD
        away.note_failure()

        assert step(away, streams=1) is Step.WAIT
        assert step(away, windows=1) is Step.LOAD
        away.note_loaded(180, took_s=2)
        assert idle(away, 240) is Step.UNLOAD
        away.note_unloaded()
        assert step(away, streams=1) is Step.LOAD

    def test_at_the_end_it_is_loaded_for_windows_only(self, away: Residence) -> None:
        """What was queued is served; otherwise the thread ends."""
        assert step(away, streams=1, closed=True) is Step.END
        assert step(away, windows=1, closed=True) is Step.LOAD
        away.note_loaded(180, took_s=2)
        assert step(away, closed=True) is Step.END
