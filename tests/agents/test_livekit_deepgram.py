"""LiveKit's own clients for Deepgram: Flux (`STTv2`) and Nova (`STT`)."""

import asyncio
import logging

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectOptions,
    ConversationItemAddedEvent,
    llm,
    utils,
)
from livekit.agents import stt as livekit_stt
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.agents.voice.io import AudioInput
from livekit.plugins import deepgram

from audio.samples import SAMPLE_RATE, Samples
from benchmarks.common.processes import ServerProcess
from tests.agents import speech
from tests.agents.speech import Conversation
from tests.agents.test_livekit import finals, frame, of_type


def flux(url: str, **arguments: object) -> deepgram.STTv2:
    return deepgram.STTv2(base_url=f"{url}/v2/listen", api_key="none", **arguments)


def nova(url: str, **arguments: object) -> deepgram.STT:
    return deepgram.STT(base_url=f"{url}/v1/listen", api_key="none", **arguments)


@pytest.fixture(autouse=True)
def _nothing_is_dropped(caplog: pytest.LogCaptureFixture) -> object:
    """A message that LiveKit cannot read is logged and lost."""
    caplog.set_level(logging.WARNING)
    yield
    assert "failed to process" not in caplog.text


async def listen(
    model: livekit_stt.STT, samples: Samples, *, flush: bool = False
) -> list[SpeechEvent]:
    """Say everything at the pace of speech, end it; return all that it heard."""
    heard: list[SpeechEvent] = []
    async with utils.http_context.open(), model.stream() as stream:

        async def say() -> None:
            async for data in speech.spoken(samples):
                stream.push_frame(frame(data))
            if flush:
                stream.flush()
            stream.end_input()

        saying = asyncio.create_task(say())
        async with asyncio.timeout(60 + len(samples) / SAMPLE_RATE):
            async for event in stream:
                heard.append(event)
        await saying
    return heard


