"""A Pipecat pipeline around one of its own services, fed with speech."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.stt_service import STTService
from pipecat.workers.runner import WorkerRunner

from audio.samples import SAMPLE_RATE, Samples
from tests.agents import speech

# Pipecat's own recommendation, on which its figures rest.
STOP_S = 0.2


class Sink(FrameProcessor):
    """Keeps what the service says."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.news = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self.news.set()
        await self.push_frame(frame, direction)


@dataclass
class Agent:
    """A pipeline that runs."""

    worker: PipelineWorker
    sink: Sink
    errors: list[ErrorFrame] = field(default_factory=list)
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def hear(self, samples: Samples) -> None:
        """Speak to it at real pace."""
        async for frame in speech.spoken(samples):
            await self.worker.queue_frame(InputAudioRawFrame(frame, SAMPLE_RATE, 1))

    def texts(self) -> list[str]:
        return [f.text for f in self.sink.frames if isinstance(f, TranscriptionFrame)]

    def interim(self) -> list[str]:
        kind = InterimTranscriptionFrame
        return [f.text for f in self.sink.frames if isinstance(f, kind)]

    def count(self, kind: type[Frame]) -> int:
        return sum(isinstance(frame, kind) for frame in self.sink.frames)

    async def wait_for_texts(self, n: int, *, within_s: float = 30) -> None:
        async with asyncio.timeout(within_s):
            while len(self.texts()) < n:
                self.sink.news.clear()
                await self.sink.news.wait()


TURN_STARTS = (VADUserStartedSpeakingFrame, ProposedUserStartedSpeakingFrame)
TURN_STOPS = (VADUserStoppedSpeakingFrame, ProposedUserStoppedSpeakingFrame)


@asynccontextmanager
async def running(stt: STTService, *, local_vad: bool) -> AsyncIterator[Agent]:
    """Run a pipeline with a service in it, until the block ends."""
    vad = VADProcessor(
        vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=STOP_S))
    )
    sink = Sink()
    worker = PipelineWorker(
        Pipeline([*([vad] if local_vad else []), stt, sink]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, enable_metrics=True),
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
    )
    agent = Agent(worker, sink)
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _started(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    @worker.event_handler("on_pipeline_error")
    async def _failed(worker: PipelineWorker, frame: ErrorFrame) -> None:
        agent.errors.append(frame)
        agent.failed.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    run = asyncio.create_task(runner.run())
    try:
        await asyncio.wait_for(started.wait(), 30)
        yield agent
    finally:
        await worker.queue_frame(EndFrame())
        await asyncio.wait_for(run, 30)
