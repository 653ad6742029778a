"""Many streams, one network: each hears what it would hear alone."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import pytest

from audio.samples import Samples
from benchmarks.corpus import composer
from vad.batcher import VadBatcher
from vad.silero import Floats, SileroVad, VadStates, VadStream
from vad.spans import FRAME_SAMPLES


class WatchedVad(SileroVad):
    """The network, how many frames of how many streams it was asked for, and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[int]] = []
        self.threads: set[str] = set()
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Event()
        self.failures: list[Exception] = []

    def probabilities(
        self, blocks: Sequence[Floats], states: VadStates
    ) -> tuple[list[Floats], VadStates]:
        self.calls.append([len(block) for block in blocks])
        self.threads.add(threading.current_thread().name)
        self.running.set()
        assert self.may_run.wait(30)
        if self.failures:
            raise self.failures.pop()
        return super().probabilities(blocks, states)


@pytest.fixture
def vad() -> WatchedVad:
    return WatchedVad()


@pytest.fixture
def batcher(vad: WatchedVad) -> Iterator[VadBatcher]:
    batcher = VadBatcher(vad)
    yield batcher
    vad.may_run.set()
    batcher.close()


@pytest.fixture(scope="module")
def speech() -> list[Samples]:
    """Eight utterances of three seconds."""
    recordings = composer.load()
    return [
        composer.random_composition(
            recordings, 6, rng=Random(seed), pauses_s=(0.0, 0.5)
        ).samples[: 3 * 16_000]
        for seed in range(8)
    ]


def blocks_of(samples: Samples, rng: Random) -> list[Samples]:
    blocks = []
    while len(samples):
        n = rng.randint(1, 3000)
        blocks.append(samples[:n])
        samples = samples[n:]
    return blocks


class TestManyStreams:
    def test_each_hears_what_it_would_hear_alone(
        self, batcher: VadBatcher, speech: list[Samples]
    ) -> None:
        """However its audio is cut, and whichever streams share its calls."""

        async def listen(number: int) -> list[float]:
            stream = batcher.open()
            found = []
            for block in blocks_of(speech[number], Random(number)):
                found += await stream.push_audio(block)
            stream.close()
            return found

        async def all_of_them() -> list[list[float]]:
            return await asyncio.gather(*map(listen, range(len(speech))))

        for samples, found in zip(speech, asyncio.run(all_of_them()), strict=True):
            alone = VadStream(SileroVad()).push_audio(samples)
            np.testing.assert_allclose(found, alone, atol=1e-5)

    def test_streams_that_wait_share_a_call_in_a_thread_of_its_own(
        self, batcher: VadBatcher, vad: WatchedVad
    ) -> None:
        """All of them, with as many frames as they have."""

        async def run() -> None:
            streams = [batcher.open() for _ in range(5)]
            vad.may_run.clear()
            tasks = [asyncio.create_task(streams[0].push_audio(silence(1)))]
            await asyncio.to_thread(vad.running.wait, 30)
            others = [stream.push_audio(silence(3)) for stream in streams[1:4]]
            tasks += map(asyncio.create_task, others)
            tasks.append(asyncio.create_task(streams[4].push_audio(silence(4))))
            await asyncio.sleep(0)
            vad.may_run.set()
            await asyncio.gather(*tasks)

        asyncio.run(run())

        assert vad.calls == [[1], [3, 3, 3, 4]]
        assert vad.threads == {"vad"}

    def test_a_long_block_is_heard_a_second_at_a_time(
        self, batcher: VadBatcher, vad: WatchedVad
    ) -> None:
        """So that others have their turn in between."""

        async def run() -> int:
            return len(await batcher.open().push_audio(silence(80)))

        assert asyncio.run(run()) == 80
        assert vad.calls == [[32], [32], [16]]

    def test_samples_that_complete_no_frame_cost_nothing(
        self, batcher: VadBatcher, vad: WatchedVad
    ) -> None:
        """They wait for more."""

        async def run() -> list[int]:
            stream = batcher.open()
            block: Samples = np.zeros(320, np.float32)
            return [len(await stream.push_audio(block)) for _ in range(8)]

        assert asyncio.run(run()) == [0, 1, 0, 1, 1, 0, 1, 1]
        assert len(vad.calls) == 5


