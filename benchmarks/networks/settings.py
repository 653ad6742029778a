"""The settings of threads that `neighbours.py` compares, each in its own process.

PyTorch reads from the environment, when it is loaded, how threads wait. So each setting
is a process that was started with other variables.
"""

import contextlib
import multiprocessing
import os
import platform
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from audio.samples import Samples
from benchmarks.networks import contenders
from engine.interface import ModelInput
from model import ASRModel
from network.cores import set_waiting, usable_cores
from network.threads import limit_threads
from weights import cards, fairseq2_assets

DEMO: Final = "omniASR_CTC_demo"

NOW: Final = "as now"
BEFORE: Final = "as before"
PASSIVE: Final = "passive"
ONE: Final = "1 thread"
ONNX: Final = "onnx"
OURS: Final = (NOW, BEFORE, PASSIVE, ONE)

# How often a thread looks for another by libgomp's own default, before it sleeps.
_LONG = "300000"
_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "NUM_THREADS")


class Turn(NamedTuple):
    """A window, and for how long to run passes over it; the first do not count."""

    window: Samples
    settle_s: float
    seconds: float


def variables(setting: str) -> dict[str, str]:
    """Return what a setting is, as variables of a server's environment."""
    all_cores = {"NUM_THREADS": str(usable_cores())}
    return {
        NOW: {},
        BEFORE: {"GOMP_SPINCOUNT": _LONG, **all_cores},
        PASSIVE: {"OMP_WAIT_POLICY": "PASSIVE", **all_cores},
        ONE: {"NUM_THREADS": "1"},
        ONNX: {},
    }[setting]


@contextlib.contextmanager
def environment_of(setting: str) -> Iterator[None]:
    """Let what is started meanwhile have a setting; PyTorch here has read its own."""
    before = dict(os.environ)
    for name in _OWN:
        os.environ.pop(name, None)
    os.environ.update(variables(setting))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def running(
    settings: Sequence[str], model: str, dtype: str, folder: Path
) -> Iterator[dict[str, Any]]:
    """Run every setting in a process of its own; yield the pipes to them.

    Args:
        settings: Names of the settings.
        model: A model's card, or an architecture whose files `contenders.prepare` has
            written.
        dtype: The arithmetic.
        folder: Folder of these files, and of ONNX Runtime's graph.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for setting in settings:
        ours, theirs = context.Pipe()
        arguments = (theirs, setting, model, dtype, folder)
        with environment_of(setting):
            if setting == NOW:
                machine = platform.machine()
                set_waiting(os.environ, platform=sys.platform, machine=machine)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
        processes.append(process)
        theirs.close()  # so that a process that dies is noticed
        ours.recv()  # one at a time, since building takes memory
        pipes[setting] = ours
    try:
        yield pipes
    finally:
        for pipe in pipes.values():
            pipe.send(None)
        for process in processes:
            process.join()


def prepare(model: str, folder: Path, *, onnx: bool) -> None:
    """Write the files that settings need into a folder, where they are not yet."""
    if model == contenders.ARCH:
        contenders.prepare(folder, onnx=onnx)
    elif onnx and not (folder / contenders.GRAPH_INT8).exists():
        from omnilingual_asr.models.inference.pipeline import ASRInferencePipeline

        folder.mkdir(parents=True, exist_ok=True)
        demo = cards.ASSETS / "demo"
        tokenizer = demo / f"{DEMO}_tokenizer.model"
        shutil.copy(tokenizer, folder / contenders.TOKENIZER)
        fairseq2_assets.start(demo)
        pipeline = ASRInferencePipeline(model, device="cpu", dtype=torch.float32)
        contenders.export(pipeline.model, folder)


def _work(pipe: Connection, setting: str, model: str, dtype: str, folder: Path) -> None:
    """Take turns until None comes."""
    run = _pass_of(setting, model, contenders.DTYPES[dtype], folder)
    pipe.send("ready")
    turn: Turn | None
    while (turn := pipe.recv()) is not None:
        once = partial(run, turn.window)
        timed(once, turn.settle_s, time.perf_counter)
        pipe.send(timed(once, turn.seconds, time.perf_counter))


def _pass_of(
    setting: str, model: str, dtype: torch.dtype, folder: Path
) -> Callable[[Samples], object]:
    """Build a network as a setting has it."""
    if setting == ONNX:
        return contenders.onnx(folder, dtype, usable_cores())
    if model == contenders.ARCH:
        own = contenders.our_model(folder, dtype)
    else:
        own = ASRModel.load(model, device="cpu", dtype=str(dtype).split(".")[1])
    if setting == NOW:  # as the server does it
        limit_threads()
        own.adapt_threads()
        deque(own.trials(), maxlen=0)
    else:
        torch.set_num_threads(int(os.environ["NUM_THREADS"]))
    return lambda clip: own.label_frames([ModelInput(clip)])


def timed(
    run: Callable[[], object], seconds: float, clock: contenders.Clock
) -> list[float]:
    """Run passes for so long, one at least; return what each took, in ms."""
    took_ms: list[float] = []
    until = clock() + seconds
    while not took_ms or clock() < until:
        began = clock()
        run()
        took_ms.append(1000 * (clock() - began))
    return took_ms
