"""Run the server for a test: as a process of its own, or in this one."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from api.loading import LoadModel
from benchmarks.common.http import local
from benchmarks.common.processes import (
    ROOT,
    START_WITHIN_S,
    ServerProcess,
    free_port,
    server_on,
    server_process,
    wait_for,
)
from config import Settings
from engine.interface import Model
from server import Server, create_app

__all__ = [
    "ROOT",
    "START_WITHIN_S",
    "ServerProcess",
    "app_in_thread",
    "free_port",
    "scripted_process",
    "server_at",
    "server_on",
    "server_process",
    "wait_for",
]


class _NotHere:
    """Skips the test that asks for it."""

    def __getattr__(self, name: str) -> NoReturn:
        pytest.skip("the server is known by its address only")


def server_at(url: str) -> ServerProcess:
    """Return a server that is only known by its address; others have started it."""
    nothing: Any = _NotHere()
    return ServerProcess(nothing, url.rstrip("/"), nothing)


@contextlib.contextmanager
def scripted_process(
    folder: Path, *, patience_s: float = 20.0, limits: str = "true", **settings: str
) -> Iterator[ServerProcess]:
    """Run the server's program, with a scripted model in place of a network.

    Args:
        folder: Files in it say what the model does; see `scripted_server.py`.
        patience_s: Time after which a pass without an end counts as stuck.
        limits: A command of the shell before it, such as `ulimit -n 80`.
        settings: Variables of its environment.
    """
    own = {
        "MODEL_CARD": "omniASR_CTC_demo",  # is not loaded
        "VAD_ENABLED": "off",
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    module = (sys.executable, "-m", "tests.support.scripted_server")
    program = ("-c", f'{limits} && exec "$0" "$@"', *module, folder, str(patience_s))
    log = folder / "server.log"
    with server_process(log, python="bash", program=program, **own) as server:
        server.wait_until_ready()
        yield server


def _without_arguments(load: Callable[[], Model]) -> LoadModel:
    return lambda settings, progress: load()


@contextlib.contextmanager
def app_in_thread(
    settings: Settings,
    load: Callable[[], Model],
    *,
    others: Mapping[str, Callable[[], Model]] | None = None,
    wait: bool = True,
    on_failure: Callable[[], None] = lambda: None,
    log_level: str = "warning",
) -> Iterator[str]:
    """Serve the application from a thread, with a model of the test's choice."""
    app = create_app(
        settings,
        load=lambda settings, progress: load(),
        others={name: _without_arguments(own) for name, own in (others or {}).items()},
        rehearsal_s=0,  # the model may wait for the test
        on_load_failure=on_failure,
    )
    place = {"host": "127.0.0.1", "port": 0, "log_level": log_level}
    server = Server(app, settings.model_copy(update=place))
    thread = threading.Thread(target=server.run, name="test server")
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    if wait:
        wait_for(lambda: local.get(f"{url}/ready").status_code == 200)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()
