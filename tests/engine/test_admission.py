"""Who is let in: forecasts from measured costs, with a scripted clock."""

import pytest

from engine.admission import Costs, StreamAdmission
from engine.work_queue import Job, Work

SECOND = 16_000


def job(work: Work, seconds: float) -> Job:
    return Job(n_samples=round(seconds * SECOND), work=work)


class TestCosts:
    def test_each_kind_of_work_has_its_own(self) -> None:
        """Windows of one pass share its time by their lengths."""
        costs = Costs()
        costs.add([job(Work.STREAM_PARTIAL, 4)], 0.2)
        costs.add([job(Work.FILE, 30), job(Work.FILE, 30)], 6.0)

        assert costs.of(Work.STREAM_PARTIAL) == pytest.approx(0.05)
        assert costs.of(Work.FILE) == pytest.approx(0.1)

    def test_what_is_unknown_is_taken_for_dear(self) -> None:
        """Before all is known, for as dear as on a slow processor."""
        costs = Costs()
        assert costs.of(Work.STREAM_FINAL) == 0.2

        costs.add([job(Work.STREAM_PARTIAL, 4)], 0.2)
        costs.add([job(Work.FILE, 10)], 1.0)

        assert costs.of(Work.STREAM_FINAL) == pytest.approx(0.1)

    def test_newer_passes_count_more(self) -> None:
        """Machines become slower and faster."""
        costs = Costs()
        costs.add([job(Work.FILE, 10)], 10.0)
        for _ in range(20):
            costs.add([job(Work.FILE, 10)], 1.0)

        assert costs.of(Work.FILE) == pytest.approx(0.1, abs=0.01)

    def test_a_stream_costs_its_partials_and_its_finals(self) -> None:
        """Every second of speech is in some partials and in one final."""
        costs = Costs()
        costs.add([job(Work.STREAM_PARTIAL, 5)], 0.05)
        costs.add([job(Work.STREAM_FINAL, 10)], 0.2)

        assert costs.of_stream(encoded_ratio=16) == pytest.approx(0.18)

    def test_what_a_stream_costs_is_nothing_while_nothing_is_known(self) -> None:
        """Nobody is refused for it."""
        assert Costs().of_stream(encoded_ratio=16) == 0

    def test_nothing_is_learnt_from_empty_windows(self) -> None:
        """They have no length to share by."""
        costs = Costs()
        costs.add([job(Work.FILE, 0)], 1.0)

        assert costs.of(Work.FILE) == 0.2


class Door:
    """An admission, and the options a test leaves alone."""

    def __init__(self, *, max_streams: int = 100) -> None:
        self.admission = StreamAdmission(max_streams=max_streams)

    def lets_in(
        self,
        stream: object,
        now: float = 0.0,
        *,
        cost: float = 0.1,
        busy: float = 0.0,
        overloaded: bool = False,
    ) -> bool:
        return self.admission.admit(
            stream, now, cost=cost, busy=busy, overloaded=overloaded
        )


class TestAdmission:
    def test_the_first_is_always_let_in(self) -> None:
        """Even where it costs more than there is."""
        assert Door().lets_in("a", cost=3.0, busy=1.0, overloaded=True)

    def test_newcomers_count_with_their_forecast(self) -> None:
        """A crowd that comes within a second is not let in whole."""
        door = Door()

        let_in = [door.lets_in(n, 0.01 * n, cost=0.11) for n in range(20)]

        assert let_in == [True] * 8 + [False] * 12

    def test_after_a_while_they_count_with_what_they_take(self) -> None:
        """Who is silent makes room."""
        door = Door()
        for n in range(8):
            door.lets_in(n)

        assert not door.lets_in("new", 4.9, busy=0.3)
        assert door.lets_in("new", 5.1, busy=0.3)

    def test_nobody_is_let_in_while_others_do_without(self) -> None:
        """Their load says too little about what they would want."""
        door = Door()
        door.lets_in("a")

        assert not door.lets_in("b", 10.0, overloaded=True)
        assert door.lets_in("b", 20.0)

    def test_whoever_leaves_makes_room(self) -> None:
        """Leaving twice makes no more."""
        door = Door(max_streams=2)
        for name in ("a", "b", "c"):
            door.lets_in(name)
        assert len(door.admission) == 2

        door.admission.leave("a")
        door.admission.leave("a")

        assert door.lets_in("c")
        assert not door.lets_in("d")

    def test_there_is_a_limit_whatever_they_cost(self) -> None:
        """MAX_STREAMS."""
        door = Door(max_streams=3)

        assert [door.lets_in(n, cost=0.0) for n in range(4)] == [True] * 3 + [False]
