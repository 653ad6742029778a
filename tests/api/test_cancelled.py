"""A request that is cancelled, even twice, gives back all that it held.

uvicorn cancels requests at the end of a shutdown; other servers do whenever a client
leaves, and may do it again while the first is being cleaned up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.types import Message, Scope

from api.routes import live, realtime
from server import create_app
from tests.support.fakes import ScriptedModel
from tests.test_server import settings, wav

MOST_AWAITS = 200


class Cancelled(Awaitable[None]):
    """Cancels its task where a coroutine waits for the nth time, and the next time."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], n: int) -> None:
        self._coroutine = coroutine
        self._n = n
        self.n_waits = 0

    def __await__(self) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    waited_for = self._coroutine.send(None)
                else:
                    waited_for = self._coroutine.throw(error)
            except StopIteration:
                return
            self.n_waits += 1
            if self.n_waits in (self._n, self._n + 1):
                asyncio.get_running_loop().call_soon(task.cancel)
            error = None
            try:
                yield waited_for
            except BaseException as raised:
                error = raised


@asynccontextmanager
async def served() -> AsyncIterator[FastAPI]:
    """Serve in this loop, without a socket."""
    app = create_app(
        settings(), load=lambda settings, progress: ScriptedModel(), rehearsal_s=0
    )
    async with app.router.lifespan_context(app):
        await app.state.service.wait_until_ready()
        yield app


def upload(**fields: str) -> tuple[Scope, list[Message]]:
    """Return a request as a server hands it to the application."""
    request = httpx.Request(
        "POST",
        "http://localhost/v1/audio/transcriptions",
        files={"file": ("a.wav", wav(3))},
        data={"model": "whisper-1", **fields},
    )
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
    }
    body = request.read()
    return scope, [{"type": "http.request", "body": body, "more_body": False}]


def session(path: str) -> tuple[Scope, list[Message]]:
    """Return a socket, two seconds of audio, and the client's end."""
    scope: Scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
    audio = {"type": "websocket.receive", "bytes": bytes(64_000)}
    left = {"type": "websocket.disconnect", "code": 1000}
    return scope, [{"type": "websocket.connect"}, audio, left]


async def run(
    app: FastAPI, scope: Scope, messages: list[Message], n: int
) -> tuple[int, BaseException | None]:
    """Call the application, and cancel it where it waits for the nth time."""
    waiting = list(messages)

    async def receive() -> Message:
        await asyncio.sleep(0)
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")

    async def send(message: Message) -> None:
        await asyncio.sleep(0)

    async def call() -> None:
        await app(scope, receive, send)

    watched = Cancelled(call(), n)

    async def watch() -> None:
        await watched

    (result,) = await asyncio.gather(
        asyncio.create_task(watch()), return_exceptions=True
    )
    return watched.n_waits, result


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: upload(),
        lambda: upload(stream="true"),
        lambda: session(live.PATH),
        lambda: session(realtime.PATH),
    ],
    ids=["REST", "event stream", "native socket", "Realtime"],
)
def test_wherever_it_is_cancelled_everything_is_given_back(
    request_of: Callable[[], tuple[Scope, list[Message]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Places, streams and spooled files."""
    files: list[UploadFile] = []
    make = UploadFile.__init__

    def remember(self: UploadFile, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        files.append(self)

    monkeypatch.setattr(UploadFile, "__init__", remember)

    async def test() -> int:
        async with served() as app:
            service = app.state.service
            for n in range(1, MOST_AWAITS):
                n_waits, _ = await run(app, *request_of(), n)
                await until(lambda: service.places.n_taken == 0)
                await until(lambda: service.models.default.scheduler.n_streams == 0)
                await until(lambda: all(file.file.closed for file in files))
                if n_waits < n:
                    return n
        raise AssertionError("it waits more often than that")

    assert asyncio.run(test()) > 3
    assert files or "websocket" in request_of()[0]["type"]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks and threads still do, for ten seconds at most."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it was not given back")
