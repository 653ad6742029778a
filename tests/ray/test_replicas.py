"""Servers that Ray Serve starts, behind HAProxy: what a stream notices of changes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.common.processes import ROOT, wait_for
from benchmarks.common.requests import Requests
from tests.ray.conftest import START_WITHIN_S, Cluster
from tests.support.live_client import Json, address, digits, listen_for, rest, s16le
from tests.support.live_client import say as tell

# Opens so many streams.
Streams = Callable[[int], list[ClientConnection]]


@pytest.fixture
def streams(cluster: Cluster) -> Iterator[Streams]:
    """Open so many streams, one after the other, and say something in each."""
    with contextlib.ExitStack() as stack:

        def opened(n_streams: int) -> list[ClientConnection]:
            clients = []
            for _ in range(n_streams):
                socket = connect(address(cluster.url), max_size=None, open_timeout=60)
                client = stack.enter_context(socket)
                listen_for(client, type="ready")
                clients.append(client)
            for client in clients:
                client.send(s16le(digits())[:64_000])
            return clients

        yield opened


def is_open(client: ClientConnection) -> bool:
    with contextlib.suppress(ConnectionClosed):
        client.ping().wait(5)
        return client.protocol.state.name == "OPEN"
    return False


def text_of(messages: Sequence[Json]) -> str:
    return " ".join(m["text"] for m in messages if m.get("utterance_final"))


def wait_until_open(clients: Sequence[ClientConnection], n_open: int) -> None:
    wait_for(lambda: sum(map(is_open, clients)) == n_open, within_s=START_WITHIN_S)


def told(clients: Sequence[ClientConnection]) -> list[int]:
    """The codes with which streams were closed; each had its text before."""
    codes = []
    for client in clients:
        messages, code = rest(client)
        assert text_of(messages)
        codes.append(code)
    return codes


def ended_by_their_clients(clients: Sequence[ClientConnection]) -> list[int]:
    for client in clients:
        tell(client, "end")
    return told(clients)


def test_streams_are_spread_over_servers_that_share_a_gpu(
    cluster: Cluster, streams: Streams
) -> None:
    """Each server has its port, half a GPU, and as many threads as cores."""
    clients = streams(6)
    spread = cluster.streams()
    codes = ended_by_their_clients(clients)

    assert sorted(spread.values()) == [3, 3]
    assert codes == [1000] * 6
    for port in spread:
        variables = cluster.server_on(port).environ()
        assert variables["CUDA_VISIBLE_DEVICES"] in ("0", "1")
        assert variables["NUM_THREADS"] == "1"


def test_a_server_that_is_stopped_finishes_what_it_has(
    cluster: Cluster, streams: Streams
) -> None:
    """Its streams get their finals and a close; Ray starts another."""
    clients = streams(4)
    port = min(cluster.streams())
    cluster.server_on(port).send_signal(signal.SIGTERM)
    wait_until_open(clients, 2)
    ended = [client for client in clients if not is_open(client)]
    stayed = [client for client in clients if client not in ended]
    cluster.wait_for_servers(2)

    assert told(ended) == [1001] * 2
    assert ended_by_their_clients(stayed) == [1000] * 2


def test_a_server_that_is_killed_takes_no_other_with_it(
    cluster: Cluster, streams: Streams
) -> None:
    """The other's streams go on, and Ray starts another."""
    clients = streams(4)
    victim = cluster.server_on(min(cluster.streams()))
    victim.kill()
    wait_until_open(clients, 2)
    ended = [client for client in clients if not is_open(client)]
    stayed = [client for client in clients if client not in ended]
    cluster.wait_for_servers(1)
    cluster.wait_for_servers(2)

    assert [rest(client)[1] for client in ended] == [1006] * 2
    assert ended_by_their_clients(stayed) == [1000] * 2


def test_a_replica_that_is_killed_lets_its_server_finish(
    cluster: Cluster, streams: Streams
) -> None:
    """The kernel tells the server, whose streams get their finals."""
    clients = streams(4)
    server = cluster.server_on(min(cluster.streams()))
    psutil.Process(server.ppid()).kill()
    wait_until_open(clients, 2)
    ended = [client for client in clients if not is_open(client)]
    stayed = [client for client in clients if client not in ended]
    wait_for(lambda: not server.is_running())
    cluster.wait_for_servers(2)

    assert told(ended) == [1001] * 2
    assert ended_by_their_clients(stayed) == [1000] * 2


