"""One queue, one thread, and every waiter gets exactly its own answer."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

from benchmarks.common.processes import wait_for
from engine.interface import (
    CacheKey,
    Decoding,
    FrameGrid,
    Model,
    ModelError,
    ModelInput,
    ModelLost,
    NotReady,
    OutOfMemory,
    Overloaded,
    QueueFull,
    WaitedTooLong,
)
from engine.load import SHORT_CONTEXT
from engine.scheduler import Scheduler
from engine.work_queue import BatchRules, Work
from tests.support.fakes import ScriptedModel
from tests.support.pipe_model import PipeModel
from tests.support.scheduling import started
from text.ctc import FrameLabels

SECOND = 16_000


def window(seconds: float = 1.0) -> ModelInput:
    return ModelInput(np.zeros(round(seconds * SECOND), np.float32))


Start = Callable[..., Scheduler]


@pytest.fixture(params=["here", "behind a pipe"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a scheduler with a scripted model, here and in another process."""
    with starting(PipeModel if request.param == "behind a pipe" else None) as run:
        yield run


@pytest.fixture
def start_here() -> Iterator[Start]:
    """Start a scheduler with a scripted model in this process."""
    with starting(None) as run:
        yield run


@contextmanager
def starting(move: type[PipeModel] | None) -> Iterator[Start]:
    """Start schedulers, and close them afterwards."""
    running: list[tuple[Scheduler, ScriptedModel]] = []
    moved: list[PipeModel] = []

    def run(model: ScriptedModel, **options: Any) -> Scheduler:
        served: Model = model
        if move is not None:
            moved.append(move(model))
            served = moved[-1]
        running.append((started(served, **options), model))
        return running[-1][0]

    try:
        yield run
    finally:
        for scheduler, model in running:
            model.may_run.set()
            scheduler.close(timeout_s=10)
        for own in moved:
            own.process.kill()


def unstarted(load: Callable[[], Model], **options: Any) -> Scheduler:
    """Make a scheduler whose loading is what is tested."""
    limits: dict[str, Any] = {
        "max_queued": 1,
        "min_streams": 1,
        "max_streams": 1,
        "file_share": 0.1,
        "max_wait_s": 60,
        "rules": BatchRules(max_windows=1),
    }
    return Scheduler(load, **(limits | options))


class SlowModel(ScriptedModel):
    """Takes its time, as a clock of its own has it."""

    def __init__(self, pass_s: float) -> None:
        super().__init__()
        self.pass_s = pass_s
        self.now = 0.0

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        self.now += self.pass_s
        return super().label_frames(windows)


class Poisoned(ScriptedModel):
    """Fails on windows of one length, whatever is beside them.

    Args:
        n_samples: The length.
    """

    def __init__(self, n_samples: int) -> None:
        super().__init__()
        self._n_samples = n_samples

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        labelled = super().label_frames(windows)
        if any(len(window) == self._n_samples for window in windows):
            raise ValueError("poison")
        return labelled


def occupy(scheduler: Scheduler, model: ScriptedModel) -> Future[FrameLabels]:
    """Have the model work on one window until the test lets it go on."""
    model.may_run.clear()
    model.running.clear()
    first = scheduler.submit(window())
    assert model.running.wait(10)
    return first


