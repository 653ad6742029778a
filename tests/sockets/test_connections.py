"""How sockets are asked to end, in simulated time."""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from benchmarks.streams.paced import SimulatedLoop
from sockets.connections import Connections


class Connection:
    """Notes when it is asked to end, and how long it may read."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.read_s = 0.0

    def stop(self, read_s: float) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        self.read_s = read_s


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(coroutine)


def test_they_are_asked_one_after_the_other() -> None:
    """Within a quarter of the time, so that half of it is left for finals."""

    async def end() -> None:
        for n, within_s in ((7, 2.0), (200, 2.0), (200, 30.0)):
            own = Connections()
            with ExitStack() as stack:
                opened = [Connection() for _ in range(n)]
                for connection in opened:
                    stack.enter_context(own.hold(connection))
                began = asyncio.get_running_loop().time()
                assert not await own.stop(within_s=within_s)
            times = sorted(time for each in opened for time in each.asked)

            assert len(times) == n
            assert all(after > before for before, after in pairwise(times))
            assert times[-1] - began <= within_s / 4
            assert {each.read_s for each in opened} == {within_s / 4}

    run(end())


def test_one_that_has_left_is_not_asked_and_one_that_comes_is() -> None:
    """While the others are."""

    async def end() -> None:
        own = Connections()
        first, second, late = Connection(), Connection(), Connection()
        with ExitStack() as stack:
            leaving = stack.enter_context(ExitStack())
            for each in (first, second):
                leaving.enter_context(own.hold(each))
            stopping = asyncio.create_task(own.stop(within_s=8))
            await asyncio.sleep(0)
            remaining = [each for each in (first, second) if not each.asked]
            leaving.close()
            stack.enter_context(own.hold(late))
            await asyncio.sleep(1)

            assert len(remaining) == 1
            assert not remaining[0].asked
            assert late.asked
            assert late.read_s == 2
        assert await stopping

    run(end())


def test_one_that_fails_does_not_keep_others_from_being_asked() -> None:
    """It is logged, and they get the time for their finals."""

    class Broken(Connection):
        def stop(self, read_s: float) -> None:
            raise RuntimeError("it is broken")

    async def end() -> None:
        own = Connections()
        others = [Connection() for _ in range(5)]
        with ExitStack() as stack:
            for connection in (*others[:3], Broken(), *others[3:]):
                stack.enter_context(own.hold(connection))
            assert not await own.stop(within_s=2.0)

        assert all(other.asked for other in others)

    run(end())
