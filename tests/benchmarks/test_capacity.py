"""The capacity benchmark: its search, its limits, and its simulated time."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from benchmarks import capacity
from benchmarks.streams import paced
from benchmarks.streams.paced import Log, Outcome, Run, SimulatedLoop
from engine.interface import ModelInput
from live.events import Cause, UtteranceFinal
from live.options import PROFILES
from tests.support.fakes import ScriptedModel
from text.ctc import FrameLabels

FINE = Outcome(
    n_streams=1,
    wait_p50_s=0.1,
    wait_p95_s=0.2,
    partials_per_s=3.0,
    lag_p95_s=0.3,
    lag_slope=0.0,
    late_p99_s=0.0,
    busy=0.5,
    tight=0.0,
)


class TestSearch:
    @pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 7, 8])
    def test_small_limits_are_found_exactly(self, limit: int) -> None:
        """Down to none at all."""
        assert capacity.largest(lambda n: n <= limit, most=100) == limit

    def test_large_ones_to_an_eighth(self) -> None:
        """In a dozen runs."""
        tried: list[int] = []

        def is_served(n: int) -> bool:
            tried.append(n)
            return n <= 75

        found = capacity.largest(is_served, most=1000)

        assert 75 - 75 // 8 <= found <= 75
        assert len(tried) < 13

    def test_it_stops_at_the_most(self) -> None:
        """Though more might be served."""
        assert capacity.largest(lambda n: True, most=6) == 6


class TestLimits:
    def test_each_of_them_counts(self) -> None:
        """Late finals, growing lag, missing partials."""
        assert capacity.served(FINE, alone_per_s=FINE.partials_per_s)
        for worse in (
            replace(FINE, wait_p95_s=0.26),
            replace(FINE, lag_slope=0.01),
            replace(FINE, partials_per_s=2.6),
        ):
            assert not capacity.served(worse, alone_per_s=FINE.partials_per_s)

    def test_the_seeds_finals_wait_for_everybodys_windows(self) -> None:
        """One clip at a time, in the order in which they come."""
        few = capacity.seed_waits(1, window_s=0.1, rest_s=0.1)
        many = capacity.seed_waits(30, window_s=0.1, rest_s=0.1)

        assert max(few) == pytest.approx(0.2)
        assert many[-1] > 10 * max(few)


class TestTable:
    def test_every_part_that_was_run_has_its_rows(self) -> None:
        """In words, with the time that was measured in."""
        row = {
            "arguments": {"real_time": False},
            "dtype": "int8",
            "capacity": 3,
            "outcomes": [asdict(FINE)],
            "seed": {"window_s": 0.1, "final_s": 0.08, "streams": 2},
            "overload": {
                "streams": 6,
                "samples_lost": 0,
                "finals": 40,
                "finals_that_differ": 1,
                "longest_gap_s": 1.75,
                "recovered_after_s": 5.25,
            },
            "context": {"partials": 0.5, "with_less_context": 0.3},
        }

        table = capacity.table([row])

        assert "| simulated time: streams served | 3 |" in table
        assert "final 200 ms after the flush at p95" in table
        assert "| simulated time: streams that the seed's behaviour serves | 2" in table
        assert "0 samples lost, 1 of 40 finals differ, at most 1.8 s" in table
        assert "over 5.2 s after most have gone" in table
        assert (
            "| simulated time: one stream of 300M in int8, with less context "
            "| 30% of a core |" in table
        )
        assert len(table.splitlines()) == 2 + 7

    def test_what_was_not_run_has_none(self) -> None:
        """Nothing is made up."""
        assert "300M" not in capacity.table([{"arguments": {"real_time": True}}])


class TestSimulatedTime:
    def test_an_hour_passes_at_once(self) -> None:
        """Timers go off in order, at their time."""
        seen: list[float] = []

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(asyncio.get_running_loop().time())

        async def wait_for_all() -> None:
            await asyncio.gather(wait(3600), wait(1), wait(60))

        began = time.monotonic()
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(wait_for_all())

        assert seen == [pytest.approx(s) for s in (1, 60, 3600)]
        assert time.monotonic() - began < 3600

    def test_waiting_for_nothing_is_an_error(self) -> None:
        """Rather than for ever."""

        loop = SimulatedLoop()
        with pytest.raises(RuntimeError, match="no event will ever come"):
            loop.run_forever()
        loop.close()


class Slow(ScriptedModel):
    """Takes so long for a second of audio, as the simulation sees it."""

    def __init__(self, seconds: float) -> None:
        super().__init__("nine")
        self.seconds = seconds
        self.heard_s = 0.0

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        self.heard_s += sum(map(len, windows)) / 16_000
        return super().label_frames(windows)


def simulate(
    cost: float, n_streams: int, monkeypatch: pytest.MonkeyPatch, seconds: float = 8
) -> Run:
    """Run streams whose model takes `cost` seconds for a second of audio."""
    model = Slow(cost)
    monkeypatch.setattr(paced, "_processor_s", lambda: cost * model.heard_s)
    with (
        paced.in_simulated_time(model) as own,
        asyncio.Runner(loop_factory=SimulatedLoop) as runner,
    ):
        parts = paced.parts(n_streams, seconds)
        return runner.run(paced.run(own, parts, PROFILES["captions"]))


class TestRuns:
    def test_streams_that_fit_are_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With partials for whatever is new, and a final for every flush."""
        run = simulate(0.001, 2, monkeypatch)
        outcome = run.outcome()

        assert outcome.wait_p95_s < 0.1
        assert outcome.partials_per_s > 1
        assert outcome.tight == 0
        assert [log.n_samples for log in run.logs] == [8 * 16_000] * 2
        flushed = [
            sum(final.cause is Cause.FLUSH for _, final in log.finals)
            for log in run.logs
        ]
        assert flushed == [len(log.flushed) for log in run.logs] == [2, 2]

    def test_too_many_get_fewer_partials_and_all_of_their_finals(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of their audio is heard."""
        alone = simulate(0.12, 1, monkeypatch)
        crowd = simulate(0.12, 4, monkeypatch)

        assert alone.outcome().tight == 0
        assert crowd.outcome().tight > 0
        assert crowd.outcome().partials_per_s < alone.outcome().partials_per_s
        assert [log.n_samples for log in crowd.logs] == [8 * 16_000] * 4
        assert [len(log.waits()) for log in crowd.logs] == [1, 1, 1, 0]

    def test_lag_that_grows_is_seen(self) -> None:
        """By a tenth of a second in each second."""
        log = Log(flushed=[5.0], late_s=[0.0], n_samples=20 * 16_000)
        end = UtteranceFinal(1, 0, 80_000, Cause.FLUSH, (), 80_000)
        log.finals = [(5.2, end)]
        log.partials = [
            (1.1 * t + 0.5, round(16_000 * t)) for t in np.arange(4.0, 20.0, 0.5)
        ]
        run = Run([log], [(0.0, False)], 20.0, 1.0)

        outcome = run.outcome()

        assert outcome.lag_slope == pytest.approx(0.1 / 1.1, abs=1e-3)
        assert outcome.wait_p50_s == pytest.approx(0.2)
