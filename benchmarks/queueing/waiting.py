"""Simulate how long streams wait for their finals on servers that share GPUs.

A server is an event loop, in which everything that a stream sends or gets takes its
turn, and a place in the queue of a GPU. Both are simulated event by event:

- Each stream sends a message every 100 ms, whose processing takes a fixed time of the
  loop. The loop serves them in order of arrival, one at a time.
- While its speaker speaks, a stream wants a partial every hop, and a final when the
  speaker pauses. The GPU takes one batch at a time, from each server with work in turn,
  finals first. A partial that was not begun before the next of its stream is dropped:
  under load text becomes rarer, as in the server. A batch takes a fixed time, and some
  for each second of audio in it.

The time of the loop for answers is contained in that for messages, and answers wait
their turn there. A final takes from the end of the utterance to its answer.

Source: the loop's waiting times by Lindley's recursion (1952).
Pure: no I/O and no clock; chance comes from a seed.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.queueing.balancing import Visit

Floats = NDArray[np.float64]

MESSAGE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Speech:
    """How people speak, and what a stream asks for meanwhile.

    Attributes:
        utterance_s: Mean length of an utterance, exponential.
        pause_s: Mean pause between two, exponential.
        hop_s: From one partial to the next.
        window_s: Audio of a partial.
        longest_s: Longest audio of a final.
    """

    utterance_s: float = 4.0
    pause_s: float = 2.0
    hop_s: float = 0.48
    window_s: float = 3.0
    longest_s: float = 40.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a second of a stream, and a pass, take.

    Attributes:
        loop_s: Of the event loop, for each second of a stream.
        batch_s: Of the GPU, for each batch.
        audio_s: Of the GPU, for each second of audio in it.
        most: Windows in a batch.
    """

    loop_s: float
    batch_s: float
    audio_s: float
    most: int = 16


@dataclass(frozen=True, slots=True)
class Waits:
    """How long finals took.

    Attributes:
        at_s: When each final was asked for.
        took_s: How long it took.
        n_partials: Partials that were made.
        n_wanted: Partials that streams wanted.
        gpu_busy: Share of the time in which the GPUs computed.
        loop_busy: The same of the busiest event loop.
    """

    at_s: Floats
    took_s: Floats
    n_partials: int
    n_wanted: int
    gpu_busy: float
    loop_busy: float

    @property
    def text_ratio(self) -> float:
        """Partials that were made, of those that were wanted."""
        return self.n_partials / max(1, self.n_wanted)


def together(every: Sequence[Waits]) -> Waits:
    """Put what happened on several GPUs together."""
    return Waits(
        np.concatenate([own.at_s for own in every]),
        np.concatenate([own.took_s for own in every]),
        sum(own.n_partials for own in every),
        sum(own.n_wanted for own in every),
        float(np.mean([own.gpu_busy for own in every])),
        max(own.loop_busy for own in every),
    )


class Loop:
    """A server that takes what arrives one after the other.

    Args:
        arrivals_s: Times of arrival, sorted.
        service_s: Time that each takes.
    """

    def __init__(self, arrivals_s: Floats, service_s: float) -> None:
        self._arrivals = arrivals_s
        steps = np.arange(len(arrivals_s)) * service_s
        # Each ends `service_s` after the later of its arrival and the one before it.
        latest = np.maximum.accumulate(arrivals_s - steps) if len(steps) else steps
        self._ends = latest + steps + service_s

    def waits_s(self) -> Floats:
        """Return how long each waited before it was begun."""
        service_s = self._ends[:1] - self._arrivals[:1]
        return self._ends - self._arrivals - service_s

    def work_at(self, times_s: Floats) -> Floats:
        """Return how long something that arrives at these times would wait."""
        if not len(self._ends):
            return np.zeros_like(times_s)
        before = np.searchsorted(self._arrivals, times_s, side="right") - 1
        ends = np.where(before >= 0, self._ends[before], -np.inf)
        return np.maximum(0.0, ends - times_s)


@dataclass(frozen=True, slots=True)
class Window:
    """Audio that the model shall hear.

    Attributes:
        arrived_s: When it came to the queue of the GPU.
        audio_s: Its length.
        server: The server that it comes from.
        stream: The stream.
        is_final: Whether it is an utterance's last.
        asked_s: When it came to the server.
    """

    arrived_s: float
    audio_s: float
    server: int
    stream: int
    is_final: bool
    asked_s: float


