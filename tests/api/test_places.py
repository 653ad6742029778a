"""Places: all can be used, and no client keeps others from theirs."""

from contextlib import ExitStack

import pytest

from api.places import Places
from engine.interface import QueueFull


def take_all(places: Places, holder: str, held: ExitStack) -> int:
    """Take places until there is none for this holder; return how many."""
    n_taken = 0
    while True:
        try:
            held.enter_context(places.one(holder))
        except QueueFull:
            return n_taken
        n_taken += 1


@pytest.mark.parametrize("n_places", [1, 2, 7, 8, 64])
def test_one_alone_has_nearly_all(n_places: int) -> None:
    """The others are kept, and there are always others."""
    with ExitStack() as held:
        n_own = take_all(Places(n_places), "a", held)

    assert n_own == n_places - n_places // 8


def test_others_get_in_while_one_takes_what_it_can() -> None:
    """However fast it comes back."""
    places = Places(64)
    with ExitStack() as greedy, ExitStack() as others:
        take_all(places, "greedy", greedy)

        assert take_all(places, "b", others) == 8
        assert take_all(places, "greedy", greedy) == 0


def test_what_ends_goes_to_those_who_have_less_than_half() -> None:
    """Until the one that had nearly all has half."""
    places = Places(64)
    with ExitStack() as others:
        greedy = [ExitStack() for _ in range(64)]
        n_own = sum(take_one(places, "greedy", stack) for stack in greedy)
        take_all(places, "b", others)
        for stack in greedy[: n_own - 32]:
            stack.close()
            assert not take_one(places, "greedy", stack)
            assert take_one(places, "b", others)
        assert places.n_taken == 64
        greedy[-1].close()
        for stack in greedy:
            stack.close()

    assert places.n_taken == 0


def take_one(places: Places, holder: str, held: ExitStack) -> bool:
    try:
        held.enter_context(places.one(holder))
    except QueueFull:
        return False
    return True


def test_two_share_what_there_is() -> None:
    """Each of them may have half, and no more than there are."""
    places = Places(10)
    with ExitStack() as held:
        assert take_all(places, "a", held) == 9
        assert take_all(places, "b", held) == 1
