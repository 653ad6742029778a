"""Measure the cost of voice activity detection for each of many live streams.

    python -m benchmarks.vad
    python -m benchmarks.vad --streams 32 --seconds 20

As in the server, streams send frames on an absolute schedule, evenly staggered; one
thread computes all of them and answers through the event loop. The figure is the
processor time of the network in its thread, and of cutting, queueing and waking in the
event loop. The time of the loop's timers, which pace the streams here, is measured
separately and subtracted.

The goal is 2 ms for a stream and a second of audio with 32 streams. On a busy machine
frames wait longer, share a call with more others, and cost less.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.environment import environment
from vad.batcher import LiveVad, VadBatcher
from vad.silero import SileroVad, keep_numpy_to_one_thread

GOAL_MS = 2.0

Take = Callable[[Samples], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """The result of a measurement.

    Attributes:
        ms: Milliseconds of processor time for each stream and second of audio.
        answer_p95_ms: Milliseconds from sending a frame to its answer.
    """

    n_streams: int
    frame_ms: int
    ms: float
    answer_p95_ms: float


async def pace(
    take: Take, *, n: int, length: int, began: float, frame_s: float
) -> list[float]:
    """Send frames when they are due; return how long each answer took."""
    noise = np.random.default_rng(n).standard_normal(length) * 0.1
    frame = noise.astype(np.float32)
    waits = []
    for number in range(n):
        await asyncio.sleep(began + number * frame_s - time.monotonic())
        sent = time.monotonic()
        await take(frame)
        waits.append(time.monotonic() - sent)
    return waits


async def run(takes: Sequence[Take], *, frame_ms: int, seconds: float) -> list[float]:
    """Run streams at once; return the waits of all of them."""
    frame_s = frame_ms / 1000
    began = time.monotonic() + 0.1
    waits = await asyncio.gather(
        *(
            pace(
                take,
                n=round(seconds / frame_s),
                length=round(SAMPLE_RATE * frame_s),
                began=began + frame_s * number / len(takes),
                frame_s=frame_s,
            )
            for number, take in enumerate(takes)
        )
    )
    return [wait for own in waits for wait in own]


async def _nothing(samples: Samples) -> None:
    """Take samples and do nothing."""


def measure(
    batcher: VadBatcher, *, n_streams: int, frame_ms: int, seconds: float
) -> Cost:
    """Measure some streams, and the same streams without the network."""

    async def both() -> tuple[float, float, list[float]]:
        ears: list[LiveVad] = [batcher.open() for _ in range(n_streams)]
        await run([ear.push_audio for ear in ears], frame_ms=frame_ms, seconds=1)
        before = time.process_time()
        await run([_nothing] * n_streams, frame_ms=frame_ms, seconds=seconds)
        between = time.process_time()
        waits = await run(
            [ear.push_audio for ear in ears], frame_ms=frame_ms, seconds=seconds
        )
        after = time.process_time()
        for ear in ears:
            ear.close()
        return between - before, after - between, waits

    pacing_s, all_s, waits = asyncio.run(both())
    return Cost(
        n_streams,
        frame_ms,
        ms=1000 * (all_s - pacing_s) / (n_streams * seconds),
        answer_p95_ms=1000 * float(np.quantile(waits, 0.95)),
    )


def main() -> None:
    """Print a table; the last line is all of it as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vad", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--frames-ms", type=int, nargs="+", default=[100, 20])
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    keep_numpy_to_one_thread()
    batcher = VadBatcher(SileroVad())
    costs = []
    print(f"streams  frames   CPU a second (goal {GOAL_MS} ms)  answer p95")
    for frame_ms in chosen.frames_ms:
        for n_streams in chosen.streams:
            cost = measure(
                batcher, n_streams=n_streams, frame_ms=frame_ms, seconds=chosen.seconds
            )
            costs.append(cost)
            print(
                f"{n_streams:7d} {frame_ms:4d} ms {cost.ms:20.2f} ms "
                f"{cost.answer_p95_ms:15.1f} ms",
                flush=True,
            )
    batcher.close()
    print(json.dumps({"costs": [asdict(cost) for cost in costs], **environment()}))


if __name__ == "__main__":
    main()
