"""Live streams share the model's thread, keep their bounds and clean up."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
import pytest

import streaming
from audio.samples import SAMPLE_RATE, Samples
from engine import watchdog
from engine.interface import ModelInput, ModelTraits
from engine.keywords import KeywordListener
from engine.observer import Drop
from engine.scheduler import Scheduler
from engine.work_queue import Work
from live.events import (
    Cause,
    LiveEvent,
    Partial,
    SpeechStarted,
    TimedEvent,
    UtteranceFailed,
    UtteranceFinal,
)
from live.observer import NOBODY, LiveObserver
from live.options import StreamOptions
from streaming import HearKeywords, LiveStream, StreamingTranscriber
from tests.support.scheduling import started
from tests.support.scripted_speech import VOCABULARY, Encoder, Script, write
from tests.support.serving import wait_for
from text import ctc
from text.ctc import FrameLabels
from vad.spans import FRAME_SAMPLES

SCRIPT = write(Random(1), n_words=8, longest_pause=20)


@dataclass
class Ear:
    """Says what the script says; may be closed once."""

    script: Script
    n_heard: int = 0
    closed: bool = False
    may_listen: asyncio.Event | None = None

    async def push_audio(self, samples: Samples) -> list[float]:
        if self.may_listen is not None:
            await self.may_listen.wait()
        first = self.n_heard // FRAME_SAMPLES
        self.n_heard += len(samples)
        known = self.script.probabilities
        n = self.n_heard // FRAME_SAMPLES - first
        return [known[k] if k < len(known) else 0.0 for k in range(first, first + n)]

    def set_hurry(self, on: bool) -> None:
        """It answers at once anyway."""

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@dataclass
class ReadingModel:
    """Reads labels off samples, when the test lets it."""

    traits = ModelTraits(vocabulary=VOCABULARY)
    may_run: threading.Event = field(default_factory=threading.Event)
    heard: list[ModelInput] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def label_frames(self, windows: Sequence[ModelInput]) -> list[FrameLabels]:
        assert self.may_run.wait(timeout=30), "the test never let the model run"
        self.heard += windows
        if self.failures:
            raise self.failures.pop(0)
        return [Encoder().label(window.samples) for window in windows]


@dataclass
class Opened:
    """A stream, and all that belongs to it."""

    stream: LiveStream
    model: ReadingModel
    ear: Ear
    transcriber: StreamingTranscriber
    scheduler: Scheduler
    read: list[TimedEvent] = field(default_factory=list)

    @property
    def events(self) -> list[LiveEvent]:
        return [own.event for own in self.read]

    async def read_all(self) -> None:
        async for own in self.stream.events():
            self.read.append(own)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read until something holds."""
        async with asyncio.timeout(30):
            async for own in self.stream.events():
                self.read.append(own)
                if condition():
                    return


@asynccontextmanager
async def opened(
    options: StreamOptions | None = None,
    *,
    stall_s: float = 60,
    vad: bool = True,
    observer: LiveObserver = NOBODY,
    keywords: HearKeywords | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Opened]:
    model, ear = ReadingModel(), Ear(SCRIPT)
    model.may_run.set()
    scheduler = await asyncio.to_thread(started, model)
    transcriber = StreamingTranscriber(
        scheduler,
        listen=(lambda: ear) if vad else None,
        stall_s=stall_s,
        keywords=keywords,
        observer=observer,
        clock=clock,
    )
    stream = transcriber.open(options or StreamOptions())
    try:
        yield Opened(stream, model, ear, transcriber, scheduler)
    finally:
        model.may_run.set()
        await stream.aclose()
        await asyncio.to_thread(scheduler.close, 10)


class Noted(LiveObserver):
    """Keeps what it is told of drops."""

    def __init__(self) -> None:
        self.drops: list[tuple[Drop, int]] = []

    def dropped(self, what: Drop, n: int = 1) -> None:
        self.drops.append((what, n))


def said() -> str:
    tokens = ctc.tokens(Encoder().label(SCRIPT.samples), VOCABULARY)
    return ctc.text(ctc.words(tokens))


def run(test: Callable[[], "asyncio.Future[None] | object"]) -> None:
    asyncio.run(test(), debug=True)  # type: ignore[arg-type]


