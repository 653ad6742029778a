"""Transcribe a recording with LiveKit's STT for OpenAI, as if it were spoken now.

    pip install livekit-agents livekit-plugins-openai
    python livekit_transcriber.py audio.wav

In an agent, hand `speech_to_text()` to `AgentSession(stt=...)`. Here its stream is fed
by hand, so that no room is needed. The recording is a WAV file of 16-bit samples, mono.
"""

import argparse
import asyncio
import wave

from livekit import rtc
from livekit.agents import utils
from livekit.agents.stt import RecognizeStream, SpeechEventType
from livekit.plugins import openai

FRAME_S = 0.02

# The server ends an utterance after 0.35 s of silence, which is LiveKit's default.
SILENCE_S = 1.0


def speech_to_text(url: str, key: str) -> openai.STT:
    """Return LiveKit's own client for this server.

    `language` is "en" unless it is given; `detect_language=True` sends none.
    """
    return openai.STT(
        base_url=url, api_key=key, model="omniasr", language="en", use_realtime=True
    )


async def speak(stream: RecognizeStream, path: str) -> None:
    """Push a recording at the pace of speech, and some silence after it."""
    with wave.open(path, "rb") as file:
        rate = file.getframerate()
        n = round(rate * FRAME_S)
        data = file.readframes(file.getnframes()) + bytes(2 * round(rate * SILENCE_S))
    for start in range(0, len(data) - 2 * n + 1, 2 * n):
        piece = data[start : start + 2 * n]
        stream.push_frame(rtc.AudioFrame(piece, rate, 1, n))
        await asyncio.sleep(FRAME_S)


async def listen(stream: RecognizeStream, all_said: asyncio.Event) -> None:
    """Print the events; note whether a turn still waits for its text."""
    async for event in stream:
        text = event.alternatives[0].text if event.alternatives else ""
        print(f"{event.type.value}: {text}" if text else event.type.value, flush=True)
        if event.type == SpeechEventType.START_OF_SPEECH:
            all_said.clear()
        elif event.type == SpeechEventType.FINAL_TRANSCRIPT:
            all_said.set()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="WAV, 16 bits, mono")
    parser.add_argument("--url", default="http://localhost:8000/v1")
    parser.add_argument("--key", default="not-needed")
    options = parser.parse_args()
    stt = speech_to_text(options.url, options.key)
    all_said = asyncio.Event()
    async with utils.http_context.open(), stt.stream() as stream:
        listening = asyncio.create_task(listen(stream, all_said))
        await speak(stream, options.file)
        await all_said.wait()
        listening.cancel()


if __name__ == "__main__":
    asyncio.run(main())
