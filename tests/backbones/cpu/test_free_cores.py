"""Cores that other processes leave free, by stand-in processor times, and those that limits leave."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from backbones.cpu import free_cores
from backbones.cpu.free_cores import FIRST_S, WINDOW_S, CoreMonitor, CpuTimes, cpu_quota, read_cpu_times, usable_cores


class Machine:
    """Processor times of cores that this process and others use, on a clock of its own."""

    def __init__(self) -> None:
        self.now = CpuTimes(100.0, 50.0, 10.0, cores=4)
        self.own = self.others = 0.0
        """Cores in use."""
        self.waited: list[float] = []

    def after(self, seconds: float) -> None:
        now = self.now
        busy_s = now.busy_s + seconds * (self.own + self.others)
        self.now = CpuTimes(now.at_s + seconds, busy_s, now.own_s + seconds * self.own, now.cores)

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.after(seconds)

    def monitor(self, cores: int) -> CoreMonitor:
        return CoreMonitor(cores, lambda: self.now, self.wait)


@pytest.mark.parametrize(("others", "free"), [(0.0, 4), (0.4, 4), (1.0, 3), (2.6, 1), (4.0, 1), (9.0, 1)])
def test_cores_that_others_occupy_are_not_free_and_one_always_is(others: float, free: int) -> None:
    machine = Machine()
    machine.others = others
    assert machine.monitor(4).free() == free
    assert machine.waited == [FIRST_S]


def test_the_time_of_this_process_is_not_that_of_others() -> None:
    machine = Machine()
    machine.own = 4.0
    assert machine.monitor(4).free() == 4


def test_the_load_is_that_of_the_last_seconds_and_is_measured_without_waiting_while_readings_are_recent() -> None:
    machine = Machine()
    monitor = machine.monitor(4)
    free = []
    for others in (0.0, 0.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0):
        machine.others = others
        machine.after(WINDOW_S / 2)
        free.append(monitor.free())
    assert free == [4, 4, 2, 1, 1, 2, 4, 4]
    assert machine.waited == [FIRST_S]
    machine.after(10 * WINDOW_S)
    machine.others = 2.0
    assert monitor.free() == 2
    assert machine.waited == [FIRST_S, FIRST_S]


def test_a_quota_counts_cores_that_others_leave_free_outside_of_it() -> None:
    machine = Machine()
    machine.others = 2.0
    assert machine.monitor(2).free() == 2
    machine.after(WINDOW_S)
    machine.others = 3.0
    assert machine.monitor(2).free() == 1


def test_processor_times_of_this_process_are_part_of_those_of_all() -> None:
    first = read_cpu_times()
    while (last := read_cpu_times()).own_s - first.own_s < 0.05:
        pass
    assert last.busy_s - first.busy_s >= 0.02
    assert last.at_s > first.at_s


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/job/step", {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000"}, 1.5),
        ("0::/job", {"job/cpu.max": "max 100000"}, math.inf),
        ("0::/of-the-host", {"cpu.max": "200000 100000"}, 2.0),
        ("4:cpu,cpuacct:/job", {"cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n"}, 0.5),
        ("4:cpu:/job", {"cpu/job/cpu.cfs_quota_us": "-1"}, math.inf),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/system.slice/job.service", {"system.slice/cpu.max": "400000 100000"}, 4.0),
        ("12:pids:/a\n4:cpuacct,cpu:/job\n0::/a", {"cpu/job/cpu.cfs_quota_us": "250000"}, 2.5),
        ("4:cpu,cpuacct:/docker/0f", {"cpu,cpuacct/cpu.cfs_quota_us": "300000"}, 3.0),
        ("3:cpuset:/job", {"cpuset/job/cpu.max": "50000 100000"}, math.inf),
    ],
)
def test_the_smallest_quota_of_the_control_groups_applies(
    membership: str, files: dict[str, str], quota: float, tmp_path: Path
) -> None:
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if name.endswith("quota_us"):
            path.with_name("cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "memberships").write_text(f"{membership}\n")
    assert cpu_quota(tmp_path / "groups", tmp_path / "memberships") == quota


def test_a_process_may_use_at_least_one_core() -> None:
    assert usable_cores() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_the_affinity_mask_bounds_the_cores() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert (usable_cores(), read_cpu_times().cores) == (1, 1)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("granted", "quota", "cores"),
    [("3", math.inf, 3), ("", math.inf, 8), ("16", math.inf, 8), ("x", math.inf, 8), ("3", 1.5, 2), ("", 0.2, 1)],
)
def test_the_cores_granted_to_a_job_and_the_quota_bound_the_cores(
    granted: str, quota: float, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_cores, "_affinity", lambda: set(range(8)))
    monkeypatch.setattr(free_cores, "cpu_quota", lambda: quota)
    monkeypatch.setenv(free_cores.CORES_VARIABLE, granted)
    assert usable_cores() == cores