class TestFlux:
    def test_it_hears_every_turn(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """With an early text in each that is the final one, and word times."""
        model = flux(server.url, eager_eot_threshold=0.3, eot_threshold=0.85)
        heard = asyncio.run(listen(model, conversation.samples))

        n = len(conversation.utterances)
        conversation.check(finals(heard))
        assert len(finals(heard)) == n
        assert len(of_type(heard, SpeechEventType.START_OF_SPEECH)) == n
        assert len(of_type(heard, SpeechEventType.END_OF_SPEECH)) == n
        assert len(of_type(heard, SpeechEventType.INTERIM_TRANSCRIPT)) > n
        early = of_type(heard, SpeechEventType.PREFLIGHT_TRANSCRIPT)
        assert len(early) >= 0.95 * n
        last = {
            event.alternatives[0].text
            for event in of_type(heard, SpeechEventType.FINAL_TRANSCRIPT)
        }
        assert sum(event.alternatives[0].text in last for event in early) >= 0.9 * n
        for event in of_type(heard, SpeechEventType.FINAL_TRANSCRIPT):
            (text, *_) = event.alternatives
            assert str(text.language) == "en"
            assert 0 < text.confidence <= 1
            assert text.words
            times = [t for word in text.words for t in (word.start_time, word.end_time)]
            assert times == sorted(times)

    def test_without_a_threshold_nothing_is_early(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """LiveKit would begin to answer."""
        samples = conversation.utterances[0].samples
        heard = asyncio.run(listen(flux(server.url), samples))

        assert len(finals(heard)) == 1
        assert not of_type(heard, SpeechEventType.PREFLIGHT_TRANSCRIPT)

    def test_options_are_changed_in_mid_stream(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """LiveKit does not wait for the answers."""

        async def converse() -> list[SpeechEvent]:
            model = flux(server.url)
            samples = conversation.utterances[0].samples
            listening = asyncio.create_task(listen(model, samples))
            await asyncio.sleep(0.3)
            for threshold in (0.6, 0.9, 0.8):
                model.update_options(eot_threshold=threshold)
            return await listening

        assert len(finals(asyncio.run(converse()))) == 1

    def test_the_last_sentence_is_not_lost(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """The input ends in mid-speech: LiveKit waits for our close."""
        samples = conversation.utterances[0].samples
        speaking = samples[: len(samples) - round(speech.PAUSE_S * SAMPLE_RATE)]

        heard = asyncio.run(listen(flux(server.url), speaking))

        assert len(finals(heard)) == 1
        assert len(of_type(heard, SpeechEventType.END_OF_SPEECH)) == 1


class TestNova:
    def test_it_hears_every_turn(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """Speech starts, is shown, and ends."""
        heard = asyncio.run(listen(nova(server.url), conversation.samples, flush=True))

        n = len(conversation.utterances)
        texts = [text for text in finals(heard) if text]
        conversation.check(texts)
        assert len(texts) == n
        assert len(of_type(heard, SpeechEventType.START_OF_SPEECH)) >= n
        assert len(of_type(heard, SpeechEventType.END_OF_SPEECH)) >= n
        assert len(of_type(heard, SpeechEventType.INTERIM_TRANSCRIPT)) > n

    def test_noise_ends_as_well(self, server: ServerProcess) -> None:
        """Otherwise LiveKit would wait for ever for the end of speech."""
        rng = np.random.default_rng(0)
        noise = rng.uniform(-0.3, 0.3, SAMPLE_RATE).astype(np.float32)
        parts = [speech.silence(1), noise, speech.silence(2)]

        heard = asyncio.run(listen(nova(server.url), np.concatenate(parts)))

        starts = of_type(heard, SpeechEventType.START_OF_SPEECH)
        assert len(of_type(heard, SpeechEventType.END_OF_SPEECH)) == len(starts)
        assert not any(finals(heard))

    def test_recordings(
        self, server: ServerProcess, conversation: Conversation
    ) -> None:
        """The same client, one utterance at a time."""

        async def recognise() -> list[str]:
            texts = []
            async with utils.http_context.open():
                model = nova(server.url)
                for utterance in conversation.utterances:
                    event = await model.recognize(frame(speech.pcm(utterance.samples)))
                    texts.append(event.alternatives[0].text)
                await model.aclose()
            return texts

        conversation.check(asyncio.run(recognise()))


class EchoStream(llm.LLMStream):
    """Answers with what was said last."""

    async def _run(self) -> None:
        said = self.chat_ctx.messages()[-1].text_content or ""
        delta = llm.ChoiceDelta(role="assistant", content=said)
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class Echo(llm.LLM):
    def __init__(self) -> None:
        super().__init__()
        self.n_asked = 0

    def chat(self, **asked: object) -> llm.LLMStream:
        self.n_asked += 1
        return EchoStream(
            self,
            chat_ctx=asked["chat_ctx"],
            tools=asked.get("tools") or [],
            conn_options=APIConnectOptions(),
        )


class Microphone(AudioInput):
    """Speaks into a session at the pace of speech, and is silent then."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(label="a test")
        silence = speech.silence(60)
        self._frames = speech.spoken(np.concatenate([samples, silence]))

    async def __anext__(self) -> rtc.AudioFrame:
        return frame(await anext(self._frames))


class TestAgentSession:
    def test_it_answers_with_what_was_begun_early(
        self,
        server: ServerProcess,
        conversation: Conversation,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Our turns are its turns; the reply of the early end is the one it uses."""
        caplog.set_level(logging.DEBUG)
        n = len(conversation.utterances)

        async def converse() -> tuple[list[str], int]:
            echo = Echo()
            answered: list[str] = []
            news = asyncio.Event()
            async with utils.http_context.open():
                session = AgentSession(
                    stt=flux(server.url, eager_eot_threshold=0.3, eot_threshold=0.85),
                    llm=echo,
                    turn_handling={
                        "turn_detection": "stt",
                        "endpointing": {"min_delay": 0},
                    },
                )

                @session.on("conversation_item_added")
                def _added(event: ConversationItemAddedEvent) -> None:
                    if getattr(event.item, "role", None) == "assistant":
                        answered.append(event.item.text_content or "")
                        news.set()

                session.input.audio = Microphone(conversation.samples)
                await session.start(Agent(instructions="Repeat."))
                async with asyncio.timeout(60 + len(conversation.samples) / 16_000):
                    while len(answered) < n:
                        news.clear()
                        await news.wait()
                await session.aclose()
            return answered, echo.n_asked

        answered, _ = asyncio.run(converse())

        conversation.check(answered)
        used = caplog.text.count("using preemptive generation")
        assert used >= 0.5 * n
