"""Shares of single clients: what each may use, and what others notice of it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import openai
import pytest
import websockets
from openai import OpenAI
from websockets.sync.client import connect

from api.allowance import Allowance, Recent
from api.quotas import Quotas, UsedUp
from api.sessions import Meter
from benchmarks.common.http import local
from config import Quota
from tests.support.fakes import ScriptedModel
from tests.support.series import Series
from tests.support.serving import app_in_thread, wait_for
from tests.test_server import PATH, post, settings, wav

ANN = {"authorization": "Bearer a-key"}
BOB = {"authorization": "Bearer b-key"}


class TestAllowance:
    def test_it_comes_back_steadily(self) -> None:
        """All of it in its period, and no more than there was."""
        budget = Allowance(60, 60.0, now=0.0)
        budget.spend(60, 0.0)

        assert budget.wait_s(0.0, need=1) == 1.0
        assert budget.wait_s(1.0, need=1) == 0.0
        assert budget.left(10.0) == 10.0
        assert budget.left(1e9) == 60.0

    def test_a_debt_is_paid_off_first(self) -> None:
        """What was begun could not be refused any more."""
        budget = Allowance(60, 60.0, now=0.0)
        budget.spend(100, 0.0)

        assert budget.left(0.0) == -40.0
        assert budget.wait_s(0.0, need=1) == 41.0

    def test_those_in_use_are_not_forgotten(self) -> None:
        """Nor does anything else take more room than it may."""
        known: Recent[list[int]] = Recent(list, most=3, in_use=bool)
        known.of("used").append(1)
        for n in range(100):
            known.of(f"client {n}")

        assert known.of("used") == [1]
        assert len(known) <= 4


class Clock:
    """Goes when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def quotas_of(clock: Clock, **general: int) -> Quotas:
    own = {
        "vip": Quota(sessions=0, requests=0, audio_minutes=0),
        "slow": Quota(None, 1),
    }
    return Quotas(Quota(**general), lambda key: own.get(str(key), Quota()), clock=clock)


class TestQuotas:
    def test_requests_a_minute(self, clock: Clock) -> None:
        """Of each client; the refusal says when the next is served."""
        quotas = quotas_of(clock, requests=2)
        for _ in range(2):
            quotas.note_request("1", None, takes_audio=True)
        with pytest.raises(UsedUp) as refused:
            quotas.note_request("1", None, takes_audio=True)
        quotas.note_request("2", None, takes_audio=True)
        clock.now += refused.value.retry_after_s
        quotas.note_request("1", None, takes_audio=True)

        assert refused.value.refusal.code == "rate_limit_exceeded"
        assert refused.value.retry_after_s == 30

    def test_audio_an_hour(self, clock: Clock) -> None:
        """What takes no audio goes on."""
        quotas = quotas_of(clock, audio_minutes=10)
        assert quotas.spend_audio("1", None, 599)
        assert not quotas.spend_audio("1", None, 11)
        with pytest.raises(UsedUp) as refused:
            quotas.note_request("1", None, takes_audio=True)
        quotas.note_request("1", None, takes_audio=False)
        clock.now += refused.value.retry_after_s
        quotas.note_request("1", None, takes_audio=True)

        assert refused.value.refusal.code == "insufficient_quota"
        assert refused.value.retry_after_s == 66  # ten minutes come back in an hour

    def test_sessions_at_once(self, clock: Clock) -> None:
        """One that ends makes room, however it does."""
        quotas = quotas_of(clock, sessions=2)
        with ExitStack() as open_:
            for _ in range(2):
                open_.enter_context(quotas.session("1", None))
            with pytest.raises(UsedUp), quotas.session("1", None):
                pass
            with quotas.session("2", None):
                pass
        with pytest.raises(ValueError), quotas.session("1", None):  # noqa: PT011
            raise ValueError
        with quotas.session("1", None), quotas.session("1", None):
            pass

    def test_a_key_may_have_its_own(self, clock: Clock) -> None:
        """More, none, or less; what it does not say is as for others."""
        quotas = quotas_of(clock, requests=2, sessions=1)
        for _ in range(100):
            quotas.note_request("key vip", "vip", takes_audio=True)
        quotas.note_request("key slow", "slow", takes_audio=True)

        with pytest.raises(UsedUp):
            quotas.note_request("key slow", "slow", takes_audio=True)
        with quotas.session("key vip", "vip"), quotas.session("key vip", "vip"):
            pass
        with quotas.session("key slow", "slow"), pytest.raises(UsedUp):
            with quotas.session("key slow", "slow"):
                pass

    def test_nothing_is_limited_by_default(self, clock: Clock) -> None:
        """Zero means that there is no limit."""
        quotas = Quotas(settings().quota, lambda key: Quota(), clock=clock)
        for _ in range(10_000):
            quotas.note_request("1", None, takes_audio=True)
            assert quotas.spend_audio("1", None, 1e6)

    def test_any_number_of_addresses_takes_bounded_memory(self, clock: Clock) -> None:
        """Those that are not heard of for longest are forgotten."""
        quotas = quotas_of(clock, requests=2)
        for n in range(40_000):
            quotas.note_request(str(n), None, takes_audio=True)

        assert len(quotas._clients) <= 16_384


