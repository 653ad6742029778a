"""Put tables of committed results into documents, between marks that name the file.

A test compares every such table with its file, so no figure is typed by hand.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent.parent / "results"
_END: Final = "<!-- end -->"

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read a file of results, a line of JSON each."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def mark(name: str) -> str:
    """Return what stands before the table of a file of results."""
    return f"<!-- begin: benchmarks/results/{name} -->"


def fill(document: str, name: str, table: str) -> str:
    """Put a table between the marks of a file of results.

    Raises:
        ValueError: The document has no such marks.
    """
    begin = mark(name)
    before, rest = _split(document, begin)
    _, after = _split(rest, _END)
    return f"{before}{begin}\n{table}\n{_END}{after}"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Write Markdown; all columns but the first are figures."""
    lines = [_line(head), "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join(lines + [_line(cells) for cells in body])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _split(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise ValueError(f"The document does not have {mark}.")
    return before, after