class TestBatches:
    def test_waiting_windows_of_about_the_same_length_share_a_pass(
        self, start: Start
    ) -> None:
        """Others keep their place and go next."""
        model = ScriptedModel()
        scheduler = start(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(s)) for s in (10, 2, 9, 8, 2.5)]

        model.may_run.set()
        wait(jobs, timeout=10)

        in_seconds = [[n / SECOND for n in batch] for batch in model.batches]
        assert in_seconds == [[1], [10, 9, 8], [2, 2.5]]

    @pytest.mark.parametrize("max_batch", [1, 3])
    def test_a_pass_takes_no_more_than_the_limit(
        self, start: Start, max_batch: int
    ) -> None:
        """BATCH_SIZE=1 means one window at a time."""
        model = ScriptedModel()
        scheduler = start(model, max_batch=max_batch)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window()) for _ in range(6)]

        model.may_run.set()
        wait(jobs, timeout=10)

        assert max(map(len, model.batches)) == max_batch

    def test_each_waiter_gets_its_own_frames(self, start: Start) -> None:
        """Told apart by their number."""
        model = ScriptedModel()
        scheduler = start(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(s)) for s in (1.0, 1.1, 1.2)]

        model.may_run.set()

        lengths = [len(job.result(timeout=10).ids) for job in jobs]
        assert lengths == [49, 49, 54, 59]

    def test_a_window_goes_with_its_answer(self, start: Start) -> None:
        """Its audio does not wait for the garbage collector, which may take long."""
        scheduler = start(ScriptedModel())
        first = window()
        audio = weakref.ref(first.samples)
        gc.disable()
        try:
            answered = scheduler.submit(first)
            answered.result(timeout=10)
            del first
            scheduler.submit(window()).result(timeout=10)

            wait_for(lambda: audio() is None)
        finally:
            gc.enable()
        assert len(answered.result().ids)

    def test_the_model_is_called_in_one_thread_only(self, start_here: Start) -> None:
        """The one called asr."""
        names: set[str] = set()

        class Watched(ScriptedModel):
            def label_frames(self, windows: object) -> list[FrameLabels]:
                names.add(threading.current_thread().name)
                return super().label_frames([window()])

        scheduler = start_here(Watched())
        for _ in range(3):
            scheduler.submit(window()).result(timeout=10)

        assert names == {"asr"}


class TestUrgency:
    def test_a_final_overtakes_fifty_queued_windows(self, start: Start) -> None:
        """A client waits for it, so it goes next."""
        model = ScriptedModel()
        scheduler = start(model, max_queued=50)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(30)) for _ in range(50)]
        jobs += [
            scheduler.submit(window(4), work=Work.STREAM_PARTIAL, due_in_s=0.3),
            scheduler.submit(window(8), work=Work.STREAM_FINAL),
        ]

        model.may_run.set()
        wait(jobs, timeout=10)

        in_seconds = [n / SECOND for batch in model.batches for n in batch]
        assert in_seconds[1:3] == [8, 4]

    def test_of_the_partials_the_first_that_is_due_goes_first(
        self, start: Start
    ) -> None:
        """The first to ask is served first."""
        model = ScriptedModel()
        scheduler = start(model, max_batch=1)
        jobs = [occupy(scheduler, model)]
        for seconds, due_in_s in ((4, 20), (5, None), (6, 10)):
            jobs.append(
                scheduler.submit(
                    window(seconds), work=Work.STREAM_PARTIAL, due_in_s=due_in_s
                )
            )

        model.may_run.set()
        wait(jobs, timeout=10)

        assert [batch[0] / SECOND for batch in model.batches[1:]] == [5, 6, 4]


