"""Several processes behind HAProxy, with the configuration that is shipped.

Only its ports are exchanged. The model answers at once, so that what is seen is the way
of streams through the balancer. Skipped without the program `haproxy`.
"""

import contextlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.live_client import Json, address, digits, listen_for, rest, s16le
from tests.support.live_client import say as tell
from tests.support.serving import (
    ROOT,
    ServerProcess,
    free_port,
    server_process,
    wait_for,
)

HAPROXY = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
# Opens so many streams.
Streams = Callable[[int], list[ClientConnection]]

INSTANT = ("-m", "benchmarks.host", "--serve")
OWN = {"SECRET_KEY": "s" * 32, "MAX_STREAMS": "80", "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="haproxy is not installed"
)


@dataclass
class Cluster:
    """The servers, and the balancer in front of them."""

    folder: Path
    stack: contextlib.ExitStack
    ports: Sequence[int]
    url: str = ""
    figures: str = ""
    servers: dict[int, ServerProcess] = field(default_factory=dict)

    def start_servers(self) -> None:
        """Start the servers that do not run."""
        for number, port in enumerate(self.ports):
            before = self.servers.get(number)
            if before is None or before.process.poll() is not None:
                coming = server_process(
                    self.folder / f"{port}.log", program=INSTANT, PORT=str(port), **OWN
                )
                self.servers[number] = self.stack.enter_context(coming)
        for server in self.servers.values():
            server.wait_until_ready()

    def start_haproxy(self) -> None:
        """Start the balancer."""
        port, figures = free_port(), free_port()
        file = self.folder / "haproxy.cfg"
        file.write_text(configuration(port, figures, self.ports))
        log = self.stack.enter_context((self.folder / "haproxy.log").open("wb"))
        command = ["haproxy", "-W", "-f", str(file)]
        self.haproxy = subprocess.Popen(command, stdout=log, stderr=log)
        self.stack.callback(self.haproxy.wait)
        self.stack.callback(self.haproxy.terminate)
        self.url = f"http://127.0.0.1:{port}"
        self.figures = f"http://127.0.0.1:{figures}"
        wait_for(lambda: _answers(self.figures))

    def streams(self) -> list[int]:
        """Count each server's streams; -1 for one that is gone."""
        return [_streams_of(self.servers[number]) for number in sorted(self.servers)]

    def wait_until_up(self, *which: int) -> None:
        """Wait until HAProxy finds these servers, and no others, ready."""
        wanted = {f"s{number + 1}" for number in which}
        wait_for(lambda: self._up() == wanted)

    def _up(self) -> set[str]:
        text = httpx.get(f"{self.figures}/metrics").text
        line = re.compile(
            r'haproxy_server_status\{proxy="omniasr",server="(\w+)",state="UP"\} 1'
        )
        return set(line.findall(text))


def _streams_of(server: ServerProcess) -> int:
    try:
        found = httpx.get(f"{server.url}/health").json()["streams"]
    except httpx.TransportError:
        return -1
    assert isinstance(found, int)
    return found


def configuration(port: int, figures: int, servers: Sequence[int]) -> str:
    """Return the shipped configuration with other ports."""
    text = HAPROXY.read_text()
    text = text.replace("bind :8000 ", f"bind 127.0.0.1:{port} ")
    text = text.replace("127.0.0.1:8404", f"127.0.0.1:{figures}")
    kept, n_lines = re.subn(r"    server s\d .*\n", "", text)
    assert n_lines == 8
    lines = [
        f"    server s{number} 127.0.0.1:{own}\n"
        for number, own in enumerate(servers, 1)
    ]
    return kept + "".join(lines)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/metrics").status_code == 200
    return False


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("cluster")
        cluster = Cluster(folder, stack, [free_port() for _ in range(2)])
        cluster.start_servers()
        cluster.start_haproxy()
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """Two servers and the balancer; those that a test has ended run again."""
    started.start_servers()
    started.wait_until_up(0, 1)
    wait_for(lambda: started.streams() == [0, 0])
    return started


@pytest.fixture
def streams(cluster: Cluster) -> Iterator[Streams]:
    """Open so many streams, one after the other."""
    with contextlib.ExitStack() as stack:

        def opened(n_streams: int) -> list[ClientConnection]:
            clients = []
            for _ in range(n_streams):
                socket = connect(address(cluster.url), max_size=None)
                client = stack.enter_context(socket)
                listen_for(client, type="ready")
                clients.append(client)
            return clients

        yield opened


