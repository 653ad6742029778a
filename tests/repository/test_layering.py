"""Imports point down, from floor to floor; what is pure is pure all the way down."""

import ast
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from tests.support.rooms import (
    FLOOR,
    MODULES,
    PROGRAMS,
    files_of,
    imports_of,
    packages_of,
    reached_from,
    room_of,
)
from tests.support.serving import ROOT

# Rooms and modules that do no I/O and have no clock, no threads and no framework:
# neither they nor anything of ours that they import.
PURE = (
    "audio.encoding",
    "audio.frames",
    "audio.samples",
    "audio_buffer",
    "audio_chunker",
    "engine.costs",
    "engine.interface",
    "engine.load",
    "engine.rehearsal",
    "engine.two_models",
    "engine.work_queue",
    "languages",
    "live",
    "local_agreement",
    "network.architecture",
    "network.thread_choice",
    "network.transformers_config",
    "protocols",
    "recordings.segments",
    "recordings.stitcher",
    "text",
    "vad.spans",
)
OUTSIDE = frozenset(
    "asyncio av concurrent fastapi logging os socket starlette subprocess threading "
    "time torch uvicorn".split()
)

# The only rooms that may import a package, and why.
OWNERS = {
    "fastapi": {"api", "sockets", "server"},  # the web framework stays at the edge
    "starlette": {"api", "sockets", "server"},
    "uvicorn": {"api", "server"},  # one subclass of its connection, one of its server
    "av": {"audio"},  # libav: everything that decodes
    "torch": {"network", "weights", "model", "vad"},  # vad reads Silero's weights
    "pydantic_settings": {"config"},
    "websockets": {"protocols"},  # close codes; uvicorn is what speaks through it
}
PYDANTIC = {"api", "config", "protocols", "schemas", "server"}  # the wire and settings

# Modules that read the environment besides `config`, which has all settings.
ENVIRONMENT = {
    "server",  # LISTEN_FDS: sockets of systemd; GOMP_SPINCOUNT: how threads wait
    "weights.downloads",  # fairseq2's cache folder, so that both share one
}


MAX_LINES = 400
MAX_CLASS_LINES = 250
# Modules that are longer, or have a longer class; each says why in its docstring.
LONGER = {"config", "engine.scheduler", "schemas"}


def pure_modules() -> list[str]:
    """Return the modules that `PURE` names, by themselves or with their room."""
    return sorted(
        module
        for module in MODULES
        if any(module == name or module.startswith(f"{name}.") for name in PURE)
    )


def chain(module: str) -> str:
    """Name a module, for a message."""
    return f"{module} ({MODULES[module].relative_to(ROOT)})"


class TestRooms:
    def test_every_module_lies_in_a_room(self) -> None:
        """A new one has its place in the table, or it is not merged."""
        ignored = {"tests", *PROGRAMS}
        found = {
            path.relative_to(ROOT).parts[0].removesuffix(".py")
            for path in ROOT.rglob("*.py")
            if not path.relative_to(ROOT).parts[0].startswith(".")
            and "node_modules" not in path.parts
        }

        assert found - ignored == FLOOR.keys()

    @pytest.mark.parametrize("module", sorted(MODULES))
    def test_a_room_imports_only_lower_floors_and_itself(self, module: str) -> None:
        """So a reader of a room needs to know nothing of those above."""
        own = room_of(module)
        above = {
            name
            for name in imports_of(MODULES[module])
            if (room := room_of(name)) in FLOOR
            and room != own
            and FLOOR[room] >= FLOOR[own]
        }

        assert not above

    def test_the_protocols_do_not_know_each_other(self) -> None:
        """Another one is a folder beside them, and nothing else."""
        names = ("native", "realtime", "deepgram")
        for own, other in permutations(names, 2):
            for path in files_of(f"protocols/{own}"):
                assert not any(
                    name.startswith(f"protocols.{other}") for name in imports_of(path)
                ), path


