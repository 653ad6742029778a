"""The list of licences, of what a bill of materials may say about them."""

from typing import Any

from tools.sbom import table


def test_every_package_has_a_line_with_its_licence() -> None:
    """In the most exact of CycloneDX's forms, and also if it states none."""
    components: list[dict[str, Any]] = [
        {"name": "b", "version": "2", "licenses": [{"license": {"id": "MIT"}}]},
        {"name": "A", "version": "1", "licenses": [{"expression": "MIT OR BSD-3"}]},
        {"name": "c", "version": "3"},
        {
            "name": "d",
            "version": "4",
            "licenses": [
                {"license": {"name": "License :: OSI Approved :: MIT License"}},
                {"license": {"id": "MIT"}},
            ],
        },
        {
            "name": "e",
            "version": "5",
            "licenses": [
                {"license": {"name": "License :: OSI Approved :: BSD License"}},
                {"license": {"name": "New BSD\nAnd its whole text"}},
            ],
        },
    ]

    assert table(components).splitlines()[2:] == [
        "| A | 1 | MIT OR BSD-3 |",
        "| b | 2 | MIT |",
        "| c | 3 | not stated |",
        "| d | 4 | MIT |",
        "| e | 5 | BSD License; New BSD |",
    ]
