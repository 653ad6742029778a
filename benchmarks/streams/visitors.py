"""Clients that use a server in every way, for hours, and judge each answer.

What a clip says is known, because it is composed of single words. An answer is doubtful
if more than a quarter of its words, and more than one, are not what was said: audio
that was lost, repeated or mixed up gives such an answer. But the model itself mishears
one word in sixty, and sometimes several of a clip. So the same is asked again when the
server is idle (`ask_again`): an answer that is not the same then was wrong. Whatever
else comes that should not, such as a status that the request does not deserve, is
wrong, too.

Everything that is random comes from a seed.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
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


@dataclass(frozen=True, slots=True)
class Doubt:
    """An answer that may be wrong.

    Attributes:
        way: How it was asked for.
        clips: What was said, up to the answer.
        heard: The answer, to the last clip.
    """

    way: str
    clips: tuple[Composition, ...]
    heard: str


@dataclass(slots=True)
class Tally:
    """What the visitors were told.

    Attributes:
        right: Right answers, by the way that they came.
        misheard: Answers that were not right, and the same when asked for again.
        left: Visits that ended in the middle, by way.
        doubts: Answers that may be wrong.
        wrong: What was wrong, a line each.
        finals: When each final came, and how many seconds after it was asked for.
    """

    right: Counter[str] = field(default_factory=Counter)
    misheard: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    doubts: list[Doubt] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    finals: list[tuple[float, float]] = field(default_factory=list)

    def judge(self, way: str, clips: Sequence[Composition], heard: str) -> None:
        """Count the answer to the last of some clips."""
        words = clips[-1].text.split()
        n_wrong = Levenshtein.distance(words, heard.split())
        if n_wrong > max(1, len(words) // 4):
            self.doubts.append(Doubt(way, tuple(clips), heard))
        else:
            self.right[way] += 1

    def settle(self, doubt: Doubt, again: str) -> None:
        """Count a doubtful answer, by what the server says to the same when idle."""
        if again == doubt.heard:
            self.misheard[doubt.way] += 1
            return
        said = doubt.clips[-1].text
        self.wrong.append(
            f"{doubt.way}: said {said!r}, heard {doubt.heard!r}, when idle {again!r}"
        )

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
        heard = await self._say(clip, leaves=self._leaves())
        if heard is not None:
            self._tally.judge("native", (clip,), heard)

    async def talk_realtime(self) -> None:
        """Say some things over the Realtime protocol, with a commit after each."""
        clips: list[Composition] = []
        async with self._realtime() as say:
            for _ in range(self._rng.randint(1, 3)):
                clips.append(self._clip(_FEW))
                heard = await say(clips[-1], self._leaves())
                if heard is None:
                    return
                self._tally.judge("realtime", clips, heard)

    async def send_file(self) -> None:
        """Send a recording of any length; sometimes leave before the answer."""
        clip = self._clip(_MANY)
        heard = await self._transcribe(clip, leaves=self._leaves())
        if heard is not None:
            self._tally.judge("file", (clip,), heard)

    async def ask_again(self) -> None:
        """Ask for all doubtful answers again, one after the other, and judge them."""
        while self._tally.doubts:
            doubt = self._tally.doubts.pop()
            heard: str | None = None
            if doubt.way == "file":
                heard = await self._transcribe(doubt.clips[-1], leaves=False)
            elif doubt.way == "native":
                heard = await self._say(doubt.clips[-1], leaves=False)
            else:
                async with self._realtime() as say:
                    for clip in doubt.clips:
                        heard = await say(clip, False)
            self._tally.settle(doubt, heard or "")

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

    # --- their parts; None stands for the answer to a client that leaves ---

    async def _say(self, clip: Composition, *, leaves: bool) -> str | None:
        async with websockets.connect(
            self._socket_url + _FILES, max_size=None
        ) as socket:
            reading = asyncio.create_task(_last_message(socket))
            try:
                await self._send(socket, clip, lambda piece: piece, leaves=leaves)
                if leaves:
                    self._leave("native", socket)
                    return None
                asked = self._now()
                await socket.send('{"type": "end"}')
                last = await asyncio.wait_for(reading, _PATIENCE_S)
                self._note_final(asked)
                return str(last.get("text", ""))
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    @asynccontextmanager
    async def _realtime(
        self,
    ) -> AsyncIterator[Callable[[Composition, bool], Awaitable[str | None]]]:
        """Open a session; what it gives says a clip and, unless it leaves, listens."""
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

            async def say(clip: Composition, leaves: bool) -> str | None:
                await self._send(socket, clip, _appended, leaves=leaves)
                if leaves:
                    self._leave("realtime", socket)
                    return None
                asked = self._now()
                await socket.send('{"type": "input_audio_buffer.commit"}')
                async with asyncio.timeout(_PATIENCE_S):
                    async for event in events:
                        if event["type"].endswith("transcription.completed"):
                            break
                self._note_final(asked)
                return str(event["transcript"])

            yield say

    async def _transcribe(self, clip: Composition, *, leaves: bool) -> str | None:
        body = {"file": ("clip.wav", wav(clip.samples))}
        patience = self._rng.uniform(0.01, 0.3) if leaves else _PATIENCE_S
        async with self._client() as client:
            try:
                answer = await client.post(_FILES, files=body, timeout=patience)
            except httpx.TimeoutException:
                if not leaves:
                    raise
                self._tally.left["file"] += 1
                return None
        if answer.status_code == 503:  # it says when to come back
            self._tally.expect("refused file", "retry-after" in answer.headers, True)
            return None
        return str(answer.json().get("text", answer.text))

    def _leaves(self) -> bool:
        return self._rng.random() < _LEAVES

    def _client(self) -> httpx.AsyncClient:
        # It loads no certificates, which would take longer than the request.
        return httpx.AsyncClient(base_url=self._url, verify=False, timeout=_PATIENCE_S)

    def _clip(self, n_words: tuple[int, int]) -> Composition:
        return composer.random_composition(
            self._recordings, self._rng.randint(*n_words), rng=self._rng
        )

    async def _send(
        self,
        socket: websockets.ClientConnection,
        clip: Composition,
        wrap: Callable[[bytes], bytes | str],
        *,
        leaves: bool,
    ) -> None:
        """Send a clip at the pace of speech; only a part of it if the client leaves."""
        audio = pcm(clip.samples)
        end = self._rng.randrange(len(audio)) if leaves else len(audio)
        step = self._rng.choice((640, 1_280, 3_200, 6_402))
        began = self._now()
        for start in range(0, end, step):
            await asyncio.sleep(began + start / _BYTES_A_S - self._now())
            await socket.send(wrap(audio[start : min(end, start + step)]))

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