class TestPurity:
    def test_the_table_names_what_exists(self) -> None:
        """A module that was renamed would be checked no more."""
        for name in PURE:
            assert name in MODULES or files_of(name)

    @pytest.mark.parametrize("module", pure_modules())
    def test_nothing_outside_is_reached(self, module: str) -> None:
        """No I/O, no clock, no threads, no framework; not through others either."""
        for reached in reached_from(module):
            outside = packages_of(MODULES[reached]) & OUTSIDE
            assert not outside, f"{module} reaches {outside} through {chain(reached)}"

    @pytest.mark.parametrize("module", pure_modules())
    def test_pydantic_is_for_the_wire(self, module: str) -> None:
        """What only computes takes plain values."""
        if room_of(module) in PYDANTIC:
            return
        for reached in reached_from(module):
            assert "pydantic" not in packages_of(MODULES[reached]), chain(reached)


class TestOwners:
    @pytest.mark.parametrize("module", sorted(MODULES))
    def test_packages_are_imported_by_their_rooms_only(self, module: str) -> None:
        """Another decoder, framework or tensor library would change few files."""
        for package in packages_of(MODULES[module]) & OWNERS.keys():
            assert room_of(module) in OWNERS[package], package

    def test_fairseq2_is_imported_in_one_place(self) -> None:
        """Where it is asked for cards that only it has."""
        importing = {
            module
            for module, path in MODULES.items()
            if packages_of(path) & {"fairseq2", "omnilingual_asr"}
        }

        assert importing == {"weights.fairseq2_assets"}

    def test_the_environment_is_read_in_few_places(self) -> None:
        """Settings come from `config`, as arguments."""
        reading = {
            module for module, path in MODULES.items() if "environ" in names_in(path)
        }

        assert reading == ENVIRONMENT

    def test_the_server_listens_before_torch_is_there(self) -> None:
        """It takes seconds to import, in the model's thread."""
        assert "torch" not in loaded_by("import server")


class TestPrograms:
    @pytest.mark.parametrize("program", PROGRAMS)
    def test_programs_do_not_import_tests(self, program: str) -> None:
        """What both need lies with the programs."""
        for path in files_of(program):
            assert "tests" not in packages_of(path), path

    @pytest.mark.parametrize(
        "path", [*files_of("test_streaming"), *files_of("client")], ids=str
    )
    def test_the_client_shares_no_code_with_the_server(self, path: Path) -> None:
        """It sees what every client sees; two modules are for commands without one."""
        if path not in (ROOT / "client" / "mic.py", ROOT / "client" / "local.py"):
            assert not packages_of(path) & FLOOR.keys()

    def test_commands_with_a_server_need_no_model(self) -> None:
        """Parts of the server are imported when one without runs, and only then."""
        loaded = loaded_by(
            "import test_streaming, client.mic, client.live, client.bench, "
            "client.local, client.rest, client.transcribe"
        )

        assert not loaded & (FLOOR.keys() | {"torch"})


class TestSizes:
    def test_modules_and_classes_are_short(self) -> None:
        """A longer one is two, or says why not."""
        longer = {
            module
            for module, path in MODULES.items()
            if n_lines(path) > MAX_LINES or longest_class(path) > MAX_CLASS_LINES
        }

        assert longer == LONGER

    @pytest.mark.parametrize("module", sorted(LONGER))
    def test_a_longer_one_says_why(self, module: str) -> None:
        """In its docstring."""
        said = ast.get_docstring(ast.parse(MODULES[module].read_text())) or ""

        assert "longer than" in said.lower()

    def test_the_root_is_a_table_of_contents(self) -> None:
        """It shows where a change belongs, at a glance."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        entries = {name.partition("/")[0] for name in listed if name}

        assert len(entries) <= 50
        assert len([name for name in entries if name.endswith(".py")]) == 9


def names_in(path: Path) -> set[str]:
    """Return the names and attributes that a file uses."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def loaded_by(code: str) -> set[str]:
    """Return the top-level names of the modules that are loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def n_lines(path: Path) -> int:
    """Count the lines of a file."""
    return len(path.read_text().splitlines())


def longest_class(path: Path) -> int:
    """Return the lines of a file's longest class; 0 if it has none."""
    return max(
        (
            (node.end_lineno or 0) - node.lineno + 1
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef)
        ),
        default=0,
    )
