"""Pipecat's own services for OpenAI, in a real pipeline."""

import asyncio
from collections.abc import Callable

import pytest
from pipecat.services.openai.stt import OpenAIRealtimeSTTService, OpenAISTTService
from pipecat.services.stt_service import STTService

from benchmarks.common.processes import ServerProcess
from tests.agents import pipeline
from tests.agents.pipeline import TURN_STARTS, TURN_STOPS
from tests.agents.speech import MODEL, Conversation

SERVER_VAD = {"type": "server_vad"}


def http(url: str) -> STTService:
    return OpenAISTTService(
        api_key="none",
        base_url=f"{url}/v1",
        settings=OpenAISTTService.Settings(model=MODEL, language="en"),
    )


def realtime(url: str, **arguments: object) -> STTService:
    return OpenAIRealtimeSTTService(
        api_key="none",
        base_url=f"{url.replace('http', 'ws')}/v1/realtime",
        settings=OpenAIRealtimeSTTService.Settings(model=MODEL, language="en"),
        **arguments,
    )


def default_realtime(url: str) -> STTService:
    """The service of a user who sets only the URL."""
    return OpenAIRealtimeSTTService(
        api_key="none", base_url=f"{url.replace('http', 'ws')}/v1/realtime"
    )


CLIENTS: dict[str, tuple[Callable[[str], STTService], bool]] = {
    "HTTP": (http, True),
    "realtime, local VAD": (realtime, True),
    "realtime, server VAD": (
        lambda url: realtime(url, turn_detection=SERVER_VAD),
        False,
    ),
    "realtime, defaults": (default_realtime, True),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_it_hears_every_turn(
    server: ServerProcess, conversation: Conversation, client: str
) -> None:
    """Turns start and stop, and their words are those of the files."""
    make, local_vad = CLIENTS[client]
    n = len(conversation.utterances)

    async def converse() -> pipeline.Agent:
        async with pipeline.running(make(server.url), local_vad=local_vad) as agent:
            await agent.hear(conversation.samples)
            await agent.wait_for_texts(n)
        return agent

    agent = asyncio.run(converse())

    assert not agent.errors
    conversation.check(agent.texts())
    assert sum(map(agent.count, TURN_STARTS)) >= n
    assert sum(map(agent.count, TURN_STOPS)) >= n
    if client != "HTTP":
        assert len(agent.interim()) > n
