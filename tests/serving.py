"""Run the server for a test: as a process of its own, or in this one."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from config import Settings
from scheduler import Model
from server import Server, create_app

ROOT = Path(__file__).parent.parent
START_WITHIN_S = 120


def wait_for(condition: Callable[[], bool], *, within_s: float = 30) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened within {within_s} s"
        time.sleep(0.01)


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@dataclass
class ServerProcess:
    """`python server.py`, its address and what it logs."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def status_of(self, path: str) -> int | None:
        """Return the status of a GET, or None while nothing listens."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url + path).status_code
        return None

    def wait_until_ready(self) -> None:
        """Wait until requests are served."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.status_of("/ready") == 200

        wait_for(ready, within_s=START_WITHIN_S)


@contextlib.contextmanager
def server_process(log: Path, **settings: str) -> Iterator[ServerProcess]:
    """Start the real server with some settings; end it afterwards."""
    port = free_port()
    ours = {"HOST": "127.0.0.1", "PORT": str(port), **settings}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, ROOT / "server.py"],
            cwd=log.parent,  # away from any .env
            env={**os.environ, **ours},
            stdout=output,
            stderr=output,
            text=True,
        )
    try:
        yield ServerProcess(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def app_in_thread(
    settings: Settings,
    load: Callable[[], Model],
    *,
    wait: bool = True,
    on_failure: Callable[[], None] = lambda: None,
) -> Iterator[str]:
    """Serve the application from a thread, with a model of the test's choice."""
    app = create_app(
        settings,
        load=lambda settings, progress: load(),
        rehearsal_s=0,  # the model may wait for the test
        on_load_failure=on_failure,
    )
    place = {"host": "127.0.0.1", "port": 0, "log_level": "warning"}
    server = Server(app, settings.model_copy(update=place))
    thread = threading.Thread(target=server.run, name="test server")
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    if wait:
        wait_for(lambda: httpx.get(f"{url}/ready").status_code == 200)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()
