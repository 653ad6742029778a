"""Talk to a running server from the command line, or to the model without one.

    python test_streaming.py mic
    python test_streaming.py rest --file audio.wav
    python test_streaming.py websocket
    python test_streaming.py websocket --file audio.wav
    python test_streaming.py websocket --mic
    python test_streaming.py bench --streams 8
    python test_streaming.py transcribe folder -r -o texts --format txt,srt
    python test_streaming.py listen

`mic` shows captions from the microphone; the model runs in this process, without a
server. `rest` sends a recording. `websocket` streams a recording as fast as it would be
spoken, or the microphone; without either, a bundled recording of digits. `bench`
streams to a server from many clients at once, and prints the latencies of their text.
`transcribe` takes files and folders, and `listen` the microphone or a file; both work
without a server, too (`--local`).

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


def main(arguments: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Run a command; return the exit status.

    Args:
        program: What the command is called in its help, if not this file's name.
    """
    options = _parser(program).parse_args(arguments)
    if options.module == "listen":
        options.mic = options.file is None
    try:
        # Each command imports only what it needs: without a server, a model.
        module = options.module
        if module == "listen":
            module = "mic" if options.local else "live"
        status = import_module(f"client.{module}").run(options)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status or 0


def _parser(program: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description=__doc__.partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    mic = commands.add_parser("mic", help="live captions, without a server")
    mic.set_defaults(module="mic", mic=True)
    mic.add_argument("--model", help="model card (default: MODEL_CARD)")
    mic.add_argument("--profile", choices=PROFILES)
    _add_language(mic)
    _add_keywords(mic)

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

    _add_transcribe(commands.add_parser("transcribe", help="files and folders"))
    _add_listen(commands.add_parser("listen", help="captions of the microphone"))
    return parser


def _add_transcribe(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Transcribe recordings. One in one format is printed; all else goes to files, "
        "named like the recordings and beside them, or in -o DIR."
    )
    parser.set_defaults(module="transcribe")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="recordings, folders, or - for standard input",
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="also folders in folders"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder of the texts"
    )
    parser.add_argument(
        "--format",
        default="txt",
        metavar="FORMAT,…",
        help="txt, srt, vtt, json; several with commas (default: txt)",
    )
    parser.add_argument("--words", action="store_true", help="times of words, in json")
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out recordings whose texts are there: goes on where it stopped",
    )
    parser.add_argument(
        "--jobs", type=_count, default=2, metavar="N", help="at once (default: 2)"
    )
    _add_local(parser)
    _add_language(parser)
    _add_keywords(parser)
    _add_server(parser)


def _add_listen(parser: argparse.ArgumentParser) -> None:
    parser.description = "Show live captions of the microphone, or of a recording."
    parser.set_defaults(module="listen", file=None, mic=False)
    parser.add_argument(
        "file", nargs="?", type=Path, help="any audio or video, instead of a microphone"
    )
    parser.add_argument("--fast", action="store_true", help="send faster than speech")
    parser.add_argument("--profile", choices=PROFILES)
    _add_local(parser)
    _add_language(parser)
    _add_keywords(parser)
    _add_server(parser)


def _add_local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--local", action="store_true", help="without a server: load the model here"
    )
    parser.add_argument("--model", help="model's name; with --local its card")


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
    parser.add_argument("--url", help="address of the server, instead of the next two")
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