class TestLimits:
    def test_streams_and_files_do_not_take_each_others_room(self, start: Start) -> None:
        """MAX_QUEUE is for files; a stream that was let in has its windows taken."""
        model = ScriptedModel()
        scheduler = start(model, max_queued=1)
        occupy(scheduler, model)

        for work in Work:
            scheduler.submit(window(), work=work)
        with pytest.raises(QueueFull):
            scheduler.submit(window())

        assert scheduler.n_queued == len(Work)

    def test_a_full_queue_is_refused_with_a_time_to_come_back(
        self, start: Start
    ) -> None:
        """No caller waits without end."""
        model = ScriptedModel()
        scheduler = start(model, max_queued=2)
        occupy(scheduler, model)
        scheduler.submit(window())
        scheduler.submit(window())

        with pytest.raises(QueueFull) as refusal:
            scheduler.submit(window())

        assert 1 <= refusal.value.retry_after_s <= 60

    def test_a_cancelled_window_leaves_room_and_never_reaches_the_model(
        self, start: Start
    ) -> None:
        """The client has gone; its place is free."""
        model = ScriptedModel()
        scheduler = start(model, max_queued=1)
        occupy(scheduler, model)
        gone = scheduler.submit(window(3))
        gone.cancel()

        stays = scheduler.submit(window(2))
        model.may_run.set()
        stays.result(timeout=10)

        assert model.batches == [[SECOND], [2 * SECOND]]

    def test_a_window_whose_turn_comes_too_late_is_told_so(self, start: Start) -> None:
        """No caller waits for its answer, so the model does not compute it."""
        model = ScriptedModel()
        now = [0.0]
        scheduler = start(model, clock=lambda: now[0])
        first = occupy(scheduler, model)
        late = scheduler.submit(window(3))
        now[0] = 61.0
        model.may_run.set()

        with pytest.raises(WaitedTooLong):
            late.result(timeout=10)
        assert first.result(timeout=10)
        assert [3 * SECOND] not in model.batches

    def test_cancelling_a_coroutine_cancels_its_window(self, start: Start) -> None:
        """As happens when a request is given up."""
        model = ScriptedModel()
        scheduler = start(model)
        occupy(scheduler, model)

        async def give_up() -> None:
            waiting = asyncio.wrap_future(scheduler.submit(window(3)))
            await asyncio.to_thread(wait_for, lambda: scheduler.n_queued == 1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

        asyncio.run(give_up())
        stays = scheduler.submit(window(2))
        model.may_run.set()
        stays.result(timeout=10)

        assert model.batches == [[SECOND], [2 * SECOND]]


class TestStreams:
    def test_a_stream_has_a_place_until_it_ends(self, start: Start) -> None:
        """The limit is MAX_STREAMS; ending twice makes no more room."""
        scheduler = start(ScriptedModel(), max_streams=2)
        place = scheduler.admit_stream()
        scheduler.admit_stream()

        with pytest.raises(Overloaded) as refusal:
            scheduler.admit_stream()
        scheduler.leave(place)
        scheduler.leave(place)

        assert refusal.value.retry_after_s == 5
        assert scheduler.n_streams == 1

    def test_what_the_rehearsal_cost_decides_how_many_get_in(self) -> None:
        """Before any stream has said a word; its passes are as large as any."""
        model = SlowModel(pass_s=0.08)  # a second of audio: a hundredth
        scheduler = unstarted(
            lambda: model,
            max_streams=64,
            rules=BatchRules(max_windows=8, max_samples=9 * SECOND),
            rehearsed=window(4),
            clock=lambda: model.now,
        )
        scheduler.start()
        wait_for(lambda: scheduler.ready and not scheduler.measuring)

        with pytest.raises(Overloaded):
            crowd_in(scheduler)
        scheduler.close(timeout_s=10)

        assert scheduler.n_streams == 24
        assert set(map(tuple, model.batches)) == {(4 * SECOND, 4 * SECOND)}
        assert 4 <= len(model.batches) <= 9

    def test_before_it_is_over_some_are_let_in_and_others_may_wait(self) -> None:
        """MIN_STREAMS of them, though the cost is unknown; and work goes first."""
        model = ScriptedModel()
        model.may_run.clear()
        scheduler = unstarted(
            lambda: model, min_streams=2, max_streams=64, rehearsed=window(4)
        )
        scheduler.start()
        wait_for(lambda: scheduler.ready and bool(model.batches))
        scheduler.admit_stream()
        scheduler.admit_stream()
        with pytest.raises(Overloaded) as refusal:
            scheduler.admit_stream()
        asked = scheduler.submit(window(1))
        model.may_run.set()
        asked.result(timeout=10)
        wait_for(lambda: not scheduler.measuring)
        scheduler.close(timeout_s=10)

        assert refusal.value.settles
        assert model.batches[:2] == [[4 * SECOND], [1 * SECOND]]

    def test_one_that_fails_ends_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """Streams are let in as if it had not been tried, and the model serves."""
        model = ScriptedModel(failures=[ValueError("scripted")])
        scheduler = unstarted(
            lambda: model, max_streams=64, rehearsed=window(4), on_loaded=lambda e: None
        )
        scheduler.start()
        wait_for(lambda: scheduler.ready and not scheduler.measuring)
        for _ in range(3):
            scheduler.admit_stream()
        scheduler.submit(window(1)).result(timeout=10)
        scheduler.close(timeout_s=10)

        assert "A pass over silence failed." in caplog.text

    def test_a_models_own_trials_come_first_and_give_way(self) -> None:
        """In its thread, while there is no work."""
        tried: list[str] = []

        class Trying(ScriptedModel):
            def trials(self) -> Iterator[None]:
                for _ in range(3):
                    self.running.set()
                    assert self.may_run.wait(10)
                    tried.append(threading.current_thread().name)
                    yield

            def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
                tried.append(f"{len(windows[0]) // SECOND} s")
                return super().label_frames(windows)

        model = Trying()
        model.may_run.clear()
        scheduler = unstarted(lambda: model, rehearsed=window(4))
        scheduler.start()
        wait_for(lambda: scheduler.ready and model.running.is_set())
        asked = scheduler.submit(window(1))
        model.may_run.set()
        asked.result(timeout=10)
        wait_for(lambda: not scheduler.measuring)
        scheduler.close(timeout_s=10)

        assert tried[:5] == ["asr", "1 s", "asr", "asr", "4 s"]

    def test_it_is_learnt_again_after_idleness(self) -> None:
        """The first stream that comes then has it rehearsed."""
        model = SlowModel(pass_s=0.4)
        scheduler = unstarted(
            lambda: model,
            max_streams=64,
            rehearsed=window(4),
            clock=lambda: model.now,
        )
        scheduler.start()
        wait_for(lambda: scheduler.ready and not scheduler.measuring)
        n_before = len(model.batches)
        model.pass_s = 0.04
        model.now += 3600

        scheduler.admit_stream()
        wait_for(lambda: len(model.batches) >= n_before + 4)
        wait_for(lambda: not (scheduler._spare_time or scheduler._n_serving))
        scheduler.submit(window()).result(timeout=10)
        model.now += 10
        with pytest.raises(Overloaded):
            crowd_in(scheduler)
        scheduler.close(timeout_s=10)

        assert scheduler.n_streams == 1 + 24

    def test_more_to_do_than_time_is_seen_and_passes(self, start: Start) -> None:
        """The clock is the test's, and so is what a pass takes."""
        model = SlowModel(pass_s=0.5)
        scheduler = start(model, clock=lambda: model.now)
        places = [scheduler.admit_stream() for _ in range(2)]

        found = []
        for k in range(24):
            scheduler.submit(
                window(), work=Work.STREAM_PARTIAL, place=places[k % 2]
            ).result(timeout=10)
            wait_for(lambda: scheduler.n_queued == 0)
            found.append((scheduler.is_tight, scheduler.max_left_context))
        model.now += 60

        assert found[0] == (False, None)
        assert found[-1] == (True, SHORT_CONTEXT)
        assert not scheduler.is_tight

    def test_recordings_overload_nobody(self, start: Start) -> None:
        """They take what time is left."""
        model = SlowModel(pass_s=1.0)
        scheduler = start(model, clock=lambda: model.now)
        for _ in range(5):
            scheduler.submit(window(30)).result(timeout=10)

        assert not scheduler.is_tight


def crowd_in(scheduler: Scheduler) -> None:
    """Let streams in until one is refused."""
    while True:
        scheduler.admit_stream()


class TestErrors:
    def test_an_error_reaches_those_who_wait_for_that_pass_and_nobody_else(
        self, start: Start
    ) -> None:
        """The next pass is served as if nothing had happened."""
        model = ScriptedModel(failures=[ValueError("broken window")])
        scheduler = start(model)

        with pytest.raises(ValueError, match="broken window"):
            scheduler.submit(window()).result(timeout=10)

        assert len(scheduler.submit(window()).result(timeout=10).ids) == 49

    def test_a_window_that_breaks_a_pass_fails_alone(self, start: Start) -> None:
        """The other windows of its pass get their frames."""
        model = Poisoned(n_samples=round(2.2 * SECOND))
        scheduler = start(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(s)) for s in (2.0, 2.1, 2.2, 2.3)]

        model.may_run.set()
        wait(jobs, timeout=10)

        assert [len(batch) for batch in model.batches] == [1, 4, 1, 1, 1, 1]
        assert [job for job in jobs if job.exception()] == [jobs[3]]
        assert isinstance(jobs[3].exception(), ValueError)
        assert scheduler.watchdog.trouble is None

    def test_a_model_that_fails_for_everybody_is_noticed(self, start: Start) -> None:
        """All waiting callers get an error, and new windows are refused."""
        model = ScriptedModel(failures=[None, *(ValueError("broken"),) * 5])
        scheduler = start(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(2)) for _ in range(4)]

        model.may_run.set()
        wait(jobs, timeout=10)

        assert [job.exception() is None for job in jobs] == [True, *(False,) * 4]
        assert "ValueError" in (scheduler.watchdog.trouble or "")


