"""Run HAProxy with the configuration that is shipped, for measurements."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx

from benchmarks.common.processes import ROOT, ServerProcess, free_port, wait_for

SHIPPED: Final = ROOT / "deploy" / "haproxy" / "haproxy.cfg"

_SERVERS: Final = re.compile(r"^    server s\d .*\n?", re.MULTILINE)
_UP: Final = re.compile(
    r'haproxy_server_status\{proxy="omniasr",server="(\S+?)",state="UP"\} 1'
)


def configuration(port: int, figures: int, servers: Sequence[str]) -> str:
    """Return the shipped configuration with other ports and servers.

    Args:
        port: Port of the API, on loopback.
        figures: Port of HAProxy's own figures.
        servers: Addresses of the servers, host:port; they are named s1, s2 and so on.
    """
    text = SHIPPED.read_text("utf-8")
    text = text.replace("bind :8000 ", f"bind 127.0.0.1:{port} ")
    text = text.replace("127.0.0.1:8404", f"127.0.0.1:{figures}")
    lines = [f"    server s{k} {own}\n" for k, own in enumerate(servers, 1)]
    return _SERVERS.sub("", text).rstrip("\n") + "\n" + "".join(lines)


@contextlib.contextmanager
def balanced(folder: Path, servers: Sequence[str]) -> Iterator["Balancer"]:
    """Run HAProxy, in one process, before these servers; end it afterwards.

    Args:
        folder: Where its configuration and its log are written.
        servers: Addresses of the servers, host:port.
    """
    port, figures = free_port(), free_port()
    file, log = folder / "haproxy.cfg", folder / "haproxy.log"
    file.write_text(configuration(port, figures, servers), "utf-8")
    with log.open("w") as output:
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", file], stdout=output, stderr=output, text=True
        )
    try:
        yield Balancer(process, f"http://127.0.0.1:{port}", log, figures)
    finally:
        process.kill()
        process.wait()


class Balancer(ServerProcess):
    """HAProxy's process and address.

    Args:
        process: The process.
        url: Where clients find it.
        log: What it logs.
        figures: Port of its own figures.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", url: str, log: Path, figures: int
    ) -> None:
        super().__init__(process, url, log)
        self._figures = f"http://127.0.0.1:{figures}/metrics"

    def up(self) -> set[str]:
        """Return the names of the servers that it finds ready."""
        try:
            return set(_UP.findall(httpx.get(self._figures, verify=False).text))
        except httpx.TransportError:
            return set()

    def wait_until_up(self, names: set[str], *, within_s: float = 60) -> None:
        """Wait until it finds these servers ready, and no others."""
        wait_for(lambda: self.up() == names, within_s=within_s)
