"""Give a failing model a window, to see whether it works again."""

from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

import numpy as np

from api.models import ServedModel
from audio.samples import SAMPLE_RATE
from engine.interface import ModelInput, NotReady, QueueFull
from engine.work_queue import Work
from text.ctc import FrameLabels

_WINDOW = ModelInput(np.zeros(SAMPLE_RATE, np.float32))


class Retrials:
    """The windows of failing models; each model has one at a time."""

    def __init__(self) -> None:
        # By the model's name, and whether it is the quick one of two.
        self._begun: dict[tuple[str, bool], Future[FrameLabels]] = {}

    def begin(self, model: ServedModel) -> None:
        """Give a model a window, and its quick model, unless they have one."""
        with suppress(QueueFull, NotReady):
            for quick, _ in enumerate(model.scheduler.traits.all):
                key = model.name, bool(quick)
                last = self._begun.get(key)
                if last is None or last.done():
                    # Among the quick model's windows, one of a file would come last.
                    work = Work.STREAM_PARTIAL if quick else Work.FILE
                    window = replace(_WINDOW, quick=bool(quick))
                    self._begun[key] = model.scheduler.submit(window, work=work)
