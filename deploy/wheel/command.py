"""The command `omniasr-server`, which the wheel installs.

    omniasr-server                          serve, with settings from the environment
    omniasr-server serve --port 8001 --model omniASR_CTC_1B_v2
    omniasr-server transcribe talk.mp3      print what is said, by a running server
    omniasr-server doctor                   whether this machine and the model will do
    omniasr-server listen                   captions of the microphone
    omniasr-server bench --streams 8        latencies of many streams
    omniasr-server models                   models that MODEL_CARD can name
    omniasr-server languages swahili        languages to choose from

In the wheel the whole server lies in one package, with the folders of a checkout. This
package's folder is put on the path, so that no modules named `config` or `audio` are
installed at the top level.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Its place in the wheel: beside the rooms.
HOUSE = Path(__file__).resolve().parent

# Names of test_streaming.py's commands here.
_CLIENTS = {"transcribe": "rest", "listen": "websocket", "bench": "bench"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    if str(HOUSE) not in sys.path:
        sys.path.insert(0, str(HOUSE))
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _CLIENTS:
        return _client(given[0], given[1:])
    if given and given[0] == "doctor":
        return _doctor(given[1:])
    options = _parser().parse_args(given)
    match options.command:
        case "models":
            return _models()
        case "languages":
            return _languages(" ".join(options.name))
    return _serve(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="omniasr-server", description="Speech to text in 1600+ languages."
    )
    parser.set_defaults(command="serve", host=None, port=None, model=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the server (the default)")
    serve.add_argument("--host", help="where it listens (or set HOST)")
    serve.add_argument("--port", type=int, help="where it listens (or set PORT)")
    serve.add_argument("--model", help="model card (or set MODEL_CARD)")
    commands.add_parser("transcribe", help="send a recording, print its text")
    commands.add_parser("listen", help="live captions from a microphone or a file")
    commands.add_parser("bench", help="measure many streams at once")
    commands.add_parser("doctor", help="try the model, measure this machine")
    models = commands.add_parser("models", help="list the models there are")
    models.set_defaults(command="models")
    languages = commands.add_parser("languages", help="list or search languages")
    languages.set_defaults(command="languages")
    languages.add_argument("name", nargs="*", help="part of a name, a tag or an id")
    return parser


def _serve(options: argparse.Namespace) -> int:
    """Become the server, in the same process."""
    chosen = {"HOST": options.host, "PORT": options.port, "MODEL_CARD": options.model}
    own = {name: str(value) for name, value in chosen.items() if value is not None}
    command = [sys.executable, str(HOUSE / "server.py")]
    os.execve(sys.executable, command, os.environ | own)


def _client(name: str, arguments: list[str]) -> int:
    from test_streaming import main as run

    if name == "transcribe" and arguments and not arguments[0].startswith("-"):
        arguments = ["--file", *arguments]
    if name == "listen" and not {"--file", "--mic"} & set(arguments):
        source = ["--mic"]
        if arguments and not arguments[0].startswith("-"):
            source = ["--file", arguments.pop(0)]
        arguments = [*source, *arguments]
    return run([_CLIENTS[name], *arguments])


def _doctor(arguments: list[str]) -> int:
    from tools.doctor import main as run

    return run(arguments)


def _models() -> int:
    from config import Settings
    from weights.cards import known_models

    for card in known_models(Settings().model_dir):
        print(card)
    return 0


def _languages(part: str) -> int:
    from languages.catalogue import all_languages
    from languages.search import search_languages

    found = search_languages(part) if part else all_languages()
    for entry in found:
        print(f"{entry.id}  {entry.name}")
    if not found:
        print(f"No language has {part!r} in its name, tag or id.", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())
