"""A replica of Ray Serve whose work is to run the server, as a process of its own.

Ray decides where a server runs, starts it, watches it and replaces it; no request
passes through Ray. Clients come through HAProxy, which asks `/ready` of every port.

The server is its own process rather than a thread of the replica, so that it is the
same program as everywhere, with its own signals and its own garbage collector; and so
that it outlives its replica. If Ray ends the replica, however abruptly, the kernel
sends the server SIGTERM, and its streams get their finals (`launch.py`).

`serve.yaml` has the numbers; docs/scaling.md says how it is used.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import ray
from ray import serve

ROOT: Final = Path(__file__).resolve().parents[2]

# Ports of a node that are tried, from PORT on. A server that is stopping keeps its own,
# so there are more than servers on a node.
N_PORTS: Final = 32

# Seconds in which `/ready` may say no before the replica counts as broken; then three
# checks of Serve's have to fail. A server that recovers by itself takes less.
_GIVE_UP_S: Final = 100.0

_ASK_EVERY_S: Final = 0.2
_ASK_WITHIN_S: Final = 5.0

logger = logging.getLogger("ray.serve")


def listener(host: str, first_port: int) -> socket.socket:
    """Listen on the first free port of `N_PORTS`.

    Raises:
        OSError: None of them is free, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first_port, first_port + N_PORTS):
        try:
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            if port == first_port + N_PORTS - 1:
                raise OSError(
                    f"None of the ports {first_port} to {port} of {host} can be "
                    f"listened on ({error}). PORT and HOST of serve.yaml say which."
                ) from error
    raise AssertionError


def variables(inherited: Mapping[str, str], n_cores: float) -> dict[str, str]:
    """Return the server's environment: the replica's, with as many threads as cores.

    Args:
        inherited: The replica's environment.
        n_cores: `num_cpus` of the replica.
    """
    own = {"NUM_THREADS": str(max(1, int(n_cores))), **inherited}
    own.pop("OMP_NUM_THREADS", None)  # Ray's; the server counts threads by itself
    return own


@serve.deployment(name="omniasr")
class Replica:
    """The server's process, and its health."""

    # Serve waits for this one.
    async def __init__(self) -> None:  # type: ignore[misc]
        self._stopping = False
        self._start()
        await self._wait_until_ready()
        self._ready_at = time.monotonic()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def _start(self) -> None:
        host, port = os.environ.get("HOST", "0.0.0.0"), os.environ.get("PORT", "8001")
        cores = ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0)
        with listener(host, int(port)) as own:
            self._url = _url(own)
            command = [sys.executable, str(Path(__file__).with_name("launch.py"))]
            self._server = subprocess.Popen(
                [*command, str(os.getpid()), str(own.fileno())],
                pass_fds=(own.fileno(),),
                cwd=ROOT,  # for .env
                env=variables(os.environ, cores),
                start_new_session=True,
            )

    async def _wait_until_ready(self) -> None:
        """Wait for the model; Serve sends nothing meanwhile, and neither does HAProxy.

        Raises:
            RuntimeError: The server has ended.
        """
        while not await self._is_ready():
            if (status := self._server.poll()) is not None:
                raise RuntimeError(
                    f"The server ended with status {status} before it was ready. Its "
                    "last lines are in the log of this replica's worker (worker-*.err)."
                )
            await asyncio.sleep(_ASK_EVERY_S)

    async def _is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=_ASK_WITHIN_S) as client:
                # A server that is full is well.
                answer = await client.get(f"{self._url}/ready", params={"full": "ok"})
                return answer.status_code == 200
        except httpx.TransportError:
            return False

    def _watch(self) -> None:
        """End the replica with its server, so that Serve starts another at once."""
        status = self._server.wait()
        if not self._stopping:
            logger.error("The server has ended with status %s.", status)
            os._exit(1)

    async def check_health(self) -> None:
        """Ask the server; called by Serve, which replaces the replica if this raises.

        Raises:
            RuntimeError: It has not been ready for long.
        """
        now = time.monotonic()
        if await self._is_ready():
            self._ready_at = now
        elif now - self._ready_at > _GIVE_UP_S:
            raise RuntimeError(f"{self._url}/ready has said no for {_GIVE_UP_S:.0f} s.")

    async def __del__(self) -> None:
        """Stop the server, whose streams get their finals; Serve waits for it."""
        self._stopping = True
        self._server.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._server.wait)


def _url(own: socket.socket) -> str:
    """Return the address at which this machine reaches a listener."""
    host, port = own.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


app: Any = Replica.bind()  # type: ignore[attr-defined]
