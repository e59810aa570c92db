"""Memory: what earlier runs took at their peak, and what the devices have free now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from ssl_console.device import Reading
from ssl_console.devices import MEGABYTE, read_device
from ssl_console.result import Result
from ssl_console.supervisor.slots import Slot, SlotTable
from ssl_console.supervisor_state import DeviceState

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
        if slot.pid is None:
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
