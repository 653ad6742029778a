"""openai-agents' voice model: the strictest client, with its defaults."""

import asyncio

import agents
import numpy as np
import openai
import pytest
from agents.voice import StreamedAudioInput, STTModelSettings
from agents.voice.models.openai_stt import OpenAISTTModel

from benchmarks.common.processes import ServerProcess
from tests.agents import speech
from tests.agents.speech import MODEL, Conversation


@pytest.fixture(autouse=True)
def _no_tracing() -> None:
    """It would send traces to OpenAI."""
    agents.set_tracing_disabled(True)


def test_it_hears_every_turn_and_comes_to_its_end(
    server: ServerProcess, conversation: Conversation
) -> None:
    """With semantic VAD, which it asks for; it commits and clears at the end."""

    async def converse() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        model = OpenAISTTModel(MODEL, client)
        audio = StreamedAudioInput()

        async def say() -> None:
            async for frame in speech.spoken(conversation.samples, 24_000):
                await audio.add_audio(np.frombuffer(frame, np.int16))
            await audio.add_audio(None)

        session = await model.create_session(
            audio,
            STTModelSettings(language="en"),
            trace_include_sensitive_data=False,
            trace_include_sensitive_audio_data=False,
        )
        saying = asyncio.create_task(say())
        turns = [turn async for turn in session.transcribe_turns()]
        await saying
        await client.close()
        return turns

    turns = asyncio.run(asyncio.wait_for(converse(), 300))

    assert len(turns) == len(conversation.utterances)
    conversation.check(turns)


def test_what_is_left_when_the_input_ends_is_heard(
    server: ServerProcess, conversation: Conversation
) -> None:
    """It commits in mid-speech, before silence could end the turn."""
    utterance = conversation.utterances[0]
    cut = utterance.samples[: utterance.words[-1].end]

    async def converse() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        audio = StreamedAudioInput()
        await audio.add_audio(np.frombuffer(speech.pcm(cut, 24_000), np.int16))
        await audio.add_audio(None)
        session = await OpenAISTTModel(MODEL, client).create_session(
            audio,
            STTModelSettings(),
            trace_include_sensitive_data=False,
            trace_include_sensitive_audio_data=False,
        )
        turns = [turn async for turn in session.transcribe_turns()]
        await client.close()
        return turns

    turns = asyncio.run(asyncio.wait_for(converse(), 60))

    assert len(turns) == 1
    assert len(turns[0].split()) >= speech.WORDS - 1