class TestOneStream:
    def test_speech_becomes_events_and_the_stream_ends(self) -> None:
        """Started, hypotheses, final; then nothing more comes."""

        async def test() -> None:
            async with opened() as own:
                reading = asyncio.create_task(own.read_all())
                for first in range(0, len(SCRIPT.samples), 1600):
                    await own.stream.push_audio(SCRIPT.samples[first : first + 1600])
                    await asyncio.sleep(0)
                await own.stream.end()
                await reading

                finals = [e for e in own.events if isinstance(e, UtteranceFinal)]
                assert " ".join(final.text for final in finals) == said()
                assert isinstance(own.events[0], SpeechStarted)
                assert all(event.latency_ms >= 0 for event in own.read)
                assert own.read[-1].audio_position == len(SCRIPT.samples)

        run(test)

    def test_one_long_message_is_as_good_as_many(self) -> None:
        """It is taken a piece at a time."""

        async def test() -> None:
            async with opened() as own:
                await own.stream.push_audio(SCRIPT.samples)
                await own.stream.end()
                await own.read_all()
                finals = [e for e in own.events if isinstance(e, UtteranceFinal)]
                assert " ".join(final.text for final in finals) == said()

        run(test)

    def test_without_vad_a_flush_gives_the_final(self) -> None:
        """And the end ends the events, with or without one."""

        async def test() -> None:
            async with opened(vad=False) as own:
                await own.stream.push_audio(SCRIPT.samples)
                await own.stream.flush()
                await own.stream.end()
                await own.read_all()
                (final,) = [e for e in own.events if isinstance(e, UtteranceFinal)]
                assert (final.cause, final.text) == (Cause.FLUSH, said())

        run(test)

    def test_hypotheses_nobody_reads_are_replaced(self) -> None:
        """Only the newest is kept, and never in front of what came before it."""

        async def test() -> None:
            async with opened(StreamOptions(hop=1600)) as own:
                for first in range(0, 3 * SAMPLE_RATE, 1600):
                    await own.stream.push_audio(SCRIPT.samples[first : first + 1600])
                    await asyncio.to_thread(
                        wait_for, lambda: own.scheduler.n_queued == 0
                    )
                await own.stream.end()
                await own.read_all()

                told = [type(event) for event in own.events]
                assert told.count(Partial) <= told.count(UtteranceFinal)
                assert len(own.model.heard) > 5

        run(test)

    def test_what_was_cleared_is_not_told_to_those_who_read_late(self) -> None:
        """They would take it for the beginning of what comes next."""

        async def test() -> None:
            async with opened(vad=False) as own:
                for first in range(0, 3 * SAMPLE_RATE, 1600):
                    await own.stream.push_audio(SCRIPT.samples[first : first + 1600])
                    await asyncio.to_thread(
                        wait_for, lambda: own.scheduler.n_queued == 0
                    )
                await own.stream.clear()
                await own.stream.end()
                await own.read_all()
                assert own.events == []

        run(test)

    def test_a_client_that_stops_sending_has_its_turn_ended(self) -> None:
        """By the clock on the wall: no audio will tell."""

        async def test() -> None:
            async with opened(stall_s=0.05) as own:
                await own.stream.push_audio(SCRIPT.samples[:SAMPLE_RATE])
                await own.until(lambda: isinstance(own.events[-1], UtteranceFinal))
                final = own.events[-1]
                assert isinstance(final, UtteranceFinal)
                assert final.cause is Cause.STALLED

        run(test)

    def test_a_client_that_is_away_has_not_stopped(self) -> None:
        """Its turn goes on when it is back, and ends if it says nothing then."""

        async def test() -> None:
            async with opened(stall_s=0.05) as own:
                await own.stream.push_audio(SCRIPT.samples[:SAMPLE_RATE])
                own.stream.set_away(True)
                await own.stream.push_audio(SCRIPT.samples[SAMPLE_RATE:20_000])
                ending = asyncio.create_task(
                    own.until(lambda: isinstance(own.events[-1], UtteranceFinal))
                )
                await asyncio.wait({ending}, timeout=0.2)
                assert not ending.done()
                own.stream.set_away(False)
                await ending
                final = own.events[-1]
                assert isinstance(final, UtteranceFinal)
                assert final.cause is Cause.STALLED

        run(test)

    def test_a_client_that_we_keep_waiting_has_not_stopped(self) -> None:
        """However long its next words wait for their turn."""

        async def test() -> None:
            async with opened(stall_s=0.05) as own:
                await own.stream.push_audio(SCRIPT.samples[:SAMPLE_RATE])
                own.ear.may_listen = asyncio.Event()
                pushing = asyncio.create_task(
                    own.stream.push_audio(SCRIPT.samples[SAMPLE_RATE:])
                )
                await asyncio.wait({pushing}, timeout=0.2)
                own.ear.may_listen.set()
                await pushing
                await own.stream.end()
                await own.read_all()

            finals = [e for e in own.events if isinstance(e, UtteranceFinal)]
            assert Cause.STALLED not in [final.cause for final in finals]

        run(test)


