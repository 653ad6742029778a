"""Find speech in many live streams at once, in one worker thread.

A frame of one stream takes as long as one frame of each of ten streams in one call:
most of the cost is that of calling numpy. So frames wait 16 to 48 ms for those of other
streams, and all waiting frames go through the network in one call. If only one stream
is open, its frames do not wait, nor do any once a client waits for a final. The answers
go back to the event loop in one call, too.

Each stream has its own state, and its frames keep their order. If a stream sends a
minute at once, its audio is taken a second at a time, between the other streams.
"""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audio.samples import Samples
from vad.silero import SileroVad, VadStates
from vad.spans import FRAME_SAMPLES

Floats = NDArray[np.float32]

# Half a frame, too short to notice. With many streams a frame and a half, so that there
# are fewer and larger calls: most of the cost is that of the call.
_MIN_GATHER_S = 0.016
_MAX_GATHER_S = 0.048
_GATHER_S_A_STREAM = 0.0015

_MAX_FRAMES = 32  # frames of one stream in one call: a second


@dataclass(slots=True, eq=False)
class _Request:
    stream: "LiveVad"
    frames: Floats  # frames that wait for the network
    future: asyncio.Future[list[float]]
    found: list[float] = field(default_factory=list)


class VadBatcher:
    """The thread, and the frames that wait for it.

    Args:
        vad: The network.
    """

    def __init__(self, vad: SileroVad) -> None:
        self._vad = vad
        self._changed = threading.Condition()  # guards what follows
        self._waiting: list[_Request] = []
        self._n_open = 0
        self._hurried = False  # a client waits: gather no further frames
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="vad", daemon=True)
        self._thread.start()

    def open(self) -> "LiveVad":
        """Open a stream.

        Raises:
            ValueError: After `close`.
        """
        with self._changed:
            if self._closed:
                raise ValueError("Voice activity detection has been closed.")
            self._n_open += 1
        return LiveVad(self)

    def close(self, timeout_s: float | None = None) -> None:
        """Answer what waits, then end the thread.

        Args:
            timeout_s: Longest wait for that, in seconds.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    # --- for streams, in their event loop ---

    def _submit(self, request: _Request) -> None:
        with self._changed:
            if self._closed:
                raise ValueError("Voice activity detection has been closed.")
            self._waiting.append(request)
            # Between the first and the last stream, the thread would wake up in vain.
            self._hurried |= request.stream.hurried
            n = len(self._waiting)
            if n == 1 or n >= self._n_open or self._hurried:
                self._changed.notify()

    def _hurry(self) -> None:
        with self._changed:
            self._hurried = True
            self._changed.notify()

    def _leave(self, stream: "LiveVad") -> None:
        with self._changed:
            self._n_open -= 1
            self._waiting = [own for own in self._waiting if own.stream is not stream]

    # --- in the thread ---

    def _run(self) -> None:
        while (batch := self._take_batch()) is not None:
            try:
                self._serve(batch)
            except Exception as error:  # the other streams go on
                _deliver(batch, error)

    def _take_batch(self) -> list[_Request] | None:
        """Wait for frames, then briefly for other streams'; None once closed.

        The batch is empty if the streams that had frames have left meanwhile.
        """
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            self._changed.wait_for(
                lambda: (
                    self._closed or self._hurried or len(self._waiting) >= self._n_open
                ),
                timeout=self._gather_s(),
            )
            self._hurried = False
            # At most one of each stream: the next one needs the state after it.
            first: dict[LiveVad, _Request] = {}
            rest = []
            for request in self._waiting:
                if first.setdefault(request.stream, request) is not request:
                    rest.append(request)
            self._waiting = rest
            return list(first.values())

    def _gather_s(self) -> float:
        wanted = max(_MIN_GATHER_S, _GATHER_S_A_STREAM * self._n_open)
        return min(_MAX_GATHER_S, wanted)

    def _serve(self, batch: Sequence[_Request]) -> None:
        if not batch:
            return
        states = VadStates.join([request.stream.states for request in batch])
        blocks = [request.frames[:_MAX_FRAMES] for request in batch]
        found, states = self._vad.probabilities(blocks, states)
        for request, own, state in zip(batch, found, states.split(), strict=True):
            request.stream.states = state
            request.found += own.tolist()
            request.frames = request.frames[_MAX_FRAMES:]
        _deliver([request for request in batch if not len(request.frames)])
        with self._changed:
            self._waiting[:0] = [request for request in batch if len(request.frames)]


class LiveVad:
    """One stream, which comes in blocks of any length.

    One call of `push_audio` at a time, in one event loop. It has to be closed.

    Attributes:
        hurried: Whether a client waits for a final, so that its frames do not wait for
            those of other streams.
    """

    def __init__(self, batcher: VadBatcher) -> None:
        self._batcher = batcher
        self._held: list[Samples] = []  # samples of an incomplete frame
        self._n_held = 0
        self._pending: asyncio.Future[list[float]] | None = None
        self._closed = False
        self.hurried = False
        self.states = VadStates.fresh()  # the batcher's, in its thread

    async def push_audio(self, samples: Samples) -> list[float]:
        """Return the probabilities of the frames that `samples` completes.

        Samples are copied only when their frame is complete, so they must not change.
        Cancelling is safe: the samples are used, their probabilities are lost.

        Raises:
            ValueError: After `close`.
            RuntimeError: The last call has not returned yet.
        """
        if self._closed:
            raise ValueError("This stream has been closed.")
        if self._pending is not None and not self._pending.done():
            raise RuntimeError("A stream takes one block at a time.")
        self._held.append(samples)
        self._n_held += len(samples)
        n_frames, n_rest = divmod(self._n_held, FRAME_SAMPLES)
        if not n_frames:
            return []
        audio = np.concatenate(self._held)
        whole = len(audio) - n_rest
        self._held, self._n_held = [audio[whole:]], n_rest
        frames = audio[:whole].reshape(n_frames, FRAME_SAMPLES)
        self._pending = asyncio.get_running_loop().create_future()
        self._batcher._submit(_Request(self, frames, self._pending))
        return await self._pending

    def set_hurry(self, on: bool) -> None:
        """Say whether a client waits for a final, also of a pending answer."""
        self.hurried = on
        if on and self._pending is not None and not self._pending.done():
            self._batcher._hurry()

    def close(self) -> None:
        """Forget the stream; a pending answer never comes."""
        if not self._closed:
            self._closed = True
            self._batcher._leave(self)
            if self._pending is not None:
                self._pending.cancel()


def _deliver(done: Sequence[_Request], error: Exception | None = None) -> None:
    """Answer requests, with one call into their event loop."""

    def settle(requests: Sequence[_Request]) -> None:
        for request in requests:
            if request.future.done():
                continue
            if error is None:
                request.future.set_result(request.found)
            else:
                request.future.set_exception(error)

    by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in done:
        by_loop.setdefault(request.future.get_loop(), []).append(request)
    for loop, requests in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, with its tasks
            loop.call_soon_threadsafe(settle, requests)
