"""The simulation of a large fleet, beside what queueing theory says of its parts."""

import json
from collections.abc import Sequence
from math import factorial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cluster
from benchmarks.common import documents
from benchmarks.queueing.balancing import Fleet, Loss, Simulation, Visit
from benchmarks.queueing.waiting import Costs, Gpu, Loop, Speech, Window, simulate

# Queues with Poisson arrivals: so many times, so long each, so busy.
N = 50_000
SERVICE_S = 0.01
BUSY = 0.8

# The mean waiting time of M/D/1: Pollaczek and Khinchine's formula.
MD1_S = BUSY * SERVICE_S / (2 * (1 - BUSY))


def poisson(rate: float, n: int = N) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.cumsum(np.random.default_rng(0).exponential(1 / rate, n))


def erlang_b(offered: float, n_places: int) -> float:
    """The share of calls that find all places taken, however long calls last."""
    terms = [offered**k / factorial(k) for k in range(n_places + 1)]
    return terms[-1] / sum(terms)


class TestLoop:
    def test_it_waits_as_long_as_theory_says(self) -> None:
        """M/D/1; and what looks in at random finds the same."""
        loop = Loop(poisson(BUSY / SERVICE_S), SERVICE_S)
        looks = np.random.default_rng(1).uniform(0, N * SERVICE_S / BUSY, N)

        assert loop.waits_s().mean() == pytest.approx(MD1_S, rel=0.05)
        assert loop.work_at(looks).mean() == pytest.approx(MD1_S, rel=0.05)

    def test_one_that_is_too_busy_falls_behind(self) -> None:
        """By a tenth of the time that passes."""
        arrivals = np.arange(1000) * SERVICE_S / 1.1

        waits = Loop(arrivals, SERVICE_S).waits_s()

        assert waits[-1] == pytest.approx(0.1 * arrivals[-1])


def windows(n_servers: int, rate: float, n: int = N) -> list[Window]:
    """Finals that arrive at random, and take no time for their audio."""
    return [
        Window(at, 0.0, k % n_servers, k, True, at)
        for k, at in enumerate(poisson(rate, n).tolist())
    ]


class TestGpu:
    @pytest.mark.parametrize("n_servers", [1, 3])
    def test_one_window_at_a_time_waits_as_theory_says(self, n_servers: int) -> None:
        """M/D/1, whoever's turn it is."""
        gpu = Gpu(Costs(0.0, batch_s=SERVICE_S, audio_s=0.0, most=1))

        done = gpu.serve(windows(n_servers, BUSY / SERVICE_S))

        waits = [at - own.arrived_s - SERVICE_S for own, at in done]
        assert len(done) == N
        assert np.mean(waits) == pytest.approx(MD1_S, rel=0.05)
        assert gpu.busy_s == pytest.approx(N * SERVICE_S)

    def test_large_batches_take_one_and_a_half_passes(self) -> None:
        """Half of the pass that goes on, and the next, if one always goes on."""
        gpu = Gpu(Costs(0.0, batch_s=SERVICE_S, audio_s=0.0, most=10**6))

        done = gpu.serve(windows(1, 20 / SERVICE_S))

        took = [at - own.arrived_s for own, at in done]
        assert np.mean(took) == pytest.approx(1.5 * SERVICE_S, rel=0.02)

    def test_a_stream_that_waits_has_only_its_newest_partial(self) -> None:
        """And its final comes before those of others."""
        first = Window(0.0, 1.0, 0, 0, False, 0.0)
        late = [Window(0.1 * k, 1.0, 0, 1, False, 0.1 * k) for k in (1, 2, 3)]
        final = Window(0.5, 1.0, 0, 2, True, 0.5)
        gpu = Gpu(Costs(0.0, batch_s=0.0, audio_s=1.0, most=1))

        done = gpu.serve([first, *late, final])

        assert gpu.n_partials == 2
        assert [at for _, at in done] == [2.0]