class TestMemory:
    def test_a_batch_that_does_not_fit_is_split(self, start: Start) -> None:
        """Every caller gets an answer."""
        model = Cramped()
        scheduler = start(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(2)) for _ in range(4)]

        model.may_run.set()

        assert [len(job.result(timeout=10).ids) for job in jobs] == [49, *4 * [99]]
        assert [len(batch) for batch in model.batches] == [1, 4, 2, 2]

    def test_only_the_window_that_is_too_much_by_itself_fails(
        self, start: Start
    ) -> None:
        """The other windows of its pass do not."""
        model = Cramped()
        scheduler = start(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(s)) for s in (5, 5, 6, 5)]

        model.may_run.set()
        wait(jobs, timeout=10)

        failed = [job for job in jobs if job.exception()]
        assert failed == [jobs[3]]
        assert isinstance(failed[0].exception(), OutOfMemory)

    def test_nothing_of_the_pass_that_failed_is_kept_during_the_next(
        self, start_here: Start
    ) -> None:
        """Or there would be still less memory."""
        alive: list[bool] = []
        taken: list[weakref.ref[object]] = []

        class Watched(Cramped):
            def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
                alive.extend(ref() is not None for ref in taken)
                activations = np.zeros(1)
                taken.append(weakref.ref(activations))
                return super().label_frames(windows)

        model = Watched()
        scheduler = start_here(model)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(4)) for _ in range(2)]

        model.may_run.set()
        wait(jobs, timeout=10)

        assert len(model.batches) == 4
        assert not any(alive)


