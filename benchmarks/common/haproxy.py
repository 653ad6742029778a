"""Run HAProxy with the configurations that are shipped, for tests and measurements.

Only addresses are exchanged in them.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import psutil

from benchmarks.common.http import local
from benchmarks.common.processes import ROOT, ServerProcess, free_port, wait_for

SHIPPED: Final = ROOT / "deploy" / "haproxy"

_UP: Final = re.compile(
    r'haproxy_server_status\{proxy="omniasr",server="(\S+?)",state="UP"\} 1'
)


class Balancer(ServerProcess):
    """HAProxy's process and address.

    Args:
        process: The process, whose children serve clients.
        url: Where clients find it.
        log: What it logs.
        figures: Port of its own figures.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", url: str, log: Path, figures: int
    ) -> None:
        super().__init__(process, url, log)
        self._figures = f"http://127.0.0.1:{figures}/metrics"

    def answers(self) -> bool:
        """Whether its figures can be read."""
        with contextlib.suppress(httpx.TransportError):
            return local.get(self._figures).status_code == 200
        return False

    def up(self) -> set[str]:
        """Return the names of the servers that it finds ready."""
        try:
            return set(_UP.findall(local.get(self._figures).text))
        except httpx.TransportError:
            return set()

    def wait_until_up(self, names: Collection[str], *, within_s: float = 60) -> None:
        """Wait until it finds these servers ready, and no others."""
        wait_for(lambda: self.up() == set(names), within_s=within_s)

    def wait_until_n_are_up(self, n: int) -> None:
        """Wait until it finds so many servers ready, whatever their names."""
        wait_for(lambda: len(self.up()) == n)

    def processes(self) -> list[psutil.Process]:
        """Return its processes."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children()]

    def memory(self) -> int:
        """Return the bytes of memory that its processes use."""
        return sum(own.memory_info().rss for own in self.processes())


def with_servers(text: str, servers: Sequence[str]) -> str:
    """Exchange the servers in `haproxy.cfg`.

    Args:
        text: The configuration.
        servers: Addresses of the servers, host:port; they are named s1, s2 and so on.
    """
    kept, n_lines = re.subn(r"(?m)^    server s\d .*\n?", "", text)
    assert n_lines, "the configuration lists servers"
    lines = [f"    server s{k} {own}\n" for k, own in enumerate(servers, 1)]
    return kept.rstrip("\n") + "\n" + "".join(lines)


def balanced(
    folder: Path, servers: Sequence[str]
) -> contextlib.AbstractContextManager[Balancer]:
    """Run HAProxy before servers with these addresses."""
    return haproxy(folder, "haproxy.cfg", lambda text: with_servers(text, servers))


@contextlib.contextmanager
def haproxy(
    folder: Path, name: str, change: Callable[[str], str], **variables: str
) -> Iterator[Balancer]:
    """Run HAProxy with a configuration that is shipped; end it afterwards.

    Args:
        folder: Where its configuration and its log are written.
        name: Name of the configuration.
        change: Exchanges the servers in it.
        variables: Of its environment.
    """
    port, figures = free_port(), free_port()
    text = change((SHIPPED / name).read_text("utf-8"))
    text = text.replace("bind :8000 ", f"bind 127.0.0.1:{port} ")
    text = re.sub(r"bind \S*:8404", f"bind 127.0.0.1:{figures}", text)
    file, log = folder / name, folder / "haproxy.log"
    file.write_text(text, "utf-8")
    with log.open("w") as output:
        process = subprocess.Popen(
            ["haproxy", "-W", "-f", file],
            stdout=output,
            stderr=output,
            text=True,
            env={**os.environ, **variables},
        )
    balancer = Balancer(process, f"http://127.0.0.1:{port}", log, figures)
    try:
        wait_for(balancer.answers)
        yield balancer
    finally:
        process.terminate()
        process.wait()
