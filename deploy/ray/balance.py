"""Write HAProxy's configuration for the nodes of a Ray cluster, and keep it up to date.

    python -m deploy.ray.balance --output /etc/haproxy/haproxy.cfg \\
        --reload "systemctl reload haproxy" --every 10

It is deploy/haproxy/haproxy.cfg, whose servers are the ports of every live node.
Which of them have a server that is ready, HAProxy finds by itself, within two seconds;
so only a node that comes or goes changes the file. A reload cuts no stream.

Source of the nodes: the cluster that this machine belongs to, or `--address`.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import ray

SHIPPED: Final = Path(__file__).resolve().parents[1] / "haproxy" / "haproxy.cfg"
_SERVERS: Final = re.compile(r"(?:^    server \S+ \S+:\d+.*\n?)+", re.MULTILINE)


def configuration(text: str, nodes: Iterable[str], ports: Sequence[int]) -> str:
    """Return a configuration with the ports of all nodes as its servers.

    Args:
        text: The configuration; its `server` lines are replaced.
        nodes: Addresses of the nodes.
        ports: Ports on which a node's servers may listen.

    Raises:
        ValueError: The text has no servers.
    """
    lines = "".join(
        f"    server {node}_{port} {node}:{port}\n"
        for node in sorted(nodes)
        for port in ports
    )
    replaced, n_found = _SERVERS.subn(lines, text, count=1)
    if not n_found:
        raise ValueError("The configuration has no `server` lines to replace.")
    return replaced


def live_nodes() -> list[str]:
    """Return the addresses of the cluster's live nodes."""
    return [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]


def ports_in(text: str) -> range:
    """Read `8001-8008`.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 8001-8008")
    return range(int(found[1]), int(found[2]) + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, once or again whenever nodes come or go."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.ray.balance", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--address", default="auto", help="of the cluster's head")
    parser.add_argument("--ports", type=ports_in, default="8001-8008")
    parser.add_argument("--template", type=Path, default=SHIPPED)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reload", help="command that reloads HAProxy")
    parser.add_argument("--every", type=float, help="seconds between looks; else one")
    chosen = parser.parse_args(arguments)
    ray.init(address=chosen.address, log_to_driver=False)
    template = chosen.template.read_text("utf-8")
    while True:
        wanted = configuration(template, live_nodes(), chosen.ports)
        before = chosen.output.read_text("utf-8") if chosen.output.exists() else None
        if wanted != before:
            chosen.output.write_text(wanted, "utf-8")
            print(f"{chosen.output} has the ports of {len(live_nodes())} nodes.")
            if chosen.reload:
                subprocess.run(chosen.reload, shell=True, check=True)
        if chosen.every is None:
            return 0
        time.sleep(chosen.every)


if __name__ == "__main__":
    sys.exit(main())
