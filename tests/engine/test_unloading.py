"""A scheduler frees its model when there is no work, and loads it for the next."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.common.processes import wait_for
from engine.interface import Model, ModelInput, NotReady, WaitedTooLong
from engine.scheduler import Scheduler
from engine.work_queue import BatchRules
from tests.support.fakes import ScriptedModel
from text.ctc import FrameLabels, Vocabulary

PATIENCE_S = 30
IDLE_S = 600


class Clock:
    """Stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loader:
    """Builds models, and knows whether they still exist.

    Attributes:
        next: Builds the next one.
        may_load: Loading waits for it.
    """

    def __init__(self) -> None:
        self.next: Callable[[], Model] = ScriptedModel
        self.built: list[weakref.ref[Model]] = []
        self.n_calls = 0
        self.may_load = threading.Event()
        self.may_load.set()

    def __call__(self) -> Model:
        self.n_calls += 1
        assert self.may_load.wait(PATIENCE_S)
        model = self.next()
        self.built.append(weakref.ref(model))
        return model

    @property
    def n_alive(self) -> int:
        return sum(ref() is not None for ref in self.built)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def scheduler(clock: Clock, loader: Loader) -> Iterator[Scheduler]:
    """A scheduler that is ready, and unloads after ten minutes."""
    own = scheduler_of(loader, clock, max_windows=2)
    own.start()
    wait_for(lambda: own.ready)
    yield own
    loader.may_load.set()
    own.close(timeout_s=PATIENCE_S)


def scheduler_of(loader: Loader, clock: Clock, *, max_windows: int) -> Scheduler:
    return Scheduler(
        loader,
        max_queued=64,
        min_streams=1,
        max_streams=4,
        rules=BatchRules(max_windows=max_windows),
        file_share=0.1,
        max_wait_s=60,
        unload_after_s=IDLE_S,
        clock=clock,
    )


def submit(scheduler: Scheduler) -> Future[FrameLabels]:
    return scheduler.submit(ModelInput(np.zeros(16_000, np.float32)))


def text_of(future: Future[FrameLabels]) -> str:
    ids = future.result(PATIENCE_S).ids
    return "".join(ScriptedModel.traits.vocabulary.texts[label] for label in ids)


def send_away(scheduler: Scheduler, clock: Clock) -> None:
    """Let time pass without work, until the model is gone."""
    clock.now += IDLE_S
    scheduler.unload_if_idle()
    wait_for(lambda: not scheduler.loaded and not scheduler._residence.moving)


def test_nothing_refers_to_a_model_that_was_unloaded(
    scheduler: Scheduler, clock: Clock, loader: Loader
) -> None:
    """So its memory is free, without the garbage collector's help."""
    text_of(submit(scheduler))
    gc.disable()
    try:
        send_away(scheduler, clock)
        assert loader.n_alive == 0
    finally:
        gc.enable()
    assert scheduler.ready
    assert scheduler.traits.vocabulary == ScriptedModel.traits.vocabulary


def test_simultaneous_windows_load_it_once_and_are_right(
    scheduler: Scheduler, clock: Clock, loader: Loader
) -> None:
    """They wait for it as they would for their turn."""
    before = text_of(submit(scheduler))
    send_away(scheduler, clock)
    loader.may_load.clear()
    waiting = [submit(scheduler) for _ in range(9)]
    wait_for(lambda: loader.n_calls == 2)
    assert not any(future.done() for future in waiting)
    loader.may_load.set()

    assert [text_of(future) for future in waiting] == [before] * 9
    assert (loader.n_calls, loader.n_alive) == (2, 1)


def test_a_model_of_several_threads_is_loaded_once(
    clock: Clock, loader: Loader
) -> None:
    """All of its threads wait for the one that loads."""

    class Wide(ScriptedModel):
        traits = replace(ScriptedModel.traits, max_batches=3)

    loader.next = Wide
    scheduler = scheduler_of(loader, clock, max_windows=1)
    scheduler.start()
    wait_for(lambda: scheduler.ready)
    for _ in range(3):
        text_of(submit(scheduler))
        send_away(scheduler, clock)
        for future in [submit(scheduler) for _ in range(9)]:
            text_of(future)
    scheduler.close(timeout_s=PATIENCE_S)

    assert loader.n_calls == 4


