"""Clients that use a server in every way, for hours, and judge each answer.

What a clip says is known, because it is composed of single words. An answer is wrong if
more than a quarter of its words, and more than one, are not what was said: the model
itself mishears one word in sixty, so only audio that was lost, repeated or mixed up
gives such an answer. Whatever else comes that should not, such as a status that the
request does not deserve, is wrong, too.

Everything that is random comes from a seed.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any, Final

import httpx
import websockets
from rapidfuzz.distance import Levenshtein
from websockets.exceptions import ConnectionClosed

from benchmarks.corpus import composer
from benchmarks.corpus.composer import Composition, Recording
from benchmarks.corpus.wav import pcm, wav

_FILES: Final = "/v1/audio/transcriptions"
_BYTES_A_S: Final = 32_000

# How often a client leaves in the middle of what it does.
_LEAVES: Final = 0.25

# Words of a stream, and of a recording.
_FEW: Final = (2, 12)
_MANY: Final = (1, 60)

# Longest wait for an answer, in seconds, before it counts as missing.
_PATIENCE_S: Final = 60.0


@dataclass(slots=True)
class Tally:
    """What the visitors were told.

    Attributes:
        right: Right answers, by the way that they came.
        left: Visits that ended in the middle, by way.
        wrong: What was wrong, a line each.
        finals: When each final came, and how many seconds after it was asked for.
    """

    right: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    finals: list[tuple[float, float]] = field(default_factory=list)

    def judge(self, way: str, said: str, heard: str) -> None:
        """Count an answer."""
        words, found = said.split(), heard.split()
        n_wrong = Levenshtein.distance(words, found)
        if n_wrong > max(1, len(words) // 4):
            self.wrong.append(f"{way}: said {said!r}, heard {heard!r}")
        else:
            self.right[way] += 1

    def expect(self, way: str, found: object, *wanted: object) -> None:
        """Count something that has to be one of several values."""
        if found in wanted:
            self.right[way] += 1
        else:
            self.wrong.append(f"{way}: {found!r} instead of one of {wanted!r}")


class Visitors:
    """All ways to use a server.

    Args:
        url: The server's address.
        tally: Gets the answers.
        rng: Chooses everything.
    """

    def __init__(self, url: str, tally: Tally, rng: Random) -> None:
        self._url = url
        self._socket_url = url.replace("http", "ws", 1)
        self._tally = tally
        self._rng = rng
        self._recordings: list[Recording] = composer.load()

    async def speak(self) -> None:
        """Visit again and again, with live streams; end by being cancelled."""
        while True:
            await self._visit(self._rng.choice((self.stream, self.talk_realtime)))

    async def bother(self) -> None:
        """Send recordings and garbage, with pauses; end by being cancelled."""
        ways = (self.send_file, self.send_garbage, self.send_file, self.send_noise)
        for way in cycle(ways):
            await self._visit(way)
            await asyncio.sleep(self._rng.uniform(0.1, 2.0))

    async def _visit(self, way: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(2 * _PATIENCE_S):
                await way()
        except (OSError, httpx.HTTPError, websockets.WebSocketException) as error:
            self._tally.wrong.append(f"{way.__name__}: {type(error).__name__}: {error}")

    # --- the ways ---

    async def stream(self) -> None:
        """Say something over the native protocol, at the pace of speech."""
        clip = self._clip(_FEW)
        async with websockets.connect(
            self._socket_url + _FILES, max_size=None
        ) as socket:
            reading = asyncio.create_task(_last_message(socket))
            try:
                if await self._said(socket, clip, lambda piece: piece):
                    asked = self._now()
                    await socket.send('{"type": "end"}')
                    last = await asyncio.wait_for(reading, _PATIENCE_S)
                    self._note_final(asked)
                    self._tally.judge("native", clip.text, last.get("text", ""))
                else:
                    self._leave("native", socket)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def talk_realtime(self) -> None:
        """Say some things over the Realtime protocol, with a commit after each."""
        address = f"{self._socket_url}/v1/realtime?intent=transcription"
        async with (
            websockets.connect(address, max_size=None) as socket,
            aclosing(_events(socket)) as events,
        ):
            pcm_format = {"type": "audio/pcm", "rate": 16_000}
            given = {"format": pcm_format, "turn_detection": None}
            session = {"type": "transcription", "audio": {"input": given}}
            await socket.send(
                json.dumps({"type": "session.update", "session": session})
            )
            for _ in range(self._rng.randint(1, 3)):
                clip = self._clip(_FEW)
                if not await self._said(socket, clip, _appended):
                    self._leave("realtime", socket)
                    return
                asked = self._now()
                await socket.send('{"type": "input_audio_buffer.commit"}')
                async with asyncio.timeout(_PATIENCE_S):
                    async for event in events:
                        if event["type"].endswith("transcription.completed"):
                            break
                self._note_final(asked)
                self._tally.judge("realtime", clip.text, event["transcript"])

    async def send_file(self) -> None:
        """Send a recording of any length; sometimes leave before the answer."""
        clip = self._clip(_MANY)
        body = {"file": ("clip.wav", wav(clip.samples))}
        leaves = self._rng.random() < _LEAVES
        patience = self._rng.uniform(0.01, 0.3) if leaves else _PATIENCE_S
        async with self._client() as client:
            try:
                answer = await client.post(_FILES, files=body, timeout=patience)
            except httpx.TimeoutException:
                if not leaves:
                    raise
                self._tally.left["file"] += 1
                return
        if answer.status_code == 503:  # it says when to come back
            self._tally.expect("refused file", "retry-after" in answer.headers, True)
            return
        text = answer.json().get("text", answer.text)
        self._tally.judge("file", clip.text, text)

    async def send_garbage(self) -> None:
        """Send what is no recording, and no form."""
        noise = self._rng.randbytes(self._rng.randint(0, 200_000))
        kinds = ("audio/wav", "application/json", "multipart/form-data; boundary=x")
        kind = {"content-type": self._rng.choice(kinds)}
        async with self._client() as client:
            answer = await client.post(_FILES, content=noise, headers=kind)
        # Noise may happen to look like a format that has no header.
        self._tally.expect("garbage", answer.status_code, 200, 400, 413, 503)

    async def send_noise(self) -> None:
        """Send nonsense to a socket."""
        path = self._rng.choice((_FILES, "/v1/realtime"))
        async with websockets.connect(self._socket_url + path) as socket:
            with suppress(ConnectionClosed):
                await socket.recv()
                await socket.send(self._rng.choice(("{", "[]", '{"type": "x"}', "\0")))
                answer = json.loads(await asyncio.wait_for(socket.recv(), _PATIENCE_S))
                self._tally.expect("noise", answer["type"], "error")
                await socket.send(b"\xff", text=True)
                await asyncio.wait_for(_last_message(socket), _PATIENCE_S)
        wanted = (1007, 1013)  # no UTF-8; no room for another stream
        self._tally.expect("closed", socket.close_code, *wanted)

    # --- their parts ---

    def _client(self) -> httpx.AsyncClient:
        # It loads no certificates, which would take longer than the request.
        return httpx.AsyncClient(base_url=self._url, verify=False, timeout=_PATIENCE_S)

    def _clip(self, n_words: tuple[int, int]) -> Composition:
        return composer.random_composition(
            self._recordings, self._rng.randint(*n_words), rng=self._rng
        )

    async def _said(
        self,
        socket: websockets.ClientConnection,
        clip: Composition,
        wrap: Callable[[bytes], bytes | str],
    ) -> bool:
        """Send a clip at the pace of speech; return whether to the end."""
        audio = pcm(clip.samples)
        leaves = self._rng.random() < _LEAVES
        end = self._rng.randrange(len(audio)) if leaves else len(audio)
        step = self._rng.choice((640, 1_280, 3_200, 6_402))
        began = self._now()
        for start in range(0, end, step):
            await asyncio.sleep(began + start / _BYTES_A_S - self._now())
            await socket.send(wrap(audio[start : min(end, start + step)]))
        return not leaves

    def _leave(self, way: str, socket: websockets.ClientConnection) -> None:
        """Break the connection off, as a network does."""
        self._tally.left[way] += 1
        socket.transport.abort()

    def _note_final(self, asked: float) -> None:
        now = self._now()
        self._tally.finals.append((now, now - asked))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _appended(piece: bytes) -> str:
    audio = base64.b64encode(piece).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


async def _events(socket: websockets.ClientConnection) -> AsyncGenerator[Any]:
    async for message in socket:
        yield json.loads(message)


async def _last_message(socket: websockets.ClientConnection) -> Any:
    last: Any = {}
    with suppress(ConnectionClosed):
        async for message in socket:
            last = json.loads(message)
    return last
