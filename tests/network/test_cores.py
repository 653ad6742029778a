"""How many cores a process may use, and what is set before PyTorch is loaded."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from network import cores
from network.cores import (
    KERNELS,
    SPIN_COUNT,
    SpareCores,
    cpu_quota,
    limit_kernels,
    set_waiting,
    usable_cores,
)
from tests.support.serving import ROOT


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder that stands for `/`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


class TestQuota:
    def test_a_container_has_its_own_at_the_root(self, tmp_path: Path) -> None:
        """As in Docker and Kubernetes, whose containers see nothing above it."""
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "0::/",
                "sys/fs/cgroup/cpu.max": "150000 100000",
            },
        )

        assert cpu_quota(root) == 1.5

    def test_the_least_of_all_groups_above_counts(self, tmp_path: Path) -> None:
        """Under systemd the slice may have less than the service in it."""
        group = "sys/fs/cgroup/asr.slice"
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "0::/asr.slice/pool/asr.service",
                f"{group}/cpu.max": "200000 100000",
                f"{group}/pool/cpu.max": "max 100000",
                f"{group}/pool/asr.service/cpu.max": "150000 50000",
                "sys/fs/cgroup/other.slice/cpu.max": "10000 100000",
            },
        )

        assert cpu_quota(root) == 2.0

    def test_a_group_of_version_1_has_it_in_two_files(self, tmp_path: Path) -> None:
        """In the tree of the controller `cpu`, which may have another's name as well;
        the path is the host's, of which a container sees only the end."""
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/docker/0123\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "20000",
                "sys/fs/cgroup/memory/box/cpu.cfs_quota_us": "1",
            },
        )

        assert cpu_quota(root) == 2.5

    def test_a_path_out_of_what_can_be_seen_means_the_root(
        self, tmp_path: Path
    ) -> None:
        """As a process has that was moved into a container."""
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "0::/../../init.scope",
                "sys/fs/cgroup/cpu.max": "300000 100000",
            },
        )

        assert cpu_quota(root) == 3.0

    @pytest.mark.parametrize("text", ["max 100000", "", "1000", "many few", "1 0"])
    def test_what_is_no_limit_limits_nothing(self, tmp_path: Path, text: str) -> None:
        """Nor what cannot be read."""
        root = write(
            tmp_path,
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": text},
        )

        assert cpu_quota(root) is None

    def test_a_quota_of_minus_one_limits_nothing(self, tmp_path: Path) -> None:
        """That is how version 1 says so."""
        root = write(
            tmp_path,
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
        )

        assert cpu_quota(root) is None

    def test_other_systems_have_no_groups(self, tmp_path: Path) -> None:
        """Nor may they have `/proc`."""
        assert cpu_quota(tmp_path) is None

    @pytest.mark.parametrize("row", ["", "0::", "nonsense", "1:cpu"])
    def test_rows_that_make_no_sense_are_left_out(
        self, tmp_path: Path, row: str
    ) -> None:
        """Threads can do without a quota; a server cannot do without a start."""
        assert cpu_quota(write(tmp_path, {"proc/self/cgroup": row})) is None

    def test_this_machine_can_be_asked(self) -> None:
        """Whatever it has."""
        assert (cpu_quota() or 1.0) > 0


class TestUsableCores:
    @pytest.fixture
    def of_64(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cores, "allowed_cores", lambda: frozenset(range(64)))

    @pytest.mark.parametrize(
        ("quota", "expected"),
        [("200000", 2), ("150000", 2), ("110000", 2), ("20000", 1), ("max", 64)],
    )
    def test_a_quota_on_a_host_of_64(
        self, tmp_path: Path, of_64: None, quota: str, expected: int
    ) -> None:
        """A begun core counts: its time comes in bursts."""
        files = {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": f"{quota} 100000",
        }

        assert usable_cores(write(tmp_path, files)) == expected

    def test_a_quota_above_the_cores_that_may_be_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both limits hold."""
        monkeypatch.setattr(cores, "allowed_cores", lambda: frozenset({3, 5}))
        files = {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": "800000 100000",
        }

        assert usable_cores(write(tmp_path, files)) == 2

    @pytest.mark.skipif(sys.platform != "linux", reason="needs an affinity")
    def test_the_affinity_of_the_process_counts(self) -> None:
        """What `taskset` and Docker's `--cpuset-cpus` set."""
        one = min(os.sched_getaffinity(0))
        code = (
            f"import os; os.sched_setaffinity(0, {{{one}}}); "
            "from network.cores import usable_cores; print(usable_cores())"
        )

        assert run(code).stdout.strip() == "1"


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, without what others have set."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMP_", "GOMP_", "KMP_"))
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        check=True,
    )


