"""SECURITY.md is a table of threats, each with tests that exist."""

import ast
import re

import pytest

from tests.support.serving import ROOT

TABLE = (ROOT / "SECURITY.md").read_text().split("\n## Threats\n")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| (?!Threat |---)(.+) \|$", TABLE, re.MULTILINE)


def names_in(tree: ast.Module | ast.ClassDef) -> dict[str, ast.stmt]:
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def assert_exists(test: str) -> None:
    """Follow `file::Class::test` down to what is defined."""
    file, *names = test.split("::")
    path = ROOT / file
    assert path.name.startswith("test_"), test
    assert path.exists(), test
    within: ast.stmt | ast.Module = ast.parse(path.read_text())
    for name in names:
        assert isinstance(within, ast.Module | ast.ClassDef), test
        assert name in names_in(within), test
        within = names_in(within)[name]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" |")[0])
def test_every_threat_has_a_defence_and_tests(row: str) -> None:
    """A line without them would be a promise alone."""
    threat, defence, named = row.split(" | ")
    tests = re.findall(r"`([^`]+)`", named)

    assert threat
    assert defence
    assert tests
    for test in tests:
        assert_exists(test)


def test_the_table_is_read() -> None:
    """And a test that is not there is noticed."""
    assert len(ROWS) >= 10
    with pytest.raises(AssertionError):
        assert_exists("tests/api/test_auth.py::TestGate::test_nothing_of_the_kind")
