"""Stream a recording over the native protocol, as if it were spoken now.

    pip install websockets
    python websocket_client.py audio.wav

The recording is a WAV file of 16-bit samples, mono. docs/protocol.md has the rest.
"""

import argparse
import asyncio
import json
import wave

import websockets

FRAME_S = 0.02


async def speak(socket: websockets.ClientConnection, path: str) -> None:
    """Send a recording at the pace of speech, then `end`."""
    with wave.open(path, "rb") as file:
        rate = file.getframerate()
        await socket.send(json.dumps({"type": "config", "sample_rate": rate}))
        while data := file.readframes(round(rate * FRAME_S)):
            await socket.send(data)
            await asyncio.sleep(FRAME_S)
    await socket.send(json.dumps({"type": "end"}))


async def listen(socket: websockets.ClientConnection) -> None:
    """Print text as it comes; the server closes the socket after the last."""
    async for text in socket:
        message = json.loads(text)
        if message.get("text"):
            print("final:" if message["is_final"] else "so far:", message["text"])


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", help="WAV, 16 bits, mono")
    parser.add_argument("--url", default="ws://localhost:8000/v1/audio/transcriptions")
    options = parser.parse_args()
    async with websockets.connect(options.url) as socket:
        await asyncio.gather(speak(socket, options.file), listen(socket))


if __name__ == "__main__":
    asyncio.run(main())
