"""LiveKit's own STT for OpenAI."""

import asyncio

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import stt as livekit_stt
from livekit.agents import utils
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.plugins import openai as livekit_openai

from audio.samples import SAMPLE_RATE
from benchmarks.common.processes import ServerProcess
from benchmarks.corpus import composer, manifest
from benchmarks.corpus.disturbances import read_audio
from tests.agents import speech
from tests.agents.speech import MODEL, Conversation


def make(url: str, *, use_realtime: bool, **arguments: object) -> livekit_openai.STT:
    return livekit_openai.STT(
        base_url=f"{url}/v1",
        api_key="none",
        model=MODEL,
        language="en",
        use_realtime=use_realtime,
        **arguments,
    )


def frame(data: bytes) -> rtc.AudioFrame:
    return rtc.AudioFrame(data, SAMPLE_RATE, 1, len(data) // 2)


def of_type(heard: list[SpeechEvent], kind: SpeechEventType) -> list[SpeechEvent]:
    return [event for event in heard if event.type == kind]


def finals(heard: list[SpeechEvent]) -> list[str]:
    return [
        event.alternatives[0].text
        for event in of_type(heard, SpeechEventType.FINAL_TRANSCRIPT)
    ]


async def converse(
    model: livekit_stt.STT, conversation: Conversation
) -> list[SpeechEvent]:
    """Say everything at the pace of speech; return what it heard."""
    heard: list[SpeechEvent] = []
    n = len(conversation.utterances)
    async with utils.http_context.open(), model.stream() as stream:

        async def say() -> None:
            async for data in speech.spoken(conversation.samples):
                stream.push_frame(frame(data))

        saying = asyncio.create_task(say())
        async with asyncio.timeout(60 + len(conversation.samples) / SAMPLE_RATE):
            async for event in stream:
                heard.append(event)
                usage = of_type(heard, SpeechEventType.RECOGNITION_USAGE)
                if len(usage) == n:
                    break
        await saying
    return heard


def test_realtime_hears_every_turn(
    server: ServerProcess, conversation: Conversation
) -> None:
    """With the server's turn detection, which is its only endpointing."""
    heard = asyncio.run(converse(make(server.url, use_realtime=True), conversation))

    n = len(conversation.utterances)
    conversation.check(finals(heard))
    assert len(finals(heard)) == n
    assert len(of_type(heard, SpeechEventType.START_OF_SPEECH)) == n
    assert len(of_type(heard, SpeechEventType.END_OF_SPEECH)) == n
    languages = {
        str(event.alternatives[0].language)
        for event in of_type(heard, SpeechEventType.FINAL_TRANSCRIPT)
    }
    assert languages == {"en"}
    durations = [
        event.recognition_usage.audio_duration
        for event in of_type(heard, SpeechEventType.RECOGNITION_USAGE)
        if event.recognition_usage
    ]
    assert len(durations) == n
    assert all(0.5 < each < 10 for each in durations)


def test_its_interim_text_only_grows(
    server: ServerProcess, conversation: Conversation
) -> None:
    """Within a turn; the final resets it."""
    heard = asyncio.run(converse(make(server.url, use_realtime=True), conversation))

    turn: list[str] = []
    for event in heard:
        if event.type == SpeechEventType.INTERIM_TRANSCRIPT:
            turn.append(event.alternatives[0].text)
        elif event.type == SpeechEventType.FINAL_TRANSCRIPT:
            assert speech.only_grows(turn), turn
            turn = []


def test_http_hears_every_utterance(
    server: ServerProcess, conversation: Conversation
) -> None:
    """As a file of its own."""

    async def recognise() -> list[str]:
        model = make(server.url, use_realtime=False)
        texts = []
        for utterance in conversation.utterances:
            event = await model.recognize(frame(speech.pcm(utterance.samples)))
            texts.append(event.alternatives[0].text)
        await model.aclose()
        return texts

    conversation.check(asyncio.run(recognise()))


@pytest.mark.parametrize("use_realtime", [True, False])
def test_german_is_not_called_english(
    server: ServerProcess, use_realtime: bool
) -> None:
    """With `detect_language` it names no language, and takes what was found."""
    german = manifest.read(composer.DIGITS.parent / "synthetic" / "manifest.jsonl")
    (clip,) = [one for one in german if one.audio.stem == "de-9"]
    samples = np.concatenate([read_audio(clip.audio), speech.silence(1.5)])
    utterance = composer.Composition(samples, ())
    model = make(server.url, use_realtime=use_realtime, detect_language=True)

    async def recognise() -> SpeechEvent:
        return await model.recognize(frame(speech.pcm(samples)))

    if use_realtime:
        heard = asyncio.run(converse(model, Conversation((utterance,))))
        events = of_type(heard, SpeechEventType.FINAL_TRANSCRIPT)
    else:
        events = [asyncio.run(recognise())]

    assert events
    for event in events:
        assert event.alternatives[0].text in clip.text
        assert str(event.alternatives[0].language or "") in ("", "de")
