"""Memory: peaks of earlier runs, and the free memory of devices."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
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
    """Periodic readings of the devices, and peaks by backbone, task and kind of device."""

    readings: dict[str, Reading] = field(default_factory=dict)
    peaks_mb: Peaks = field(default_factory=dict)
    _read: float = 0.0

    def learn(self, results: Iterable[Result]) -> None:
        """Store the memory peaks of these runs."""
        for result in results:
            if result.memory_mb is not None:
                place = result.backbone, result.task, result.device.partition(":")[0]
                self.peaks_mb[place] = max(result.memory_mb, self.peaks_mb.get(place, 0.0))

    def refresh(self, slots: SlotTable, now: float, *, at_once: bool = False) -> bool:
        """Read the devices if the last reading is old, or `at_once`; return whether they were read."""
        if not at_once and 0 <= now - self._read < READ_EVERY_S:
            return False
        self._read = now
        ours = [slot.pid for slot in slots if slot.pid is not None]
        readings = {device.name: read_device(device) for device in slots.devices}
        self.readings = {name: reading.with_ours(ours) for name, reading in readings.items() if reading is not None}
        return True

    def worker_mb(self, slot: Slot) -> float:
        """Device memory in MB that the slot's worker holds; 0 when unknown."""
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
        """Device states for the state file."""
        return tuple(DeviceState(device=device, reading=self.readings.get(device.name)) for device in slots.devices)


def reserved_mb(needs: Mapping[str, float], held: Mapping[str, float], devices: Mapping[str, str]) -> dict[str, float]:
    """Memory in MB that running workers will still allocate, by device: per slot its need minus what it holds, if
    positive.
    """
    reserved: dict[str, float] = {}
    for slot, need in needs.items():
        device = devices[slot]
        reserved[device] = reserved.get(device, 0.0) + max(0.0, need - held.get(slot, 0.0))
    return reserved


ALONE_EVERY_S = 0.25
"""Interval in seconds for reading the worker's own memory."""
FAMILY_EVERY_S = 2.0
"""Interval in seconds for listing its children, which reads every process of the machine."""
MACHINE_SHARE = 0.9
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass
class ProcessMemory:
    """Memory of workers, read periodically. Mapped files are excluded, because the system can reclaim those pages."""

    _own_mb: dict[int, float] = field(default_factory=dict)
    _children_mb: dict[int, float] = field(default_factory=dict)
    _read: float = 0.0
    _searched: float = 0.0

    def refresh(self, pids: Iterable[int]) -> None:
        """Read these workers again if a reading is due."""
        now = time.monotonic()
        wanted = list(pids)
        if now - self._read >= ALONE_EVERY_S:
            self._read = now
            self._own_mb = dict.fromkeys(wanted, 0.0)
            for pid in wanted:
                with suppress(psutil.Error):
                    self._own_mb[pid] = _private_mb(psutil.Process(pid).memory_info())
        if now - self._searched >= FAMILY_EVERY_S:
            self._searched = now
            self._children_mb = _children_mb(wanted) if wanted else {}

    def mb(self, pid: int | None) -> float:
        """Memory in MB of a worker and its children, as last read."""
        return 0.0 if pid is None else self._own_mb.get(pid, 0.0) + self._children_mb.get(pid, 0.0)


def machine_limit_mb() -> float:
    """Default limit of a single worker in MB: most of the machine's memory, or of this process's control group."""
    limits = [float(psutil.virtual_memory().total)]
    with suppress(OSError, ValueError):  # no such group, or `max`: no limit
        limits.append(float(_CGROUP.read_text()))
    return MACHINE_SHARE * min(limits) / MEGABYTE


def _private_mb(memory: object) -> float:
    resident, shared = getattr(memory, "rss", 0), getattr(memory, "shared", 0)
    return float(max(0, resident - shared)) / MEGABYTE


def _children_mb(pids: Iterable[int]) -> dict[int, float]:
    """Memory of all descendants in MB, by worker."""
    parents: dict[int, int] = {}
    own: dict[int, float] = {}
    for process in psutil.process_iter(["ppid", "memory_info"]):
        parents[process.pid] = process.info["ppid"] or 0
        own[process.pid] = _private_mb(process.info["memory_info"])
    found = dict.fromkeys(pids, 0.0)
    for pid, taken in own.items():
        ancestor, seen = pid, {pid}
        while (ancestor := parents.get(ancestor, 0)) and ancestor not in seen:
            seen.add(ancestor)
            if ancestor in found:
                found[ancestor] += taken
    return found
