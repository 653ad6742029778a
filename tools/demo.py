"""Show the main job: start the server, send it a recording, print the text.

Run by `make demo`. The server is the real one, in a process of its own, with the
bundled demo model. It hears a recording of ten digits twice: as a file that curl sends,
and live, from the command-line client.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from config import DEMO_CARD

ROOT = Path(__file__).parent.parent
RECORDING = Path("client/digits.flac")
SAID = "zero one two three four five six seven eight nine"
READY_WITHIN_S = 120


def main() -> int:
    """Run the demonstration; return the exit status."""
    with server() as url:
        by_curl = _ask_with_curl(url)
        live = _ask_live(url)
    print()
    print(f"said:        {SAID}")
    print(f"curl heard:  {by_curl}")
    print(f"heard live:  {live}")
    right = sum(a == b for a, b in zip(SAID.split(), by_curl.split(), strict=False))
    print(f"{right} of {len(SAID.split())} words right")
    return 0 if by_curl == live == SAID else 1


@contextmanager
def server() -> Iterator[str]:
    """Run the server on a free loopback port; yield its address once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "MODEL_CARD": DEMO_CARD,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "warning",
    }
    print(f"Starting the server: {' '.join(f'{k}={v}' for k, v in settings.items())}")
    process = subprocess.Popen(
        [sys.executable, ROOT / "server.py"], cwd=ROOT, env={**os.environ, **settings}
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        print(f"Stopped the server: exit status {process.wait(timeout=60)}")


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"The server ended with status {process.returncode}.")
        try:
            if httpx.get(f"{url}/ready", verify=False).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    raise SystemExit(f"The server was not ready within {READY_WITHIN_S} s.")


def _ask_with_curl(url: str) -> str:
    curl = shutil.which("curl")
    if curl is None:
        raise SystemExit("curl is not installed.")
    command = [curl, "--silent", "--show-error", "--fail-with-body"]
    command += [f"{url}/v1/audio/transcriptions", "-F", f"file=@{RECORDING}"]
    print(f"$ curl {' '.join(command[4:])}")
    answer = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    print(answer)
    text = json.loads(answer)["text"]
    assert isinstance(text, str)
    return text


def _ask_live(url: str) -> str:
    """Stream the recording as fast as it was spoken; return the captions."""
    port = url.rpartition(":")[2]
    command = [sys.executable, "test_streaming.py", "websocket", "--port", port]
    command += ["--file", str(RECORDING)]
    print(f"$ python {' '.join(command[1:])}")
    answer = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    print(answer)
    return " ".join(answer.split())


if __name__ == "__main__":
    raise SystemExit(main())
