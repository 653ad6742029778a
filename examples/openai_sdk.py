"""Stream a recording to the server with OpenAI's SDK, as if it were spoken now.

    pip install "openai[realtime]"
    python openai_sdk.py audio.wav
    python openai_sdk.py audio.wav --url http://localhost:8000/v1 --key KEY

The recording is a WAV file of 16-bit samples, mono. Text is printed as it comes, a
line for each utterance.
"""

import argparse
import asyncio
import base64
import wave
from typing import Any

import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection

FRAME_S = 0.02


async def speak(connection: AsyncRealtimeConnection, path: str) -> None:
    """Send a recording at the pace of speech, then commit the rest of it."""
    with wave.open(path, "rb") as file:
        while data := file.readframes(round(file.getframerate() * FRAME_S)):
            audio = base64.b64encode(data).decode()
            await connection.input_audio_buffer.append(audio=audio)
            await asyncio.sleep(FRAME_S)
    await connection.input_audio_buffer.commit()
    # The server answers this after the commit, so nothing is left then.
    await connection.input_audio_buffer.clear()


async def listen(connection: AsyncRealtimeConnection) -> None:
    """Print the events until all committed items have their text."""
    open_items: set[str] = set()
    cleared = False
    async for event in connection:
        if event.type == "input_audio_buffer.committed":
            open_items.add(event.item_id)
        elif event.type == "input_audio_buffer.cleared":
            cleared = True
        elif event.type == "conversation.item.input_audio_transcription.delta":
            print(event.delta, end="", flush=True)
        elif event.type == "conversation.item.input_audio_transcription.completed":
            print(f"\r{event.transcript}" if event.transcript else "\r")
            open_items.discard(event.item_id)
        elif event.type == "error":
            raise SystemExit(event.error.message)
        if cleared and not open_items:
            return


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="WAV, 16 bits, mono")
    parser.add_argument("--url", default="http://localhost:8000/v1")
    parser.add_argument("--key", default="not-needed")
    options = parser.parse_args()
    with wave.open(options.file, "rb") as file:
        rate = file.getframerate()
    async with (
        openai.AsyncOpenAI(base_url=options.url, api_key=options.key) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        # OpenAI itself takes 24000 only, as its types say; this server any usual rate.
        pcm_format: Any = {"type": "audio/pcm", "rate": rate}
        vad: Any = {"type": "server_vad"}
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"format": pcm_format, "turn_detection": vad}},
            }
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(speak(connection, options.file))
            group.create_task(listen(connection))


if __name__ == "__main__":
    asyncio.run(main())
