"""Run a stream through a policy in simulated time, including its computing time.

Events move one clock: audio comes in chunks of 20 ms, each when its last sample has
been spoken, and a call of the model lasts as long as it really took. So hours of
streams are measured in minutes, all policies get the same audio at the same times, and
a result can be repeated.

A call is charged with the processor time of this thread, the only one that torch is
allowed. Others' load on the machine makes calls last longer, but hardly makes them
compute more. That is an upper bound of what a server needs that has a second core.
Listening for speech and the policy's own code are charged as well, to the message
that they lead to.

The queue is the server's, in which more than one window of a stream may wait. There is
one model, or a quick one and a strong one that take turns.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from audio.samples import SAMPLE_RATE
from benchmarks.corpus.suites import Stream
from benchmarks.streams.policies import Asked, Policy, Said
from benchmarks.streams.traces import EarlyEnd, Endpoint, Message, Trace, seconds
from engine.interface import ModelInput
from engine.work_queue import Job, Work, WorkQueue, batch_rules
from text.ctc import FrameLabels
from vad.silero import SileroVad, VadStream

CHUNK = SAMPLE_RATE // 50

# When a client asks for a final: so long after the true end of speech.
COMMIT_AFTER_S = 0.2

# What a batch may hold, as in the server.
_RULES = batch_rules("cpu", max_windows=8)

Label = Callable[[Sequence[ModelInput]], Sequence[FrameLabels]]


@dataclass(slots=True, eq=False, kw_only=True)
class _Waiting(Job):
    asked: Asked


@dataclass(slots=True)
class Meter:
    """Sums up the computing time, and knows how long the last part took."""

    total_s: float = 0.0
    last_s: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.last_s = time.thread_time() - began
        self.total_s += self.last_s


class Simulation:
    """One stream, one clock, one model at work.

    Args:
        label: The model's forward pass.
        commit: Whether the client asks for a final 0.2 s after each utterance.
    """

    def __init__(
        self,
        stream: Stream,
        policy: Policy,
        label: Label,
        vad: SileroVad,
        *,
        commit: bool = False,
    ) -> None:
        self._stream = stream
        self._policy = policy
        self._label = label
        self._ear = VadStream(vad)
        self._queue: WorkQueue[_Waiting] = WorkQueue(_RULES, file_share=0.1)
        self._meter = Meter()
        self._now = 0.0
        self._free_at = 0.0  # when the model has time
        self._serving: list[_Waiting] = []
        self._frames: Sequence[FrameLabels] = ()
        self._messages: list[Message] = []
        self._endpoints: list[Endpoint] = []
        self._early_ends: list[EarlyEnd] = []
        self._flushes: list[float] = []
        self._encoded = self._encoded_quick = self._n_windows = 0
        self._commits = deque(
            seconds(one.end) + COMMIT_AFTER_S for one in stream.utterances if commit
        )

    def run(self) -> Trace:
        """Send the stream to its end and wait for everything that comes of it."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._run()
        finally:
            torch.set_num_threads(n_threads)

    def _run(self) -> Trace:
        n_chunks = -(-len(self._stream.samples) // CHUNK)
        for number in range(1, n_chunks + 1):
            due = number * CHUNK / SAMPLE_RATE
            while self._commits and self._commits[0] < due:
                self._commit(self._commits.popleft())
            self._serve_until(due)
            self._send(number)
        with self._meter.running():
            said = self._policy.end()
        self._note(said, self._meter.last_s)
        self._ask()
        self._serve_until(float("inf"))
        return Trace(
            messages=tuple(self._messages),
            endpoints=tuple(self._endpoints),
            flushes_s=tuple(self._flushes),
            early_ends=tuple(self._early_ends),
            encoded=self._encoded,
            encoded_quick=self._encoded_quick,
            n_windows=self._n_windows,
            compute_s=self._meter.total_s,
        )

    def _commit(self, at_s: float) -> None:
        """Let the client ask for a final."""
        self._serve_until(at_s)
        self._flushes.append(at_s)
        with self._meter.running():
            said = self._policy.flush()
        self._note(said, self._meter.last_s)
        self._ask()

    def _send(self, number: int) -> None:
        """Let the client send a chunk."""
        samples = self._stream.samples[(number - 1) * CHUNK : number * CHUNK]
        with self._meter.running():
            said = self._policy.push_audio(samples, self._ear.push_audio(samples))
        self._note(said, self._meter.last_s)
        self._ask()

    def _serve_until(self, moment: float) -> None:
        """Let the model work until a moment comes, then let it be now."""
        while True:
            if not self._serving:
                self._begin()
            if not self._serving or self._free_at > moment:
                break
            self._now = max(self._now, self._free_at)
            self._finish()
        self._now = max(self._now, moment) if moment < float("inf") else self._now

    def _ask(self) -> None:
        with self._meter.running():
            found = self._policy.requests()
        for asked in found:
            job = _Waiting(
                n_samples=len(asked.window),
                work=asked.work,
                due_in_s=asked.due_in_s,
                quick=asked.window.quick,
                asked=asked,
            )
            self._queue.submit(job, self._now)

    def _begin(self) -> None:
        """Give the model the next batch, if there is one."""
        self._forget_old()
        batch = self._queue.take_batch(self._now)
        if not batch:
            return
        windows = [job.asked.window for job in batch]
        with self._meter.running():
            self._frames = self._label(windows)
        self._queue.spent(batch, self._meter.last_s)
        self._serving = batch
        self._free_at = self._now + self._meter.last_s
        self._encoded += sum(map(len, windows))
        self._encoded_quick += sum(len(own) for own in windows if own.quick)
        self._n_windows += len(windows)

    def _forget_old(self) -> None:
        """Take back windows that are no longer needed, and ask for newer ones."""
        for work in Work:
            for job in self._queue.waiting(work):
                if self._policy.gives_up(job.asked):
                    self._queue.cancel(job)
        self._ask()

    def _finish(self) -> None:
        batch, self._serving = self._serving, []
        for job, frames in zip(batch, self._frames, strict=True):
            with self._meter.running():
                said = self._policy.accept(job.asked, frames)
            self._now += self._meter.last_s
            self._note(said, 0.0)
        self._ask()

    def _note(self, said: Sequence[Said], after_s: float) -> None:
        at_s = self._now + after_s
        for one in said:
            if isinstance(one, Message):
                self._messages.append(replace(one, at_s=at_s))
            elif isinstance(one, Endpoint):
                self._endpoints.append(replace(one, at_s=at_s))
            else:
                self._early_ends.append(replace(one, at_s=at_s))
