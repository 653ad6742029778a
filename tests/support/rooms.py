"""The rooms of the house, and what their files import: read off the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.serving import ROOT

# From the ground up. A room is a package, or a module of the root.
FLOORS = (
    ("audio", "languages"),
    ("network", "vad", "text", "audio_buffer"),
    ("weights", "engine", "schemas", "audio_chunker", "local_agreement"),
    ("model", "recordings"),
    ("live",),
    ("streaming", "config", "protocols"),
    ("sockets",),
    ("api",),
    ("server",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Programs of their own beside the server.
PROGRAMS = ("benchmarks", "client", "deploy", "examples", "test_streaming", "tools")


def name_of(path: Path) -> str:
    """Return the name that a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files_of(room: str) -> list[Path]:
    """Return the files of a room, or of a program."""
    module = ROOT / f"{room}.py"
    return [module] if module.exists() else sorted((ROOT / room).rglob("*.py"))


# Every module of the server, by name; packages are empty.
MODULES = {
    name_of(path): path
    for room in FLOOR
    for path in files_of(room)
    if path.name != "__init__.py"
}


def room_of(module: str) -> str:
    """Return the room that a module lies in."""
    return module.partition(".")[0]


def imports_of(path: Path) -> set[str]:
    """Return the full names of all modules that a file imports, anywhere in it.

    Of `from a.b import c` both `a.b` and `a.b.c` are named: c may be a module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages_of(path: Path) -> set[str]:
    """Return the top-level names of all that a file imports."""
    return {name.partition(".")[0] for name in imports_of(path)}


def reached_from(module: str) -> Iterator[str]:
    """Give a module and all of the server's that it imports, however indirectly."""
    seen, ahead = {module}, [module]
    while ahead:
        newest = ahead.pop()
        yield newest
        new = (imports_of(MODULES[newest]) & MODULES.keys()) - seen
        seen |= new
        ahead += sorted(new)
