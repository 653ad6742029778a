"""A model in another process, behind a pipe: the contract and nothing else."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any
from weakref import WeakKeyDictionary, finalize

from engine.interface import CacheKey, Model, ModelInput, ModelLost
from tests.support.fakes import ScriptedModel
from text.ctc import FrameLabels

_fork = multiprocessing.get_context("fork")


class PipeModel:
    """Hand windows to a model that moves to a process of its own.

    What it counts comes back with each answer; what the test sets goes with a batch.
    """

    def __init__(self, model: ScriptedModel) -> None:
        self.traits = model.traits
        self._model = model
        # Events that work in both processes, in place of those of threads.
        may_run, model.may_run = model.may_run.is_set(), _fork.Event()
        model.running = _fork.Event()
        if may_run:
            model.may_run.set()
        self._names: WeakKeyDictionary[CacheKey, int] = WeakKeyDictionary()
        self._n_names, self._forgotten = 0, list[int]()
        self._pipe, other = _fork.Pipe()
        self.process = _fork.Process(target=_serve, args=[other, model], daemon=True)
        self.process.start()
        other.close()  # or the end of the process would not be seen

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        names = [self._name(window.cache_key) for window in windows]
        bare = [replace(window, cache_key=None) for window in windows]
        forgotten, self._forgotten = self._forgotten, []
        try:
            self._pipe.send((bare, names, forgotten, _state(self._model)))
            answer, state = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ModelLost("The model's process has ended.") from error
        vars(self._model).update(state)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def _name(self, key: CacheKey | None) -> int | None:
        """Name a key, and have the other process forget it with the key."""
        if key is not None and key not in self._names:
            self._n_names += 1
            self._names[key] = self._n_names
            finalize(key, lambda name: self._forgotten.append(name), self._n_names)
        return None if key is None else self._names[key]


def _serve(pipe: Connection, model: Model) -> None:
    keys: dict[int | None, CacheKey | None] = {None: None}
    while True:
        windows, names, forgotten, state = pipe.recv()
        vars(model).update(state)
        for name in forgotten:
            keys.pop(name, None)
        own = [keys.setdefault(name, CacheKey()) for name in names]
        try:
            answer: Any = model.label_frames(
                [replace(w, cache_key=key) for w, key in zip(windows, own, strict=True)]
            )
        except Exception as error:
            answer = error
        pipe.send((answer, _state(model)))


def _state(model: Model) -> dict[str, Any]:
    return {k: v for k, v in vars(model).items() if k not in ("may_run", "running")}
