"""A quick model makes partials and a strong one all else, in one scheduler."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.common.processes import wait_for
from engine.interface import ModelError, ModelInput, ModelLost, ModelTraits
from engine.scheduler import Scheduler
from engine.two_models import TwoModels, part_of
from engine.work_queue import BatchRules, Work
from tests.support.fakes import ALPHABET, ScriptedModel
from tests.support.scheduling import started
from text.ctc import FrameLabels, Vocabulary

SECOND = 16_000
PATIENCE_S = 30
FEW = Vocabulary(("", *reversed(ALPHABET)))


class Named(ScriptedModel):
    """A scripted model with traits of its own, which remembers who asks."""

    def __init__(self, text: str = "hello", **traits: object) -> None:
        super().__init__(text)
        self.traits: ModelTraits = replace(ScriptedModel.traits, **traits)  # type: ignore[arg-type]
        self.quick: list[bool] = []
        self.threads: set[str] = set()
        self.n_trials = 0

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        self.quick += [window.quick for window in windows]
        self.threads.add(threading.current_thread().name)
        return super().label_frames(windows)

    def trials(self) -> Iterator[None]:
        self.n_trials += 1
        self.threads.add(threading.current_thread().name)
        yield


def window(seconds: float = 1.0, *, quick: bool = False) -> ModelInput:
    samples = np.zeros(round(seconds * SECOND), np.float32)
    return ModelInput(samples, quick=quick)


def text_of(future: Future[FrameLabels]) -> str:
    ids = future.result(PATIENCE_S).ids
    return "".join(ScriptedModel.traits.vocabulary.texts[label] for label in ids)


@pytest.fixture
def running() -> Iterator[list[tuple[Scheduler, TwoModels]]]:
    """Schedulers that are closed afterwards."""
    found: list[tuple[Scheduler, TwoModels]] = []
    yield found
    for scheduler, models in found:
        for model in (models.strong, models.quick):
            assert isinstance(model, ScriptedModel)
            model.may_run.set()
        scheduler.close(timeout_s=PATIENCE_S)


def scheduler_of(
    running: list[tuple[Scheduler, TwoModels]], strong: Named, quick: Named
) -> Scheduler:
    models = TwoModels(strong, quick)
    scheduler = started(models, max_batch=8)
    running.append((scheduler, models))
    return scheduler


def unloading(load: Callable[[], TwoModels], clock: Callable[[], float]) -> Scheduler:
    """Start a scheduler whose models are unloaded after ten seconds without work."""
    scheduler = Scheduler(
        load,
        max_queued=8,
        min_streams=1,
        max_streams=8,
        rules=BatchRules(max_windows=1),
        file_share=0.1,
        max_wait_s=60,
        unload_after_s=10,
        clock=clock,
    )
    scheduler.start()
    wait_for(lambda: scheduler.ready)
    return scheduler


def rehearsing(
    strong: Named,
    quick: Named,
    *,
    min_streams: int = 4,
    clock: Callable[[], float] = time.monotonic,
) -> Scheduler:
    """Start a scheduler that measures what passes of both models cost."""
    scheduler = Scheduler(
        lambda: TwoModels(strong, quick),
        max_queued=8,
        min_streams=min_streams,
        max_streams=8,
        rules=BatchRules(max_windows=1),
        file_share=0.1,
        max_wait_s=60,
        rehearsed=window(1.0),
        clock=clock,
    )
    scheduler.start()
    wait_for(lambda: scheduler.ready)
    return scheduler


class TestTraits:
    def test_they_are_the_strong_ones_and_name_the_quick(self) -> None:
        """With how much more a second costs the strong one, by size."""
        strong = Named(n_parameters=600, device="cuda:0", summary="strong")
        quick = Named(n_parameters=30, device="cpu", summary="q", vocabulary=FEW)
        traits = TwoModels(strong, quick).traits

        assert traits.quick is not None
        assert traits.vocabulary == strong.traits.vocabulary
        assert traits.quick.traits == quick.traits
        assert (traits.quick.cost_of_strong, traits.quick.apart) == (20, True)
        assert traits.summary == "strong; for partials, q"
        assert traits.all[0].device == "cuda:0"

    def test_on_one_device_they_take_turns(self) -> None:
        """And no more batches at a time than either takes."""
        traits = TwoModels(Named(max_batches=4), Named()).traits

        assert traits.quick is not None
        assert not traits.quick.apart
        assert traits.max_batches == 1

    def test_a_batch_for_both_is_a_mistake(self) -> None:
        """And is told, instead of being heard by the wrong one."""
        models = TwoModels(Named(), Named())

        with pytest.raises(ValueError, match="both models"):
            models.label_frames([window(), window(quick=True)])

    def test_one_model_is_both_parts_of_itself(self) -> None:
        """So that nothing has to ask how many there are."""
        one, two = Named(), TwoModels(Named("a"), Named("b"))

        assert part_of(one, quick=False) is part_of(one, quick=True) is one
        assert part_of(two, quick=True) is two.quick


class TestTurns:
    def test_each_window_is_heard_by_its_model_and_no_batch_mixes_them(
        self, running: list[tuple[Scheduler, TwoModels]]
    ) -> None:
        """Though all have the same length and wait at the same time."""
        strong, quick = Named("strong"), Named("quick")
        scheduler = scheduler_of(running, strong, quick)
        strong.may_run.clear()
        first = scheduler.submit(window(0.5), work=Work.STREAM_FINAL)
        assert strong.running.wait(PATIENCE_S)
        partials = [
            scheduler.submit(window(quick=True), work=Work.STREAM_PARTIAL)
            for _ in range(3)
        ]
        others = [
            scheduler.submit(window(), work=work)
            for work in (Work.STREAM_SPECULATION, Work.STREAM_FINAL, Work.FILE)
        ]
        strong.may_run.set()

        assert {text_of(own) for own in partials} == {"quick"}
        assert {text_of(own) for own in (first, *others)} == {"strong"}
        assert quick.batches == [[SECOND] * 3]
        assert quick.quick == [True] * 3
        assert not any(strong.quick)
        assert strong.threads == quick.threads == {"asr"}

    def test_each_has_its_own_rules_for_batches(
        self, running: list[tuple[Scheduler, TwoModels]]
    ) -> None:
        """Their devices may have memory for other batches."""
        strong, quick = Named(), Named()
        scheduler = scheduler_of(running, strong, quick)
        scheduler.limit_batches(BatchRules(max_windows=1), BatchRules(max_windows=3))
        strong.may_run.clear()
        scheduler.submit(window(0.5))
        assert strong.running.wait(PATIENCE_S)
        waiting = [
            scheduler.submit(window(quick=own), work=Work.STREAM_PARTIAL)
            for own in (True, True, True, False, False)
        ]
        strong.may_run.set()
        for future in waiting:
            future.result(PATIENCE_S)

        assert quick.batches == [[SECOND] * 3]
        assert strong.batches[1:] == [[SECOND]] * 2

    def test_with_devices_of_their_own_they_work_at_the_same_time(
        self, running: list[tuple[Scheduler, TwoModels]]
    ) -> None:
        """A partial does not wait for a final, nor a final for a partial."""
        strong, quick = Named("strong"), Named("quick", device="cuda:1")
        scheduler = scheduler_of(running, strong, quick)
        for held, free, is_quick in ((strong, quick, True), (quick, strong, False)):
            held.may_run.clear()
            held.running.clear()
            waiting = scheduler.submit(window(quick=not is_quick))
            assert held.running.wait(PATIENCE_S)
            assert text_of(scheduler.submit(window(quick=is_quick))) == free.text
            assert not waiting.done()
            held.may_run.set()
            assert text_of(waiting) == held.text

        assert (strong.threads, quick.threads) == ({"asr"}, {"asr partials"})

    def test_both_threads_end(self, running: list[tuple[Scheduler, TwoModels]]) -> None:
        """After what waits for either is served."""
        strong, quick = Named(), Named(device="cuda:1")
        scheduler = scheduler_of(running, strong, quick)
        strong.may_run.clear()
        waiting = [scheduler.submit(window()) for _ in range(2)]
        wait_for(lambda: strong.running.is_set())
        closing = threading.Thread(target=scheduler.close, args=(PATIENCE_S,))
        closing.start()
        strong.may_run.set()
        closing.join(PATIENCE_S)

        assert all(future.exception(0) is None for future in waiting)
        assert not any(thread.is_alive() for thread in scheduler._threads)


class TestCosts:
    @pytest.mark.parametrize("device", ["cpu", "cuda:1"])
    def test_both_rehearse_and_have_a_cost_each(self, device: str) -> None:
        """Each finds out for itself how it is quickest."""
        now = 0.0

        class Slow(Named):
            def __init__(self, cost: float, device: str = "cpu") -> None:
                super().__init__(device=device)
                self.cost = cost

            def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
                nonlocal now
                with turn:
                    now += self.cost * sum(map(len, windows)) / SECOND
                    return super().label_frames(windows)

        turn = threading.Lock()
        strong, quick = Slow(0.25), Slow(0.0625, device)
        scheduler = rehearsing(strong, quick, min_streams=0, clock=lambda: now)
        wait_for(lambda: not scheduler.measuring)
        costs, n_free = scheduler.costs, scheduler.n_free
        scheduler.close(PATIENCE_S)

        assert None not in costs
        if device == "cpu":
            assert costs == (0.25, 0.0625)
            assert n_free == int(0.9 / (1.2 * 0.25 + 2.5 * 0.0625))
        assert (strong.n_trials, quick.n_trials) == (1, 1)
        assert all(quick.quick)
        assert not any(strong.quick)

    def test_a_stream_that_comes_meanwhile_does_not_begin_them_anew(self) -> None:
        """Its client asks again and again until they are measured."""

        known = threading.Event()

        class Asked(Named):
            def trials(self) -> Iterator[None]:
                assert known.wait(PATIENCE_S)
                scheduler.leave(scheduler.admit_stream())
                yield from super().trials()

        strong, quick = Asked(), Named()
        scheduler = rehearsing(strong, quick)
        known.set()
        wait_for(lambda: not scheduler.measuring)
        scheduler.close(PATIENCE_S)

        assert (strong.n_trials, quick.n_trials) == (1, 1)
        assert strong.quick.count(False) == quick.quick.count(True)


class TestFailures:
    def test_a_broken_quick_model_holds_up_nothing_else(
        self, running: list[tuple[Scheduler, TwoModels]]
    ) -> None:
        """It rests for a while, as long as this clock stands still."""
        strong, quick = Named("strong"), Named()
        quick.failures.append(ValueError("broken"))
        models = TwoModels(strong, quick)
        scheduler = started(models, clock=lambda: 1000.0)
        running.append((scheduler, models))
        assert scheduler.submit(window(quick=True)).exception(PATIENCE_S)
        wait_for(lambda: not scheduler._n_serving)
        waiting = scheduler.submit(window(quick=True), work=Work.STREAM_PARTIAL)

        assert text_of(scheduler.submit(window())) == "strong"
        assert not waiting.done()

    @pytest.mark.parametrize("place", ["a client's pass", "a pass over silence"])
    def test_a_quick_model_that_hangs_on_its_own_device_is_stuck(
        self, place: str
    ) -> None:
        """Though the strong one gives results, and no partial waits for long."""
        now = 1000.0
        strong, quick = Named(), Named(device="cuda:1")
        scheduler = rehearsing(strong, quick, clock=lambda: now)
        wait_for(lambda: not scheduler.measuring)
        now += 100
        quick.may_run.clear()
        quick.running.clear()
        if place == "a client's pass":
            scheduler.submit(window(quick=True), work=Work.STREAM_PARTIAL)
        else:
            scheduler.admit_stream()
        assert quick.running.wait(PATIENCE_S)
        for _ in range(60):
            newer = scheduler.submit(window(quick=True), work=Work.STREAM_PARTIAL)
            scheduler.submit(window(), work=Work.STREAM_FINAL).result(PATIENCE_S)
            now += 1
            newer.cancel()
        stuck_s = scheduler.watchdog.stuck_s
        quick.may_run.set()
        scheduler.close(PATIENCE_S)

        assert stuck_s is not None

    def test_both_threads_end_although_loading_again_fails(self) -> None:
        """Also the one that waited for it."""
        now, failing = 1000.0, False
        loading, may_fail = threading.Event(), threading.Event()

        def load() -> TwoModels:
            if failing:
                loading.set()
                may_fail.wait(PATIENCE_S)
                raise OSError("no disk")
            return TwoModels(Named(), Named(device="cuda:1"))

        scheduler = unloading(load, lambda: now)
        scheduler.submit(window()).result(PATIENCE_S)
        wait_for(lambda: not scheduler._n_serving)
        now += 20
        scheduler.unload_if_idle()
        wait_for(lambda: not scheduler.loaded and not scheduler._residence.moving)
        failing = True
        future = scheduler.submit(window())
        assert loading.wait(PATIENCE_S)
        closing = threading.Thread(target=scheduler.close, args=(PATIENCE_S,))
        closing.start()
        wait_for(lambda: bool(scheduler._closed))
        may_fail.set()
        for thread in scheduler._threads:
            thread.join(PATIENCE_S / 2)

        assert not any(thread.is_alive() for thread in scheduler._threads)
        assert "could not be loaded again" in str(future.exception(0))
        closing.join()

    def test_a_quick_model_that_is_broken_is_trouble_though_the_other_works(
        self, running: list[tuple[Scheduler, TwoModels]]
    ) -> None:
        """Otherwise partials would be missing, and nothing would say so."""
        strong, quick = Named(), Named()
        scheduler = scheduler_of(running, strong, quick)
        quick.failures += [ValueError("broken")] * 3
        for _ in range(3):
            assert scheduler.submit(window(quick=True)).exception(PATIENCE_S)
            scheduler.submit(window()).result(PATIENCE_S)
        assert "3 times in a row" in str(scheduler.watchdog.trouble)

        scheduler.submit(window(quick=True)).result(PATIENCE_S)
        wait_for(lambda: scheduler.watchdog.trouble is None)

    def test_with_either_of_them_lost_all_is_lost(
        self, running: list[tuple[Scheduler, TwoModels]]
    ) -> None:
        """The server ends, as with one model."""
        strong, quick = Named(), Named(device="cuda:1")
        scheduler = scheduler_of(running, strong, quick)
        quick.failures.append(ModelLost("gone"))

        assert scheduler.submit(window(quick=True)).exception(PATIENCE_S)
        wait_for(lambda: not scheduler.ready)

    def test_another_vocabulary_of_the_quick_one_is_refused_later(self) -> None:
        """As that of the strong one is, when they are loaded again."""
        now, vocabulary = 1000.0, FEW
        scheduler = unloading(
            lambda: TwoModels(Named(), Named(vocabulary=vocabulary)), lambda: now
        )
        scheduler.submit(window()).result(PATIENCE_S)
        wait_for(lambda: not scheduler._n_serving)
        now += 20
        scheduler.unload_if_idle()
        wait_for(lambda: not scheduler.loaded and not scheduler._residence.moving)
        vocabulary = Vocabulary(("", "x"))
        error = scheduler.submit(window()).exception(PATIENCE_S)
        scheduler.close(PATIENCE_S)

        assert "could not be loaded again" in str(error)

    def test_models_that_count_time_differently_are_refused(self) -> None:
        """Positions of one would mean nothing to the other."""
        other = Named(grid=replace(ScriptedModel.traits.grid, shift=640))

        with pytest.raises(ModelError, match="model of partials"):
            TwoModels(Named(), other)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_both_are_unloaded_and_come_back(device: str) -> None:
    """By the next window of either."""
    now = 1000.0
    built: list[TwoModels] = []

    def load() -> TwoModels:
        built.append(TwoModels(Named("strong"), Named("quick", device=device)))
        return built[-1]

    scheduler = unloading(load, lambda: now)
    for quick, text in ((True, "quick"), (False, "strong")):
        assert text_of(scheduler.submit(window(quick=quick))) == text
        wait_for(lambda: not scheduler._n_serving)
        now += 20
        scheduler.unload_if_idle()
        wait_for(lambda: not scheduler.loaded and not scheduler._residence.moving)
    assert text_of(scheduler.submit(window(quick=True))) == "quick"
    scheduler.close(PATIENCE_S)

    assert len(built) == 3
