"""Imports point one way: from the edge through the shell into the core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT

CORE = {
    "admission",
    "architecture",
    "audio_buffer",
    "audio_chunker",
    "ctc",
    "final_pass",
    "interim",
    "languages",
    "live_events",
    "live_options",
    "live_session",
    "local_agreement",
    "encoding",
    "frames",
    "interface",
    "overload",
    "passages",
    "samples",
    "stitcher",
    "subtitles",
    "transcript",
    "utterance",
    "vad",
    "word_times",
    "work_queue",
}
SHELL = {
    "arithmetic",
    "attention",
    "audio_decoder",
    "audio_format",
    "audio_timeline",
    "cards",
    "checkpoint",
    "downloads",
    "fairseq2_assets",
    "feature_cache",
    "linear_layers",
    "live_report",
    "live_stream",
    "model",
    "model_loading",
    "observer",
    "pcm",
    "scheduler",
    "streaming",
    "vad_batcher",
    "vad_model",
    "wav2vec2",
    "watchdog",
}
EDGE = {
    "auth",
    "bodies",
    "client_secrets",
    "config",
    "connections",
    "ephemeral",
    "errors",
    "forms",
    "http_connection",
    "inbox",
    "journal",
    "live_messages",
    "live_protocol",
    "live_route",
    "live_setup",
    "metrics",
    "middleware",
    "openapi",
    "outbox",
    "page",
    "realtime",
    "realtime_route",
    "realtime_session",
    "schemas",
    "server",
    "service",
    "socket_actions",
    "sockets",
    "subtitle_route",
    "transcriptions",
}
# Protocols at the edge that leave sockets and clocks to others.
SANS_IO = {
    "ephemeral",
    "live_messages",
    "live_protocol",
    "live_setup",
    "realtime",
    "realtime_session",
    "socket_actions",
}
# The command-line client is a program of its own.
OUTSIDE = {"test_streaming"}

MODULES = {path.stem: path for path in ROOT.glob("*.py")}

# What has a clock, does I/O, or belongs to the outside.
NOT_IN_THE_CORE = {
    "asyncio",
    "logging",
    "os",
    "socket",
    "subprocess",
    "threading",
    "time",
    "torch",
    "av",
    "fastapi",
    "pydantic",
    "starlette",
}


def imports_of(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_every_module_has_its_layer() -> None:
    """A new one is put on the map, or it is not merged."""
    assert set(MODULES) == CORE | SHELL | EDGE | OUTSIDE


CLIENT = {path.stem: path for path in (ROOT / "client").glob("*.py")}


@pytest.mark.parametrize("path", [MODULES["test_streaming"], *CLIENT.values()], ids=str)
def test_the_client_shares_no_code_with_the_server(path: Path) -> None:
    """It sees what every client sees; only `mic`, which needs no server, is one."""
    if path != CLIENT["mic"]:
        assert not imports_of(path) & (CORE | SHELL | EDGE)


def test_other_commands_than_mic_need_no_model() -> None:
    """Those parts of the server are imported when `mic` runs, and by nobody else."""
    code = "import sys, test_streaming, client.mic, client.live, client.bench"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert not set(done.stdout.split()) & (CORE | SHELL | EDGE | {"torch"})


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_knows_nothing_of_the_world(name: str) -> None:
    """No I/O, no clock, no threads, no framework, no layer above it."""
    assert not imports_of(MODULES[name]) & (NOT_IN_THE_CORE | SHELL | EDGE)


@pytest.mark.parametrize("name", sorted(SHELL))
def test_the_shell_knows_nothing_of_the_edge(name: str) -> None:
    """No settings, no wire types, no web framework."""
    frameworks = {"fastapi", "starlette", "pydantic", "uvicorn"}
    assert not imports_of(MODULES[name]) & (EDGE | frameworks)


@pytest.mark.parametrize("name", sorted(SANS_IO))
def test_protocols_do_no_io(name: str) -> None:
    """Whoever owns the socket does, and has the clock."""
    assert not imports_of(MODULES[name]) & (NOT_IN_THE_CORE - {"pydantic"})


@pytest.mark.parametrize("name", sorted(EDGE))
def test_the_edge_imports_torch_only_with_the_model(name: str) -> None:
    """The server listens before torch is there."""
    assert not imports_of(MODULES[name]) & {"torch", "fairseq2", "omnilingual_asr"}


@pytest.mark.parametrize("name", sorted((CORE | SHELL | EDGE) - {"fairseq2_assets"}))
def test_fairseq2_is_imported_in_one_place(name: str) -> None:
    """Where it is asked for cards that only it has."""
    assert not imports_of(MODULES[name]) & {"fairseq2", "omnilingual_asr"}
