"""Several processes behind HAProxy, with the configuration that is shipped.

Only its addresses are exchanged. The model answers at once, so that what is seen is the
way of streams through the balancer. Skipped without the program `haproxy`.
"""

import contextlib
import json
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from benchmarks.common.haproxy import haproxy, with_servers
from benchmarks.common.http import local
from tests.support.cluster import HAS_HAPROXY, Cluster, Names
from tests.support.live_client import Json, address, digits, listen_for, rest, s16le
from tests.support.live_client import say as tell
from tests.support.serving import ROOT, wait_for

# Opens so many streams.
Streams = Callable[[int], list[ClientConnection]]

INSTANT = ("-m", "benchmarks.host", "--serve")
MOST = 6
OWN = {
    "SECRET_KEY": "s" * 32,
    "MIN_STREAMS": str(MOST),
    "MAX_STREAMS": str(MOST),
    "READY_WHEN_FULL": "false",
    "PYTHONPATH": str(ROOT),
}

pytestmark = pytest.mark.skipif(not HAS_HAPROXY, reason="haproxy is not installed")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("cluster")
        yield Cluster(folder, stack, INSTANT, OWN)


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
        yield lambda n_streams: opened(stack, cluster.url, n_streams)


def opened(
    stack: contextlib.ExitStack, url: str, n_streams: int
) -> list[ClientConnection]:
    """Open streams at an address, one after the other."""
    clients = []
    for _ in range(n_streams):
        client = stack.enter_context(connect(address(url), max_size=None))
        listen_for(client, type="ready")
        clients.append(client)
    return clients


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


def test_a_reload_of_haproxy_cuts_no_stream(cluster: Cluster, streams: Streams) -> None:
    """Those that are open end in the old process."""
    clients = streams(4)
    cluster.balancer.process.send_signal(signal.SIGUSR2)
    wait_for(cluster.balancer.answers)
    cluster.wait_until_up(0, 1)
    for client in clients:
        speak(client)
        tell(client, "end")

    assert [code for _, code in map(rest, clients)] == [1000] * 4


def test_any_process_opens_the_door_to_any_others_key(cluster: Cluster) -> None:
    """`SECRET_KEY` is the same."""
    path = "/v1/realtime/client_secrets"
    keys = [local.post(cluster.url + path).json()["value"] for _ in range(4)]
    url = cluster.url.replace("http", "ws") + "/v1/realtime"
    for key in 2 * keys:
        headers = {"authorization": f"Bearer {key}"}
        with connect(url, additional_headers=headers) as client:
            assert json.loads(client.recv(10))["type"] == "session.created"


def test_a_full_process_gets_nothing_new_until_it_has_room(
    cluster: Cluster, streams: Streams
) -> None:
    """With READY_WHEN_FULL=false, which leaves alone what asks whether it works."""
    first = cluster.servers[0]
    with contextlib.ExitStack() as stack:
        own = opened(stack, first.url, MOST)
        cluster.wait_until_up(1)
        full = local.get(f"{first.url}/ready")
        works = local.get(f"{first.url}/ready?full=ok")
        free = local.get(f"{first.url}/health").json()["free_streams"]
        others = streams(2)
        spread = cluster.streams()
        own[0].close()
        cluster.wait_until_up(0, 1)
        close_all(others)

    assert (full.status_code, works.status_code, free) == (503, 200, 0)
    assert "no room" in full.json()["reason"]
    assert spread == [MOST, 2]


def test_when_all_are_full_the_balancer_says_so(
    cluster: Cluster, streams: Streams
) -> None:
    """With the status that clients try again after."""
    clients = streams(2 * MOST)
    cluster.wait_until_up()
    with pytest.raises(InvalidStatus) as refusal:
        connect(address(cluster.url))
    close_all(clients)

    assert refusal.value.response.status_code == 503
    assert refusal.value.response.headers["retry-after"] == "2"


def test_a_flood_waits_in_its_client(cluster: Cluster, streams: Streams) -> None:
    """For a process that reads nothing; HAProxy keeps next to nothing of it."""
    (flooding,) = streams(1)
    stopped = cluster.servers[cluster.streams().index(1)].process
    before = cluster.balancer.memory()
    stopped.send_signal(signal.SIGSTOP)
    try:
        n_sent = sent_until_it_waits(flooding)
        grown = cluster.balancer.memory() - before
        cluster.wait_until_up(1 - cluster_number(cluster, stopped.pid))
        (other,) = streams(1)
        speak(other)
        tell(other, "end")
        answered = rest(other)
    finally:
        stopped.send_signal(signal.SIGCONT)
    flooding.socket.shutdown(socket.SHUT_RDWR)
    cluster.wait_until_up(0, 1)

    assert n_sent < 64 * 2**20
    assert grown < 16 * 2**20
    assert answered[1] == 1000


