"""Write a bill of materials and a list of licences: python -m tools.sbom PYTHON FOLDER

The bill is in CycloneDX's format (JSON), by its own program, of the environment that
PYTHON belongs to. The licences are those that the packages state in it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Component = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom")
    parser.add_argument("python", help="Python of the environment")
    parser.add_argument("folder", type=Path, help="where to write")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    bill, licences = chosen.folder / "sbom.cdx.json", chosen.folder / "licences.md"
    subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment"),
            *("--output-reproducible", "--output-format", "JSON"),
            *("--output-file", bill, chosen.python),
        ],
        check=True,
    )
    components = json.loads(bill.read_text("utf-8"))["components"]
    licences.write_text(table(components), "utf-8")
    print(f"{len(components)} packages: {bill}, {licences}")


def table(components: Sequence[Component]) -> str:
    """Write packages, versions and licences as a table in Markdown."""
    rows = sorted(
        (own["name"].lower(), own["name"], own["version"], "; ".join(_licences(own)))
        for own in components
    )
    lines = ["| Package | Version | Licence |", "| --- | --- | --- |"]
    lines += [f"| {name} | {version} | {own} |" for _, name, version, own in rows]
    return "\n".join(lines) + "\n"


def _licences(component: Component) -> Sequence[str]:
    """Return the licences that a component states, in the most exact form there is.

    That is SPDX's, an expression or an identifier; or else a name or a classifier.
    """
    exact: dict[str, None] = {}
    names: dict[str, None] = {}
    for own in component.get("licenses", ()):
        licence = own.get("license", {})
        if spdx := own.get("expression") or licence.get("id"):
            exact[spdx] = None
        elif name := licence.get("name"):  # a whole text, in some packages
            names[name.splitlines()[0].split(" :: ")[-1]] = None
    return [*exact] or [*names] or ["not stated"]


if __name__ == "__main__":
    main()
