"""Settings of limits and shares take effect from the environment on."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest

from api.service import Service
from config import Settings
from engine.interface import ModelInput, Overloaded, WaitedTooLong
from engine.work_queue import Work
from tests.support.fakes import ScriptedModel
from tests.support.serving import wait_for
from text.ctc import FrameLabels

PATIENCE_S = 30


def window(n_seconds: int) -> ModelInput:
    return ModelInput(np.zeros(n_seconds * 16_000, np.float32))


@contextmanager
def served(model: ScriptedModel) -> Iterator[Service]:
    """Start a service with the environment's settings; stop it afterwards."""

    async def make() -> Service:
        models = {"scripted": lambda settings, stage: model}
        service = Service(Settings(), models, rehearsal_s=0)
        service.start(lambda: None)
        return service

    with asyncio.Runner() as runner:
        service = runner.run(make())
        wait_for(lambda: service.ready)
        try:
            yield service
        finally:
            model.may_run.set()
            service.stop()


def hold_up(
    service: Service, model: ScriptedModel, work: Work, n_seconds: int
) -> Future[FrameLabels]:
    """Have the model begin with a window that it does not end yet."""
    model.may_run.clear()
    model.running.clear()
    future = service.models.default.scheduler.submit(window(n_seconds), work=work)
    assert model.running.wait(PATIENCE_S)
    return future


def let_pass(seconds: float) -> None:
    since = time.monotonic()
    wait_for(lambda: time.monotonic() >= since + seconds)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ScriptedModel:
    monkeypatch.setenv("MODEL_CARD", "scripted")
    monkeypatch.setenv("VAD_ENABLED", "false")
    return ScriptedModel()


class TestFileShare:
    @pytest.mark.parametrize(("share", "order"), [("0", [3, 1]), ("0.5", [1, 3])])
    def test_it_says_whether_a_recording_goes_before_a_partial(
        self,
        model: ScriptedModel,
        monkeypatch: pytest.MonkeyPatch,
        share: str,
        order: list[int],
    ) -> None:
        """Once streams have had the model for longer than their share."""
        monkeypatch.setenv("FILE_SHARE", share)
        with served(model) as service:
            first = hold_up(service, model, Work.STREAM_PARTIAL, 2)
            recording = service.models.default.scheduler.submit(window(1))
            partial = service.models.default.scheduler.submit(
                window(3), work=Work.STREAM_PARTIAL
            )
            let_pass(0.3)
            model.may_run.set()
            for future in (first, recording, partial):
                future.result(PATIENCE_S)

        assert model.batches == [[2 * 16_000], *([16_000 * n] for n in order)]


class TestMaxStreams:
    @pytest.mark.parametrize("most", [1, 3])
    def test_so_many_are_let_in_at_once(
        self, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        """And one more when one has gone."""
        monkeypatch.setenv("MAX_STREAMS", str(most))
        with served(model) as service:
            places = [
                service.models.default.scheduler.admit_stream() for _ in range(most)
            ]
            with pytest.raises(Overloaded):
                service.models.default.scheduler.admit_stream()
            service.models.default.scheduler.leave(places[0])
            service.models.default.scheduler.admit_stream()


class TestMinStreams:
    @pytest.mark.parametrize(("least", "n_let_in"), [("1", 1), ("3", 3)])
    def test_so_many_that_speak_are_let_in_whatever_is_forecast(
        self,
        model: ScriptedModel,
        monkeypatch: pytest.MonkeyPatch,
        least: str,
        n_let_in: int,
    ) -> None:
        """Where a stream would take many times what there is."""
        monkeypatch.setenv("MIN_STREAMS", least)
        with served(model) as service:
            for _ in range(3):
                first = hold_up(service, model, Work.FILE, 1)
                let_pass(1.0)
                model.may_run.set()
                first.result(PATIENCE_S)
            for _ in range(n_let_in):
                service.models.default.scheduler.admit_stream()
            with pytest.raises(Overloaded):
                service.models.default.scheduler.admit_stream()


class TestMaxWait:
    @pytest.mark.parametrize(("longest", "in_time"), [("0.05", False), ("60", True)])
    def test_it_says_how_long_a_window_may_wait(
        self,
        model: ScriptedModel,
        monkeypatch: pytest.MonkeyPatch,
        longest: str,
        in_time: bool,
    ) -> None:
        """Those in the model's hands are ended, however long they take."""
        monkeypatch.setenv("MAX_WAIT_S", longest)
        with served(model) as service:
            first = hold_up(service, model, Work.FILE, 2)
            second = service.models.default.scheduler.submit(window(1))
            let_pass(0.1)
            model.may_run.set()
            first.result(PATIENCE_S)
            error = second.exception(PATIENCE_S)

        assert (error is None) == in_time
        assert in_time or isinstance(error, WaitedTooLong)
