"""How many more streams there is room for: told to people, to Prometheus, to balancers.

What the number is made of is tested in `tests/engine/`.
"""

import contextlib
import json
import logging
import uuid
from collections.abc import Iterator

import pytest
from websockets.sync.client import ClientConnection, connect

from api.ids import PROCESS, new_id
from api.log_lines import JsonLines
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.live_client import address, listen_for
from tests.support.series import Series
from tests.support.serving import app_in_thread, wait_for
from tests.test_server import health, settings


@contextlib.contextmanager
def streams(url: str, n_streams: int) -> Iterator[list[ClientConnection]]:
    """Open so many streams."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(address(url))) for _ in range(n_streams)]
        for client in clients:
            listen_for(client, type="ready")
        yield clients


def free(url: str) -> tuple[int, float]:
    """Return what `/health` says, and what the metrics say."""
    return health(url)["free_streams"], Series.of(url)["omniasr_free_streams"]


def test_each_stream_takes_a_place_and_gives_it_back() -> None:
    """As far as the limit goes."""
    with app_in_thread(settings(max_streams=5), ScriptedModel) as url:
        before = free(url)
        with streams(url, 2):
            during = free(url)
        wait_for(lambda: free(url) == before)

    assert (before, during) == ((5, 5.0), (3, 3.0))


def test_the_event_loop_is_measured() -> None:
    """So there are not as many places as the limit allows, whatever the model does."""
    with app_in_thread(settings(max_streams=100_000), ScriptedModel) as url:
        wait_for(lambda: free(url)[0] < 1000)
        with streams(url, 2):
            wait_for(lambda: Series.of(url)["omniasr_event_loop_share"] > 0)


@pytest.mark.parametrize(("when_full", "status"), [(True, 200), (False, 503)])
def test_balancers_are_told_if_the_operator_wants_it(
    when_full: bool, status: int
) -> None:
    """Only while there is no room; what asks for `full=ok` is not told."""
    own = settings(max_streams=1, ready_when_full=when_full)
    with app_in_thread(own, ScriptedModel) as url:
        with streams(url, 1):
            told = local.get(f"{url}/ready")
            alive = local.get(f"{url}/ready?full=ok")
        wait_for(lambda: local.get(f"{url}/ready").status_code == 200)
        bad = local.get(f"{url}/ready?full=maybe")

    assert (told.status_code, alive.status_code) == (status, 200)
    assert ("reason" in told.json()) is not when_full
    assert ("retry-after" in told.headers) is not when_full
    assert bad.status_code == 422


class TestIds:
    def test_those_of_a_process_begin_alike(self) -> None:
        """Of requests, of sessions, in `/health` and in the metrics."""
        with app_in_thread(settings(), ScriptedModel) as url:
            with connect(address(url)) as client:
                ready = listen_for(client, type="ready")
            answer = local.get(f"{url}/health")
            series = local.get(f"{url}/metrics").text

        assert answer.json()["process"] == PROCESS
        assert answer.headers["x-request-id"].startswith(PROCESS)
        assert ready["id"].startswith(PROCESS)
        assert f'omniasr_process_info{{process="{PROCESS}"}} 1.0' in series

    def test_they_are_new_and_uuids(self) -> None:
        """Deepgram's clients expect that."""
        ids = {new_id() for _ in range(1000)}

        assert len(ids) == 1000
        assert {uuid.UUID(own).hex for own in ids} == ids
        assert len(new_id(20)) == 20

    def test_lines_of_the_log_in_json_have_it(self) -> None:
        """Also those that belong to no request."""
        record = logging.LogRecord("test", logging.INFO, "", 0, "text", (), None)

        assert json.loads(JsonLines().format(record))["process"] == PROCESS
