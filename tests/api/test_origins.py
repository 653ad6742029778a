"""Web pages of other origins and foreign host names are refused."""

import asyncio
import json
import socket

import pytest
import websockets
from pydantic import ValidationError
from websockets.sync.client import connect

from api.origins import Authority, is_own_name, same_site
from benchmarks.common.http import local
from tests.support.fakes import ScriptedModel
from tests.support.serving import app_in_thread
from tests.test_server import PATH, answer_on, multipart, post, settings, wav

SOCKETS = (PATH, "/v1/realtime")
FORM = {"content-type": "multipart/form-data; boundary=x"}


def socket_status(url: str, path: str, **headers: str) -> int:
    """Open a WebSocket; return the status of the answer: 101 if it is let in."""

    async def handshake() -> websockets.Response:
        address = url.replace("http", "ws") + path
        try:
            async with websockets.connect(
                address, additional_headers=headers
            ) as let_in:
                assert let_in.response is not None
                return let_in.response
        except websockets.InvalidStatus as refused:
            return refused.response

    answer = asyncio.run(handshake())
    if answer.body:
        body = json.loads(answer.body)
        assert body["err_code"] if "listen" in path else body["error"]["code"]
    return answer.status_code


class TestOrigin:
    @pytest.mark.parametrize(
        ("origin", "host", "same"),
        [
            ("http://localhost:8000", "localhost:8000", True),
            ("https://asr.example", "asr.example", True),
            ("https://asr.example", "ASR.example:443", True),
            ("https://asr.example:8443", "asr.example:8443", True),
            ("http://asr.example", "asr.example:80", True),
            ("ws://asr.example", "asr.example", True),
            ("http://[::1]:8000", "[::1]:8000", True),
            ("http://localhost:3000", "localhost:8000", False),
            ("http://127.0.0.1:8000", "localhost:8000", False),
            ("https://asr.example.evil.example", "asr.example", False),
            ("https://asr.example@evil.example", "asr.example", False),
            ("https://evil.example/asr.example", "asr.example", False),
            ("https://asr.example", "asr.example:8443", False),
            ("file://", "asr.example", False),
            ("null", "null", False),
            ("chrome-extension://asr", "asr", False),
            ("", "asr.example", False),
        ],
    )
    def test_name_and_port_count_and_the_scheme_does_not(
        self, origin: str, host: str, same: bool
    ) -> None:
        """Behind a proxy the page has https, and the server sees http."""
        assert same_site(origin, Authority.read(host)) is same

    @pytest.mark.parametrize("path", SOCKETS)
    @pytest.mark.parametrize("keys", ["", "me:a-key"])
    def test_sockets_are_closed_to_other_pages(self, path: str, keys: str) -> None:
        """Any page could listen through a server on the reader's own machine."""
        key = {"authorization": "Bearer a-key"}
        with app_in_thread(settings(api_keys=keys), ScriptedModel) as url:
            statuses = [
                socket_status(url, path, **key, origin=origin)
                for origin in (url, "https://evil.example", "null")
            ]
            without = socket_status(url, path, **key)

        assert statuses == [101, 403, 403]
        assert without == 101

    def test_so_is_all_that_does_work(self) -> None:
        """A form needs no preflight; the refusal says what the operator can do."""
        headers = {**FORM, "origin": "https://evil.example"}
        with app_in_thread(settings(), ScriptedModel) as url:
            refused = local.post(url + PATH, content=multipart(wav()), headers=headers)
            own = {**FORM, "origin": url}
            served = local.post(url + PATH, content=multipart(wav()), headers=own)
            read = local.get(url + "/v1/languages", headers=headers)
            open_ = local.get(url + "/health", headers=headers)

        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (403, "origin_not_allowed")
        assert "CORS_ORIGINS" in error["message"]
        assert served.status_code == 200
        assert read.status_code == 403
        assert open_.status_code == 200

    @pytest.mark.parametrize("origins", ["https://page.test/,https://b.test", "*"])
    def test_allowed_pages_are_let_in(self, origins: str) -> None:
        """To requests and sockets alike; what they are refused, they may read."""
        ours = settings(cors_origins=origins, max_upload_mb=0.001)
        page = {"origin": "https://page.test"}
        with app_in_thread(ours, ScriptedModel) as url:
            socket = socket_status(url, PATH, **page)
            too_large = local.post(
                url + PATH, content=multipart(wav()), headers={**FORM, **page}
            )

        assert socket == 101
        assert too_large.status_code == 413
        assert too_large.headers["access-control-allow-origin"] in (
            "https://page.test",
            "*",
        )

    @pytest.mark.parametrize(
        "origin", ["app://obsidian.md", "capacitor://localhost", "http://localhost"]
    )
    def test_so_are_those_of_programs_that_are_made_of_pages(self, origin: str) -> None:
        """As Obsidian is, on each kind of device; docs/clients.md has them."""
        ours = settings(cors_origins=f"https://page.test,{origin}")
        with app_in_thread(ours, ScriptedModel) as url:
            preflight = local.options(
                url + PATH,
                headers={
                    "origin": origin,
                    "access-control-request-method": "POST",
                    "access-control-request-headers": "authorization",
                },
            )
            answer = local.post(
                url + PATH,
                content=multipart(wav()),
                headers={**FORM, "origin": origin},
            )

        for each in (preflight, answer):
            assert each.status_code == 200
            assert each.headers["access-control-allow-origin"] == origin

    def test_a_proxy_that_ends_tls_is_no_obstacle(self) -> None:
        """It passes on what the browser says: https, and the public name."""
        proxied = {"host": "asr.example", "x-forwarded-proto": "https"}
        page = {**proxied, "origin": "https://asr.example"}
        ours = settings(api_keys="me:a-key")
        with app_in_thread(ours, ScriptedModel) as url:
            answer = local.post(
                url + PATH,
                content=multipart(wav()),
                headers={**FORM, **page, "authorization": "Bearer a-key"},
            )

        assert answer.status_code == 200

    @pytest.mark.parametrize(("proxies", "status"), [("127.0.0.0/8", 200), ("", 403)])
    def test_one_that_changes_host_has_to_be_trusted(
        self, proxies: str, status: int
    ) -> None:
        """Any client can send `X-Forwarded-Host`."""
        headers = {
            **FORM,
            "origin": "https://asr.example",
            "x-forwarded-host": "asr.example",
        }
        ours = settings(trusted_proxies=proxies, allowed_hosts="asr.example")
        with app_in_thread(ours, ScriptedModel) as url:
            answer = local.post(url + PATH, content=multipart(wav()), headers=headers)

        assert answer.status_code == status


