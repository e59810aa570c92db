"""A device, and one reading of its utilisation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

DEVICE_NAME = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Device:
    """Something that computes."""

    name: str
    """`cpu`, `mps` or `cuda:<n>`, numbered as CUDA numbers what this process may see."""
    title: str
    uuid: str | None = None
    """Of a CUDA device: a name that stays the same however devices are numbered."""
    memory_total_mb: float | None = None

    @property
    def kind(self) -> str:
        """`cpu`, `mps` or `cuda`: memory peaks carry over within a kind."""
        return self.name.partition(":")[0]


def slots_of(device: Device, wanted: int | None = None) -> int:
    """How many workers share the device: as many as wanted, else two on a CPU of several cores and one elsewhere.

    Small backbones do not keep several cores busy, and one worker's start is hidden behind the other's work.
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
    """Whether it is a worker of this workspace."""
    command: str | None = None
    """Name of its program."""


@dataclass(frozen=True)
class Reading:
    """A device at one moment. None means that the device does not say."""

    memory_total_mb: float
    memory_used_mb: float
    utilisation: float | None = None
    """Percent."""
    temperature: float | None = None
    """Degrees Celsius."""
    power_w: float | None = None
    processes: tuple[DeviceProcess, ...] = ()
    power_limit_w: float | None = None

    @property
    def memory_free_mb(self) -> float:
        """What nobody holds."""
        return max(0.0, self.memory_total_mb - self.memory_used_mb)

    def with_ours(self, pids: Iterable[int]) -> Reading:
        """The same with the workspace's own workers marked."""
        own = frozenset(pids)
        return replace(self, processes=tuple(replace(process, ours=process.pid in own) for process in self.processes))


MEGABYTE = 2**20
