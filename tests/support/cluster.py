"""Run several servers behind HAProxy, with the configurations that are shipped.

Only addresses are exchanged in these. The servers have addresses of their own and the
same port, so that DNS can tell them apart.
"""

import contextlib
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.common.haproxy import balanced
from benchmarks.common.http import local
from tests.support.serving import (
    ServerProcess,
    free_port,
    server_process,
)

HAS_HAPROXY = shutil.which("haproxy") is not None and sys.platform == "linux"


@dataclass
class Cluster:
    """The servers, and the balancer in front of them.

    Attributes:
        folder: For logs.
        stack: Ends what was started.
        program: What a server is.
        variables: Of the environments of all servers.
    """

    folder: Path
    stack: contextlib.ExitStack
    program: Sequence[str | Path]
    variables: dict[str, str]
    n_servers: int = 2
    port: int = field(default_factory=free_port)
    servers: dict[int, ServerProcess] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start_servers()
        self.balancer = self.stack.enter_context(balanced(self.folder, self.addresses))
        self.url = self.balancer.url

    @property
    def hosts(self) -> list[str]:
        """The address of each server."""
        return [f"127.0.0.{number}" for number in range(1, self.n_servers + 1)]

    @property
    def addresses(self) -> list[str]:
        """The address and the port of each server."""
        return [f"{host}:{self.port}" for host in self.hosts]

    def start_servers(self) -> None:
        """Start the servers that do not run."""
        for number, host in enumerate(self.hosts):
            before = self.servers.get(number)
            if before is None or before.process.poll() is not None:
                own = {"HOST": host, "PORT": str(self.port), **self.variables}
                log = self.folder / f"{host}.log"
                coming = server_process(log, program=self.program, **own)
                self.servers[number] = self.stack.enter_context(coming)
        for server in self.servers.values():
            server.wait_until_ready()

    def streams(self) -> list[int]:
        """Count each server's streams; -1 for one that is gone."""
        return [_streams_of(self.servers[number]) for number in sorted(self.servers)]

    def wait_until_up(self, *which: int) -> None:
        """Wait until HAProxy finds these servers, and no others, ready."""
        self.balancer.wait_until_up({f"s{number + 1}" for number in which})


def _streams_of(server: ServerProcess) -> int:
    try:
        found = local.get(f"{server.url}/health").json()["streams"]
    except httpx.TransportError:
        return -1
    assert isinstance(found, int)
    return found


class Names:
    """A name server that answers every question with the same addresses.

    Attributes:
        addresses: They may change at any time.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer_all, name="names")

    def __enter__(self) -> "Names":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _answer_all(self) -> None:
        while True:
            question, client = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        """Write an answer. Source: RFC 1035, section 4; one question, A records."""
        end = question.index(b"\0", 12) + 5  # of the name, the type and the class
        asks_for_a = question[end - 4 : end - 2] == b"\0\1"
        found = self.addresses if asks_for_a else []
        head = struct.pack(">2sHHHHH", question[:2], 0x8580, 1, len(found), 0, 0)
        records = [
            struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)
            for address in found
        ]
        return head + question[12:end] + b"".join(records)