class TestBalancing:
    def test_streams_are_as_many_as_theory_says(self) -> None:
        """M/G/∞: Poisson, whatever the lengths are like."""
        fleet = Fleet(1, 5, mean_s=1.0)

        course = Simulation(fleet).run(8_000, warm_up_s=0, every_s=4.0)

        (counts,) = np.array(course.counts).T
        assert counts.mean() == pytest.approx(5, rel=0.05)
        assert counts.var() == pytest.approx(5, rel=0.1)

    @pytest.mark.parametrize(("n_servers", "places"), [(1, 10), (2, 5), (10, 1)])
    def test_as_many_are_refused_as_theory_says(
        self, n_servers: int, places: int
    ) -> None:
        """Erlang's loss formula: leastconn refuses only if all places are taken."""
        fleet = Fleet(n_servers, 10, max_streams=places, mean_s=10.0, tries=1)

        course = Simulation(fleet).run(10_000, warm_up_s=100)

        refused = course.n_refused / course.n_tries
        assert refused == pytest.approx(erlang_b(10, 10), rel=0.08)
        assert course.n_given_up == course.n_refused

    def test_the_more_a_rule_knows_the_more_even_streams_are(self) -> None:
        """All, two servers, none; or worse, the client's address."""
        busiest = []
        for rule in ("leastconn", "random(2)", "roundrobin", "source"):
            fleet = Fleet(20, 1000, rule=rule, mean_s=60.0)
            course = Simulation(fleet).run(60, warm_up_s=240)
            busiest.append(np.array(course.counts).max(axis=1).mean())

        assert busiest == sorted(busiest)
        assert busiest[0] < 60 < busiest[-1]

    @pytest.mark.parametrize("silent", [False, True])
    def test_a_lost_node_has_no_streams_until_it_is_back(self, silent: bool) -> None:
        """They come back to others: at once, or when their clients notice."""
        lost = Loss(at_s=300.0, n_servers=2, silent=silent, back_at_s=345.0)
        fleet = Fleet(10, 500, mean_s=600.0, loss=lost)

        course = Simulation(fleet).run(120, warm_up_s=240)

        visits = [own for own in course.visits if own.server < 2]
        assert all(own.end_s <= 300 or own.start_s >= 345 for own in visits)
        assert any(own.start_s >= 345 for own in visits)
        cut_off = [own for own in visits if own.end_s == 300]
        assert 80 < len(course.outages_s) <= len(cut_off)
        shortest, longest = (20, 46) if silent else (0, 2.01)
        assert all(shortest <= out <= longest for out in course.outages_s)


class TestWaiting:
    COSTS = Costs(loop_s=0.009, batch_s=0.006, audio_s=0.001)

    @staticmethod
    def streams(n_streams: int) -> Sequence[Visit]:
        return [Visit(0, 0.0, 20.0)] * n_streams

    def test_few_streams_have_all_of_their_text(self) -> None:
        """And finals as soon as one pass allows."""
        found = simulate([self.streams(5)], Speech(), self.COSTS, between_s=(0.0, 20.0))

        assert found.text_ratio > 0.95
        assert 0.006 < np.median(found.took_s) < 0.03
        assert found.loop_busy == pytest.approx(5 * 0.009, rel=0.02)

    def test_the_loop_binds_one_process_and_a_second_one_helps(self) -> None:
        """120 streams are 108 % of a loop."""
        one = simulate([self.streams(120)], Speech(), self.COSTS, between_s=(0.0, 20.0))
        two = simulate(
            [self.streams(60), self.streams(60)],
            Speech(),
            self.COSTS,
            between_s=(0.0, 20.0),
        )

        assert np.percentile(one.took_s, 95) > 1.0
        assert np.percentile(two.took_s, 95) < 0.1

    def test_a_busy_gpu_makes_text_rarer_before_finals_are_late(self) -> None:
        """As the server does."""
        slow = Costs(loop_s=0.001, batch_s=0.006, audio_s=0.008, most=8)

        found = simulate([self.streams(80)], Speech(), slow, between_s=(0.0, 20.0))

        assert found.gpu_busy > 0.95
        assert found.text_ratio < 0.8
        assert np.median(found.took_s) < 1.0


def test_it_prints_and_draws_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a small fleet: the rows, the tables and the picture."""
    plot = tmp_path / "cluster.svg"
    parts = ["--parts", "loads", "loss", "--quick"]
    measured = tmp_path / "scale.jsonl"
    rows = [
        {"path": "alone", "server_cpu_ms": 9.0, "haproxy_cpu_ms": 0.0},
        {"path": "balanced", "server_cpu_ms": 12.0, "haproxy_cpu_ms": 0.6},
    ]
    measured.write_text(
        "".join(json.dumps(row | {"n_streams": 8}) + "\n" for row in rows)
    )
    parts += ["--measured", str(measured)]

    cluster.main([*parts, "--output", str(tmp_path), "--plot", str(plot)])

    shown = capsys.readouterr().out
    lost = documents.read_rows(tmp_path / "cluster_loss.jsonl")
    assert "9.0 ms of an event loop and 0.60 ms of HAProxy" in shown
    assert cluster.loss_table(lost) in shown
    assert plot.read_text("utf-8").count("<polyline") == 2 * 4 + 2 * 2
    lost = [row for row in lost if row["part"] == "loss"]
    assert [row["silent"] for row in lost] == [False, True] * 2
    assert all(row["n_lost"] > 0 for row in lost)


@pytest.mark.parametrize("part", cluster.TABLES)
def test_the_tables_in_the_document_are_those_of_the_results(part: str) -> None:
    """No figure is typed by hand."""
    name = f"cluster_{part}.jsonl"
    rows = documents.read_rows(documents.RESULTS / name)
    text = (documents.RESULTS.parents[1] / "docs" / "scaling.md").read_text("utf-8")

    assert documents.fill(text, name, cluster.TABLES[part](rows)) == text
    assert all("dirty" not in row.get("commit", "") for row in rows)


def test_theory_itself() -> None:
    """Two values from the books."""
    assert erlang_b(10, 10) == pytest.approx(0.2146, abs=1e-4)
    assert erlang_b(1, 1) == pytest.approx(0.5)