def speak(client: ClientConnection, seconds: float = 2.0) -> None:
    """Send the beginning of a recording."""
    client.send(s16le(digits())[: round(32_000 * seconds)])


def close_all(clients: Sequence[ClientConnection]) -> None:
    for client in clients:
        client.close()


def text_of(messages: Sequence[Json]) -> str:
    return " ".join(m["text"] for m in messages if m.get("utterance_final"))


def test_streams_are_spread_and_one_that_ends_makes_room(
    cluster: Cluster, streams: Streams
) -> None:
    """Evenly; the next ones go where there are fewer."""
    clients = streams(8)
    spread = cluster.streams()
    close_all(clients[::2])  # those of one server
    wait_for(lambda: sum(cluster.streams()) == 4)
    clients = clients[1::2] + streams(4)
    again = cluster.streams()
    close_all(clients)

    assert spread == [4, 4]
    assert again == [4, 4]


def test_one_that_is_stopped_finishes_what_it_has(
    cluster: Cluster, streams: Streams
) -> None:
    """Its streams get their finals and a close; no new request fails meanwhile."""
    clients = streams(6)
    for client in clients:
        speak(client)
    with ThreadPoolExecutor(1) as thread:
        requests = thread.submit(lambda: [_status(cluster.url) for _ in range(40)])
        cluster.servers[0].process.send_signal(signal.SIGTERM)
        cluster.servers[0].process.wait(60)
        statuses = requests.result()
    ended = [client for client in clients if not _is_open(client)]
    stayed = [client for client in clients if client not in ended]
    told = [rest(client) for client in ended]
    cluster.wait_until_up(1)
    after = streams(2)
    for client in stayed:
        tell(client, "end")
    answered = [rest(client) for client in stayed]
    close_all(after)

    assert set(statuses) == {200}
    assert len(ended) == len(stayed) == 3
    assert [code for _, code in told] == [1001] * 3
    assert all(text_of(messages) for messages, _ in told)
    assert [code for _, code in answered] == [1000] * 3


def _status(url: str) -> int:
    return httpx.get(f"{url}/v1/models").status_code


def _is_open(client: ClientConnection) -> bool:
    with contextlib.suppress(ConnectionClosed):
        client.ping().wait(5)
        return client.protocol.state.name == "OPEN"
    return False


def test_one_that_is_killed_takes_no_other_with_it(
    cluster: Cluster, streams: Streams
) -> None:
    """The other's streams go on, and new ones find it."""
    clients = streams(4)
    cluster.servers[0].process.kill()
    cluster.servers[0].process.wait()
    wait_for(lambda: sum(map(_is_open, clients)) == 2)
    others = [client for client in clients if _is_open(client)]
    after = streams(2)
    for client in [*others, *after]:
        speak(client)
        tell(client, "end")
    answered = [rest(client) for client in [*others, *after]]

    assert [code for _, code in answered] == [1000] * 4
    assert all(text_of(messages) for messages, _ in answered)


def test_a_reload_of_haproxy_cuts_no_stream(cluster: Cluster, streams: Streams) -> None:
    """Those that are open end in the old process."""
    clients = streams(4)
    cluster.haproxy.send_signal(signal.SIGUSR2)
    wait_for(lambda: _answers(cluster.figures))
    cluster.wait_until_up(0, 1)
    for client in clients:
        speak(client)
        tell(client, "end")

    assert [code for _, code in map(rest, clients)] == [1000] * 4


def test_any_process_opens_the_door_to_any_others_key(cluster: Cluster) -> None:
    """`SECRET_KEY` is the same."""
    path = "/v1/realtime/client_secrets"
    keys = [httpx.post(cluster.url + path).json()["value"] for _ in range(4)]
    url = cluster.url.replace("http", "ws") + "/v1/realtime"
    for key in 2 * keys:
        headers = {"authorization": f"Bearer {key}"}
        with connect(url, additional_headers=headers) as client:
            assert json.loads(client.recv(10))["type"] == "session.created"


def test_a_request_that_no_process_can_take_is_refused_as_by_one(
    cluster: Cluster,
) -> None:
    """In OpenAI's shape; and figures are not those of any process."""
    metrics = httpx.get(f"{cluster.url}/metrics")
    for server in cluster.servers.values():
        server.process.kill()
        server.process.wait()
    cluster.wait_until_up()
    refused = httpx.get(f"{cluster.url}/v1/models")

    assert metrics.status_code == 404
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert refused.headers["retry-after"] == "2"
