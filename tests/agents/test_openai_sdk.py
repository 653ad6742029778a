"""OpenAI's SDK: `client.realtime.connect`, unmodified."""

import asyncio
import base64
from typing import Any

import openai
import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from benchmarks.common.processes import ServerProcess
from tests.agents import speech
from tests.agents.speech import MODEL, Conversation

TRANSCRIPTION = "conversation.item.input_audio_transcription"


async def talk(
    connection: AsyncRealtimeConnection, conversation: Conversation, *, commits: bool
) -> list[dict[str, Any]]:
    """Say everything at the pace of speech; return all events up to the last text."""
    heard: list[dict[str, Any]] = []

    async def say() -> None:
        for utterance in conversation.utterances:
            async for frame in speech.spoken(utterance.samples, 24_000):
                audio = base64.b64encode(frame).decode()
                await connection.input_audio_buffer.append(audio=audio)
            if commits:
                await connection.input_audio_buffer.commit()

    async with asyncio.TaskGroup() as group:
        group.create_task(say())
        while texts(heard) != len(conversation.utterances):
            event = await asyncio.wait_for(connection.recv(), 30)
            assert event.type != "error", event
            heard.append(event.to_dict())
    return heard


def texts(heard: list[dict[str, Any]]) -> int:
    return sum(each["type"] == f"{TRANSCRIPTION}.completed" for each in heard)


def of_type(heard: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in heard if each["type"] == kind]


@pytest.mark.parametrize("turns", [True, False], ids=["server VAD", "commits"])
def test_it_hears_every_utterance(
    server: ServerProcess, conversation: Conversation, turns: bool
) -> None:
    """One item each, deltas that only grow, and the words of the file."""

    async def converse() -> list[dict[str, Any]]:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        async with (
            client,
            client.realtime.connect(
                extra_query={"intent": "transcription"}
            ) as connection,
        ):
            assert (await connection.recv()).type == "session.created"
            vad: Any = {"type": "server_vad", "silence_duration_ms": 500}
            await connection.session.update(
                session={
                    "type": "transcription",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcm", "rate": 24_000},
                            "transcription": {"model": MODEL, "language": "en"},
                            "turn_detection": vad if turns else None,
                        }
                    },
                    "include": ["item.input_audio_transcription.logprobs"],
                }
            )
            assert (await connection.recv()).type == "session.updated"
            return await talk(connection, conversation, commits=not turns)

    heard = asyncio.run(converse())

    n = len(conversation.utterances)
    completed = of_type(heard, f"{TRANSCRIPTION}.completed")
    conversation.check([each["transcript"] for each in completed])
    assert len({each["item_id"] for each in completed}) == n
    assert all(each["languages"] == [{"code": "en"}] for each in completed)
    assert all(each["usage"]["seconds"] > 0 for each in completed)
    assert all(each["logprobs"] for each in completed)
    for kind in ("started", "stopped"):
        turn = of_type(heard, f"input_audio_buffer.speech_{kind}")
        assert len(turn) == (n if turns else 0)
    deltas = of_type(heard, f"{TRANSCRIPTION}.delta")
    assert len(deltas) > n
    for each in completed:
        own = [
            event["delta"] for event in deltas if event["item_id"] == each["item_id"]
        ]
        assert own
