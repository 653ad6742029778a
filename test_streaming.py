"""Talk to a running server from the command line, or to the model without one.

    python test_streaming.py mic
    python test_streaming.py rest --file audio.wav
    python test_streaming.py websocket
    python test_streaming.py websocket --file audio.wav
    python test_streaming.py websocket --mic
    python test_streaming.py bench --streams 8

`mic` shows captions from the microphone; the model runs in this process, without a
server. `rest` sends a recording. `websocket` streams a recording as fast as it would be
spoken, or the microphone; without either, a bundled recording of digits. `bench`
streams to a server from many clients at once, and prints the latencies of their text.

The command has always had this name; pytest does not collect it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from client.errors import CommandError

FORMATS = ("text", "json", "verbose_json", "srt", "vtt")
PROFILES = ("captions", "agent", "quality")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        # Each command imports only what it needs: only `mic` needs a model.
        import_module(f"client.{options.module}").run(options)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    mic = commands.add_parser("mic", help="live captions, without a server")
    mic.set_defaults(module="mic")
    mic.add_argument("--model", help="model card (default: MODEL_CARD)")
    mic.add_argument("--profile", choices=PROFILES)

    rest = commands.add_parser("rest", help="send a recording, print its text")
    rest.set_defaults(module="rest")
    rest.add_argument("--file", type=Path, required=True, help="any audio or video")
    rest.add_argument("--format", choices=FORMATS, default="text")
    _add_language(rest)
    _add_keywords(rest)
    _add_server(rest)

    live = commands.add_parser("websocket", help="stream, and show captions")
    live.set_defaults(module="live")
    source = live.add_mutually_exclusive_group()
    source.add_argument("--file", type=Path, help="any audio or video")
    source.add_argument("--mic", action="store_true", help="the microphone")
    live.add_argument("--fast", action="store_true", help="send faster than speech")
    live.add_argument("--profile", choices=PROFILES)
    _add_language(live)
    _add_keywords(live)
    _add_server(live)

    bench = commands.add_parser("bench", help="measure many streams at once")
    bench.set_defaults(module="bench")
    bench.add_argument("--streams", type=_count, default=1, help="how many")
    bench.add_argument("--file", type=Path, help="any audio or video")
    bench.add_argument("--json", action="store_true", help="print figures for programs")
    _add_server(bench)
    return parser


def _add_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", help="ISO 639, BCP-47 or omniASR id; a label")
    parser.add_argument(
        "--languages",
        nargs="+",
        metavar="CODE",
        help="all that may be spoken: only their scripts are written",
    )


def _add_keywords(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keyword",
        action="append",
        default=[],
        dest="keywords",
        metavar="PHRASE",
        help="a word or phrase to recognise more easily; repeatable",
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--key", default=os.environ.get("API_KEY"), help="API key (or set API_KEY)"
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