class Cramped(ScriptedModel):
    """A model whose memory holds five seconds of audio at a time."""

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        frames = super().label_frames(windows)
        if sum(map(len, windows)) > 5 * SECOND:
            raise OutOfMemory("There is room for 5 s.")
        return frames


class TestLifetime:
    def test_nothing_is_taken_while_the_model_loads(self) -> None:
        """Callers learn it at once."""
        may_load = threading.Event()

        def load() -> Model:
            may_load.wait(10)
            return ScriptedModel()

        scheduler = unstarted(load)
        scheduler.start()

        with pytest.raises(NotReady, match="loading"):
            scheduler.submit(window())
        may_load.set()
        wait_for(lambda: scheduler.ready)
        scheduler.close(timeout_s=10)

    def test_a_model_that_cannot_be_loaded_is_reported(self) -> None:
        """Once, with its reason."""
        told: list[BaseException | None] = []
        failed = threading.Event()

        def load() -> Model:
            raise OSError("no such file")

        def note(error: BaseException | None) -> None:
            told.append(error)
            failed.set()

        scheduler = unstarted(load, on_loaded=note)
        scheduler.start()

        assert failed.wait(10)
        assert [str(error) for error in told] == ["no such file"]
        assert not scheduler.ready

    def test_closing_serves_what_is_queued_and_takes_no_more(
        self, start: Start
    ) -> None:
        """No stream that was let in is ended."""
        model = ScriptedModel()
        scheduler = start(model)
        jobs = [occupy(scheduler, model), scheduler.submit(window(3))]

        closing = threading.Thread(target=scheduler.close, args=(10,))
        closing.start()
        wait_for(lambda: not scheduler.ready)
        with pytest.raises(NotReady, match="shutting down"):
            scheduler.submit(window())
        model.may_run.set()
        closing.join()

        assert all(job.result(timeout=0) is not None for job in jobs)

    def test_whoever_still_waits_at_the_deadline_is_told(self, start: Start) -> None:
        """No future is left without an answer."""
        model = ScriptedModel()
        scheduler = start(model)
        occupy(scheduler, model)
        late = scheduler.submit(window(3))

        scheduler.close(timeout_s=0)

        with pytest.raises(NotReady):
            late.result(timeout=0)


