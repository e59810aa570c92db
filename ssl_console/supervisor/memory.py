"""Memory: what earlier runs took at their peak, and what the devices have free now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ssl_console.supervisor.slots import Slot, SlotTable
from ssl_console.system.device import MEGABYTE, Reading
from ssl_console.system.devices import read_device
from ssl_console.workspace.result import Result
from ssl_console.workspace.supervisor_state import DeviceState

READ_EVERY_S = 2.0

Peaks = dict[tuple[str, str, str], float]


@dataclass
class Memory:
    """Readings of the devices, refreshed every few seconds, and peaks by backbone, task and kind of device."""

    readings: dict[str, Reading] = field(default_factory=dict)
    peaks_mb: Peaks = field(default_factory=dict)
    _read: float = 0.0

    def learn(self, results: Iterable[Result]) -> None:
        """Remember what these runs took."""
        for result in results:
            if result.memory_mb is not None:
                place = result.backbone, result.task, result.device.partition(":")[0]
                self.peaks_mb[place] = max(result.memory_mb, self.peaks_mb.get(place, 0.0))

    def refresh(self, slots: SlotTable, now: float, *, at_once: bool = False) -> bool:
        """Read the devices if that was a while ago, or at once; whether they were read."""
        if not at_once and 0 <= now - self._read < READ_EVERY_S:
            return False
        self._read = now
        ours = [slot.pid for slot in slots if slot.pid is not None]
        readings = {device.name: read_device(device) for device in slots.devices}
        self.readings = {name: reading.with_ours(ours) for name, reading in readings.items() if reading is not None}
        return True

    def worker_mb(self, slot: Slot) -> float:
        """Device memory that the slot's worker holds; 0 when that cannot be said."""
        if slot.pid is None or slot.device is None:
            return 0.0
        if slot.device.kind == "cuda":
            reading = self.readings.get(slot.device.name)
            held = [process.memory_mb for process in reading.processes if process.pid == slot.pid] if reading else []
            return sum(part for part in held if part is not None)
        try:
            return float(psutil.Process(slot.pid).memory_info().rss) / MEGABYTE
        except psutil.Error:
            return 0.0

    def states(self, slots: SlotTable) -> tuple[DeviceState, ...]:
        """For the state file."""
        return tuple(DeviceState(device=device, reading=self.readings.get(device.name)) for device in slots.devices)


def reserved_mb(needs: Mapping[str, float], held: Mapping[str, float], devices: Mapping[str, str]) -> dict[str, float]:
    """By device, what running workers will still take: per slot its need less what it holds, if that is positive."""
    reserved: dict[str, float] = {}
    for slot, need in needs.items():
        device = devices[slot]
        reserved[device] = reserved.get(device, 0.0) + max(0.0, need - held.get(slot, 0.0))
    return reserved


ALONE_EVERY_S = 0.25
"""How often the worker's own memory is read."""
FAMILY_EVERY_S = 2.0
"""How often its children are looked for, which means looking at every process of the machine."""
MACHINE_SHARE = 0.9
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass
class ProcessMemory:
    """What workers take, read now and then. Mapped files do not count: the system takes those pages back by itself."""

    _own_mb: dict[int, float] = field(default_factory=dict)
    _children_mb: dict[int, float] = field(default_factory=dict)
    _read: float = 0.0
    _searched: float = 0.0

    def refresh(self, pids: Iterable[int]) -> None:
        """Look at these workers again, if it is time to."""
        now = time.monotonic()
        wanted = list(pids)
        if now - self._read >= ALONE_EVERY_S:
            self._read = now
            self._own_mb = {pid: _process_mb(pid) for pid in wanted}
        if now - self._searched >= FAMILY_EVERY_S:
            self._searched = now
            self._children_mb = _children_mb(wanted) if wanted else {}

    def mb(self, pid: int | None) -> float:
        """Megabytes of a worker and its children, as last read."""
        return 0.0 if pid is None else self._own_mb.get(pid, 0.0) + self._children_mb.get(pid, 0.0)


def machine_limit_mb() -> float:
    """What a single worker may take where nothing else is said: most of the machine, or of this process's share."""
    limits = [float(psutil.virtual_memory().total)]
    with suppress(OSError, ValueError):  # no such group, or `max`: no limit
        limits.append(float(_CGROUP.read_text()))
    return MACHINE_SHARE * min(limits) / MEGABYTE


def _process_mb(pid: int) -> float:
    try:
        return _private_mb(psutil.Process(pid).memory_info())
    except psutil.Error:
        return 0.0


def _private_mb(memory: object) -> float:
    resident, shared = getattr(memory, "rss", 0), getattr(memory, "shared", 0)
    return float(max(0, resident - shared)) / MEGABYTE


def _children_mb(pids: Iterable[int]) -> dict[int, float]:
    """By worker, what all its descendants take together."""
    parents: dict[int, int] = {}
    own: dict[int, float] = {}
    for process in psutil.process_iter(["ppid", "memory_info"]):
        parents[process.pid] = process.info["ppid"] or 0
        own[process.pid] = _private_mb(process.info["memory_info"])
    found = dict.fromkeys(pids, 0.0)
    for pid, taken in own.items():
        for ancestor in _ancestors(pid, parents):
            if ancestor in found:
                found[ancestor] += taken
    return found


def _ancestors(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    seen = {pid}
    while (pid := parents.get(pid, 0)) and pid not in seen:
        seen.add(pid)
        yield pid
