"""`POST /v1/listen` within the server's limits: refused, and cancelled."""

import threading

import httpx
import pytest

from benchmarks.common.http import local
from engine.interface import Model
from tests.support.deepgram_client import NOVA_PATH
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread, wait_for
from tests.test_server import health, settings, wav


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_413(announced: bool) -> None:
    """With its length announced, and sent in chunks that announce none."""
    body = wav(10)
    chunks = (body[i : i + 999] for i in range(0, len(body), 999))
    with app_in_thread(settings(max_upload_mb=0.1), ScriptedModel) as url:
        answer = local.post(url + NOVA_PATH, content=body if announced else chunks)
        after = local.post(url + NOVA_PATH, content=wav())

    assert answer.status_code == 413
    assert answer.json()["err_code"] == "FILE_TOO_LARGE"
    assert "0.1 MB" in answer.headers["dg-error"]
    assert after.status_code == 200


def test_while_the_model_loads_clients_are_told_when_to_come_back() -> None:
    """Deepgram's SDKs read the header."""
    may_load = threading.Event()

    def load() -> Model:
        assert may_load.wait(timeout=30)
        return ScriptedModel()

    with app_in_thread(settings(), load, wait=False) as url:
        answer = local.post(url + NOVA_PATH, content=wav())
        may_load.set()

    assert answer.status_code == 503
    assert answer.json()["err_code"] == "MODEL_NOT_READY"
    assert int(answer.headers["retry-after"]) > 0


def test_work_ends_where_the_client_leaves() -> None:
    """LiveKit waits for 30 s, and asks again."""
    model = ScriptedModel()
    model.may_run.clear()
    with app_in_thread(settings(), lambda: model) as url:
        with pytest.raises(httpx.ReadTimeout):
            local.post(url + NOVA_PATH, content=wav(), timeout=1.0)
        wait_for(lambda: health(url)["requests"] == 0)
        model.may_run.set()


def test_a_compressed_body_is_refused() -> None:
    """As on the other routes."""
    with app_in_thread(settings(), ScriptedModel) as url:
        answer = local.post(
            url + NOVA_PATH, content=wav(), headers={"content-encoding": "gzip"}
        )

    assert answer.status_code == 415
    assert answer.json()["err_code"]
