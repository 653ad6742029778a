"""A server that restarts, or is full: the agents come back, and hear again."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from pathlib import Path
from typing import Any, Protocol

import agents
import numpy as np
import openai
import pytest
from agents.voice import (
    StreamedAudioInput,
    STTModelSettings,
    STTWebsocketConnectionError,
)
from agents.voice.models.openai_stt import OpenAISTTModel
from livekit.agents import APIConnectOptions, utils
from livekit.agents import stt as livekit_stt
from livekit.agents.stt import RecognizeStream, SpeechEventType
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.services.stt_service import STTService
from websockets.exceptions import ConnectionClosed

from audio.samples import Samples
from benchmarks.common.processes import (
    ServerProcess,
    free_port,
    server_on,
    server_process,
)
from tests.agents import (
    pipeline,
    speech,
    test_livekit,
    test_livekit_deepgram,
    test_pipecat,
    test_pipecat_deepgram,
)
from tests.agents.conftest import SERVER_PYTHON, SETTINGS
from tests.agents.speech import MODEL, Conversation
from tests.agents.test_livekit import frame, make
from tests.agents.test_openai_sdk import TRANSCRIPTION

COMPLETED = f"{TRANSCRIPTION}.completed"


class Ear(Protocol):
    """An agent that listens."""

    async def hear(self, samples: Samples) -> None: ...

    async def wait_for_texts(self, n: int, *, within_s: float = 90) -> None: ...


@asynccontextmanager
async def pipecat(url: str) -> AsyncIterator[Ear]:
    stt = OpenAIRealtimeSTTService(
        api_key="none",
        base_url=f"{url.replace('http', 'ws')}/v1/realtime",
        turn_detection={"type": "server_vad"},
        settings=OpenAIRealtimeSTTService.Settings(model=MODEL),
    )
    async with usable(stt, local_vad=False) as agent:
        yield agent


@asynccontextmanager
async def usable(stt: STTService, *, local_vad: bool) -> AsyncIterator[Ear]:
    """Run a service of Pipecat that is in use to the end."""
    async with pipeline.running(stt, local_vad=local_vad) as agent:
        yield agent
        assert stt.is_usable


class Counting:
    """Counts what was heard."""

    def __init__(self) -> None:
        self._n_texts = 0
        self._news = asyncio.Event()

    def heard(self) -> None:
        self._n_texts += 1
        self._news.set()

    async def wait_for_texts(self, n: int, *, within_s: float = 90) -> None:
        async with asyncio.timeout(within_s):
            while self._n_texts < n:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def listening(listen: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Listen while the block runs, to the end of it."""
    task = asyncio.create_task(listen)
    yield
    assert not task.done(), task.exception()
    task.cancel()


class LiveKitEar(Counting):
    def __init__(self, stream: RecognizeStream) -> None:
        super().__init__()
        self._stream = stream

    async def hear(self, samples: Samples) -> None:
        async for data in speech.spoken(samples):
            self._stream.push_frame(frame(data))

    async def listen(self) -> None:
        async for event in self._stream:
            if event.type == SpeechEventType.FINAL_TRANSCRIPT:
                self.heard()


@asynccontextmanager
async def livekit(url: str) -> AsyncIterator[Ear]:
    async with streaming(make(url, use_realtime=True)) as ear:
        yield ear


@asynccontextmanager
async def streaming(model: livekit_stt.STT) -> AsyncIterator[Ear]:
    """Run a stream of LiveKit's that is in use to the end."""
    async with (
        utils.http_context.open(),
        model.stream() as stream,
    ):
        ear = LiveKitEar(stream)
        async with listening(ear.listen()):
            yield ear


class SdkEar(Counting):
    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        super().__init__()
        self._connection = connection

    async def hear(self, samples: Samples) -> None:
        async for data in speech.spoken(samples, 24_000):
            audio = base64.b64encode(data).decode()
            with suppress(ConnectionClosed):  # listening finds out, and comes back
                await self._connection.input_audio_buffer.append(audio=audio)

    async def listen(self) -> None:
        async for event in self._connection:
            if event.type == COMPLETED:
                self.heard()


