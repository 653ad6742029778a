"""A Ray cluster of this machine, with servers on it and HAProxy in front of them.

What is shipped runs as it is: `deploy/ray/serve.yaml` and `deploy/haproxy/haproxy.cfg`,
with other ports and the bundled model. Two GPUs are declared, which nobody uses.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from benchmarks.common.haproxy import Balancer, balanced
from benchmarks.common.http import local
from benchmarks.common.processes import ROOT, free_port, wait_for

N_PORTS = 6
SHIPPED = ROOT / "deploy" / "ray" / "serve.yaml"
OURS = {"MODEL_CARD": "omniASR_CTC_demo", "DTYPE": "float32", "DEVICE": "cpu"}

# Loading the model takes most of it, on a machine that does other things as well.
START_WITHIN_S = 180


@dataclass
class Cluster:
    """The head of the cluster, and the ports of its servers.

    Attributes:
        head: `ray start --block`.
        dashboard: Where `serve deploy` finds it.
        gcs: Where programs of Ray's find it.
        first_port: The first port of the servers.
        balancer: HAProxy; its servers are s1 to s6.
        folder: For files.
    """

    head: "subprocess.Popen[bytes]"
    dashboard: str
    gcs: str
    first_port: int
    balancer: Balancer
    folder: Path

    @property
    def url(self) -> str:
        return self.balancer.url

    def deploy(self, n_replicas: int = 2, **variables: str) -> None:
        """Deploy so many servers, with some variables of their environment."""
        content = yaml.safe_load(SHIPPED.read_text())
        (application,) = content["applications"]
        settings = application["runtime_env"]["env_vars"]
        settings |= {**OURS, "HOST": "127.0.0.1", "PORT": str(self.first_port)}
        settings |= variables
        application["deployments"][0]["num_replicas"] = n_replicas
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(content))
        self._serve("deploy", str(file))

    def delete(self) -> None:
        """Have Serve end all that it runs."""
        self._serve("shutdown", "--yes")

    def _serve(self, *arguments: str) -> None:
        program = Path(sys.executable).with_name("serve")
        command = [str(program), *arguments, "--address", self.dashboard]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def wait_for_servers(self, n_servers: int) -> None:
        """Wait until HAProxy finds so many ready."""
        wait_for(lambda: len(self.balancer.up()) == n_servers, within_s=START_WITHIN_S)

    def streams(self) -> dict[int, int]:
        """Count the streams of each server that answers, by its port."""
        found = {}
        for port in range(self.first_port, self.first_port + N_PORTS):
            with contextlib.suppress(httpx.TransportError):
                health = local.get(f"http://127.0.0.1:{port}/health").json()
                found[port] = health["streams"]
        return found

    def server_on(self, port: int) -> psutil.Process:
        """Return the process that listens on a port."""
        (pid,) = {
            own.pid
            for own in psutil.net_connections("tcp")
            if own.status == psutil.CONN_LISTEN and own.laddr[1:2] == (port,)
        }
        return psutil.Process(pid)


def free_ports(n_ports: int) -> int:
    """Return the first of so many free ports in a row."""
    while True:
        first = free_port()
        with (
            contextlib.suppress(OSError, OverflowError),
            contextlib.ExitStack() as all_,
        ):
            for port in range(first, first + n_ports):
                probe = all_.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return first


def n_nodes(dashboard: str) -> int:
    """Count the live nodes of a cluster; none while it starts."""
    with contextlib.suppress(httpx.TransportError, KeyError, TypeError, ValueError):
        found = local.get(f"{dashboard}/nodes?view=summary", timeout=30).json()
        nodes = found["data"]["summary"]
        return sum(node["raylet"]["state"] == "ALIVE" for node in nodes)
    return 0


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    folder = tmp_path_factory.mktemp("cluster")
    first_port = free_ports(N_PORTS)
    with contextlib.ExitStack() as stack:
        # The paths of Ray's sockets must be short.
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="r", dir="/tmp"))
        ports = [f"127.0.0.1:{first_port + k}" for k in range(N_PORTS)]
        balancer = stack.enter_context(balanced(folder, ports))
        gcs, dashboard = free_port(), free_port()
        head = stack.enter_context(ray_head(gcs, dashboard, home, folder / "ray.log"))
        url = f"http://127.0.0.1:{dashboard}"
        wait_for(lambda: n_nodes(url) == 1, within_s=START_WITHIN_S)
        gcs_address = f"127.0.0.1:{gcs}"
        yield Cluster(head, url, gcs_address, first_port, balancer, folder)


@contextlib.contextmanager
def ray_head(
    gcs: int, dashboard: int, home: str, log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a cluster of one node, as docs/scaling.md starts one."""
    arguments: dict[str, Any] = {
        "node-ip-address": "127.0.0.1",
        "port": gcs,
        "dashboard-port": dashboard,
        # Ray waits only a moment for ports that it has to be told.
        "dashboard-agent-listen-port": free_port(),
        "dashboard-agent-grpc-port": free_port(),
        "runtime-env-agent-port": free_port(),
        "ray-client-server-port": free_port(),
        "metrics-export-port": free_port(),
        "num-cpus": 8,
        "num-gpus": 2,
        "object-store-memory": 100_000_000,
        "temp-dir": home,
    }
    own = {
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_kill_child_processes_on_worker_exit": "0",
        "RAY_agent_register_timeout_ms": str(1000 * START_WITHIN_S),
    }
    program = Path(sys.executable).with_name("ray")
    command = [str(program), "start", "--head", "--block"]
    with log.open("wb") as output:
        head = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in arguments.items())],
            cwd=log.parent,
            env={**os.environ, **own},
            stdout=output,
            stderr=output,
        )
    try:
        yield head
    finally:
        own_process = psutil.Process(head.pid)
        ours = [own_process, *own_process.children(recursive=True)]
        head.terminate()
        try:
            head.wait(60)
        except subprocess.TimeoutExpired:
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            head.wait()


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """Two servers with no streams."""
    started.deploy(2)
    started.wait_for_servers(2)
    wait_for(lambda: [*started.streams().values()] == [0, 0])
    return started
