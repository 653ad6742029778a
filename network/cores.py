"""Count the cores that this process may use, and set how PyTorch works on them.

A container with two CPUs on a host with 64 sees 64 of them. It may use the smaller of
two limits: the set of cores on which it may run (its affinity), and the processor
seconds that it may use in a second (the quota of its control group, or of any group
above). This module reads the quota: psutil and the standard library do not know it, and
joblib's loky reads only the root's group, while systemd and Kubernetes also set it
elsewhere. `proclimits` reads all groups, but it is a beta of 3,000 lines for a task
that takes few lines here.

PyTorch's threads on Linux are libgomp's, which reads how to wait when it is loaded. So
this module does not import PyTorch, and `set_waiting` is called before any other does.
So is `limit_kernels`: oneDNN compiles kernels for each shape of its input, and keeps
the newest ones. Windows have thousands of shapes.

Source: the kernel's `admin-guide/cgroup-v2.rst` and `scheduler/sched-bwc.rst`.
"""

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

import psutil

# How often a waiting thread checks before it sleeps; 10,000 checks take about 0.2 ms
# here. Fewer make passes slower on an idle machine: a 5 s window of the demo model took
# 18 ms with 3,000 checks and 23 ms without any; 15 ms with 10,000, with 30,000 and with
# libgomp's default of 300,000. More checks delay a pass for longer if another program
# has the core of the thread that the others wait for. They also hide the delay: a
# thread that checks in vain seems to work, while a sleeping one uses less processor
# time (see `thread_choice.py`).
SPIN_COUNT = 10_000

# Variables that an operator may have set, for libgomp or for LLVM's library.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

# Kernels that oneDNN keeps; its default is 1024, which recordings of all lengths fill
# with hundreds of megabytes (`benchmarks/soak.py` shows it). A pass uses a dozen, so
# that much smaller limits make every pass compile them anew.
KERNELS = 64
_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"

# The folders of control groups: all controllers in one tree, or each in its own.
_GROUPS = PurePosixPath("sys/fs/cgroup")
_TREES = (_GROUPS, _GROUPS / "unified")
_OLD_TREES = (_GROUPS / "cpu", _GROUPS / "cpu,cpuacct")


def usable_cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use, at least one.

    A quota is rounded up: a thread on half a core is faster while the period has time
    left, and sleeps for the rest of the period.

    Args:
        root: Folder of `proc` and `sys`.
    """
    allowed = len(allowed_cores())
    quota = cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def allowed_cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return frozenset(affinity(0) if affinity else range(os.cpu_count() or 1))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the processor seconds that this process may use in a second.

    Args:
        root: Folder of `proc` and `sys`.

    Returns:
        The lowest limit of its control group and those above; None without a limit or
        without control groups.
    """
    try:
        rows = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found: list[float] = []
    for row in rows:
        _, _, group = row.partition(":")
        controllers, _, path = group.partition(":")
        if not controllers:
            trees, read = _TREES, _read_max
        elif "cpu" in controllers.split(","):
            trees, read = _OLD_TREES, _read_cfs
        else:
            continue
        for tree in trees:
            for folder in _with_those_above(path):
                quota = read(root / tree / folder)
                found += [] if quota is None else [quota]
    return min(found, default=None)


def _with_those_above(path: str) -> Iterator[PurePosixPath]:
    """Yield the paths of a group and all groups above it that are visible."""
    group = PurePosixPath(path.lstrip("/"))
    # In a container the path may be the host's, or lead out of the visible tree. A
    # group that does not exist has no readable limit; the root always exists.
    if ".." in group.parts:
        group = PurePosixPath()
    yield from (group, *group.parents)


def _read_max(group: Path) -> float | None:
    """Read the limit of a group of version 2: quota and period, or `max`."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read_cfs(group: Path) -> float | None:
    """Read the limit of a group of version 1; a quota of -1 is none."""
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def limit_kernels(variables: MutableMapping[str, str]) -> None:
    """Set how many compiled kernels are kept, unless the operator has.

    Args:
        variables: The environment of the process, before PyTorch is imported.
    """
    variables.setdefault(_KERNELS, str(KERNELS))


def set_waiting(
    variables: MutableMapping[str, str], *, platform: str, machine: str
) -> None:
    """Set how PyTorch's threads wait for each other, unless the operator has.

    Only for Linux on x86-64, where it was measured, and where a check takes about the
    same time on all processors. Macs have another library; Arm's checks are far faster.

    Args:
        variables: The environment of the process, before PyTorch is imported.
        platform: As `sys.platform`.
        machine: As `platform.machine()`.
    """
    if platform != "linux" or machine != "x86_64":
        return
    if not any(name in variables for name in _WAITING):
        variables["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


class SpareCores:
    """Measures how many cores other programs leave to this process.

    Args:
        cores: Cores on which it may run; see `allowed_cores`.
    """

    def __init__(self, cores: frozenset[int]) -> None:
        self._cores = cores
        self._before = self._read()

    def since_last(self) -> float | None:
        """Return the average number of idle cores and our own since the last call.

        None if the system does not report it, as in some sandboxes.
        """
        before, self._before = self._before, self._read()
        idle, total, own = (
            now - then for now, then in zip(self._before, before, strict=True)
        )
        if total <= 0:
            return None
        return min(1.0, (idle + own) / total) * len(self._cores)

    def _read(self) -> tuple[float, float, float]:
        """Read the seconds of idle cores, of all cores, and of this process."""
        idle = total = 0.0
        for number, core in enumerate(psutil.cpu_times(percpu=True)):
            if number in self._cores:
                idle += core.idle + getattr(core, "iowait", 0.0)
                # Linux counts a guest's time as the user's as well.
                total += sum(core) - getattr(core, "guest", 0.0)
                total -= getattr(core, "guest_nice", 0.0)
        return idle, total, sum(os.times()[:2])
