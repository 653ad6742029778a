"""Send a recording, and print its text as it is found.

In formats other than text, the server's answer is printed unchanged. Progress goes to
standard error, so that the text can be piped.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import av
import httpx
from tqdm import tqdm

from client.errors import CommandError
from client.place import Refused, base_url, headers, unreachable

# Of a form; a list is sent as a part for each.
Fields = dict[str, str | list[str]]

FORMATS = ("text", "json", "verbose_json", "srt", "vtt")

# A server that is busy with a long recording still sends a comment every 10 s.
_SILENCE_S = 60.0


def run(options: argparse.Namespace) -> None:
    """Send a recording, and print its text.

    Raises:
        CommandError: It could not be transcribed.
    """
    if not options.file.is_file():
        raise CommandError(f"there is no file {options.file}")
    base = base_url(options)
    url = f"{base}/v1/audio/transcriptions"
    fields: Fields = {"language": options.language} if options.language else {}
    if options.languages:
        fields["languages[]"] = options.languages
    if options.keywords:
        fields["keywords[]"] = options.keywords
    timeout = httpx.Timeout(_SILENCE_S, read=None if options.format != "text" else 60)
    try:
        with httpx.Client(headers=headers(options.key), timeout=timeout) as client:
            if options.format == "text":
                _print_stream(client, url, options.file, fields)
            else:
                fields["response_format"] = options.format
                _print_whole(client, url, options.file, fields)
    except httpx.ConnectError as error:
        raise unreachable(base, error) from error
    except httpx.TransportError as error:
        raise CommandError(f"the connection failed: {error}") from error


def _print_whole(client: httpx.Client, url: str, file: Path, fields: Fields) -> None:
    with file.open("rb") as content:
        answer = client.post(url, files={"file": (file.name, content)}, data=fields)
    check(answer)
    _warn(json.loads(answer.headers.get("x-warnings", "[]")))
    sys.stdout.write(answer.text)
    if not answer.text.endswith("\n"):
        sys.stdout.write("\n")


def _print_stream(client: httpx.Client, url: str, file: Path, fields: Fields) -> None:
    """Print text as it comes, then the length of the audio and the time taken."""
    began = time.monotonic()
    duration_s = stated_length(file)
    with (
        file.open("rb") as content,
        tqdm(
            total=duration_s and round(duration_s, 1),
            unit="s",
            desc=file.name,
            disable=not sys.stderr.isatty(),
            bar_format="{desc}: {percentage:3.0f} %|{bar}| {n:.0f} of {total:.0f} s",
        ) as bar,
        client.stream(
            "POST",
            url,
            files={"file": (file.name, content)},
            data={**fields, "stream": "true"},
        ) as answer,
    ):
        if answer.is_error:
            answer.read()
            check(answer)
        for event in events(answer):
            _warn(event.get("warnings", ()))
            if event["type"] == "transcript.text.delta":
                show(event["delta"], bar)
                bar.update(max(0.0, event["end"] - bar.n))
        bar.update(max(0.0, (duration_s or 0.0) - bar.n))
    print()
    took_s = time.monotonic() - began
    if duration_s:
        speed = f", {duration_s / took_s:.1f} times real time"
        print(f"{duration_s:.1f} s of audio in {took_s:.2f} s{speed}", file=sys.stderr)


def _warn(warnings: Iterable[dict[str, str]]) -> None:
    """Print what the server did not do as asked, beside the text."""
    for warning in warnings:
        print(f"warning: {warning['message']}", file=sys.stderr)


def show(text: str, bar: "tqdm[NoReturn]") -> None:
    """Print more text; in a terminal with a progress bar, above the bar."""
    if bar.disable or not sys.stdout.isatty():
        print(text, end="", flush=True)
    else:
        bar.write(text.strip())


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Parse server-sent events; a failure in mid-stream is raised."""
    for line in answer.iter_lines():
        if not line.startswith("data: "):
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise CommandError(event["error"]["message"])
        yield event


def check(answer: httpx.Response) -> None:
    """Raise the error of an answer that is one."""
    if answer.is_error:
        raise Refused(answer)


def stated_length(file: Path) -> float | None:
    """Return the length that a file states, for the progress bar; None if unknown."""
    try:
        with av.open(file) as container:
            return container.duration / 1e6 if container.duration else None
    except (av.FFmpegError, OSError):
        return None