class TestStuck:
    def test_recordings_and_streams_are_refused_while_a_pass_hangs(
        self, start: Start
    ) -> None:
        """What has begun may go on; afterwards everything may."""
        now = [0.0]
        model = ScriptedModel()
        scheduler = start(model, clock=lambda: now[0])
        jobs = [occupy(scheduler, model)]
        now[0] += 19
        jobs.append(scheduler.submit(window()))
        now[0] += 2

        with pytest.raises(NotReady, match="no results at present"):
            scheduler.submit(window())
        with pytest.raises(NotReady, match="no results at present"):
            scheduler.admit_stream()
        jobs.append(scheduler.submit(window(), beyond_limit=True))
        jobs.append(scheduler.submit(window(), work=Work.STREAM_FINAL))
        model.may_run.set()
        wait(jobs, timeout=10)
        scheduler.leave(scheduler.admit_stream())
        jobs.append(scheduler.submit(window()))

        assert all(job.result(timeout=10) for job in jobs)

    def test_what_has_waited_as_long_as_it_may_is_told(self, start: Start) -> None:
        """Also the windows of the pass that hangs, whose results come to nothing."""
        now = [0.0]
        model = ScriptedModel()
        scheduler = start(model, clock=lambda: now[0])
        late = [occupy(scheduler, model), scheduler.submit(window())]
        now[0] += 59
        scheduler.drop_late()
        before = [job.done() for job in late]
        newer = scheduler.submit(window(), beyond_limit=True)
        now[0] += 2
        scheduler.drop_late()

        assert before == [False, False]
        for job in late:
            with pytest.raises(WaitedTooLong):
                job.result(timeout=0)
        assert not newer.done()
        assert scheduler.watchdog.stuck_s is not None
        model.may_run.set()
        assert newer.result(timeout=10) is not None
        assert scheduler.watchdog.stuck_s is None

    def test_a_model_that_is_given_up_is_lost(self, start: Start) -> None:
        """All that waits for it is told at once."""
        model = ScriptedModel()
        scheduler = start(model)
        jobs = [occupy(scheduler, model), scheduler.submit(window())]

        scheduler.give_up("it is stuck")

        for job in jobs:
            with pytest.raises(NotReady, match="has to be started again"):
                job.result(timeout=0)
        assert not scheduler.ready


class Paired(ScriptedModel):
    """A model that answers a batch only while it works on another one, too."""

    traits = replace(ScriptedModel.traits, max_batches=2)

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)
        self.threads: set[str] = set()

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        self.both.wait(timeout=10)
        self.threads.add(threading.current_thread().name)
        return super().label_frames(windows)