class TestEndings:
    def test_cancelling_loses_an_answer_and_no_audio(
        self, batcher: VadBatcher, vad: WatchedVad, speech: list[Samples]
    ) -> None:
        """What comes next is heard in its place."""

        async def run() -> list[float]:
            stream = batcher.open()
            vad.may_run.clear()
            first = asyncio.create_task(stream.push_audio(speech[0][:1600]))
            await asyncio.to_thread(vad.running.wait, 30)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            vad.may_run.set()
            return await stream.push_audio(speech[0][1600:])

        found = asyncio.run(run())

        alone = VadStream(SileroVad()).push_audio(speech[0])
        np.testing.assert_allclose(found, alone[3:], atol=1e-5)

    def test_a_closed_stream_is_forgotten(
        self, batcher: VadBatcher, vad: WatchedVad
    ) -> None:
        """A caller that waits for its answer is cancelled; it takes no more."""

        async def run() -> None:
            busy, gone = batcher.open(), batcher.open()
            vad.may_run.clear()
            other = asyncio.create_task(busy.push_audio(silence(1)))
            await asyncio.to_thread(vad.running.wait, 30)
            waiting = asyncio.create_task(gone.push_audio(silence(2)))
            await asyncio.sleep(0)
            gone.close()
            gone.close()
            vad.may_run.set()
            await asyncio.gather(other, waiting, return_exceptions=True)
            assert waiting.cancelled()
            with pytest.raises(ValueError, match="closed"):
                await gone.push_audio(silence(1))
            assert len(await busy.push_audio(silence(1))) == 1

        asyncio.run(run())

        assert vad.calls == [[1], [1]]

    def test_one_that_leaves_while_frames_are_gathered_stops_nobody(
        self, batcher: VadBatcher
    ) -> None:
        """The thread has nothing to do then, and goes on."""

        async def run() -> None:
            other = batcher.open()  # whose frames the thread waits for
            for _ in range(10):
                gone = batcher.open()
                waiting = asyncio.create_task(gone.push_audio(silence(1)))
                await asyncio.sleep(0.004)
                gone.close()
                await asyncio.gather(waiting, return_exceptions=True)
                await asyncio.sleep(0.05)  # longer than frames are gathered
            async with asyncio.timeout(10):
                assert len(await other.push_audio(silence(1))) == 1

        asyncio.run(run())

    @pytest.mark.parametrize("when", ["before", "meanwhile", "never"])
    def test_frames_for_which_a_client_waits_are_not_gathered(
        self, batcher: VadBatcher, when: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor those that wait with them, and only while the client waits."""
        monkeypatch.setattr(VadBatcher, "_gather_s", lambda self: 30.0)
        frame = np.zeros(FRAME_SAMPLES, np.float32)

        async def run() -> None:
            own, other, third = (batcher.open() for _ in range(3))
            patient = asyncio.create_task(other.push_audio(frame))
            if when == "before":
                own.set_hurry(True)
            waiting = asyncio.create_task(own.push_audio(frame))
            await asyncio.sleep(0)
            if when == "meanwhile":
                own.set_hurry(True)
            if when == "never":
                third.set_hurry(True)
                done, _ = await asyncio.wait([waiting], timeout=0.1)
                assert not done
            else:
                await waiting
                await patient
                own.set_hurry(False)
                await asyncio.sleep(0)
                again = asyncio.create_task(own.push_audio(frame))
                done, _ = await asyncio.wait([again], timeout=0.1)
                assert not done
            for stream in (own, other, third):
                stream.close()

        asyncio.run(run())

    def test_an_error_reaches_those_who_shared_the_call(
        self, batcher: VadBatcher, vad: WatchedVad
    ) -> None:
        """And no later one."""

        async def run() -> None:
            stream = batcher.open()
            vad.failures = [FloatingPointError("broken")]
            with pytest.raises(FloatingPointError, match="broken"):
                await stream.push_audio(silence(1))
            assert len(await stream.push_audio(silence(1))) == 1

        asyncio.run(run())

    def test_two_blocks_of_a_stream_at_once_are_refused(
        self, batcher: VadBatcher, vad: WatchedVad
    ) -> None:
        """Otherwise their order would be unknown."""

        async def run() -> None:
            stream = batcher.open()
            vad.may_run.clear()
            first = asyncio.create_task(stream.push_audio(silence(1)))
            await asyncio.to_thread(vad.running.wait, 30)
            with pytest.raises(RuntimeError, match="one block at a time"):
                await stream.push_audio(silence(1))
            vad.may_run.set()
            await first

        asyncio.run(run())

    def test_closing_serves_what_waits_and_takes_no_more(self, vad: WatchedVad) -> None:
        """The thread ends."""

        async def run() -> None:
            batcher = VadBatcher(vad)
            stream = batcher.open()
            vad.may_run.clear()
            task = asyncio.create_task(stream.push_audio(silence(1)))
            await asyncio.to_thread(vad.running.wait, 30)
            vad.may_run.set()
            await asyncio.to_thread(batcher.close)
            assert len(await task) == 1
            with pytest.raises(ValueError, match="closed"):
                await stream.push_audio(silence(1))
            with pytest.raises(ValueError, match="closed"):
                batcher.open()

        asyncio.run(run())


def silence(n_frames: int) -> Samples:
    return np.zeros(n_frames * FRAME_SAMPLES, np.float32)
