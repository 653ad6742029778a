"""Admission, and more work than time, with a scripted clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.interface import Overloaded
from engine.load import StreamLoad
from engine.place import Place
from engine.work_queue import Job, Work

SECOND = 16_000


def job(work: Work, seconds: float) -> Job:
    return Job(n_samples=round(seconds * SECOND), work=work)


class Server:
    """A load, told of streams and passes as time goes on.

    Args:
        cost: What a second of audio costs; None if no pass was measured.
    """

    def __init__(
        self,
        cost: float | None = 0.01,
        *,
        min_streams: int = 2,
        max_streams: int = 100,
        file_share: float = 0.1,
    ) -> None:
        self.load = StreamLoad(
            min_streams=min_streams, max_streams=max_streams, file_share=file_share
        )
        self.now = 1000.0
        for _ in range(3 if cost is not None else 0):
            self.note_pass(job(Work.FILE, 4), seconds=4 * (cost or 0.0), at=0.0)

    def note_pass(self, *batch: Job, seconds: float, at: float | None = None) -> None:
        self.load.note_pass(batch, self.now if at is None else at, seconds)

    def let_in(self, n: int = 1, *, speaking: bool = False) -> list[Place]:
        """Let streams in, which speak at once or do not."""
        places = [self.load.admit(self.now) for _ in range(n)]
        for place in places if speaking else []:
            self.load.note_ask(place, self.now)
        return places

    def refuse(self) -> Overloaded:
        with pytest.raises(Overloaded) as refusal:
            self.load.admit(self.now)
        return refusal.value

    def speak(
        self,
        places: list[Place],
        seconds: float,
        *,
        partials: float = 0.0,
        finals: float = 0.0,
    ) -> None:
        """Let time pass in which these shares of it are taken for streams."""
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            for place in places:
                self.load.note_ask(place, self.now)
            for work, share in (
                (Work.STREAM_PARTIAL, partials),
                (Work.STREAM_FINAL, finals),
            ):
                # Of no audio to speak of, so that costs stay what they are.
                if share:
                    own = job(work, 0.1 * share / 0.01)
                    self.note_pass(own, seconds=0.1 * share)


class TestAdmission:
    def test_some_are_let_in_whatever_is_forecast(self) -> None:
        """Up to MIN_STREAMS, where each would take three times what there is."""
        server = Server(cost=1.0, min_streams=4)

        server.let_in(4, speaking=True)

        assert server.refuse()

    def test_but_never_more_than_the_limit(self) -> None:
        """MAX_STREAMS, and the message says that it is that."""
        server = Server(min_streams=4, max_streams=3)
        server.let_in(3)

        refusal = server.refuse()

        assert "3 live streams, as many as MAX_STREAMS allows" in str(refusal)
        assert not refusal.settles

    def test_a_crowd_is_not_let_in_whole(self) -> None:
        """Each counts as if it spoke; here with 3.7 hundredths of the time."""
        server = Server(cost=0.01)

        with pytest.raises(Overloaded):
            server.let_in(100)

        assert server.load.n_streams == 24

    def test_silent_streams_count_for_nothing(self) -> None:
        """Once they have been silent for two seconds."""
        server = Server(cost=0.01)
        for _ in range(4):
            server.let_in(20)
            server.now += 2.0

        assert server.load.n_streams == 80

    def test_a_refusal_says_whether_waiting_for_that_helps(self) -> None:
        """New streams may turn out to be silent; speaking streams do not."""
        server = Server(cost=0.01)
        server.let_in(24)
        crowded = server.refuse()
        server.now += 2.0
        places = server.let_in(24, speaking=True)
        full = server.refuse()

        assert (crowded.settles, full.settles) == (True, False)
        assert "48 live streams, 24 with speech" in str(full)
        assert len(places) == 24

    def test_finals_count_with_what_they_take(self) -> None:
        """Which is known after five seconds of speech."""
        server = Server(cost=0.01)
        places = server.let_in(10, speaking=True)

        server.speak(places, 10, finals=0.1)
        server.let_in(14)
        assert server.refuse()

        server.now += 2.0
        server.speak(places, 10, finals=0.7)
        assert server.refuse()

    def test_speech_is_remembered_over_a_pause(self) -> None:
        """As people make in conversations, but not for long."""
        server = Server(cost=0.12)
        server.let_in(2, speaking=True)

        server.now += 9.9
        assert server.refuse()
        server.now += 0.2
        server.let_in()

    def test_whoever_leaves_makes_room(self) -> None:
        """Leaving twice makes no more."""
        server = Server(max_streams=2)
        first, _ = server.let_in(2)
        server.load.leave(first, server.now)
        server.load.leave(first, server.now)

        server.let_in()

        assert server.refuse()

    def test_nobody_is_refused_for_what_is_unknown(self) -> None:
        """Before three passes have been measured."""
        server = Server(cost=None)
        server.note_pass(job(Work.FILE, 4), seconds=60.0)
        server.note_pass(job(Work.FILE, 4), seconds=60.0)

        server.let_in(100, speaking=True)

    def test_recordings_at_work_leave_less_room(self) -> None:
        """By the share that is theirs."""
        without, beside = Server(file_share=0.5), Server(file_share=0.5)
        beside.note_pass(job(Work.FILE, 4), seconds=0.04)
        for server in (without, beside):
            with pytest.raises(Overloaded):
                server.let_in(100)

        assert (without.load.n_streams, beside.load.n_streams) == (24, 12)

    @given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans(), st.booleans())
    def test_the_message_fits_into_a_close(
        self, n: int, k: int, at_limit: bool, settles: bool
    ) -> None:
        """Whose reason has 123 bytes (RFC 6455)."""
        refusal = Overloaded(n, k, at_limit=at_limit, settles=settles)

        assert len(str(refusal).encode()) <= 123


class TestTightness:
    def test_more_to_do_than_time_is_tight(self) -> None:
        """After some seconds; a busy moment is none."""
        server = Server()
        places = server.let_in(2, speaking=True)

        server.speak(places, 2, partials=1.0)
        assert not server.load.is_tight(server.now)
        server.speak(places, 8, partials=1.0)
        assert server.load.is_tight(server.now)

    def test_it_passes_when_there_has_been_time_for_a_while(self) -> None:
        """Five seconds; what partials would take with more context counts."""
        server = Server()
        places = server.let_in(2, speaking=True)
        server.speak(places, 10, partials=1.0)
        assert server.load.is_tight(server.now)

        server.speak(places, 30, partials=0.8)
        assert server.load.is_tight(server.now)
        found = []
        for _ in range(10):
            server.speak(places, 1, partials=0.5)
            found.append(server.load.is_tight(server.now))

        assert found == sorted(found, reverse=True)
        assert found[3]
        assert not found[-1]

    def test_it_never_is_for_one_stream(self) -> None:
        """It gets all of the machine, however many silent streams there are."""
        server = Server()
        server.let_in(20)
        speaker = server.let_in(1, speaking=True)
        server.speak(speaker, 60, partials=0.9, finals=0.2)

        assert not server.load.is_tight(server.now)

    def test_finals_are_part_of_it(self) -> None:
        """They leave less time for partials."""
        server = Server()
        places = server.let_in(2, speaking=True)
        server.speak(places, 20, partials=0.5, finals=0.2)
        assert not server.load.is_tight(server.now)

        server.speak(places, 20, partials=0.5, finals=0.45)
        assert server.load.is_tight(server.now)

    def test_recordings_are_not(self) -> None:
        """They take what is left."""
        server = Server()
        places = server.let_in(2, speaking=True)
        for _ in range(100):
            server.now += 0.2
            for place in places:
                server.load.note_ask(place, server.now)
            server.note_pass(job(Work.FILE, 20), seconds=0.2)

        assert not server.load.is_tight(server.now)


class TestForecast:
    def test_it_is_what_passes_usually_take(self) -> None:
        """Not what they take at best: patience comes of it."""
        server = Server(cost=None)
        for seconds in (0.1, 0.8, 0.9, 1.0):
            server.note_pass(job(Work.FILE, 4), seconds=seconds)

        batch = [job(Work.FILE, 10), job(Work.STREAM_FINAL, 6)]
        assert server.load.expected_s(batch) == pytest.approx(16 * 0.85 / 4)

    def test_what_is_unknown_is_taken_for_dear(self) -> None:
        """As on a slow processor."""
        server = Server(cost=None)

        assert server.load.expected_s([job(Work.FILE, 10)]) == 2.0


class TestTwoModels:
    """Partials cost a hundredth of the time, finals a tenth."""

    def server(self, *, apart: bool, min_streams: int = 0) -> Server:
        server = Server(cost=None, min_streams=min_streams, file_share=0.0)
        server.load.add_quick(apart=apart)
        for quick, cost in ((True, 0.01), (False, 0.1)):
            for _ in range(3):
                server.load.note_rehearsal(4, 0.0, 4 * cost, quick=quick)
        return server

    def test_a_stream_costs_its_partials_and_its_finals(self) -> None:
        """On one device: 2.5 s of the one, 1.2 s of the other, in 0.9."""
        server = self.server(apart=False)

        assert server.load.costs == (0.1, 0.01)
        assert server.load.n_free(server.now) == int(0.9 / (0.025 + 0.12))

    def test_with_devices_of_their_own_the_scarcer_decides(self) -> None:
        """Here that of finals; there is much time left for partials."""
        server = self.server(apart=True)

        assert server.load.n_free(server.now) == int(0.9 / 0.12)

    def test_without_the_cost_of_both_others_wait_for_it(self) -> None:
        """While it is measured for the first time."""
        server = Server(cost=None, min_streams=0)
        server.load.add_quick(apart=False)
        server.load.measuring = True
        for _ in range(3):
            server.load.note_rehearsal(4, 0.0, 0.4, quick=False)

        assert server.refuse().settles
        for _ in range(3):
            server.load.note_rehearsal(4, 0.0, 0.04, quick=True)
        server.let_in()

    @pytest.mark.parametrize("apart", [False, True])
    def test_finals_make_partials_rarer_only_on_the_same_device(
        self, apart: bool
    ) -> None:
        """Less context would not help finals elsewhere; it is overload all the same."""
        server = self.server(apart=apart, min_streams=2)
        places = server.let_in(2, speaking=True)
        server.speak(places, 20, partials=0.3, finals=0.9)

        assert server.load.is_tight(server.now) is not apart
        assert server.load.is_overloaded(server.now)

    def test_what_passes_take_is_known_for_each(self) -> None:
        """Patience with a pass is by its model."""
        server = self.server(apart=False)
        quick = Job(n_samples=SECOND, work=Work.STREAM_PARTIAL, quick=True)

        assert server.load.expected_s([quick]) == pytest.approx(0.01)
        assert server.load.expected_s([job(Work.FILE, 1)]) == pytest.approx(0.1)

    def test_a_pass_counts_for_its_own_model(self) -> None:
        """However many the other one has."""
        server = self.server(apart=False)
        quick = Job(n_samples=4 * SECOND, work=Work.STREAM_PARTIAL, quick=True)
        for _ in range(40):
            server.note_pass(quick, seconds=0.08)

        assert server.load.costs == (0.1, 0.02)
