"""Slots for workers, a number per device or one per job, and the state of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ssl_console.launchers.base import Launcher, Patience, Worker
from ssl_console.system.device import Device, slots_of
from ssl_console.workspace.run import JobState
from ssl_console.workspace.supervisor_state import SlotState

Cause = Literal["cancel", "stalled", "timeout", "memory", "leave"]


@dataclass
class StopProgress:
    """Progress of stopping a worker."""

    cause: Cause
    began: float
    stage: int = 0
    """Number of completed steps."""


@dataclass
class Slot:
    """A slot for one worker, and the worker's state as last observed."""

    name: str
    device: Device | None
    """None for a slot of a launcher's own, which exists for one worker and closes with it."""
    on_demand: bool = False
    """Whether it was opened for runs that request this device, or for an adopted worker; other runs do not get it."""
    extra: bool = False
    """Whether it was opened for an adopted worker for which its device had no free slot; it closes with that worker."""
    launcher: Launcher | None = None
    """The launcher that started the worker; of an empty slot, the last one."""
    worker: str | None = None
    """The launcher's name for the worker."""
    pid: int | None = None
    adopted: bool = False
    job: JobState | None = None
    """State of the worker in its launcher's queue."""
    then: tuple[str, ...] = ()
    """Runs that the worker executes after this one."""
    farewell: Worker | None = None
    """Last state of a worker that its launcher reports as ended, while events of its run still arrive."""
    run_id: str | None = None
    assists: str | None = None
    """Run of another slot for which the worker computes features."""
    backbone: str | None = None
    since: float = 0.0
    """Time at which the run was assigned, or the worker became idle (seconds since the epoch)."""
    attempt: int = 0
    """Attempt that the worker is to claim, or is executing."""
    stopping: StopProgress | None = None
    heard: tuple[float | None, float] | None = None
    """Time of the run's last event on its file's clock, and the monotonic time at which it was first seen."""
    timed: tuple[object, float] | None = None
    """Event that the monitor is timing, and its start on the monitor's clock."""
    gone: Worker | None = None
    """Last state of a vanished worker, until the outcome of its run has been recorded."""

    @property
    def dedicated(self) -> bool:
        """Whether it belongs to one worker of a launcher with slots of its own, and closes with it."""
        return self.device is None

    @property
    def patience(self) -> Patience:
        """Normal silence and delay of its worker."""
        return self.launcher.patience() if self.launcher else Patience()

    @property
    def idle_launcher(self) -> str | None:
        """Name of its worker's launcher, which only takes runs of that launcher; None without a worker."""
        return self.launcher.name if self.launcher and self.worker else None

    @property
    def free(self) -> bool:
        """Whether a run can be assigned to it now."""
        idle = self.run_id is None and self.assists is None
        return idle and self.stopping is None and not self.adopted and not self.dedicated

    def take(self, run_id: str, attempt: int, backbone: str, now: float) -> None:
        """Assign a run to the worker."""
        self.run_id, self.attempt, self.backbone, self.since = run_id, attempt, backbone, now
        self.heard = None

    def assist(self, run_id: str, attempt: int, backbone: str, now: float) -> None:
        """Make the worker a helper of a run."""
        self.assists, self.attempt, self.backbone, self.since = run_id, attempt, backbone, now

    def finish(self, now: float) -> None:
        """Mark the run as ended; the worker, and the backbone in its memory, may stay."""
        self.run_id, self.since = None, now

    def clear(self) -> None:
        """Mark the worker as gone."""
        self.worker = self.pid = self.run_id = self.assists = self.backbone = self.stopping = self.gone = None
        self.job = self.farewell = None
        self.adopted, self.then = False, ()

    def state(self) -> SlotState:
        since = self.since if self.run_id or self.assists else None
        return SlotState(
            name=self.name,
            device=self.device.name if self.device else self.launcher.name if self.launcher else "",
            worker=self.pid,
            run_id=self.run_id,
            assists=self.assists,
            backbone=self.backbone,
            since=since,
            job=self.job,
            then=self.then,
        )


@dataclass
class SlotTable:
    """All slots, in order."""

    per_device: int | None
    """None for the default of the device."""
    slots: list[Slot] = field(default_factory=list)

    def open(self, devices: Iterable[Device], *, on_demand: bool = False) -> None:
        """Open the slots of devices that have none yet."""
        known = {device.name for device in self.devices}
        for device in devices:
            if device.name not in known:
                count = slots_of(device, self.per_device)
                self.slots += [Slot(f"{device.name}/{n}", device, on_demand) for n in range(count)]

    def open_dedicated(self, launcher: Launcher, worker: str, now: float) -> Slot:
        """Open a slot for a worker of a launcher with slots of its own."""
        slot = Slot(f"{launcher.name}/{worker}", None, on_demand=True, launcher=launcher, worker=worker, since=now)
        self.slots.append(slot)
        return slot

    def around(self, launcher: Launcher, worker: str, device: Device) -> Slot:
        """Slot for an adopted worker: a free one of its device, else an extra one for this worker only."""
        for slot in self.slots:
            if slot.device is not None and slot.device.name == device.name and slot.worker is None:
                break
        else:
            slot = Slot(f"{device.name}/{worker}", device, on_demand=True, extra=True)
            self.slots.append(slot)
        slot.launcher, slot.worker, slot.adopted = launcher, worker, True
        return slot

    def close_extra(self) -> None:
        """Close slots whose only worker is gone."""
        self.slots = [slot for slot in self.slots if slot.worker or not (slot.dedicated or slot.extra)]

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    def named(self, name: str) -> Slot:
        return next(slot for slot in self.slots if slot.name == name)

    @property
    def devices(self) -> Sequence[Device]:
        """The devices of this machine that have slots, in order."""
        return list({slot.device.name: slot.device for slot in self.slots if slot.device is not None}.values())

    @property
    def dedicated(self) -> list[Slot]:
        """The slots of launchers' own."""
        return [slot for slot in self.slots if slot.dedicated]

    @property
    def on_devices(self) -> list[Slot]:
        """Slots of this machine's devices."""
        return [slot for slot in self.slots if not slot.dedicated]

    @property
    def busy(self) -> bool:
        """Whether any worker has a run."""
        return any(slot.run_id for slot in self.slots)