class Gpu:
    """One GPU and the servers that use it.

    Args:
        costs: What a pass takes.
    """

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.busy_s = 0.0
        self.n_partials = 0

    def serve(self, windows: Sequence[Window]) -> list[tuple[Window, float]]:
        """Compute windows in batches; return the finals, and when each was done.

        Args:
            windows: Sorted by arrival.
        """
        finals: dict[int, deque[Window]] = {}
        partials: dict[int, dict[int, Window]] = {}
        turns: deque[int] = deque()
        done: list[tuple[Window, float]] = []
        now, k = 0.0, 0
        while k < len(windows) or turns:
            if not turns:
                now = max(now, windows[k].arrived_s)
            while k < len(windows) and windows[k].arrived_s <= now:
                own = windows[k]
                k += 1
                if own.server not in turns:
                    turns.append(own.server)
                if own.is_final:
                    finals.setdefault(own.server, deque()).append(own)
                    # What the final says, a partial need not say before.
                    partials.get(own.server, {}).pop(own.stream, None)
                else:
                    partials.setdefault(own.server, {})[own.stream] = own
            server = turns.popleft()
            batch = self._batch(
                finals.setdefault(server, deque()), partials.setdefault(server, {})
            )
            took_s = self._costs.batch_s
            took_s += self._costs.audio_s * sum(own.audio_s for own in batch)
            now += took_s
            self.busy_s += took_s
            done += [(own, now) for own in batch if own.is_final]
            self.n_partials += sum(not own.is_final for own in batch)
            if finals[server] or partials[server]:
                turns.append(server)
        return done

    def _batch(
        self, finals: deque[Window], partials: dict[int, Window]
    ) -> list[Window]:
        most = self._costs.most
        batch = [finals.popleft() for _ in range(min(most, len(finals)))]
        for stream in [*partials][: most - len(batch)]:
            batch.append(partials.pop(stream))
        return batch


def simulate(
    servers: Sequence[Sequence[Visit]],
    speech: Speech,
    costs: Costs,
    *,
    between_s: tuple[float, float],
    seed: int = 0,
) -> Waits:
    """Simulate one GPU with its servers.

    Args:
        servers: The streams of each server.
        speech: How people speak.
        costs: What everything takes.
        between_s: The time that is simulated.
        seed: Of chance.
    """
    rng = np.random.default_rng(seed)
    windows: list[Window] = []
    loops = []
    n_wanted, busiest, n_streams = 0, 0.0, 0
    length_s = between_s[1] - between_s[0]
    for server, visits in enumerate(servers):
        messages, wanted = [np.zeros(0)], []
        for visit in visits:
            start = max(visit.start_s, between_s[0])
            end = min(visit.end_s, between_s[1])
            if start < end:
                n_streams += 1
                first = start + MESSAGE_S * rng.random()
                messages.append(np.arange(first, end, MESSAGE_S))
                wanted += _wanted(start, end, speech, rng, server, n_streams)
        arrivals = np.sort(np.concatenate(messages))
        loop = Loop(arrivals, costs.loop_s * MESSAGE_S)
        loops.append(loop)
        busiest = max(busiest, len(arrivals) * costs.loop_s * MESSAGE_S / length_s)
        n_wanted += sum(not own.is_final for own in wanted)
        windows += _through(loop, wanted, costs.loop_s * MESSAGE_S)
    windows.sort(key=lambda own: own.arrived_s)
    gpu = Gpu(costs)
    done = gpu.serve(windows)
    asked = np.array([own.asked_s for own, _ in done])
    ends = np.array([at for _, at in done])
    of = np.array([own.server for own, _ in done])
    for server, loop in enumerate(loops):
        mine = of == server
        ends[mine] += loop.work_at(ends[mine]) + costs.loop_s * MESSAGE_S
    return Waits(
        asked, ends - asked, gpu.n_partials, n_wanted, gpu.busy_s / length_s, busiest
    )


def _wanted(
    start: float,
    end: float,
    speech: Speech,
    rng: np.random.Generator,
    server: int,
    stream: int,
) -> list[Window]:
    """Draw when a stream's speaker speaks; return what it asks for."""
    found = []
    spoken = speech.utterance_s / (speech.utterance_s + speech.pause_s)
    # In the middle of an utterance, or of a pause.
    if rng.random() < spoken:
        at = start - rng.exponential(speech.utterance_s)
        length = start - at + rng.exponential(speech.utterance_s)
    else:
        at = start + rng.exponential(speech.pause_s)
        length = rng.exponential(speech.utterance_s)
    while at < end:
        first = at + speech.hop_s * max(1, math.ceil((start - at) / speech.hop_s))
        for hop in np.arange(first, min(at + length, end), speech.hop_s):
            audio_s = min(float(hop) - at, speech.window_s)
            found.append(Window(hop, audio_s, server, stream, False, hop))
        at += length
        if at < end:
            audio_s = min(length, speech.longest_s)
            found.append(Window(at, audio_s, server, stream, True, at))
        at += rng.exponential(speech.pause_s)
        length = rng.exponential(speech.utterance_s)
    return found


def _through(loop: Loop, wanted: list[Window], service_s: float) -> list[Window]:
    """Return when windows come out of the event loop."""
    waits = loop.work_at(np.array([own.arrived_s for own in wanted]))
    return [
        Window(
            own.arrived_s + wait + service_s,
            own.audio_s,
            own.server,
            own.stream,
            own.is_final,
            own.asked_s,
        )
        for own, wait in zip(wanted, waits.tolist(), strict=True)
    ]
