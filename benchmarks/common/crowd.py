"""Run a measurement beside other programs, and notice unrelated ones.

Neighbours are loops that always need a core. A quota is a control group with a number
of processor seconds per second, if this process may make one. Strangers are all
programs that do not belong to the measurement.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from network.cores import cpu_quota

_BUSY = "while True: pass"
_PERIOD_US = 100_000

# The folders of groups of both versions; the first that works is used.
_GROUPS = Path("/sys/fs/cgroup")
_NAME = "omniasr-benchmark"


@contextlib.contextmanager
def neighbours(n: int) -> Iterator[None]:
    """Run busy loops, a process each."""
    loops = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextlib.contextmanager
def quota(cores: float) -> Iterator[None]:
    """Let this process, and all processes that it starts, share a quota.

    Raises:
        OSError: This machine does not allow it; the message says what failed.
    """
    group, home = _make_group(cores)
    try:
        _enter(group)
        if (cpu_quota() or cores + 1) > cores:
            raise OSError(f"{group} does not limit what is in it")
        yield
    finally:
        _enter(home)
        for pid in (group / "cgroup.procs").read_text().split():
            (home / "cgroup.procs").write_text(pid)
        group.rmdir()


def _make_group(cores: float) -> tuple[Path, Path]:
    """Make a group with a quota; return it and the group that we come from."""
    limit = round(cores * _PERIOD_US)
    if (tree := _GROUPS / "cpu").is_dir():
        files = {"cpu.cfs_period_us": f"{_PERIOD_US}", "cpu.cfs_quota_us": f"{limit}"}
        own = _own_group("cpu")
    else:
        tree, own = _GROUPS, _own_group("")
        files = {"cpu.max": f"{limit} {_PERIOD_US}"}
    group = tree / f"{_NAME}-{os.getpid()}"
    group.mkdir()
    try:
        for name, text in files.items():
            (group / name).write_text(text)
    except OSError:
        group.rmdir()
        raise
    return group, tree / own


def _own_group(controller: str) -> str:
    """Return the path of this process's group below the tree of a controller."""
    for row in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = row.split(":", 2)
        if controller in controllers.split(","):
            return path.lstrip("/")
    raise OSError(f"/proc/self/cgroup names no group of {controller or 'version 2'}")


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(f"{os.getpid()}")


class Strangers:
    """Counts the cores that strangers have used since it was made.

    This process and all processes that it has started are not strangers.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others_s = self._read()

    def cores(self) -> float:
        """Return the average number of cores."""
        passed = time.monotonic() - self._began
        return max(0.0, (self._read() - self._others_s) / passed)

    def _read(self) -> float:
        core = psutil.cpu_times()
        guest = getattr(core, "guest", 0.0) + getattr(core, "guest_nice", 0.0)
        all_s = sum(core) - core.idle - getattr(core, "iowait", 0.0) - guest
        # Of this process, of those of its processes that have ended, and of the others.
        return float(all_s - sum(os.times()[:4]) - self._children_s())

    def _children_s(self) -> float:
        taken_s = 0.0
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                taken_s += times.user + times.system
        return taken_s
