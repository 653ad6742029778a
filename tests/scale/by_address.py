"""Run all tests that an address is enough for, at HAProxy with two processes behind it.

python -m tests.scale.by_address tests/conformance tests/client
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.serving import ROOT

# Two processes that share the cores of a small machine.
DEMO = {
    "MODEL_CARD": "omniASR_CTC_demo",
    "DTYPE": "float32",
    "NUM_THREADS": "1",
    "SECRET_KEY": "s" * 32,
}


def demo_cluster(folder: Path, stack: contextlib.ExitStack) -> Cluster:
    """Start two servers with the demo model, and HAProxy."""
    return Cluster(folder, stack, (ROOT / "server.py",), DEMO)


def main(paths: list[str]) -> int:
    """Run the tests in these files and folders; return pytest's status."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        cluster = demo_cluster(Path(folder), stack)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "not oracle and not gpu", *paths],
            cwd=ROOT,
            env={**os.environ, "SERVER_URL": cluster.url},
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
