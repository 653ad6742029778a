"""How many messages are read a second."""

import pytest

from sockets.pace import MessagePace


def test_what_comes_at_once_is_taken_up_to_a_bound() -> None:
    """Then one after the other, at the rate."""
    pace = MessagePace(0, rate=100, burst=50)

    waits = [pace.note_message(0) for _ in range(52)]

    assert waits[:50] == [0] * 50
    assert waits[50:] == pytest.approx([0.01, 0.02])


def test_who_sends_in_time_never_waits() -> None:
    """However long the session is."""
    pace = MessagePace(0, rate=100, burst=2)

    assert not any(pace.note_message(k / 100) for k in range(10_000))


def test_who_waits_as_told_keeps_the_rate() -> None:
    """A second of messages takes a second, and a pause is not saved up for later."""
    pace, now = MessagePace(0, rate=100, burst=10), 0.0
    for _ in range(110):
        now += pace.note_message(now)
    assert now == pytest.approx(1)

    now += 1000
    for _ in range(110):
        now += pace.note_message(now)
    assert now == pytest.approx(1002)
