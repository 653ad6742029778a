"""How many streams the event loop has time for, with a scripted clock."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.load import StreamLoad
from engine.loop_load import FULL, LoopLoad
from engine.place import Place

SECOND = 16_000


class Loop:
    """A loop, told of streams and seconds as time goes on.

    Args:
        cost: Its seconds for a second of speech; silence takes half.
    """

    def __init__(self, cost: float = 0.01) -> None:
        self.load = LoopLoad()
        self.cost = cost
        self.now = 1000.0

    def let_in(self, n: int = 1) -> list[Place]:
        places = [Place(self.now) for _ in range(n)]
        for place in places:
            self.load.enter(place)
        return places

    def go_on(
        self,
        speaking: list[Place] = [],  # noqa: B006
        silent: list[Place] = [],  # noqa: B006
        *,
        seconds: int = 1,
        speed: float = 1.0,
        others_s: float = 0.0,
        late_s: float = 0.0,
    ) -> None:
        """Let seconds pass in which streams send audio at a speed."""
        for _ in range(seconds):
            self.now += 1.0
            for place in speaking:
                place.ask(self.now)
            for place in [*speaking, *silent]:
                place.n_samples += round(speed * SECOND)
            weighed_s = speed * (len(speaking) + 0.5 * len(silent))
            self.load.note_second(
                self.now,
                passed_s=1.0,
                taken_s=self.cost * weighed_s + others_s,
                late_s=late_s,
            )

    @property
    def n_fit(self) -> float:
        return self.load.n_fit(self.now)


def test_what_was_never_measured_refuses_no_stream() -> None:
    """As in a program that does not measure it."""
    loop = Loop()
    place, *_ = loop.let_in(1000)
    place.ask(loop.now)
    loop.load.leave(place, loop.now)

    assert loop.n_fit == math.inf


def test_the_cost_of_a_stream_is_learnt() -> None:
    """So a slow machine has room for few, a fast one for many."""
    fits = []
    for cost in (0.02, 0.002):
        loop = Loop(cost)
        loop.go_on(loop.let_in(4), seconds=20)
        fits.append(loop.n_fit)

    assert fits == [
        pytest.approx(FULL / 0.02 - 4, 0.05),
        pytest.approx(FULL / 0.002 - 4, 0.05),
    ]


def test_there_is_room_up_to_the_limit_and_no_further() -> None:
    """However they came: one by one, or all at once."""
    for step in (1, 10, 65):
        loop = Loop()
        loop.go_on(loop.let_in(1), seconds=6)
        speaking: list[Place] = []
        for _ in range(300 // step):
            if loop.n_fit < step:
                break
            speaking += loop.let_in(step)
            loop.go_on(speaking)
        loop.go_on(speaking, seconds=10)

        assert loop.load.share <= FULL + 0.02
        assert len(speaking) + loop.n_fit == pytest.approx(FULL / 0.01, abs=step + 2)


def test_new_streams_count_before_they_are_measured() -> None:
    """Each as one that speaks, for two seconds; then the silent ones are known."""
    loop = Loop()
    loop.go_on(loop.let_in(1), seconds=10)
    before = loop.n_fit
    loop.let_in(20)

    assert loop.n_fit == before - 20
    assert loop.load.n_fit(loop.now, beside_new=False) == before
    loop.go_on(seconds=2)
    assert loop.n_fit >= before


def test_a_stream_that_leaves_makes_room_at_once() -> None:
    """Though the average still has it."""
    loop = Loop()
    speaking = loop.let_in(50)
    loop.go_on(speaking, seconds=20)
    before = loop.n_fit
    for place in speaking[:20]:
        loop.load.leave(place, loop.now)
        loop.load.leave(place, loop.now)

    assert loop.n_fit == pytest.approx(before + 20, abs=1)


def test_silence_is_cheaper_than_speech_and_does_not_hide_its_cost() -> None:
    """What a stream takes when it speaks is learnt beside many that do not."""
    loop = Loop()
    loop.go_on(loop.let_in(1), loop.let_in(100), seconds=20)

    assert loop.n_fit == pytest.approx((FULL - 0.51) / 0.01, abs=2)


def test_audio_faster_than_real_time_counts_as_in_real_time() -> None:
    """A client that sends a recording at once can wait."""
    loop = Loop()
    loop.go_on(loop.let_in(2), seconds=20, speed=45.0)

    assert loop.load.share == pytest.approx(0.02, rel=0.05)
    assert loop.n_fit == pytest.approx(FULL / 0.01 - 2, abs=2)


def test_other_work_takes_room_but_teaches_nothing() -> None:
    """While uploads come, fewer streams fit; afterwards as many as before."""
    loop = Loop()
    speaking = loop.let_in(10)
    loop.go_on(speaking, seconds=20)
    before = loop.n_fit
    loop.go_on(speaking, seconds=6, others_s=0.4)
    during = loop.n_fit
    loop.go_on(speaking, seconds=20)

    assert during <= before - 30
    assert loop.n_fit == before


def test_there_is_no_room_while_the_loop_is_late_again_and_again() -> None:
    """A single moment is nothing: three seconds of five are."""
    loop = Loop()
    speaking = loop.let_in(10)
    loop.go_on(speaking, seconds=20)
    loop.go_on(speaking, seconds=2, late_s=1.0)
    assert loop.n_fit > 0

    loop.go_on(speaking, late_s=1.0)
    assert loop.n_fit == 0

    loop.go_on(speaking, seconds=3)
    assert loop.n_fit > 0


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 100), st.floats(0, 200), st.floats(0, 1000), st.booleans()
        ),
        max_size=40,
    )
)
def test_whatever_is_measured_the_answer_is_a_number_of_streams(
    seconds: list[tuple[float, float, float, bool]],
) -> None:
    """Also if time jumped, or nothing was taken."""
    loop = Loop()
    place = loop.let_in()[0]
    for passed_s, taken_s, audio_s, speaks in seconds:
        loop.now += passed_s
        if speaks:
            place.ask(loop.now)
        place.n_samples += round(audio_s * SECOND)
        loop.load.note_second(loop.now, passed_s=passed_s, taken_s=taken_s, late_s=0.0)

    assert loop.n_fit >= 0
    assert loop.load.share >= 0


class TestAdmission:
    def streams(self, loop: Loop, *, min_streams: int = 2) -> StreamLoad:
        return StreamLoad(
            min_streams=min_streams, max_streams=500, file_share=0.1, loop=loop.load
        )

    def test_a_fast_model_does_not_let_in_more_than_the_loop_carries(self) -> None:
        """Its own cost is unknown here, so the loop alone decides."""
        loop = Loop()
        streams = self.streams(loop)
        loop.go_on(seconds=1)
        while streams.n_free(loop.now):
            streams.admit(loop.now)

        assert streams.n_streams == pytest.approx(FULL / 0.008, abs=1)

    def test_some_are_let_in_whatever_the_loop_takes(self) -> None:
        """As with the model's forecast."""
        loop = Loop()
        streams = self.streams(loop, min_streams=3)
        loop.go_on(seconds=30, others_s=1.0)

        assert streams.n_free(loop.now) == 3

    def test_models_share_the_loop(self) -> None:
        """The streams of one leave less room to the other."""
        loop = Loop()
        one, other = self.streams(loop), self.streams(loop)
        loop.go_on(seconds=1)
        before = other.n_free(loop.now)
        places = [one.admit(loop.now) for _ in range(40)]

        assert other.n_free(loop.now) == before - 40
        for place in places:
            one.leave(place, loop.now)
        assert other.n_free(loop.now) == before