@asynccontextmanager
async def sdk(url: str) -> AsyncIterator[Ear]:
    """It connects again if the application handles the error."""
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    again = client.realtime.connect(on_reconnecting=lambda event: None)
    async with client, again as connection:
        ear = SdkEar(connection)
        async with listening(ear.listen()):
            yield ear


class AgentsEar(Counting):
    """Begins another session of the same model wherever one fails."""

    def __init__(self, model: OpenAISTTModel) -> None:
        super().__init__()
        self._model = model
        self._audio = StreamedAudioInput()
        self.n_failed = 0

    async def hear(self, samples: Samples) -> None:
        async for data in speech.spoken(samples, 24_000):
            await self._audio.add_audio(np.frombuffer(data, np.int16))

    async def listen(self) -> None:
        while True:
            session = await self._model.create_session(
                self._audio,
                STTModelSettings(),
                trace_include_sensitive_data=False,
                trace_include_sensitive_audio_data=False,
            )
            try:
                async for _ in session.transcribe_turns():
                    self.heard()
            except STTWebsocketConnectionError:  # any other would be the end
                self.n_failed += 1


@asynccontextmanager
async def openai_agents(url: str) -> AsyncIterator[Ear]:
    """Its sessions do not connect again; each ends in the error made for that."""
    agents.set_tracing_disabled(True)  # it would send traces to OpenAI
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        ear = AgentsEar(OpenAISTTModel(MODEL, client))
        async with listening(ear.listen()):
            yield ear
        assert ear.n_failed


AGENTS: dict[str, Callable[[str], AbstractAsyncContextManager[Ear]]] = {
    "Pipecat": pipecat,
    "Pipecat, Flux": lambda url: usable(
        test_pipecat_deepgram.flux(url), local_vad=False
    ),
    "Pipecat, Nova": lambda url: usable(
        test_pipecat_deepgram.nova(url), local_vad=True
    ),
    "LiveKit": livekit,
    "LiveKit, Flux": lambda url: streaming(test_livekit_deepgram.flux(url)),
    "LiveKit, Nova": lambda url: streaming(test_livekit_deepgram.nova(url)),
    "OpenAI SDK": sdk,
    "openai-agents": openai_agents,
}


async def until(ear: Ear, n_texts: int, utterance: Samples) -> None:
    """Say something again and again until it was heard."""
    heard = asyncio.create_task(ear.wait_for_texts(n_texts))
    while not heard.done():
        await ear.hear(utterance)
    await heard


async def ready(server: ServerProcess) -> None:
    await asyncio.to_thread(server.wait_until_ready)


def start(log: Path, **settings: str) -> AbstractContextManager[ServerProcess]:
    return server_process(log, python=SERVER_PYTHON, **SETTINGS, **settings)


def start_on(
    listener: socket.socket, log: Path
) -> AbstractContextManager[ServerProcess]:
    return server_on(listener, log, python=SERVER_PYTHON, **SETTINGS)


