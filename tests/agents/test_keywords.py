"""Keywords as the frameworks' own clients send them, and change them in mid-session."""

import asyncio
import base64
from typing import Any

import openai
import pytest
from livekit.agents import utils
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.plugins import openai as livekit_openai
from pipecat.services.openai.stt import OpenAISTTService

from benchmarks.common.processes import ServerProcess
from benchmarks.corpus import composer
from benchmarks.corpus.wav import wav
from tests.agents import pipeline, speech
from tests.agents.speech import Conversation
from tests.agents.test_livekit import finals, frame

SHOUTED = [word.upper() for word in composer.WORDS]
TITLES = [word.title() for word in composer.WORDS]
UNKNOWN = "Ж"


def test_openais_sdk_sends_them_with_a_recording(
    server: ServerProcess, conversation: Conversation
) -> None:
    """Unmodified; what cannot be written is named in what the SDK keeps."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        heard = client.audio.transcriptions.create(
            model="gpt-transcribe",
            file=("audio.wav", wav(conversation.utterances[0].samples)),
            keywords=[*SHOUTED, UNKNOWN],
        )

    assert heard.text.isupper()
    answer: dict[str, Any] = heard.to_dict()
    codes = [own["code"] for own in answer["warnings"]]
    assert codes == ["demo_model", "keywords_left_out"]


def test_openais_sdk_changes_them_in_mid_session(
    server: ServerProcess, conversation: Conversation
) -> None:
    """The next utterance is written with the new list."""

    async def converse() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        texts: list[str] = []
        async with (
            client,
            client.realtime.connect(
                extra_query={"intent": "transcription"}
            ) as connection,
        ):
            for keywords in (SHOUTED, TITLES, []):
                transcription: Any = {
                    "model": "gpt-transcribe",
                    "keywords": keywords,
                }
                await connection.session.update(
                    session={
                        "type": "transcription",
                        "audio": {
                            "input": {
                                "transcription": transcription,
                                "turn_detection": None,
                            }
                        },
                    }
                )
                audio = speech.pcm(conversation.utterances[0].samples, 24_000)
                await connection.input_audio_buffer.append(
                    audio=base64.b64encode(audio).decode()
                )
                await connection.input_audio_buffer.commit()
                while True:
                    event = await asyncio.wait_for(connection.recv(), 60)
                    assert event.type != "error", event
                    if event.type.endswith("transcription.completed"):
                        texts.append(str(event.to_dict()["transcript"]))
                        break
        return texts

    shouted, titles, plain = asyncio.run(converse())

    assert shouted.isupper()
    assert titles.istitle()
    assert plain.islower()


@pytest.mark.parametrize("model", ["gpt-transcribe", "gpt-live-transcribe"])
def test_livekit_changes_them_in_mid_session(
    server: ServerProcess, conversation: Conversation, model: str
) -> None:
    """Which it does for models of these names; with either's turn detection."""

    async def converse() -> list[str]:
        heard: list[SpeechEvent] = []
        stt = livekit_openai.STT(
            base_url=f"{server.url}/v1",
            api_key="none",
            model=model,
            keywords=SHOUTED,
            use_realtime=True,
        )
        async with utils.http_context.open(), stt.stream() as stream:

            async def say(index: int) -> None:
                samples = conversation.utterances[index].samples
                async for data in speech.spoken(samples):
                    stream.push_frame(frame(data))

            saying = asyncio.create_task(say(0))
            async with asyncio.timeout(90):
                async for event in stream:
                    heard.append(event)
                    if event.type is not SpeechEventType.FINAL_TRANSCRIPT:
                        continue
                    await saying
                    if len(finals(heard)) == 2:
                        break
                    stt.update_options(keywords=TITLES)
                    saying = asyncio.create_task(say(1))
        await stt.aclose()
        return finals(heard)

    shouted, titles = asyncio.run(converse())

    assert shouted.isupper()
    assert titles.istitle()


def test_livekit_sends_them_with_a_recording(
    server: ServerProcess, conversation: Conversation
) -> None:
    """With models of these names."""

    async def recognise() -> str:
        stt = livekit_openai.STT(
            base_url=f"{server.url}/v1",
            api_key="none",
            model="gpt-transcribe",
            keywords=SHOUTED,
        )
        samples = conversation.utterances[0].samples
        event = await stt.recognize(frame(speech.pcm(samples)))
        await stt.aclose()
        return str(event.alternatives[0].text)

    assert asyncio.run(recognise()).isupper()


def test_pipecat_sends_them(server: ServerProcess, conversation: Conversation) -> None:
    """From the settings of its service for recordings; the other has none for them."""
    stt = OpenAISTTService(
        api_key="none",
        base_url=f"{server.url}/v1",
        settings=OpenAISTTService.Settings(model="gpt-transcribe", keywords=SHOUTED),
    )

    async def converse() -> pipeline.Agent:
        async with pipeline.running(stt, local_vad=True) as agent:
            await agent.hear(conversation.utterances[0].samples)
            await agent.wait_for_texts(1, within_s=60)
        return agent

    agent = asyncio.run(converse())

    assert not agent.errors
    assert agent.texts()[0].isupper()
