"""One word for an idea: what the glossary of docs/design.md has done away with."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.rooms import MODULES, PROGRAMS, files_of
from tests.support.serving import ROOT

# Words that were other names of something, and where they may stand in a name.
FORBIDDEN = {
    "passage": (),
    "journal": (),
    r"\baudio_format": (),
    # What clients send, and what agents' frameworks call it.
    "interim": (
        "protocols/deepgram/",
        "protocols/native/",
        "tests/protocols/deepgram/",
        "tests/protocols/native/",
        "tests/agents/",
        "examples/",
    ),
}

SOURCES = [
    *MODULES.values(),
    *(path for program in PROGRAMS for path in files_of(program)),
    *(ROOT / "tests").rglob("*.py"),
]


def names_in(tree: ast.AST) -> Iterator[str]:
    """Give all names that a file binds."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def methods_in(tree: ast.AST) -> Iterator[str]:
    """Give the names of all methods that a file's classes have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for own in node.body:
                if isinstance(own, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield own.name


@pytest.mark.parametrize("word", FORBIDDEN)
def test_words_that_were_given_up_are_in_no_name(word: str) -> None:
    """Neither whole nor as a part, in files and in what they bind."""
    pattern = re.compile(word, re.IGNORECASE)
    found = []
    for path in SOURCES:
        where = str(path.relative_to(ROOT))
        if where.startswith(FORBIDDEN[word]):
            continue
        names = [path.stem, *names_in(ast.parse(path.read_text()))]
        found += [f"{where}: {name}" for name in names if pattern.search(name)]

    assert not found


def test_methods_say_what_they_add() -> None:
    """A bare `add` or `push` could be anything's."""
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in methods_in(ast.parse(path.read_text()))
        if name in ("add", "push", "insert")
    ]

    assert not found


def test_the_glossary_has_each_word_once() -> None:
    """And it is there."""
    text = (ROOT / "docs" / "design.md").read_text()
    section = text.partition("## Words\n")[2].partition("\n## ")[0]
    words = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[2:]
    single = [word.strip() for entry in words for word in entry.split(",")]

    assert {"hypothesis", "partial", "final", "segment", "access log"} <= set(single)
    assert len(single) == len(set(single))