class TestMeter:
    def test_it_charges_what_came_since_the_last_time(self) -> None:
        """And nothing twice."""
        session, spent = Session(), list[float]()
        meter = Meter(session, lambda s: spent.append(s) or True, name="x")  # type: ignore[func-returns-value]
        for n_samples in (16_000, 16_000, 40_000):
            session.n_samples = n_samples
            meter.charge()

        assert spent == [1.0, 0.0, 1.5]


class Session:
    """Has heard something."""

    n_samples = 0

    def stop(self) -> None: ...


@pytest.fixture
def keyed() -> Iterator[str]:
    keys = "ann:a-key requests=5 sessions=1 audio_minutes=1,bob:b-key"
    ours = settings(api_keys=keys, metrics="key", quota_requests=1000)
    with app_in_thread(ours, ScriptedModel) as url:
        yield url


class TestServer:
    def test_a_share_is_of_a_key_and_the_sdk_understands(self, keyed: str) -> None:
        """Others of the same address go on."""
        with OpenAI(base_url=f"{keyed}/v1", api_key="a-key", max_retries=0) as client:
            for _ in range(5):
                client.models.list()
            with pytest.raises(openai.RateLimitError) as refused:
                client.models.list()
        other = local.get(f"{keyed}/v1/models", headers=BOB)
        wrong = local.get(f"{keyed}/v1/models")

        answer = refused.value.response
        assert refused.value.code == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) == 12
        assert int(answer.headers["retry-after-ms"]) == 12_000
        assert (other.status_code, wrong.status_code) == (200, 401)

    def test_a_recording_is_charged(self, keyed: str) -> None:
        """At its end: it is finished, and the next is refused."""
        files = {"file": ("a", wav(90))}
        first = local.post(keyed + PATH, files=files, headers=ANN, timeout=60)
        second = local.post(keyed + PATH, files=files, headers=ANN, timeout=60)
        other = local.post(keyed + PATH, files=files, headers=BOB, timeout=60)

        assert (first.status_code, other.status_code) == (200, 200)
        assert second.status_code == 429
        assert second.json()["error"]["code"] == "insufficient_quota"
        assert second.json()["error"]["type"] == "insufficient_quota"
        assert int(second.headers["retry-after"]) > 60

    def test_a_second_session_is_refused_until_the_first_ends(self, keyed: str) -> None:
        """Before the handshake, so that nothing is said in vain."""
        address = keyed.replace("http", "ws") + PATH
        with connect(address, additional_headers=ANN):
            with (
                pytest.raises(websockets.InvalidStatus) as refused,
                connect(address, additional_headers=ANN),
            ):
                pass
            with connect(address, additional_headers=BOB):
                pass
        error = json.loads(refused.value.response.body or b"{}")["error"]

        assert refused.value.response.status_code == 429
        assert error["code"] == "rate_limit_exceeded"
        wait_for(lambda: can_connect(address))

    def test_a_stream_that_uses_up_its_audio_ends_with_its_final(
        self, keyed: str
    ) -> None:
        """It is not cut off, and does not go on."""
        address = keyed.replace("http", "ws") + PATH
        with connect(address, additional_headers=ANN) as stream:
            stream.recv()
            stream.send(bytes(32_000 * 61))
            messages = [json.loads(message) for message in stream]
        later = local.post(keyed + PATH, headers=ANN)

        assert "hello" in str(messages)
        assert stream.close_code == 1001
        assert later.json()["error"]["code"] == "insufficient_quota"

    def test_metrics_tell_what_each_key_uses(self, keyed: str) -> None:
        """Metrics with a key name the keys; one client's use is under its name."""
        local.post(keyed + PATH, files={"file": ("a", wav(2))}, headers=BOB)
        told = local.get(f"{keyed}/metrics", headers=BOB).text

        assert 'omniasr_key_audio_seconds_total{key="bob"} 2.0' in told
        assert 'omniasr_key_requests_total{key="bob"} 1.0' in told
        assert "b-key" not in told
        assert local.get(f"{keyed}/metrics").status_code == 401

    def test_open_metrics_name_no_key(self) -> None:
        """Any client may read those."""
        with app_in_thread(settings(api_keys="bob:b-key"), ScriptedModel) as url:
            local.get(f"{url}/v1/models", headers=BOB)
            told = Series.of(url).values

        assert not [name for name in told if "bob" in name or "_key_" in name]

    @pytest.mark.parametrize(("proxies", "served"), [("", 2), ("127.0.0.1", 4)])
    def test_without_keys_it_is_of_an_address(self, proxies: str, served: int) -> None:
        """Which only a trusted proxy can tell."""
        ours = settings(quota_requests=2, trusted_proxies=proxies)
        with app_in_thread(ours, ScriptedModel) as url:
            statuses = [
                local.get(
                    f"{url}/v1/models", headers={"x-forwarded-for": f"192.0.2.{n % 2}"}
                ).status_code
                for n in range(6)
            ]
            open_ = [local.get(f"{url}/health").status_code for _ in range(9)]

        assert statuses == [200] * served + [429] * (6 - served)
        assert set(open_) == {200}

    def test_by_default_nobody_is_refused(self) -> None:
        """However much it asks for."""
        with app_in_thread(settings(), ScriptedModel) as url:
            with httpx.Client() as client:
                statuses = {
                    client.get(f"{url}/v1/models").status_code for _ in range(200)
                }
            assert post(url).status_code == 200

        assert statuses == {200}


def can_connect(address: str) -> bool:
    """Whether Ann is let in."""
    try:
        with connect(address, additional_headers=ANN):
            return True
    except websockets.InvalidStatus:
        return False