def test_a_third_server_joins_and_leaves(cluster: Cluster, streams: Streams) -> None:
    """Nobody notices the first; then the streams of one are finished."""
    early = streams(2)
    cluster.deploy(3)
    cluster.wait_for_servers(3)
    clients = early + streams(4)
    spread = cluster.streams()
    cluster.deploy(2)
    cluster.wait_for_servers(2)
    wait_until_open(clients, 4)
    ended = [client for client in clients if not is_open(client)]
    stayed = [client for client in clients if client not in ended]

    assert sorted(spread.values()) == [2, 2, 2]
    assert told(ended) == [1001] * 2
    assert ended_by_their_clients(stayed) == [1000] * 4


def test_a_new_deployment_replaces_all_and_loses_no_request(
    cluster: Cluster, streams: Streams
) -> None:
    """Every stream gets its finals and a close."""
    clients = streams(4)
    before = {cluster.server_on(port).pid for port in cluster.streams()}
    requests = Requests(cluster.url)
    requests.start()
    cluster.deploy(2, MAX_STREAMS="79")

    def replaced() -> bool:
        ports = cluster.streams()
        with contextlib.suppress(ValueError):  # one has just gone
            now = {cluster.server_on(port).pid for port in ports}
            return len(now) == 2 and not now & before
        return False

    wait_for(replaced, within_s=START_WITHIN_S)
    cluster.wait_for_servers(2)
    requests.end()

    assert told(clients) == [1001] * 4
    assert set(requests.statuses) == {200}
    assert len(requests.statuses) > 20


def test_one_that_cannot_start_says_so_and_the_others_go_on(
    cluster: Cluster, streams: Streams
) -> None:
    """Ray keeps trying; a good deployment ends that."""
    cluster.deploy(2, MODEL_CARD="omniASR_CTC_none")
    program = os.path.join(os.path.dirname(sys.executable), "serve")

    def status() -> str:
        command = [program, "status", "--address", cluster.dashboard]
        return subprocess.run(command, capture_output=True, text=True).stdout

    wait_for(lambda: "ended with status 2" in status(), within_s=START_WITHIN_S)
    cluster.deploy(2)
    cluster.wait_for_servers(2)

    assert ended_by_their_clients(streams(2)) == [1000] * 2


def test_haproxys_configuration_has_the_ports_of_live_nodes(cluster: Cluster) -> None:
    """HAProxy accepts it; and a reload is asked for only when it changes."""
    file, reloads = cluster.folder / "written.cfg", cluster.folder / "reloads"
    first = cluster.first_port
    command = [sys.executable, "-m", "deploy.ray.balance", "--address", cluster.gcs]
    command += ["--ports", f"{first}-{first + 1}", "--output", str(file)]
    command += ["--reload", f"echo once >> {reloads}"]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    checked = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True)

    text = file.read_text()
    assert checked.returncode == 0, checked.stderr
    assert re.search(rf"^    server (\S+)_{first} \1:{first}$", text, re.MULTILINE)
    assert text.count("\n    server ") == 2
    assert reloads.read_text() == "once\n"


def test_what_is_deleted_finishes_what_it_has(
    cluster: Cluster, streams: Streams
) -> None:
    """All streams get their finals and a close."""
    clients = streams(4)
    cluster.delete()
    wait_until_open(clients, 0)

    assert told(clients) == [1001] * 4
    wait_for(lambda: not cluster.streams())


def test_a_node_that_is_stopped_lets_its_servers_finish(
    cluster: Cluster, streams: Streams
) -> None:
    """They outlive Ray until their streams are done. It is the cluster's last test."""
    clients = streams(4)
    (raylet,) = (
        own
        for own in psutil.Process(cluster.head.pid).children(recursive=True)
        if own.name() == "raylet"
    )
    raylet.send_signal(signal.SIGTERM)
    wait_until_open(clients, 0)

    assert told(clients) == [1001] * 4
    wait_for(lambda: not cluster.streams())
