"""Damaged files of every container: samples or an error of ours, and no crash."""

import subprocess
import sys

from tests.fuzz.effort import CASES
from tests.support.serving import ROOT


def test_whatever_is_done_to_a_file() -> None:
    """The number of the file that it fails at is in the output."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.containers", "--cases", str(CASES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-20:] + done.stderr[-4000:]
    assert done.stdout.split()[-1] == str(CASES - 1)