class TestHost:
    @pytest.mark.parametrize(
        ("host", "allowed", "own"),
        [
            ("127.0.0.1:8000", (), True),
            ("192.168.1.7", (), True),
            ("[fe80::1]:8000", (), True),
            ("localhost:8000", (), True),
            ("transcriber", (), True),
            ("evil.example", (), False),
            ("evil.example.", (), False),
            ("127.0.0.1.nip.io", (), False),
            ("localhost.evil.example", (), False),
            ("ASR.example:8000", ("asr.example",), True),
            ("a.b.example", ("*.example",), True),
            ("example", ("*.example",), True),
            ("b.sample", ("*.example",), False),
            ("asr.example", ("*",), True),
        ],
    )
    def test_names_that_somebody_else_may_own_are_not_ours(
        self, host: str, allowed: tuple[str, ...], own: bool
    ) -> None:
        """Names with a dot can be registered, and point anywhere."""
        read = Authority.read(host)

        assert read is not None
        assert is_own_name(read, allowed) is own

    @pytest.mark.parametrize("text", ["", "a b", "a:b:c", "http://x", "x:port", "[a"])
    def test_what_is_no_name_is_read_as_none(self, text: str) -> None:
        """And refused."""
        assert Authority.read(text) is None

    def test_without_keys_a_foreign_name_gets_nothing(self) -> None:
        """Nor does its page a socket, though to its browser they are of one origin."""
        foreign = {"host": "evil.example", "origin": "http://evil.example"}
        with app_in_thread(settings(), ScriptedModel) as url:
            answers = {
                path: local.get(url + path, headers=foreign)
                for path in ("/", "/v1/languages", "/metrics", "/docs", "/nothing")
            }
            probes = [
                local.get(url + path, headers=foreign).status_code
                for path in ("/health", "/ready")
            ]
            sockets = [
                connect_status(url, path, host="evil.example") for path in SOCKETS
            ]

        assert {answer.status_code for answer in answers.values()} == {403}
        error = answers["/"].json()["error"]
        assert error["code"] == "host_not_allowed"
        assert "ALLOWED_HOSTS" in error["message"]
        assert probes == [200, 200]
        assert sockets == [403, 403]

    @pytest.mark.parametrize(
        "ours", [{"allowed_hosts": "asr.example"}, {"api_keys": "me:a-key"}]
    )
    def test_listed_names_are_answered_and_with_keys_any(
        self, ours: dict[str, str]
    ) -> None:
        """A foreign page has no key."""
        with app_in_thread(settings(**ours), ScriptedModel) as url:
            answer = local.get(
                url + "/v1/models",
                headers={"host": "asr.example", "authorization": "Bearer a-key"},
            )

        assert answer.status_code == 200

    def test_a_request_with_two_names_is_for_none(self) -> None:
        """A proxy may have looked at one, and we at the other."""
        two = (
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        )
        with app_in_thread(settings(), ScriptedModel) as url:
            with _to(int(url.rsplit(":", 1)[1])) as connection:
                connection.sendall(two)
                assert answer_on(connection).status_code == 403

    def test_stock_clients_need_no_setting(self) -> None:
        """They send no origin, and the address that they were given."""
        with app_in_thread(settings(), ScriptedModel) as url:
            named = url.replace("127.0.0.1", "localhost")
            assert post(url).status_code == 200
            assert post(named).status_code == 200


def connect_status(url: str, path: str, *, host: str) -> int:
    """Open a WebSocket under another name of the server, as a browser would."""
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(f"ws://{host}{path}", sock=_to(port))
    return refused.value.response.status_code


def _to(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("allowed_hosts", "https://asr.example"),
            ("allowed_hosts", "asr.example:443"),
            ("trusted_proxies", "10.0.0.0/99"),
            ("trusted_proxies", "proxy.example"),
        ],
    )
    def test_what_would_never_match_is_refused(self, name: str, value: str) -> None:
        """It would look like protection, or like permission, and be neither."""
        with pytest.raises(ValidationError, match="must be"):
            settings(**{name: value})
