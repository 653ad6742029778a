"""Where the server is, and what its refusals mean for a command."""

import argparse
from urllib.parse import urlsplit

import httpx

from client.errors import CommandError, with_wait


def base_url(options: argparse.Namespace) -> str:
    """Return the server's address, without a slash at its end.

    `--url` goes before `--host` and `--port`; it may have a path, for a server behind a
    proxy.

    Raises:
        CommandError: `--url` is not an address of HTTP.
    """
    if not options.url:
        return f"http://{options.host}:{options.port}"
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise CommandError(
            f"--url {options.url!r} is not an address like https://asr.example.org"
        )
    return str(options.url).rstrip("/")


def socket_url(base: str) -> str:
    """Return the same address for sockets: `ws` for `http`, `wss` for `https`."""
    return "ws" + base.removeprefix("http")


def headers(key: str | None) -> dict[str, str]:
    """Return the headers that carry a key, if there is one."""
    return {"authorization": f"Bearer {key}"} if key else {}


def unreachable(base: str, error: Exception) -> CommandError:
    """Make the error for a server that does not answer."""
    place = base.partition("://")[2]
    return CommandError(
        f"nothing answers at {place} ({error}); is the server running there?"
    )


class Refused(CommandError):
    """The server answered with an error.

    Attributes:
        status: Of HTTP.
        for_all: Whether every other recording would get the same answer.
        wait_s: Seconds after which to try again; None if that would be no use.
    """

    def __init__(self, answer: httpx.Response) -> None:
        try:
            error = answer.json()["error"]
            message, param, code = error["message"], error["param"], error["code"]
        except (ValueError, KeyError, TypeError):
            message, param, code = answer.text[:200], None, None
        after = answer.headers.get("retry-after")
        text = with_wait(message, after)
        super().__init__(f"the server answered {answer.status_code}: {text}")
        self.status = answer.status_code
        self.for_all = (
            answer.status_code in (401, 403, 404)
            or code == "insufficient_quota"
            or param in ("language", "languages", "keywords", "model")
        )
        busy = answer.status_code in (429, 503) and not self.for_all
        self.wait_s = float(after) if busy and after and after.isdecimal() else None
