"""A Pipecat agent that repeats what it hears, fed with a recording.

    pip install "pipecat-ai[openai]"
    python pipecat_echo.py audio.wav

Replace `Recording` by the input of a transport, and `Echo` by a language model and a
voice, and it is an agent. The recording is a WAV file of 16-bit samples, mono, 16 kHz.
"""

import argparse
import asyncio
import wave

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    StartFrame,
    TextFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.workers.runner import WorkerRunner

SAMPLE_RATE = 16_000
FRAME_S = 0.02
SILENCE_S = 2.0  # after the recording: time to end the last turn, and to answer

# The longest time from the end of speech to the last word; see the README. Pipecat's
# default is for OpenAI's servers, and every turn would wait that long.
TTFS_P99_S = 0.5


def speech_to_text(url: str, key: str) -> OpenAIRealtimeSTTService:
    """Return Pipecat's own service for this server, which detects turns."""
    return OpenAIRealtimeSTTService(
        api_key=key,
        base_url=url,
        turn_detection={"type": "server_vad"},
        settings=OpenAIRealtimeSTTService.Settings(model="omniasr", language="en"),
        ttfs_p99_latency=TTFS_P99_S,
    )


class Recording(FrameProcessor):
    """Speaks a recording into the pipeline, at the pace of speech."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.said = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self.create_task(self._speak())

    async def _speak(self) -> None:
        n_bytes = 2 * round(SAMPLE_RATE * FRAME_S)
        with wave.open(self._path, "rb") as file:
            data = file.readframes(file.getnframes())
        data += bytes(2 * round(SAMPLE_RATE * SILENCE_S))
        for start in range(0, len(data), n_bytes):
            piece = data[start : start + n_bytes]
            await self.push_frame(InputAudioRawFrame(piece, SAMPLE_RATE, 1))
            await asyncio.sleep(FRAME_S)
        self.said.set()


class Echo(FrameProcessor):
    """Answers each turn with its own words."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            print(f"You: {frame.text}")
            await self.push_frame(TextFrame(f"You said: {frame.text}."))
        else:
            await self.push_frame(frame, direction)


class Voice(FrameProcessor):
    """Prints what a voice would say."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if type(frame) is TextFrame:
            print(f"Agent: {frame.text}")
        await self.push_frame(frame, direction)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="WAV, 16 bits, mono, 16 kHz")
    parser.add_argument("--url", default="ws://localhost:8000/v1/realtime")
    parser.add_argument("--key", default="not-needed")
    options = parser.parse_args()
    recording = Recording(options.file)
    stt = speech_to_text(options.url, options.key)
    worker = PipelineWorker(
        Pipeline([recording, stt, Echo(), Voice()]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE),
        enable_rtvi=False,
    )
    runner = WorkerRunner()
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await recording.said.wait()
    await worker.stop_when_done()
    await running


if __name__ == "__main__":
    asyncio.run(main())
