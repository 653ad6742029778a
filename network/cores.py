"""Count the cores that this process may use, and say how its threads shall wait.

A container with two CPUs on a host of 64 sees 64 of them. What it may use is the
smaller of two limits: the set of cores it may run on (its affinity), and how many
seconds of them it may have in a second (the quota of its control group, or of any
group above). The quota is read here: psutil and the standard library do not know
it, and joblib's loky reads the root's group alone, while systemd and Kubernetes also
set it elsewhere. `proclimits` reads all groups, but is new: 3,000 lines in beta, for
what takes few here.

PyTorch's threads on Linux are libgomp's, which reads how they wait when it is loaded.
So nothing here imports PyTorch, and `set_waiting` comes before anything does.

Source: the kernel's `admin-guide/cgroup-v2.rst` and `scheduler/sched-bwc.rst`.
"""

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

import psutil

# How often a thread that waits for another looks before it sleeps; 10,000 times take
# about 0.2 ms here. Fewer make passes slower where nobody disturbs: a 5 s window of the
# demo model took 18 ms with 3,000 and 23 without any, 15 with 10,000, 30,000 and
# libgomp's own 300,000. More hold up a pass for longer where another program has the
# core of the thread that is waited for, and hide it: a thread that looks in vain seems
# to work, one that sleeps has less of the time (see `thread_choice.py`).
SPIN_COUNT = 10_000

# What an operator may have set, for libgomp or for LLVM's library.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

# Where control groups are: all controllers in one tree, or each in its own.
_GROUPS = PurePosixPath("sys/fs/cgroup")
_TREES = (_GROUPS, _GROUPS / "unified")
_OLD_TREES = (_GROUPS / "cpu", _GROUPS / "cpu,cpuacct")


def usable_cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use, at least one.

    A quota is rounded up: threads of half a core more are quicker while there is
    time left of the period, and pass it asleep afterwards.

    Args:
        root: Where `proc` and `sys` are.
    """
    allowed = len(allowed_cores())
    quota = cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def allowed_cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return frozenset(affinity(0) if affinity else range(os.cpu_count() or 1))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the seconds of processor that this process may have in a second.

    Args:
        root: Where `proc` and `sys` are.

    Returns:
        The least of its control group and of those above; None if none has a limit,
        or where there are no control groups.
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
    """Name a group and all above it, from the root of what can be seen."""
    group = PurePosixPath(path.lstrip("/"))
    # In a container the path may be the host's, or point out of what can be seen.
    # What does not exist has no limit that could be read; the root always exists.
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


def set_waiting(
    variables: MutableMapping[str, str], *, platform: str, machine: str
) -> None:
    """Set how PyTorch's threads wait for each other, unless the operator has.

    Only for Linux on x86-64, where it was measured and where a look takes about as
    long everywhere. Macs have another library, Arm's processors look far more quickly.

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
    """How many cores other programs have left to this process.

    Args:
        cores: Those that it may run on; see `allowed_cores`.
    """

    def __init__(self, cores: frozenset[int]) -> None:
        self._cores = cores
        self._before = self._read()

    def since_last(self) -> float | None:
        """Return the cores that were idle or ours, on average since the last call.

        None where the system does not tell, as in some sandboxes.
        """
        before, self._before = self._before, self._read()
        idle, total, own = (
            now - then for now, then in zip(self._before, before, strict=True)
        )
        if total <= 0:
            return None
        return min(1.0, (idle + own) / total) * len(self._cores)

    def _read(self) -> tuple[float, float, float]:
        """Read seconds that cores were idle, all of them, and those of our own."""
        idle = total = 0.0
        for number, core in enumerate(psutil.cpu_times(percpu=True)):
            if number in self._cores:
                idle += core.idle + getattr(core, "iowait", 0.0)
                # Linux counts a guest's time as the user's as well.
                total += sum(core) - getattr(core, "guest", 0.0)
                total -= getattr(core, "guest_nice", 0.0)
        return idle, total, sum(os.times()[:2])
