"""Show the main job: start the server, send it a recording, print what it heard.

Run by `make demo`. The server is the real one, in a process of its own, with
the bundled demo model; the clients are curl and the OpenAI SDK, unmodified. The
recording is composed of people saying digits, from the test set that the model
was never trained on.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import soundfile
from openai import OpenAI

from audio.samples import SAMPLE_RATE
from benchmarks.corpus import composer
from config import DEMO_CARD

ROOT = Path(__file__).parent.parent
READY_WITHIN_S = 120


def main() -> int:
    """Run the demonstration; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "digits.wav"
        reference = _record(recording)
        with server() as url:
            by_curl = _ask_with_curl(url, recording)
            by_sdk = _ask_with_sdk(url, recording)
    print()
    print(f"said:        {reference}")
    print(f"curl heard:  {by_curl}")
    print(f"SDK heard:   {by_sdk}")
    right = sum(a == b for a, b in zip(reference.split(), by_sdk.split(), strict=False))
    print(f"{right} of {len(reference.split())} words right")
    return 0 if by_curl == by_sdk and by_sdk else 1


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
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    raise SystemExit(f"The server was not ready within {READY_WITHIN_S} s.")


def _record(path: Path) -> str:
    """Write a composed recording of one speaker; return what is said in it."""
    recordings = composer.load(speakers=("jackson",), indexes=(0,))
    by_word = {recording.word: recording for recording in recordings}
    said = "three one four one five nine two six".split()
    composition = composer.compose(
        [by_word[word] for word in said], [0.2] * (len(said) - 1), rng=Random(0)
    )
    soundfile.write(path, composition.samples, SAMPLE_RATE)
    return composition.text


def _ask_with_curl(url: str, recording: Path) -> str:
    curl = shutil.which("curl")
    if curl is None:
        raise SystemExit("curl is not installed.")
    command = [curl, "--silent", "--show-error", "--fail-with-body"]
    command += [f"{url}/v1/audio/transcriptions", "-F", f"file=@{recording}"]
    print(f"$ curl {' '.join(command[4:])}")
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(answer)
    text = json.loads(answer)["text"]
    assert isinstance(text, str)
    return text


def _ask_with_sdk(url: str, recording: Path) -> str:
    client = OpenAI(base_url=f"{url}/v1", api_key="not-needed")
    print("openai SDK: client.audio.transcriptions.create(model='whisper-1', ...)")
    with recording.open("rb") as file:
        answer = client.audio.transcriptions.create(
            model="whisper-1",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    for word in answer.words or []:
        print(f"  {word.start:6.2f} to {word.end:5.2f} s  {word.word}")
    return answer.text


if __name__ == "__main__":
    raise SystemExit(main())
