"""Pipecat's own services for Deepgram, in real pipelines, at our address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    EagerTranscriptionFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    STTUpdateSettingsFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.deepgram.flux.stt import DeepgramFluxSTTService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.workers.runner import WorkerRunner

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.processes import ServerProcess
from tests.agents import pipeline, speech
from tests.agents.speech import Conversation

# What a language model takes for the first words of an answer.
THINKING_S = 0.15


def flux(url: str, **settings: object) -> DeepgramFluxSTTService:
    return DeepgramFluxSTTService(
        api_key="none",
        url=f"{url.replace('http', 'ws')}/v2/listen",
        enable_eager_end_of_turn="eager_eot_threshold" in settings,
        settings=DeepgramFluxSTTService.Settings(**settings),
    )


def nova(url: str) -> DeepgramSTTService:
    return DeepgramSTTService(api_key="none", base_url=url, ttfs_p99_latency=0.35)


class Echo(LLMService):
    """Answers a turn with its own words.

    Attributes:
        asked: What it was asked, and whether before the turn was over.
    """

    def __init__(self) -> None:
        super().__init__(settings=LLMSettings(model="echo"))
        self.asked: list[tuple[str, bool]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        said = str(frame.context.get_messages()[-1]["content"])
        self.asked.append((said, frame.speculation))
        await self.push_frame(LLMFullResponseStartFrame())
        await asyncio.sleep(THINKING_S)
        await self.push_frame(LLMTextFrame(said))
        await self.push_frame(LLMFullResponseEndFrame())


@dataclass
class Talk:
    """An agent that answers.

    Attributes:
        heard: All frames after the service.
        said: All frames after the language model.
    """

    worker: PipelineWorker
    echo: Echo
    heard: pipeline.Sink
    said: pipeline.Sink
    errors: list[ErrorFrame] = field(default_factory=list)

    async def hear(self, samples: Samples) -> None:
        async for frame in speech.spoken(samples):
            await self.worker.queue_frame(InputAudioRawFrame(frame, SAMPLE_RATE, 1))

    def answers(self) -> list[str]:
        return [f.text for f in self.said.frames if isinstance(f, LLMTextFrame)]

    async def wait_for_answers(self, n: int) -> None:
        async with asyncio.timeout(30):
            while len(self.answers()) < n:
                self.said.news.clear()
                await self.said.news.wait()

    def of_type(self, kind: type[Frame]) -> list[Frame]:
        return [frame for frame in self.heard.frames if isinstance(frame, kind)]


@asynccontextmanager
async def talking(stt: DeepgramFluxSTTService) -> AsyncIterator[Talk]:
    """Run an agent with Pipecat's own turns and contexts, until the block ends."""
    echo, heard, said = Echo(), pipeline.Sink(), pipeline.Sink()
    turns = LLMContextAggregatorPair(LLMContext())
    worker = PipelineWorker(
        Pipeline([stt, heard, turns.user(), echo, said, turns.assistant()]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE),
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
    )
    talk = Talk(worker, echo, heard, said)
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _started(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    @worker.event_handler("on_pipeline_error")
    async def _failed(worker: PipelineWorker, frame: ErrorFrame) -> None:
        talk.errors.append(frame)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    run = asyncio.create_task(runner.run())
    try:
        await asyncio.wait_for(started.wait(), 30)
        yield talk
    finally:
        await worker.queue_frame(EndFrame())
        await asyncio.wait_for(run, 30)


class TestFlux:
    def test_it_hears_every_turn(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """Each starts once, has interim texts, and ends with the words of its file."""
        n = len(conversation.utterances)

        async def converse() -> pipeline.Agent:
            stt = flux(server.url)
            async with pipeline.running(stt, local_vad=False) as agent:
                await agent.hear(conversation.samples)
                await agent.wait_for_texts(n)
            return agent

        agent = asyncio.run(converse())

        assert not agent.errors
        conversation.check(agent.texts())
        assert len(agent.texts()) == n
        assert agent.count(ProposedUserStartedSpeakingFrame) == n
        assert agent.count(ProposedUserStoppedSpeakingFrame) == n
        assert agent.count(InterimTranscriptionFrame) > n
        assert agent.count(EagerTranscriptionFrame) == 0
        finals = [f for f in agent.sink.frames if isinstance(f, TranscriptionFrame)]
        assert all(frame.finalized for frame in finals)
        assert {str(frame.language) for frame in finals} == {"en"}

    def test_it_answers_before_the_turn_is_over(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """A reply is made at the eager end and let out at the end, without another.

        With a patient end of turn, so that the model of a busy machine has time.
        """
        n = len(conversation.utterances)

        async def converse() -> Talk:
            stt = flux(server.url, eager_eot_threshold=0.3, eot_threshold=0.85)
            async with talking(stt) as talk:
                await talk.hear(conversation.samples)
                await talk.wait_for_answers(n)
            return talk

        talk = asyncio.run(converse())

        assert not talk.errors
        finals = [f.text for f in talk.of_type(TranscriptionFrame)]
        conversation.check(finals)
        assert talk.answers() == finals
        early = [text for text, speculative in talk.echo.asked if speculative]
        assert len(early) >= 0.95 * n
        withdrawn = len(talk.of_type(EagerEndOfTurnCancelFrame))
        assert len(talk.echo.asked) <= n + withdrawn

    def test_a_pause_in_a_sentence_is_answered_once(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """What was begun in it is withdrawn."""
        first, second = (each.samples for each in conversation.utterances[:2])
        pause = round((speech.PAUSE_S - 0.3) * SAMPLE_RATE)
        lead = round(0.35 * SAMPLE_RATE)
        paused = [first[: len(first) - pause], second[lead:]]

        async def converse() -> Talk:
            stt = flux(server.url, eager_eot_threshold=0.3, eot_threshold=0.9)
            async with talking(stt) as talk:
                for part in paused:
                    await talk.hear(part)
                await talk.wait_for_answers(1)
            return talk

        talk = asyncio.run(converse())

        assert not talk.errors
        assert len(talk.of_type(EagerEndOfTurnCancelFrame)) == 1
        assert len(talk.of_type(TranscriptionFrame)) == 1
        assert len(talk.answers()) == 1
        assert talk.answers() == [f.text for f in talk.of_type(TranscriptionFrame)]

    def test_a_cough_is_not_answered(self, server: ServerProcess) -> None:
        """It starts no turn, and interrupts no agent."""
        rng = np.random.default_rng(0)
        cough = rng.uniform(-0.3, 0.3, SAMPLE_RATE // 3).astype(np.float32)
        parts = [speech.silence(1), cough, speech.silence(2), cough, speech.silence(7)]

        async def converse() -> Talk:
            async with talking(flux(server.url, eager_eot_threshold=0.3)) as talk:
                await talk.hear(np.concatenate(parts))
            return talk

        talk = asyncio.run(converse())

        assert not talk.errors
        assert talk.echo.asked == []
        assert not talk.of_type(UserStartedSpeakingFrame)
        assert not talk.of_type(ProposedUserStartedSpeakingFrame)

    def test_settings_are_changed_in_mid_stream(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """Three in a row: each is answered, and the session goes on."""

        async def converse() -> pipeline.Agent:
            stt = flux(server.url)
            async with pipeline.running(stt, local_vad=False) as agent:
                for threshold in (0.6, 0.9, 0.8):
                    delta = DeepgramFluxSTTService.Settings(eot_threshold=threshold)
                    await agent.worker.queue_frame(STTUpdateSettingsFrame(delta=delta))
                await agent.hear(conversation.utterances[0].samples)
                await agent.wait_for_texts(1)
            return agent

        agent = asyncio.run(converse())

        assert not agent.errors
        assert len(agent.texts()) == 1

    def test_input_that_stops_in_mid_speech_ends_the_turn(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """Pipecat sends silence then, and the turn ends by it."""
        samples = conversation.utterances[0].samples
        speaking = samples[: len(samples) - round(speech.PAUSE_S * SAMPLE_RATE)]

        async def converse() -> pipeline.Agent:
            async with pipeline.running(flux(server.url), local_vad=False) as agent:
                await agent.hear(speaking)
                await agent.wait_for_texts(1)
            return agent

        agent = asyncio.run(converse())

        assert len(agent.texts()) == 1
        assert agent.count(ProposedUserStoppedSpeakingFrame) == 1

    def test_a_refusal_is_shown(self, server: ServerProcess) -> None:
        """With what is wrong."""

        async def converse() -> list[str]:
            stt = DeepgramFluxSTTService(
                api_key="none",
                url=f"{server.url.replace('http', 'ws')}/v2/listen",
                settings=DeepgramFluxSTTService.Settings(model="large-v3"),
            )
            async with pipeline.running(stt, local_vad=False) as agent:
                await asyncio.wait_for(agent.failed.wait(), 30)
            return [frame.error for frame in agent.errors]

        assert any(
            "'large-v3' is not served" in each for each in asyncio.run(converse())
        )


class TestNova:
    def test_it_hears_every_turn(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """Its own VAD ends them; each end has its text, and a time to it."""
        n = len(conversation.utterances)

        async def converse() -> pipeline.Agent:
            async with pipeline.running(nova(server.url), local_vad=True) as agent:
                await agent.hear(conversation.samples)
                await agent.wait_for_texts(n)
            return agent

        agent = asyncio.run(converse())

        assert not agent.errors
        conversation.check(agent.texts())
        assert agent.count(InterimTranscriptionFrame) > n
        finals = [f for f in agent.sink.frames if isinstance(f, TranscriptionFrame)]
        assert any(frame.finalized for frame in finals)
        reported = [
            each.value
            for frame in agent.sink.frames
            if isinstance(frame, MetricsFrame)
            for each in frame.data
            if isinstance(each, TTFBMetricsData) and each.value
        ]
        assert len(reported) >= n - 1

    @pytest.mark.parametrize("language", ["bam_Latn", "bm", "multi", "xx"])
    def test_any_language_is_let_in(
        self, server: ServerProcess, conversation: Conversation, language: str
    ) -> None:
        """And no answer has one that makes Pipecat drop its socket."""

        async def converse() -> pipeline.Agent:
            stt = DeepgramSTTService(
                api_key="none",
                base_url=server.url,
                settings=DeepgramSTTService.Settings(language=language),
            )
            async with pipeline.running(stt, local_vad=True) as agent:
                await agent.hear(conversation.utterances[0].samples)
                await agent.wait_for_texts(1)
            return agent

        agent = asyncio.run(converse())

        assert not agent.errors
        assert agent.texts()
