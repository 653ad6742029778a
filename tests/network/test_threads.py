"""Passes with the number of threads that was chosen, by a scripted clock."""

import logging
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from engine.interface import ModelInput
from model import ASRModel
from network import threads as threads_module
from network.threads import Threads, limit_threads


class Machine:
    """A clock that passes move on, as long as their number of threads takes.

    Attributes:
        took_s: What a pass takes, by number of threads.
        ran: Share of it that the calling thread has a core.
    """

    def __init__(self, took_s: dict[int, float]) -> None:
        self.took_s = took_s
        self.ran = 1.0
        self.free: float | None = None
        self.now = 0.0
        self.ran_s = 0.0
        self.number = max(took_s)
        self.numbers: list[int] = []

    def threads(self) -> Threads:
        """Make what is tested, on this machine."""
        return Threads(
            max(self.took_s),
            set_number=self.set_number,
            clock=lambda: self.now,
            ran=lambda: self.ran_s,
            spare=lambda: self.free,
        )

    def set_number(self, number: int) -> None:
        self.number = number

    def work(self) -> str:
        """A pass."""
        self.numbers.append(self.number)
        self.now += self.took_s[self.number]
        self.ran_s += self.ran * self.took_s[self.number]
        return "done"


def rehearse(threads: Threads, machine: Machine) -> None:
    """Rehearse without work between the passes."""
    deque(threads.rehearse(machine.work), maxlen=0)


class TestRehearsal:
    def test_the_quickest_number_is_chosen_and_the_log_says_of_what(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In one line."""
        machine = Machine({4: 0.020, 3: 0.016, 2: 0.018, 1: 0.03})
        threads = machine.threads()

        with caplog.at_level(logging.INFO):
            rehearse(threads, machine)

        assert threads.number == 3
        assert caplog.messages == [
            "Threads of a pass: 3. One took 20.0 ms with 4, 16.0 ms with 3, "
            "18.0 ms with 2, 30.0 ms with 1."
        ]

    def test_far_fewer_than_the_best_are_not_tried(self) -> None:
        """They would only be slower."""
        machine = Machine({8: 0.1, 7: 0.11, 6: 0.12, 4: 0.2, 2: 0.4, 1: 0.8})

        rehearse(machine.threads(), machine)

        assert set(machine.numbers) == {8, 7, 6, 4}

    def test_a_slow_model_is_rehearsed_for_few_seconds(self) -> None:
        """Two passes of the largest number, whatever they take."""
        machine = Machine({2: 30.0, 1: 50.0})
        threads = machine.threads()

        rehearse(threads, machine)

        assert machine.numbers == [2, 2]
        assert threads.number == 2

    def test_it_gives_way_after_each_pass_and_happens_once(self) -> None:
        """Passes that come between have all threads, and change nothing."""
        machine = Machine({2: 0.02, 1: 0.01})
        threads = machine.threads()

        for _ in threads.rehearse(machine.work):
            threads.run(machine.work, 4.0)
        assert machine.numbers == [2, 2] * 4 + [1, 2] * 4
        assert threads.number == 1
        rehearse(threads, machine)
        assert len(machine.numbers) == 16


class TestPasses:
    def test_a_pass_gets_the_chosen_number_and_gives_what_it_returns(self) -> None:
        """Set once, since setting it may end threads."""
        machine = Machine({2: 0.02, 1: 0.01})
        threads = machine.threads()
        rehearse(threads, machine)
        machine.numbers.clear()

        answers = [threads.run(machine.work, 4.0) for _ in range(3)]

        assert answers == ["done"] * 3
        assert machine.numbers == [1, 1, 1]

    def test_a_neighbour_makes_them_fewer_and_its_end_more(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """And the log says so, a line each."""
        machine = Machine({2: 0.01, 1: 0.016})
        machine.free = 2.0
        threads = machine.threads()

        def serve(n_passes: int) -> None:
            for _ in range(n_passes):
                threads.run(machine.work, 4.0)
                machine.now += 0.3

        serve(20)
        with caplog.at_level(logging.INFO):
            machine.took_s, machine.ran, machine.free = {2: 0.1, 1: 0.016}, 0.5, 1.0
            serve(40)
            beside = threads.number
            machine.took_s, machine.ran, machine.free = {2: 0.01, 1: 0.016}, 1.0, 2.0
            serve(40)

        assert (beside, threads.number) == (1, 2)
        down, up = caplog.messages
        assert down.startswith("Threads of a pass: 1. Tried 1 instead of 2")
        assert up.startswith("Threads of a pass: 2. Tried 2 instead of 1")

    def test_a_pass_that_fails_is_not_counted(self) -> None:
        """The error goes to the caller, and the next pass is as any."""
        machine = Machine({2: 0.01, 1: 0.016})
        threads = machine.threads()

        def fail() -> str:
            raise RuntimeError("out of memory")

        with pytest.raises(RuntimeError, match="out of memory"):
            threads.run(fail, 4.0)
        assert threads.run(machine.work, 4.0) == "done"
        assert threads.number == 2

    def test_two_models_in_one_thread_have_a_number_each(self) -> None:
        """It is set when they take turns, and only then."""

        class Counting(Machine):
            n_set = 0

            def set_number(self, number: int) -> None:
                super().set_number(number)
                self.n_set += 1

        machine = Counting({2: 0.01, 1: 0.005})
        quick, strong = machine.threads(), machine.threads()
        rehearse(quick, machine)
        machine.took_s = {2: 0.1, 1: 0.2}
        rehearse(strong, machine)
        assert (quick.number, strong.number) == (1, 2)
        machine.numbers.clear()
        machine.n_set = 0
        for own in (quick, quick, strong, strong, quick):
            own.run(machine.work, 4.0)

        assert machine.numbers == [1, 1, 2, 2, 1]
        assert machine.n_set == 2  # it is 1 after the last trial


class TestModel:
    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)

    def test_passes_are_what_they_were_with_any_number(
        self, demo_model: ASRModel
    ) -> None:
        """No label changes, whatever else runs on the machine."""
        noise = np.random.default_rng(0).standard_normal(5 * 16_000)
        window = ModelInput(noise.astype(np.float32) / 10)

        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            (frames,) = demo_model.label_frames([window])
            found.append(frames)

        for frames in found[1:]:
            assert (frames.ids == found[0].ids).all()
            assert frames.probs == pytest.approx(found[0].probs, abs=1e-5)

    def test_there_are_no_more_threads_than_usable_cores(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a quota may say; nor more than PyTorch would take."""
        torch.set_num_threads(8)
        monkeypatch.setattr(threads_module, "usable_cores", lambda: 3)
        assert limit_threads() == 3
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(threads_module, "usable_cores", lambda: 64)
        assert limit_threads() == 3
