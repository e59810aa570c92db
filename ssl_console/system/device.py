"""A device, and one reading of its utilisation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

SHOWN_HOLDERS = 3
DEVICE_NAME = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Device:
    """A computing device."""

    name: str
    """`cpu`, `mps` or `cuda:<n>`, numbered as CUDA numbers the visible devices."""
    title: str
    uuid: str | None = None
    """UUID of a CUDA device, which does not depend on the numbering."""
    memory_total_mb: float | None = None

    @property
    def kind(self) -> str:
        """Device type: `cpu`, `mps` or `cuda`. Memory peaks are comparable within a type."""
        return self.name.partition(":")[0]


def slots_of(device: Device, wanted: int | None = None) -> int:
    """Number of workers that share the device: `wanted`, else two on a CPU of several cores and one elsewhere.

    Small backbones do not keep several cores busy, and one worker's start overlaps with the other's work.
    """
    if wanted is not None:
        return wanted
    return min(2, os.cpu_count() or 1) if device.kind == "cpu" else 1


@dataclass(frozen=True)
class DeviceProcess:
    """A process that holds memory of a device."""

    pid: int
    user: str | None
    memory_mb: float | None
    ours: bool = False
    """Whether the process is a worker of this workspace."""
    command: str | None = None
    """Name of its program."""

    @property
    def words(self) -> str:
        """`pid 812 of alice holds 68 GB`."""
        whose = "ours" if self.ours else f"of {self.user}" if self.user else "of an unknown user"
        return f"pid {self.pid} {whose} holds {'—' if self.memory_mb is None else gigabytes(self.memory_mb)} GB"

    @property
    def is_mps_server(self) -> bool:
        """Whether it is the server of CUDA's Multi-Process Service, which computes nothing for itself."""
        return (self.command or "").startswith("nvidia-cuda-mps")


@dataclass(frozen=True)
class Reading:
    """Utilisation of a device at one moment. None where the device does not report the value."""

    memory_total_mb: float
    memory_used_mb: float
    utilisation: float | None = None
    """Percent."""
    temperature: float | None = None
    """Degrees Celsius."""
    power_w: float | None = None
    processes: tuple[DeviceProcess, ...] = ()
    power_limit_w: float | None = None
    exclusive: bool = False
    """Whether the driver admits one process at a time: an exclusive compute mode without CUDA's Multi-Process Service.
    """

    @property
    def memory_free_mb(self) -> float:
        return max(0.0, self.memory_total_mb - self.memory_used_mb)

    def with_ours(self, pids: Iterable[int]) -> Reading:
        """The same reading with the workspace's own workers marked."""
        own = frozenset(pids)
        return replace(self, processes=tuple(replace(process, ours=process.pid in own) for process in self.processes))


MEGABYTE = 2**20


def gigabytes(megabytes: float) -> str:
    """`68`, or `0.5` below ten."""
    value = megabytes / 1024
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def holders_text(processes: Iterable[DeviceProcess]) -> str:
    """`pid 812 of alice holds 68 GB, pid 9 ours holds 0.5 GB`, the largest first."""
    largest = sorted(processes, key=lambda process: -(process.memory_mb or 0.0))
    return ", ".join(process.words for process in largest[:SHOWN_HOLDERS])
