"""Measuring beside other programs: what is started, counted and concluded."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from benchmarks import neighbours
from benchmarks.common import crowd, documents
from benchmarks.common.documents import Row
from benchmarks.neighbours import (
    BESIDE_ONE,
    BESIDE_TWO,
    QUIET,
    UNDER_QUOTA,
    Bench,
    Measured,
    goals,
    parse_options,
    text_came,
)
from benchmarks.networks import settings
from benchmarks.networks.settings import BEFORE, DEMO, NOW, ONE, ONNX, OURS, PASSIVE
from benchmarks.streams.traces import Message
from network.cores import cpu_quota, usable_cores
from tests.support.serving import wait_for


def children() -> list[psutil.Process]:
    return psutil.Process().children()


class Machine:
    """Processor seconds of all processes on two cores, as `psutil` gives them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.idle = self.of_strangers = self.own = 0.0
        self.of_child = self.of_ended = 0.0
        child = SimpleNamespace(
            cpu_times=lambda: SimpleNamespace(user=self.of_child, system=0.0)
        )
        gone = SimpleNamespace(cpu_times=self._fail)
        process = SimpleNamespace(children=lambda recursive: [child, gone])
        monkeypatch.setattr(psutil, "cpu_times", self._all)
        monkeypatch.setattr(psutil, "Process", lambda: process)
        monkeypatch.setattr(os, "times", lambda: (self.own, 0.0, self.of_ended, 0.0))
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def _all(self) -> "Times":
        ours = self.own + self.of_child + self.of_ended
        return Times(self.of_strangers + ours, self.idle)

    def _fail(self) -> None:
        raise psutil.NoSuchProcess(1)


class Times(NamedTuple):
    user: float
    idle: float


class TestCrowd:
    def test_neighbours_want_a_core_and_end(self) -> None:
        """All that were asked for, and only as long as they are needed."""
        before = len(children())

        with crowd.neighbours(2):
            loops = children()[before:]
            wait_for(lambda: all(loop.cpu_times().user > 0.1 for loop in loops))
            assert len(loops) == 2

        assert len(children()) == before

    def test_our_own_are_no_strangers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither this process nor what it started; a child that has gone is none."""
        machine = Machine(monkeypatch)
        strangers = crowd.Strangers()
        machine.now, machine.idle = 10.0, 4.0
        machine.of_strangers, machine.of_child, machine.own = 3.0, 5.0, 6.0
        machine.of_ended = 2.0

        assert strangers.cores() == pytest.approx(0.3)

    def test_a_quota_holds_for_what_is_started_in_it(self) -> None:
        """And is gone afterwards; where no group may be made, the error says why."""
        home = cpu_quota()
        code = "from network.cores import usable_cores; print(usable_cores())"
        try:
            with crowd.quota(0.5):
                found = subprocess.run(
                    [sys.executable, "-c", code],
                    cwd=Path(neighbours.__file__).parents[1],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                assert cpu_quota() == 0.5
        except OSError as error:
            pytest.skip(f"no control group may be made here: {error}")

        assert found.stdout.strip() == "1"
        assert cpu_quota() == home


class TestSettings:
    @pytest.fixture(autouse=True)
    def operators(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Variables that may be set where the program runs."""
        monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
        monkeypatch.setenv("NUM_THREADS", "17")

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            (NOW, {}),
            (BEFORE, {"GOMP_SPINCOUNT": "300000", "NUM_THREADS": "all"}),
            (PASSIVE, {"OMP_WAIT_POLICY": "PASSIVE", "NUM_THREADS": "all"}),
            (ONE, {"NUM_THREADS": "1"}),
        ],
    )
    def test_a_setting_is_all_that_is_set(
        self, setting: str, expected: dict[str, str]
    ) -> None:
        """Whatever was set before, which comes back afterwards."""
        names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "NUM_THREADS")

        with settings.environment_of(setting):
            found = {name: os.environ[name] for name in names if name in os.environ}

        every = str(usable_cores())
        assert found == {
            name: every if value == "all" else value for name, value in expected.items()
        }
        assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
        assert os.environ["NUM_THREADS"] == "17"

    def test_passes_are_run_for_so_long(self) -> None:
        """One at least, however long it takes."""
        now = 0.0

        def run() -> None:
            nonlocal now
            now += 0.3

        took_ms = settings.timed(run, 1.0, lambda: now)
        once = settings.timed(run, 0.0, lambda: now)

        assert took_ms == [pytest.approx(300)] * 4
        assert len(once) == 1

    def test_every_setting_runs_the_demo_model(self, tmp_path: Path) -> None:
        """In processes that are still there for the next turn."""
        clip = np.zeros(16_000, np.float32)

        with settings.running((NOW, PASSIVE), DEMO, "float32", tmp_path) as pipes:
            for pipe in (*pipes.values(), *pipes.values()):
                pipe.send(settings.Turn(clip, 0.0, 0.01))
                assert min(pipe.recv()) > 0


