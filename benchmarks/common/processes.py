"""Run the server as a separate process, for tests and benchmarks.

It needs none of the server's packages, so that clients in other environments can use
it, too.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.common.http import local

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 240


def wait_for(condition: Callable[[], bool], *, within_s: float = 30) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened within {within_s} s"
        time.sleep(0.01)


def free_port() -> int:
    """Find a free loopback port."""
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
            return local.get(self.url + path).status_code
        return None

    def wait_until_ready(self) -> None:
        """Wait until requests are served."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.status_of("/ready") == 200

        wait_for(ready, within_s=START_WITHIN_S)


@contextlib.contextmanager
def server_process(
    log: Path,
    *,
    python: str | Path = sys.executable,
    program: Sequence[str | Path] = (ROOT / "server.py",),
    **settings: str,
) -> Iterator[ServerProcess]:
    """Start the real server with some settings; end it afterwards.

    Args:
        log: File for its output.
        python: Python of the environment in which the server is installed.
        program: The program that Python runs, with its arguments.
        settings: Variables of its environment.
    """
    ours = {"HOST": "127.0.0.1", "PORT": str(free_port()), **settings}
    with _running([python, *program], log, ours) as server:
        yield server


@contextlib.contextmanager
def server_on(
    listener: socket.socket,
    log: Path,
    *,
    python: str | Path = sys.executable,
    **settings: str,
) -> Iterator[ServerProcess]:
    """Start the real server on a socket that is handed over, as systemd does."""
    ours = {"PORT": str(listener.getsockname()[1]), **settings}
    hand_over = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{listener.fileno()}'
    command = ["bash", "-c", hand_over, python, ROOT / "server.py"]
    with _running(command, log, ours, pass_fds=(listener.fileno(),)) as server:
        yield server


@contextlib.contextmanager
def _running(
    command: Sequence[str | Path],
    log: Path,
    variables: Mapping[str, str],
    *,
    pass_fds: Collection[int] = (),
) -> Iterator[ServerProcess]:
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            pass_fds=pass_fds,
            cwd=log.parent,  # away from any .env
            env={**os.environ, **variables},
            stdout=output,
            stderr=output,
            text=True,
        )
    try:
        host = variables.get("HOST", "127.0.0.1")
        yield ServerProcess(process, f"http://{host}:{variables['PORT']}", log)
    finally:
        process.kill()
        process.wait()