class TestBounds:
    def test_pushing_waits_while_finals_are_behind(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client is slowed down; nothing is thrown away."""
        monkeypatch.setattr(streaming, "_MAX_WAITING", SAMPLE_RATE)

        async def test() -> None:
            async with opened(StreamOptions(partials=False)) as own:
                own.model.may_run.clear()
                await own.stream.push_audio(SCRIPT.samples[: 2 * SAMPLE_RATE])
                await own.stream.flush()
                pushing = asyncio.create_task(
                    own.stream.push_audio(SCRIPT.samples[2 * SAMPLE_RATE :])
                )
                done, _ = await asyncio.wait({pushing}, timeout=0.1)
                assert not done

                own.model.may_run.set()
                async with asyncio.timeout(30):
                    await pushing
                await own.stream.end()
                await own.read_all()
                finals = [e for e in own.events if isinstance(e, UtteranceFinal)]
                assert finals[0].position == 2 * SAMPLE_RATE
                assert finals[-1].words

        run(test)

    def test_a_slow_model_hears_the_newest_audio_and_not_a_backlog(self) -> None:
        """One hypothesis waits at most; the newer replaces it."""

        async def test() -> None:
            async with opened() as own:
                own.model.may_run.clear()
                for first in range(0, 4 * SAMPLE_RATE, 1600):
                    await own.stream.push_audio(SCRIPT.samples[first : first + 1600])
                assert own.scheduler.n_queued <= 2
                own.model.may_run.set()
                await own.stream.end()
                await own.read_all()

        run(test)

    def test_a_window_that_is_not_heard_leaves_its_turn_to_the_next(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever pauses there are, each of which wants another window."""
        now = 0.0
        asked: list[tuple[Work, float]] = []

        async def test() -> None:
            nonlocal now
            async with opened(clock=lambda: now) as own:
                submit = own.scheduler.submit

                def note(*window: ModelInput, **how: Any) -> Future[FrameLabels]:
                    asked.append((how["work"], now + how["due_in_s"]))
                    return submit(*window, **how)

                own.model.may_run.clear()
                busy = submit(ModelInput(SCRIPT.samples))
                # Until the model has it.
                while own.scheduler.n_queued:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                monkeypatch.setattr(own.scheduler, "submit", note)
                for first in range(0, len(SCRIPT.samples), 1600):
                    await own.stream.push_audio(SCRIPT.samples[first : first + 1600])
                    now += 0.1
                own.model.may_run.set()
                await asyncio.wrap_future(busy)
                await own.stream.end()
                await own.read_all()

        run(test)
        utterance = [
            *itertools.takewhile(lambda own: own[0] != Work.STREAM_FINAL, asked)
        ]
        assert {work for work, _ in utterance} == {
            Work.STREAM_PARTIAL,
            Work.STREAM_SPECULATION,
        }
        assert len(utterance) > 5
        assert len({round(due, 6) for _, due in utterance}) == 1

    def test_a_failed_final_is_an_event(self) -> None:
        """The stream goes on to its end."""

        async def test() -> None:
            async with opened(StreamOptions(partials=False), vad=False) as own:
                own.model.failures = [MemoryError("too much")] * 3
                await own.stream.push_audio(SCRIPT.samples)
                await own.stream.flush()
                await own.stream.end()
                await own.read_all()
                (failed,) = own.events
                assert isinstance(failed, UtteranceFailed)

        run(test)


class TestCleaningUp:
    def test_closing_gives_everything_back_at_any_time(self) -> None:
        """Windows that wait leave the queue, readers return."""

        async def test() -> None:
            async with opened() as own:
                own.model.may_run.clear()
                await own.stream.push_audio(SCRIPT.samples)
                await own.stream.flush()
                reading = asyncio.create_task(own.read_all())
                await own.stream.aclose()
                await own.stream.aclose()
                await reading

                assert own.transcriber.n_streams == 0
                assert own.ear.closed
                await asyncio.to_thread(wait_for, lambda: own.scheduler.n_queued == 0)

        run(test)

    def test_streams_are_counted(self) -> None:
        """While they are open."""

        async def test() -> None:
            async with opened() as own:
                assert own.transcriber.n_streams == 1
                other = own.transcriber.open(replace(StreamOptions(), vad=False))
                assert own.transcriber.n_streams == 2
                await other.aclose()
                assert own.transcriber.n_streams == 1

        run(test)


def test_an_empty_stream_ends_at_once() -> None:
    """It has nothing to say."""

    async def test() -> None:
        async with opened() as own:
            await own.stream.push_audio(np.empty(0, np.float32))
            await own.stream.end()
            await own.read_all()
            assert own.events == []

    run(test)


class TestObservation:
    def test_hypotheses_that_give_way_unread_are_counted(self) -> None:
        """Those that were made, less the one that is left."""

        async def test() -> None:
            noted = Noted()
            async with opened(observer=noted) as own:
                for first in range(0, len(SCRIPT.samples), 1600):
                    n = len(own.model.heard)
                    await own.stream.push_audio(SCRIPT.samples[first : first + 1600])
                    if own.scheduler.n_waiting(Work.STREAM_PARTIAL):
                        while len(own.model.heard) == n:  # noqa: ASYNC110
                            await asyncio.sleep(0.001)
                    await asyncio.sleep(0.001)
                await own.stream.end()
                await own.read_all()

            unread = sum(n for what, n in noted.drops if what is Drop.UNREAD_PARTIAL)
            assert unread > 0

        run(test)

    def test_an_ear_that_hears_for_ever_is_trouble(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Audio came, and nothing will come of it."""
        monkeypatch.setattr(watchdog, "_PATIENCE_S", 0.05)

        async def test() -> None:
            async with opened() as own:
                stuck, hear = asyncio.Event(), own.ear.push_audio

                async def push_audio(samples: Samples) -> list[float]:
                    await stuck.wait()
                    return await hear(samples)

                monkeypatch.setattr(own.ear, "push_audio", push_audio)
                pushing = asyncio.create_task(
                    own.stream.push_audio(SCRIPT.samples[:1600])
                )
                dog = own.scheduler.watchdog
                async with asyncio.timeout(30):
                    while dog.trouble is None:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                stuck.set()
                await pushing

                assert dog.trouble is None

        run(test)


class TestKeywords:
    """Heard between the model and the session, in a thread of their own."""

    def test_what_they_make_of_labels_is_what_the_stream_tells(self) -> None:
        """Of partials and finals, while the loop goes on."""
        threads: set[str] = set()

        def hear(frames: FrameLabels, keywords: tuple[str, ...]) -> FrameLabels:
            assert keywords == ("Listen",)
            threads.add(threading.current_thread().name)
            first = np.flatnonzero(frames.ids)[:1].tolist()
            return replace(frames, written=dict.fromkeys(first, "Listen"))

        async def test() -> None:
            with ThreadPoolExecutor(1, thread_name_prefix="keywords") as thread:

                def submit(
                    frames: FrameLabels, keywords: tuple[str, ...]
                ) -> Future[FrameLabels]:
                    return thread.submit(hear, frames, keywords)

                options = StreamOptions(keywords=("Listen",))
                half = len(SCRIPT.samples) // 2
                async with opened(options, keywords=submit) as own:
                    await own.stream.push_audio(SCRIPT.samples[:half])
                    await own.until(lambda: isinstance(own.events[-1], Partial))
                    reading = asyncio.create_task(own.read_all())
                    await own.stream.push_audio(SCRIPT.samples[half:])
                    await own.stream.end()
                    await reading

            finals = [e for e in own.events if isinstance(e, UtteranceFinal)]
            assert all(final.text.startswith("Listen") for final in finals)
            assert any(isinstance(e, Partial) for e in own.events)
            assert all(window.decoding.n_best for window in own.model.heard)

        run(test)
        assert {name.partition("_")[0] for name in threads} == {"keywords"}

    def test_after_its_end_the_thread_gives_labels_back_as_they_are(self) -> None:
        """A final that comes while the server ends is better than none."""
        listener = KeywordListener()
        listener.close()
        frames = Encoder().label(SCRIPT.samples)

        assert listener.submit(frames, ("a",)).result() is frames

    def test_if_they_cannot_be_found_the_text_comes_without_them(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No word is lost, and the log says why."""

        def submit(
            frames: FrameLabels, keywords: tuple[str, ...]
        ) -> Future[FrameLabels]:
            broken: Future[FrameLabels] = Future()
            broken.set_exception(RuntimeError("on purpose"))
            return broken

        async def test() -> None:
            options = StreamOptions(keywords=("Listen",), partials=False)
            async with opened(options, keywords=submit) as own:
                reading = asyncio.create_task(own.read_all())
                await own.stream.push_audio(SCRIPT.samples)
                await own.stream.end()
                await reading

            finals = [e for e in own.events if isinstance(e, UtteranceFinal)]
            assert any(final.text for final in finals)

        run(test)
        assert "A window's keywords could not be found." in caplog.text