def message(at_s: float, *, final: bool = False) -> Message:
    return Message(at_s=at_s, utterance=0, position=0, committed="one", final=final)


class TestText:
    def test_the_longest_time_without_text_may_be_at_either_end(self) -> None:
        """Finals are not counted: they come anyway."""
        messages = [message(1.0), message(1.5), message(2.5), message(3.5, final=True)]

        assert text_came(messages, 4.0) == (0.75, 1.5)
        assert text_came(messages[:2], 10.0) == (0.2, 8.5)

    def test_no_text_at_all(self) -> None:
        """Is one long time without."""
        assert text_came([message(3.0, final=True)], 5.0) == (0.0, 5.0)


class Pipe:
    """A process that answers at once."""

    def __init__(self) -> None:
        self.turns: list[tuple[object, float]] = []

    def send(self, turn: tuple[object, float]) -> None:
        self.turns.append(turn)

    def recv(self) -> list[float]:
        return [float(len(self.turns))]


class TestTurns:
    def test_no_turn_is_made_again_after_the_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So a run on a busy machine ends."""
        monkeypatch.setattr(crowd.Strangers, "cores", lambda own: 2.0)
        pipe = Pipe()
        clip = np.zeros(10, np.float32)
        options = parse_options(["--minutes", "0"])

        own = Bench(options, {NOW: pipe}, {}, Path(), clip, clip).turn(NOW)

        assert len(pipe.turns) == 1
        assert own.strangers == [2.0]

    @pytest.mark.parametrize(
        ("taken", "n_turns"), [([0.0], 1), ([0.9, 0.5, 0.05], 3), ([0.9] * 9, 3)]
    )
    def test_a_disturbed_turn_is_made_again(
        self, monkeypatch: pytest.MonkeyPatch, taken: list[float], n_turns: int
    ) -> None:
        """Not for ever; the last one counts, and how disturbed it was."""
        cores = iter(taken)

        class Strangers:
            def cores(self) -> float:
                return next(cores)

        monkeypatch.setattr(crowd, "Strangers", Strangers)
        pipe = Pipe()
        clip = np.zeros(10, np.float32)
        bench = Bench(parse_options([]), {NOW: pipe}, {}, Path(), clip, clip)

        own = bench.turn(NOW)

        assert len(pipe.turns) == n_turns
        assert own.took_ms == [n_turns]
        assert own.strangers == [taken[n_turns - 1]]


TOOK = {  # median and p90 in ms
    (NOW, QUIET): (10, 12),
    (BEFORE, QUIET): (10, 12),
    (PASSIVE, QUIET): (19, 20),
    (ONE, QUIET): (18, 19),
    (ONNX, QUIET): (15, 16),
    (NOW, BESIDE_ONE): (18, 30),
    (BEFORE, BESIDE_ONE): (60, 400),
    (ONNX, BESIDE_ONE): (30, 40),
    (NOW, BESIDE_TWO): (35, 60),
    (ONNX, BESIDE_TWO): (30, 40),
}


def measured() -> list[Row]:
    common = {"model": DEMO, "dtype": "float32", "window_s": 5, "passes": 9}
    return [
        {
            **common,
            "setting": setting,
            "condition": condition,
            "median_ms": float(middle),
            "p90_ms": float(p90),
            "strangers": 0.0,
        }
        for (setting, condition), (middle, p90) in TOOK.items()
    ]


class TestConclusions:
    def test_goals_are_ratios_of_the_same_run(self) -> None:
        """Over the best setting, over the quiet machine, over ONNX Runtime."""
        found = {goal.what: (goal.measured, goal.met) for goal in goals(measured())}

        assert found == {
            "quiet, over the best setting": (1.0, True),
            "1 neighbour, p90 over that of the quiet machine": (2.5, True),
            "1 neighbour, over ONNX Runtime": (0.6, True),
            "2 neighbours, over ONNX Runtime": (pytest.approx(35 / 30), False),
        }

    def test_without_onnx_runtime_nothing_is_said_of_it(self) -> None:
        """Nothing is made up."""
        own = [row for row in measured() if row["setting"] != ONNX]

        assert len(goals(own)) == 2

    def test_a_row_sums_up_all_turns(self) -> None:
        """The worst gap, and the most that strangers have taken."""
        turns = Measured([10.0, 20.0, 30.0], [(3.0, 0.5), (2.0, 0.9)], [0.0, 0.07])

        assert turns.row() == {
            "passes": 3,
            "median_ms": 20.0,
            "p90_ms": 28.0,
            "strangers": 0.07,
            "partials_per_s": 2.5,
            "longest_gap_s": 0.9,
        }

    def test_the_table_has_a_line_for_each_setting_and_goal(self) -> None:
        """And room for what was not measured."""
        own = measured()
        own[0] |= {"partials_per_s": 3.0, "longest_gap_s": 0.6}
        environment = {"commit": "abc"}

        lines = neighbours.table([*own, environment]).splitlines()

        assert lines[0].endswith(f"| {UNDER_QUOTA} |")
        assert len(lines) == 2 + len(OURS) + 1 + 1 + 4
        assert any("10 / 12 ms | 18 / 30 ms | 35 / 60 ms |  |" in row for row in lines)
        assert any("3 a second, 0.6 s |  |  |  |" in row for row in lines)
        assert any("at most 3 | 2.50 | met |" in row for row in lines)


def test_what_is_committed_reaches_the_goals() -> None:
    """And text of a speaker came at least once a second beside anything."""
    rows = documents.read_rows(documents.RESULTS / "neighbours.jsonl")
    for model in {row["model"] for row in rows if "model" in row}:
        own = [row for row in rows if row.get("model") == model]
        assert [goal.what for goal in goals(own) if not goal.met] == []
    live = [row for row in rows if row.get("setting") == NOW and "longest_gap_s" in row]
    assert len(live) >= 4
    assert max(row["longest_gap_s"] for row in live) <= 1


class TestOptions:
    def test_a_quick_run_shows_that_it_works(self) -> None:
        """In one short round, even beside other programs."""
        quick = parse_options(["--quick"])

        assert quick.rounds == 1
        assert quick.seconds < 1
        assert quick.strangers > 1000

    def test_random_weights_say_nothing_to_stream(self) -> None:
        """So the 300M architecture has passes only."""
        assert parse_options(["--model", "300m_v2"]).stream_s == 0
        assert parse_options([]).stream_s > 0


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """A busy loop that goes on would disturb every later test."""
    yield
    assert not [own for own in children() if "while True" in command_of(own)]


def command_of(process: psutil.Process) -> str:
    """Return its command; none if it has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""