def test_an_open_stream_keeps_it_and_a_new_one_loads_it(
    scheduler: Scheduler, clock: Clock, loader: Loader
) -> None:
    """However silent: the time without work begins when the last has left."""
    place = scheduler.admit_stream()
    clock.now += 10 * IDLE_S
    scheduler.unload_if_idle()
    scheduler.leave(place)
    clock.now += IDLE_S - 1
    scheduler.unload_if_idle()
    text_of(submit(scheduler))
    assert (loader.n_calls, scheduler.loaded) == (1, True)
    send_away(scheduler, clock)

    place = scheduler.admit_stream()

    wait_for(lambda: scheduler.loaded)
    scheduler.leave(place)


class TestFailure:
    def test_it_is_told_and_the_next_window_tries_again(
        self, scheduler: Scheduler, clock: Clock, loader: Loader
    ) -> None:
        """What waits fails; the server stays ready."""

        def fail() -> Model:
            raise OSError("the disk is gone")

        send_away(scheduler, clock)
        loader.next = fail
        for n_calls in (2, 3):
            with pytest.raises(NotReady, match="could not be loaded again"):
                submit(scheduler).result(PATIENCE_S)
            assert loader.n_calls == n_calls
        assert scheduler.ready
        assert scheduler.watchdog.trouble is None
        with pytest.raises(NotReady):
            submit(scheduler).result(PATIENCE_S)
        assert "3 times in a row, at last with OSError" in str(
            scheduler.watchdog.trouble
        )
        loader.next = ScriptedModel

        assert "h" in text_of(submit(scheduler))
        assert scheduler.watchdog.trouble is None

    def test_another_vocabulary_is_refused(
        self, scheduler: Scheduler, clock: Clock, loader: Loader
    ) -> None:
        """Keywords and open requests know the old one."""

        class Other(ScriptedModel):
            traits = replace(ScriptedModel.traits, vocabulary=Vocabulary(("", "x")))

        send_away(scheduler, clock)
        loader.next = Other
        with pytest.raises(NotReady):
            submit(scheduler).result(PATIENCE_S)
        assert not scheduler.loaded

    def test_a_window_waits_no_longer_than_it_may(
        self, scheduler: Scheduler, clock: Clock, loader: Loader
    ) -> None:
        """Even while the model is loaded; others get theirs."""
        scheduler._residence.load_s = 30  # loading for so long is no trouble
        send_away(scheduler, clock)
        loader.may_load.clear()
        late = submit(scheduler)
        wait_for(lambda: loader.n_calls == 2)
        clock.now += 50
        scheduler.drop_late()
        in_time = submit(scheduler)
        assert not late.done()
        clock.now += 11
        scheduler.drop_late()

        with pytest.raises(WaitedTooLong):
            late.result(PATIENCE_S)
        loader.may_load.set()
        assert "h" in text_of(in_time)

    def test_a_load_that_takes_as_long_as_the_last_is_no_trouble(
        self, scheduler: Scheduler, clock: Clock, loader: Loader
    ) -> None:
        """Neither during it nor until the first pass has ended."""
        scheduler._residence.load_s = 30
        send_away(scheduler, clock)
        loader.may_load.clear()
        waiting = submit(scheduler)
        wait_for(lambda: loader.n_calls == 2)
        clock.now += 55
        assert scheduler.watchdog.trouble is None
        loader.may_load.set()
        text_of(waiting)
        assert scheduler.watchdog.trouble is None


def test_a_scheduler_closes_while_its_model_is_away(
    scheduler: Scheduler, clock: Clock
) -> None:
    """Without loading it."""
    send_away(scheduler, clock)
    scheduler.close(timeout_s=PATIENCE_S)

    assert not any(thread.is_alive() for thread in scheduler._threads)
    assert not scheduler.loaded