class TestContract:
    def test_a_model_may_take_several_batches_at_the_same_time(
        self, start_here: Start
    ) -> None:
        """It says so in its traits, and gets a thread for each."""
        model = Paired()
        scheduler = start_here(model, max_batch=1)

        jobs = [scheduler.submit(window()) for _ in range(6)]

        assert all(len(job.result(timeout=10).ids) for job in jobs)
        assert model.threads == {"asr", "asr 2"}

    def test_a_lost_model_gets_no_more_windows(self) -> None:
        """Its process was killed: callers are told, and so is the process's owner."""
        told: list[ModelLost] = []
        model = ScriptedModel()
        behind = PipeModel(model)
        scheduler = unstarted(lambda: behind, max_queued=8, on_lost=told.append)
        scheduler.start()
        wait_for(lambda: scheduler.ready)
        jobs = [occupy(scheduler, model)]
        jobs += [scheduler.submit(window(3)) for _ in range(3)]

        behind.process.kill()
        wait(jobs, timeout=10)
        wait_for(lambda: bool(told))

        assert {type(job.exception()) for job in jobs} == {NotReady}
        assert not scheduler.ready
        assert len(told) == 1
        with pytest.raises(NotReady, match="started again"):
            scheduler.submit(window())
        scheduler.close(timeout_s=10)

    def test_a_thread_that_breaks_is_a_lost_model(
        self, start_here: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No caller waits for a thread that has ended."""
        model = ScriptedModel(failures=[SystemExit("gone")])
        scheduler = start_here(model)

        with pytest.raises(NotReady, match="started again"):
            scheduler.submit(window()).result(timeout=10)

        wait_for(lambda: not scheduler.ready)
        assert "The model's thread broke." in caplog.text

    def test_a_stream_does_not_make_a_broken_model_spin(self, start: Start) -> None:
        """It asks again at once; the model gets a pause."""
        model = ScriptedModel(failures=[ValueError("broken")] * 1000)
        scheduler = start(model)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            job = scheduler.submit(window(), work=Work.STREAM_PARTIAL)
            assert job.exception(timeout=10)

        assert len(model.batches) < 10

    def test_a_cache_key_names_an_utterance_in_the_other_process_too(self) -> None:
        """As long as there is a key here, and no longer."""
        model = KeyCounter()
        behind = PipeModel(model)
        first, second = CacheKey(), CacheKey()

        def hear(key: CacheKey) -> None:
            behind.label_frames([replace(window(), cache_key=key)])

        hear(first)
        hear(first)
        hear(second)
        assert model.n_seen == [1, 1, 2]
        del first
        gc.collect()
        hear(second)
        assert model.n_seen[-1] == 1
        behind.process.kill()

    def test_a_model_with_another_frame_grid_is_not_served(self) -> None:
        """Times of words are counted on ours."""
        told: list[BaseException | None] = []
        model = ScriptedModel()
        model.traits = replace(model.traits, grid=FrameGrid(shift=640))
        scheduler = unstarted(lambda: model, on_loaded=told.append)
        scheduler.start()
        wait_for(lambda: bool(told))

        assert "shift=640" in str(told[0])
        assert not scheduler.ready

    def test_a_model_that_answers_for_too_few_windows_is_told_so(
        self, start: Start
    ) -> None:
        """No window gets the frames of another, and the thread goes on."""
        model = Forgetful()
        scheduler = start(model)

        with pytest.raises(ModelError, match="0 windows of 1"):
            scheduler.submit(window()).result(timeout=10)

        assert scheduler.ready

    def test_a_window_asks_for_labels_or_for_the_best(self) -> None:
        """Not for both, and not for fewer than none."""
        with pytest.raises(ValueError, match="not for both"):
            Decoding(n_best=2, labels=(1,))
        with pytest.raises(ValueError, match="n_best is -1"):
            Decoding(n_best=-1)


class KeyCounter(ScriptedModel):
    """Counts the keys that still exist in its process."""

    def __init__(self) -> None:
        super().__init__()
        self.n_seen: list[int] = []

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        _SEEN.update(window.cache_key for window in windows if window.cache_key)
        gc.collect()
        self.n_seen.append(len(_SEEN))
        return super().label_frames(windows)


# Of one process, as what a model caches is.
_SEEN: WeakSet[CacheKey] = WeakSet()


class Forgetful(ScriptedModel):
    """Answers for no window."""

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        return []