def test_pipecat_outlives_a_restart(tmp_path: Path, conversation: Conversation) -> None:
    """In the middle of a session and a word; the port is held meanwhile.

    Without that, it would give up after three tries in twelve seconds.
    """
    utterance = conversation.utterances[0].samples

    async def converse() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            start_on(listener, tmp_path / "1") as first,
        ):
            await ready(first)
            async with pipecat(first.url) as ear:
                await until(ear, 1, utterance)
                await ear.hear(utterance[: len(utterance) // 3])
                first.process.terminate()
                await asyncio.to_thread(first.process.wait)
                with start_on(listener, tmp_path / "2"):
                    await until(ear, 3, utterance)

    asyncio.run(asyncio.wait_for(converse(), 240))


def test_pipecat_over_http_outlives_a_restart(
    tmp_path: Path, conversation: Conversation
) -> None:
    """Speech while no server listens is lost and reported; then it hears again."""
    utterance = conversation.utterances[0].samples
    port = str(free_port())

    async def converse() -> pipeline.Agent:
        with start(tmp_path / "1", PORT=port) as first:
            await ready(first)
            stt = test_pipecat.http(first.url)
            async with pipeline.running(stt, local_vad=True) as agent:
                await until(agent, 1, utterance)
                first.process.terminate()
                await asyncio.to_thread(first.process.wait)
                while not agent.errors:
                    await agent.hear(utterance)
                    await agent.hear(speech.silence(1.0))
                with start(tmp_path / "2", PORT=port) as second:
                    await ready(second)
                    n_texts = len(agent.texts())
                    await until(agent, n_texts + 1, utterance)
                    n_errors = len(agent.errors)
                    await until(agent, n_texts + 3, utterance)
                    assert len(agent.errors) == n_errors
                    assert stt.is_usable
        return agent

    agent = asyncio.run(asyncio.wait_for(converse(), 240))

    assert not any(error.fatal for error in agent.errors)


def test_livekit_over_http_outlives_a_restart(
    tmp_path: Path, conversation: Conversation
) -> None:
    """It tries again while no server is there, and nothing is lost."""
    utterance = conversation.utterances[0].samples
    port = str(free_port())

    async def recognise() -> list[str]:
        with start(tmp_path / "1", PORT=port) as first:
            await ready(first)
            model = test_livekit.make(first.url, use_realtime=False)
            before = await model.recognize(frame(speech.pcm(utterance)))
            first.process.terminate()
            await asyncio.to_thread(first.process.wait)
        # As many tries as a restart lasts; its default of three takes four seconds.
        patient = APIConnectOptions(max_retry=480, retry_interval=0.5)
        meanwhile = asyncio.create_task(
            model.recognize(frame(speech.pcm(utterance)), conn_options=patient)
        )
        with start(tmp_path / "2", PORT=port):
            events = [before, await meanwhile]
            events.append(await model.recognize(frame(speech.pcm(utterance))))
            await model.aclose()
        return [event.alternatives[0].text for event in events]

    texts = asyncio.run(asyncio.wait_for(recognise(), 240))

    assert texts == [conversation.as_files[0]] * 3


@pytest.mark.parametrize("agent", [name for name in AGENTS if name != "Pipecat"])
def test_the_others_outlive_a_restart(
    tmp_path: Path, conversation: Conversation, agent: str
) -> None:
    """Where the socket is handed over; LiveKit gives up where it is refused."""
    utterance = conversation.utterances[0].samples

    async def converse() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            start_on(listener, tmp_path / "1") as first,
        ):
            await ready(first)
            async with AGENTS[agent](first.url) as ear:
                await until(ear, 1, utterance)
                await ear.hear(utterance[: len(utterance) // 3])
                with start_on(listener, tmp_path / "2") as second:
                    while "is ready on" not in second.log.read_text():
                        await ear.hear(speech.silence(0.5))
                    first.process.terminate()
                    await until(ear, 3, utterance)

    asyncio.run(asyncio.wait_for(converse(), 240))


@pytest.mark.parametrize("agent", AGENTS)
def test_it_waits_for_room(
    tmp_path: Path, conversation: Conversation, agent: str
) -> None:
    """As long as it takes, beyond being told to come back."""
    utterance = conversation.utterances[0].samples

    async def converse() -> None:
        limits = {"MAX_STREAMS": "1", "SOCKET_LOAD_WAIT_S": "1"}
        with start(tmp_path / "log", **limits) as only:
            await ready(only)
            client = openai.AsyncOpenAI(base_url=f"{only.url}/v1", api_key="none")
            async with client, AsyncExitStack() as stack:
                async with client.realtime.connect() as occupant:
                    await occupant.recv()
                    await occupant.session.update(session={"type": "transcription"})
                    assert (await occupant.recv()).type == "session.updated"
                    ear = await stack.enter_async_context(AGENTS[agent](only.url))
                    while "refused (overloaded)" not in only.log.read_text():
                        await ear.hear(speech.silence(0.5))
                await until(ear, 1, utterance)

    asyncio.run(asyncio.wait_for(converse(), 240))
