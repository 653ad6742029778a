"""A Pipecat agent that begins to answer before a turn is over, fed with a recording.

    pip install "pipecat-ai[deepgram]"
    python pipecat_flux.py audio.wav

The server speaks Deepgram's Flux protocol: it says early when a turn seems to end. Then
Pipecat generates the answer and holds it back; it speaks the answer when the turn ends,
or drops it if speech goes on. Replace `Recording` by the input of a transport, and
`Echo` by a language model and a voice. The recording is a WAV file of 16-bit samples,
mono, 16 kHz.
"""

import argparse
import asyncio
import wave

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    StartFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.deepgram.flux.stt import DeepgramFluxSTTService
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.workers.runner import WorkerRunner

SAMPLE_RATE = 16_000
FRAME_S = 0.02
SILENCE_S = 2.0  # after the recording: time to end the last turn, and to answer

# Time of a language model for the first words of an answer.
THINKING_S = 0.15


def speech_to_text(url: str, key: str) -> DeepgramFluxSTTService:
    """Return Pipecat's own service for this server, which detects turns."""
    return DeepgramFluxSTTService(
        api_key=key,
        url=url,
        enable_eager_end_of_turn=True,
        settings=DeepgramFluxSTTService.Settings(eager_eot_threshold=0.3),
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
        now = asyncio.get_running_loop().time
        began = now()
        for k, start in enumerate(range(0, len(data), n_bytes), start=1):
            await asyncio.sleep(began + k * FRAME_S - now())
            piece = data[start : start + n_bytes]
            await self.push_frame(InputAudioRawFrame(piece, SAMPLE_RATE, 1))
        self.said.set()


class Echo(LLMService):
    """Answers each turn with its own words, once it has thought about them."""

    def __init__(self) -> None:
        super().__init__(settings=LLMSettings(model="echo"))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        said = frame.context.get_messages()[-1]["content"]
        await self.push_frame(LLMFullResponseStartFrame())
        await asyncio.sleep(THINKING_S)
        await self.push_frame(LLMTextFrame(f"You said: {said}."))
        await self.push_frame(LLMFullResponseEndFrame())


class Voice(FrameProcessor):
    """Prints what a voice would say."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            print(f"Agent: {frame.text}", flush=True)
        await self.push_frame(frame, direction)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="WAV, 16 bits, mono, 16 kHz")
    parser.add_argument("--url", default="ws://localhost:8000/v2/listen")
    parser.add_argument("--key", default="not-needed")
    options = parser.parse_args()
    recording = Recording(options.file)
    turns = LLMContextAggregatorPair(LLMContext())
    worker = PipelineWorker(
        Pipeline(
            [
                recording,
                speech_to_text(options.url, options.key),
                turns.user(),
                Echo(),
                Voice(),
                turns.assistant(),
            ]
        ),
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
