"""How a broken model is asked less and less often."""

from engine.failures import Failures


def fail(own: Failures, now: float) -> str | None:
    return own.note_failure(ValueError("broken"), now)


class TestPauses:
    def test_they_grow_and_end_with_the_first_result(self) -> None:
        """At most a second, so that a model that recovers is noticed."""
        own = Failures()
        assert own.pause_s == 0

        pauses = []
        for k in range(12):
            fail(own, k)
            pauses.append(own.pause_s)
        own.note_success()

        assert pauses[:4] == [0.01, 0.02, 0.04, 0.08]
        assert pauses[-1] == 1.0
        assert own.pause_s == 0

    def test_they_stay_the_longest_however_many_fail(self) -> None:
        """A power of two that is too large for a float would end the thread."""
        own = Failures()
        for k in range(2000):
            fail(own, k)

        assert own.pause_s == 1.0

    def test_a_broken_model_is_asked_a_few_times_in_ten_seconds(self) -> None:
        """By a stream that asks again as soon as it may."""
        own, now, n = Failures(), 0.0, 0
        while now < 10:
            fail(own, now)
            now += own.pause_s
            n += 1

        assert n < 20


class TestLog:
    def test_there_is_a_line_in_a_second_and_it_counts_the_others(self) -> None:
        """Of thousands of failures, too."""
        own = Failures()
        lines = [fail(own, k / 1000) for k in range(2500)]

        written = [line for line in lines if line is not None]
        assert written == [
            "A window failed, with ValueError: broken",
            "1000 windows failed, with ValueError: broken",
            "1000 windows failed, with ValueError: broken",
        ]