class TestWaiting:
    def test_it_is_set_for_libgomp(self) -> None:
        """On Linux on x86-64, where it was measured."""
        environ: dict[str, str] = {}

        set_waiting(environ, platform="linux", machine="x86_64")

        assert environ == {"GOMP_SPINCOUNT": str(SPIN_COUNT)}

    @pytest.mark.parametrize(
        "own", ["OMP_WAIT_POLICY=ACTIVE", "GOMP_SPINCOUNT=7", "KMP_BLOCKTIME=0"]
    )
    def test_what_the_operator_has_set_stays(self, own: str) -> None:
        """And nothing is put beside it that would win over it."""
        name, value = own.split("=")
        environ = {name: value}

        set_waiting(environ, platform="linux", machine="x86_64")

        assert environ == {name: value}

    @pytest.mark.parametrize(
        ("platform", "machine"),
        [("darwin", "arm64"), ("linux", "aarch64"), ("win32", "AMD64")],
    )
    def test_other_machines_keep_their_own_way(
        self, platform: str, machine: str
    ) -> None:
        """It was not measured there."""
        environ: dict[str, str] = {}

        set_waiting(environ, platform=platform, machine=machine)

        assert environ == {}

    @pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
    @pytest.mark.parametrize("own", [None, "77"])
    def test_libgomp_has_read_it(self, own: str | None) -> None:
        """It is set before PyTorch is imported: the library tells what it took."""
        code = (
            "import os; from network.cores import set_waiting; "
            "set_waiting(os.environ, platform='linux', machine='x86_64'); import torch"
        )
        environ = {"OMP_DISPLAY_ENV": "VERBOSE"}
        if own is not None:
            environ["GOMP_SPINCOUNT"] = own

        told = run(code, **environ).stderr

        assert f"GOMP_SPINCOUNT = '{own or SPIN_COUNT}'" in told

    def test_nothing_has_loaded_libgomp_before(self) -> None:
        """Neither the server nor what it imports at first: it would be too late."""
        code = (
            "import sys, server; from pathlib import Path; "
            "maps = Path('/proc/self/maps'); "
            "libraries = maps.read_text() if maps.exists() else ''; "
            "print('torch' in sys.modules, 'libgomp' in libraries)"
        )

        assert run(code).stdout.split() == ["False", "False"]


class TestKernels:
    def test_few_are_kept_unless_the_operator_has_said(self) -> None:
        """oneDNN's own limit is as good as none: windows have thousands of shapes."""
        ours: dict[str, str] = {}
        theirs = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}

        limit_kernels(ours)
        limit_kernels(theirs)

        assert ours == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(KERNELS)}
        assert theirs == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}


class TestSpareCores:
    @pytest.fixture
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
        """The times of four cores: of programs, and idle; two of them are ours."""
        times = [[0.0, 0.0] for _ in range(4)]

        class Core:
            def __init__(self, user: float, idle: float) -> None:
                self.idle = idle
                self._all = (user, idle)

            def __iter__(self) -> Iterator[float]:
                return iter(self._all)

        monkeypatch.setattr(
            psutil, "cpu_times", lambda percpu: [Core(*core) for core in times]
        )
        return times

    def test_idle_ones_are_spare(
        self, machine: list[list[float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of those that the process may run on, since the last time."""
        monkeypatch.setattr(os, "times", lambda: (0.0, 0.0))
        spare = SpareCores(frozenset({0, 2}))
        machine[0][:] = [10.0, 0.0]  # another program's
        machine[1][:] = [0.0, 10.0]  # not for us
        machine[2][:] = [2.5, 7.5]

        assert spare.since_last() == pytest.approx(0.75)

    def test_our_own_are_spare(
        self, machine: list[list[float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process does not get out of its own way."""
        own = iter([(1.0, 0.0), (7.0, 2.0)])
        monkeypatch.setattr(os, "times", lambda: next(own))
        spare = SpareCores(frozenset({0, 1}))
        machine[0][:] = [10.0, 0.0]
        machine[1][:] = [0.0, 10.0]

        assert spare.since_last() == pytest.approx(1.8)

    def test_nobody_knows_where_the_system_does_not_tell(
        self, machine: list[list[float]]
    ) -> None:
        """Some sandboxes say 0 for ever."""
        assert SpareCores(frozenset({0, 1})).since_last() is None
