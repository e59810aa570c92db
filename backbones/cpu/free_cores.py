"""Cores that this process may use, and how many of them other processes leave free."""

from __future__ import annotations

import functools
import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

WINDOW_S = 5.0
"""Seconds over which the load of other processes is averaged."""
SHORTEST_S = 0.5
"""Seconds between readings; processor times of the system have a resolution of 0.01 s."""
FIRST_S = 0.1
"""Seconds over which the load is measured where no recent reading exists."""
BUSY = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
"""Processor times of `psutil`, on any system, in which a core is not available."""
CORES_VARIABLE = "SSL_CONSOLE_CORES"
"""Set by a launcher: number of cores granted to a job, which not every cluster enforces by affinity or quota."""
CONTROL_GROUPS, MEMBERSHIPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Number of cores that this process may use: those of its affinity, within the quota of its control groups and
    what its launcher was granted."""
    granted = os.environ.get(CORES_VARIABLE, "")
    limits = [len(_affinity()), math.ceil(min(cpu_quota(), 1e6)), *([int(granted)] if granted.isdecimal() else [])]
    return max(1, min(limits))


def cpu_quota(groups: Path = CONTROL_GROUPS, memberships: Path = MEMBERSHIPS) -> float:
    """Seconds of processor time per second that control groups (version 1 or 2) grant; infinity without a limit."""
    limits = [math.inf]
    for line in _text(memberships).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = _mount(groups, controllers)
        folder = mount / path.lstrip("/")
        limits += [_quota(one) for one in (folder, *folder.parents) if one.is_relative_to(mount)]
    return min(limits)


def _mount(groups: Path, controllers: str) -> Path:
    """Where the hierarchy of these controllers is mounted; version 2 has one hierarchy for all.

    The kernel may list `cpuacct,cpu` where the folder is named `cpu,cpuacct`, with a link `cpu` to it.
    """
    mount = groups / controllers
    return mount if mount.is_dir() else groups / "cpu"


def _quota(folder: Path) -> float:
    """The limit of one control group."""
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    quota = quota or _text(folder / "cpu.cfs_quota_us").strip()
    period = period or _text(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else math.inf


def _text(path: Path) -> str:
    """Content of a file of the kernel; empty where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class CpuTimes:
    """Seconds of processor time so far on the cores of this process's affinity: of all processes, and of this one."""

    at_s: float
    """Monotonic clock."""
    busy_s: float
    own_s: float
    cores: int
    """Number of these cores, some of which a quota may exclude."""


def read_cpu_times() -> CpuTimes:
    """The present processor times."""
    allowed = _affinity()
    times = [one for number, one in enumerate(psutil.cpu_times(percpu=True)) if number in allowed]
    busy_s = sum(getattr(one, name, 0.0) for one in times for name in BUSY)
    return CpuTimes(time.monotonic(), busy_s, time.process_time(), len(times) or len(allowed))


class CoreMonitor:
    """Load of other processes over the last seconds, from readings that `free` takes. `cores` may be used."""

    def __init__(
        self,
        cores: int,
        read: Callable[[], CpuTimes] = read_cpu_times,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cores, self._read, self._wait = cores, read, wait
        self._readings: deque[CpuTimes] = deque()
        self._free = cores

    def free(self) -> int:
        """Number of usable cores that other processes do not occupy, at least 1.

        Measured from readings of the last `WINDOW_S`; without one, during `FIRST_S`.
        """
        now = self._read()
        if not self._readings or now.at_s - self._readings[-1].at_s > WINDOW_S:
            self._readings.clear()
            self._readings.append(now)
            self._wait(FIRST_S)
            now = self._read()
        elif now.at_s - self._readings[-1].at_s < SHORTEST_S:
            return self._free
        while len(self._readings) > 1 and self._readings[1].at_s <= now.at_s - WINDOW_S:
            self._readings.popleft()
        first = self._readings[0]
        self._readings.append(now)
        others = (now.busy_s - first.busy_s - (now.own_s - first.own_s)) / max(now.at_s - first.at_s, 1e-3)
        self._free = max(1, min(self._cores, round(now.cores - others)))
        return self._free


@functools.cache
def core_monitor() -> CoreMonitor:
    """The monitor of this process."""
    return CoreMonitor(usable_cores())
