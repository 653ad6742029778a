"""What clients depend on holds at the address of HAProxy, with two processes behind it.

These are tests of `tests/conformance/`, unchanged, of each protocol and of each SDK.
`make test-scale` runs all that an address is enough for. Skipped without the program
`haproxy`.
"""

import contextlib
from collections.abc import Iterator

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conformance import test_live
from tests.conformance.test_api import (
    TestCurl,
    TestNodeSDK,
    TestPythonSDK,
    client,
    http,
    speech,
    wav,
)
from tests.conformance.test_doors import TestAzure
from tests.conformance.test_http import TestPoint1
from tests.conformance.test_live import audio
from tests.conformance.test_live_channels import TestChannels, sides
from tests.conformance.test_realtime import TestPoint14, TestPoint15
from tests.conformance.test_schema import TestRealtime
from tests.scale.by_address import demo_cluster
from tests.support.cluster import HAS_HAPROXY
from tests.support.live_client import address
from tests.support.serving import ServerProcess, server_at

__all__ = [
    "TestAzure",
    "TestChannels",
    "TestCurl",
    "TestNodeSDK",
    "TestPoint1",
    "TestPoint14",
    "TestPoint15",
    "TestPythonSDK",
    "TestRealtime",
    "audio",
    "client",
    "http",
    "sides",
    "speech",
    "wav",
]

pytestmark = pytest.mark.skipif(not HAS_HAPROXY, reason="haproxy is not installed")


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The address of HAProxy, with two real servers behind it."""
    with contextlib.ExitStack() as stack:
        cluster = demo_cluster(tmp_path_factory.mktemp("cluster"), stack)
        yield server_at(cluster.url)


class Live:
    """Tests whose client is a socket; that of the others is OpenAI's SDK."""

    @pytest.fixture
    def client(self, demo_server: ServerProcess) -> Iterator[ClientConnection]:
        with connect(address(demo_server.url), max_size=None) as socket:
            yield socket


class TestLiveAudio(Live, test_live.TestAudio):
    """Encodings and rates."""


class TestLiveBeyond(Live, test_live.TestBeyond):
    """Times, flushes, and the client's own ends."""