def cluster_number(cluster: Cluster, pid: int) -> int:
    """Return which server a process is."""
    return [own.process.pid for own in cluster.servers.values()].index(pid)


def sent_until_it_waits(client: ClientConnection) -> int:
    """Send silence as fast as it is taken, until none is for a second."""
    n_bytes = 2**16 - 1
    message = bytes([0x82, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0]) + bytes(n_bytes)
    n_sent, left = 0, b""
    while select.select([], [client.socket], [], 1.0)[1]:
        left = left or message
        n = client.socket.send(left, socket.MSG_DONTWAIT)
        n_sent, left = n_sent + n, left[n:]
    return n_sent


def test_servers_come_and_go_in_dns(cluster: Cluster, tmp_path: Path) -> None:
    """As in Compose and Kubernetes; one that has left keeps the streams that it has."""

    def asking(text: str) -> str:
        assert "    parse-resolv-conf\n" in text
        own = f"    nameserver own 127.0.0.1:{names.port}\n"
        return text.replace("    parse-resolv-conf\n", own)

    with contextlib.ExitStack() as stack:
        names = stack.enter_context(Names(cluster.hosts[:1]))
        servers = f"omniasr-servers:{cluster.port}"
        balancer = stack.enter_context(
            haproxy(tmp_path, "dns.cfg", asking, SERVERS=servers)
        )
        balancer.wait_until_n_are_up(1)
        clients = opened(stack, balancer.url, 2)
        names.addresses = cluster.hosts
        balancer.wait_until_n_are_up(2)
        clients += opened(stack, balancer.url, 2)
        spread = cluster.streams()
        names.addresses = cluster.hosts[1:]
        balancer.wait_until_n_are_up(1)
        clients += opened(stack, balancer.url, 2)
        after = cluster.streams()
        for client in clients:
            speak(client)
            tell(client, "end")
        codes = [code for _, code in map(rest, clients)]

    assert spread == [2, 2]
    assert after == [2, 4]
    assert codes == [1000] * 6


def test_a_key_has_a_limit_over_all_processes(cluster: Cluster, tmp_path: Path) -> None:
    """With the lines of the guide; another key has its own."""
    guide = (ROOT / "docs" / "scaling.md").read_text()
    (lines,) = re.findall(r"```\n( +stick-table .*?)```", guide, re.DOTALL)

    def limiting(text: str) -> str:
        limited = text.replace("frontend api\n", f"frontend api\n{lines}")
        return with_servers(limited, cluster.addresses)

    with contextlib.ExitStack() as stack:
        balancer = stack.enter_context(haproxy(tmp_path, "haproxy.cfg", limiting))
        balancer.wait_until_n_are_up(2)

        def open_with(key: str) -> ClientConnection:
            headers = {"authorization": f"Bearer {key}"}
            coming = connect(address(balancer.url), additional_headers=headers)
            return stack.enter_context(coming)

        clients = [open_with("one") for _ in range(3)]
        with pytest.raises(InvalidStatus) as refusal:
            open_with("one")
        open_with("other")
        clients[0].close()
        wait_for(lambda: opens(lambda: open_with("one")))

    assert refusal.value.response.status_code == 429
    assert json.loads(refusal.value.response.body)["error"]["type"] == "requests"


def opens(connecting: Callable[[], ClientConnection]) -> bool:
    with contextlib.suppress(InvalidStatus):
        connecting()
        return True
    return False


def test_ids_name_the_process_that_answers(cluster: Cluster) -> None:
    """Whichever that was; requests alternate."""
    named = {
        local.get(f"{own.url}/health").json()["process"]
        for own in cluster.servers.values()
    }
    found = {
        local.get(f"{cluster.url}/v1/models").headers["x-request-id"][:8]
        for _ in range(4)
    }

    assert len(named) == 2
    assert found == named


# These end processes, which takes time to make up for.


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
    return local.get(f"{url}/v1/models").status_code


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


def test_a_request_that_no_process_can_take_is_refused_as_by_one(
    started: Cluster,
) -> None:
    """In OpenAI's shape; and figures are not those of any process."""
    cluster = started  # whether or not all run
    metrics = local.get(f"{cluster.url}/metrics")
    for server in cluster.servers.values():
        server.process.kill()
        server.process.wait()
    cluster.wait_until_up()
    refused = local.get(f"{cluster.url}/v1/models")

    assert metrics.status_code == 404
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert refused.headers["retry-after"] == "2"
