"""Scheduling: which queued run starts next, where, and why the others wait. Pure functions.

Runs start by priority, then by age. Among runs of equal priority a worker is given one of the backbone that it holds,
else one of a backbone that no other worker holds. A run that does not fit the free memory lets smaller ones pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ssl_console.system.device import Device, Reading, gigabytes, holders_text
from ssl_console.workspace.config import Share
from ssl_console.workspace.run_status import PAUSED, QueuedRun

HEADROOM = 1.1
"""Factor on measured memory peaks, because the next run's may be slightly higher."""
CONTEXT_MB = 600.0
"""CUDA memory of a process in MB beyond what torch counts."""
WHOLE_SHARE = {"cuda": 0.95}
HOST_SHARE = 0.7
"""Maximum share of a device that a need is estimated at, so that no estimate makes a run wait forever. Peaks on
the host include mapped files, which the system can reclaim.
"""

NO_SLOT = "waits for a free slot"


@dataclass(frozen=True)
class FreeSlot:
    """A slot in which a run could start now."""

    name: str
    device: Device
    holds: str | None = None
    """Backbone in the memory of the idle worker there."""
    worker_mb: float = 0.0
    """Device memory in MB of that worker, which its next run can use."""
    launcher: str | None = None
    """Launcher of the idle worker, which only takes runs of that launcher; None without a worker."""
    only_named: bool = False
    """Whether the slot is reserved for runs that request this device: it was opened for such a run."""


@dataclass(frozen=True)
class SchedulerState:
    """Further input of the assignment."""

    busy_backbones: Counter[str] = field(default_factory=Counter)
    """Backbones that running workers hold."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By device name; a device without a reading accepts every run."""
    reserved_mb: Mapping[str, float] = field(default_factory=dict)
    """By device name, the memory in MB that recently started runs will still allocate."""
    peaks_mb: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    """Peaks measured earlier, by backbone, task and kind of device."""
    share: Share = "free-memory"
    """Policy for starting runs on a GPU that other processes use, unless a run requests another one."""
    paused: bool = False
    busy_devices: frozenset[str] = frozenset()
    """Names of devices on which a run is under way."""
    exclusive_devices: frozenset[str] = frozenset()
    """Those of `busy_devices` whose run does not share its card."""
    now: float = 0.0
    """Seconds since the epoch."""
    known_devices: tuple[str, ...] = ()
    """Names of all devices that have slots."""


@dataclass
class _Round:
    """Resources used by the assignments of one round."""

    reserved: dict[str, float]
    """By device name, memory in MB that runs will still allocate."""
    busy: set[str]
    """Devices with a run."""
    exclusive: set[str]
    """Devices whose run does not share its card."""

    def take(self, run: QueuedRun, device: Device, situation: SchedulerState) -> None:
        """Count a run started on this device."""
        self.reserved[device.name] = self.reserved.get(device.name, 0.0) + (need_mb(run, device, situation) or 0.0)
        self.busy.add(device.name)
        if _share_of(run, situation) == "never":
            self.exclusive.add(device.name)


@dataclass(frozen=True)
class Assignment:
    """Assignment of a run to a slot."""

    run_id: str
    slot: str


@dataclass(frozen=True)
class Assignments:
    """Runs that start, and the waiting reason of every other run."""

    assignments: tuple[Assignment, ...]
    waiting: Mapping[str, str]
    dismissed: frozenset[str] = frozenset()
    """Slots whose idle worker has to exit because a run that waits for the slot needs a worker of another launcher."""


def choose(queued: Iterable[QueuedRun], slots: Sequence[FreeSlot], situation: SchedulerState) -> Assignments:
    """Assign queued runs to the free slots."""
    line = sorted(queued, key=lambda run: (-run.priority, run.created, run.run_id))
    if situation.paused:
        return Assignments((), {run.run_id: PAUSED for run in line})
    backbones = situation.busy_backbones.copy()
    backbones.update(slot.holds for slot in slots if slot.holds is not None)
    turn = _Round(dict(situation.reserved_mb), set(situation.busy_devices), set(situation.exclusive_devices))
    assignments: dict[str, Assignment] = {}
    for slot in sorted(slots, key=lambda slot: slot.holds is None):
        run = _best_for(slot, line, assignments, backbones, turn, situation)
        if run is None:
            continue
        assignments[run.run_id] = Assignment(run.run_id, slot.name)
        backbones[run.backbone] += 1
        turn.take(run, slot.device, situation)
    free = [slot for slot in slots if slot.name not in {given.slot for given in assignments.values()}]
    reasons = {run.run_id: _reason(run, free, turn, situation) for run in line if run.run_id not in assignments}
    waiting = [run for run in line if run.run_id not in assignments]
    return Assignments(tuple(assignments.values()), reasons, _dismissed(waiting, free))


def _dismissed(waiting: Iterable[QueuedRun], free: Sequence[FreeSlot]) -> frozenset[str]:
    """One slot for each run of another launcher, as far as available."""
    dismissed: set[str] = set()
    held = [slot for slot in free if slot.launcher is not None]
    for run in waiting if held else ():
        fitting = (
            slot.name
            for slot in held
            if slot.launcher != run.launcher and slot.name not in dismissed and _may_use(run, slot)
        )
        dismissed.update(islice(fitting, 1))
    return frozenset(dismissed)


def need_mb(run: QueuedRun, device: Device, situation: SchedulerState) -> float | None:
    """Device memory in MB that the run is expected to use; None when unknown."""
    peak = situation.peaks_mb.get((run.backbone, run.task, device.kind))
    before = run.backoff.need_mb if run.backoff and device.kind == "cuda" else None
    if peak is None and before is None:
        return None
    measured = HEADROOM * peak + (CONTEXT_MB if device.kind == "cuda" else 0.0) if peak is not None else 0.0
    need = max(measured, before or 0.0)
    share = WHOLE_SHARE.get(device.kind, HOST_SHARE)
    return min(need, share * device.memory_total_mb) if device.memory_total_mb else need


def allows(run: QueuedRun, slot: FreeSlot) -> bool:
    """Whether the run can be started in the slot as it is."""
    return slot.launcher in {None, run.launcher} and _may_use(run, slot)


def _may_use(run: QueuedRun, slot: FreeSlot) -> bool:
    return _matches(slot.device.name, run.devices) if run.devices else not slot.only_named


def _best_for(
    slot: FreeSlot,
    line: Sequence[QueuedRun],
    taken: Mapping[str, Assignment],
    backbones: Counter[str],
    turn: _Round,
    situation: SchedulerState,
) -> QueuedRun | None:
    """The run for this slot: of those with the highest fitting priority, the one with the best matching backbone."""
    best: tuple[int, QueuedRun] | None = None
    for run in line:
        if best is not None and (run.priority < best[1].priority or best[0] == 0):
            break
        if run.run_id in taken or not allows(run, slot) or not _fits(run, slot, turn, situation):
            continue
        suits = 0 if run.backbone == slot.holds else 1 if not backbones[run.backbone] else 2
        if best is None or suits < best[0]:
            best = suits, run
    return None if best is None else best[1]


def _fits(run: QueuedRun, slot: FreeSlot, turn: _Round, situation: SchedulerState) -> bool:
    if _backs_off(run, situation) or (slot.device.kind == "cuda" and _not_shared(run, slot, turn, situation)):
        return False
    need, reading = need_mb(run, slot.device, situation), situation.readings.get(slot.device.name)
    return need is None or reading is None or need <= _available(slot, reading, turn)


def _backs_off(run: QueuedRun, situation: SchedulerState) -> bool:
    return run.backoff is not None and situation.now < run.backoff.until


def _share_of(run: QueuedRun, situation: SchedulerState) -> Share:
    return run.share or situation.share


def _not_shared(run: QueuedRun, slot: FreeSlot, turn: _Round, situation: SchedulerState) -> str:
    """Reason why the run may not share the card with its present users, regardless of memory; empty if it may. The
    first of: a run without sharing; a driver that admits one process; the run's own `share`.
    """
    name, share = slot.device.name, _share_of(run, situation)
    if name in turn.exclusive:
        return f'{name} is not shared: a run with share = "never" uses it'
    reading = situation.readings.get(name)
    users = [process for process in reading.processes if not process.is_mps_server] if reading else []
    others, busy = [process for process in users if not process.ours], name in turn.busy
    if reading is not None and reading.exclusive and (busy or others or (users and slot.holds is None)):
        return f"{name} admits one process at a time (compute mode): {holders_text(users) or 'a run of this workspace'}"
    if share == "never" and busy:
        return f'{name} is not shared (share = "never"): {holders_text(users) or "a run of this workspace uses it"}'
    if share != "free-memory" and others:
        return f'{name} is not shared (share = "{share}"): {holders_text(others)}'
    return ""


def _available(slot: FreeSlot, reading: Reading, turn: _Round) -> float:
    return reading.memory_free_mb + slot.worker_mb - turn.reserved.get(slot.device.name, 0.0)


def _reason(run: QueuedRun, free: Sequence[FreeSlot], turn: _Round, situation: SchedulerState) -> str:
    if _backs_off(run, situation):
        return run.reason
    allowed = [slot for slot in free if allows(run, slot)]
    if allowed:
        cards = (_not_shared(run, slot, turn, situation) for slot in allowed if slot.device.kind == "cuda")
        return next(filter(None, cards), "") or _too_small(run, allowed[0], turn, situation)
    if run.devices and not any(_matches(name, run.devices) for name in situation.known_devices):
        have = ", ".join(situation.known_devices) or "none"
        return f"requires {' or '.join(run.devices)}, and the supervisor's devices are {have}"
    return NO_SLOT


def _matches(device: str, wanted: tuple[str, ...]) -> bool:
    return device in wanted or device.partition(":")[0] in wanted


def _too_small(run: QueuedRun, slot: FreeSlot, turn: _Round, situation: SchedulerState) -> str:
    """`needs 18 GB, cuda:0 has 11 free: pid 812 of alice holds 68 GB`."""
    need, reading = need_mb(run, slot.device, situation), situation.readings.get(slot.device.name)
    if need is None or reading is None:
        return NO_SLOT
    free = max(0.0, _available(slot, reading, turn))
    sentence = f"needs {gigabytes(need)} GB, {slot.device.name} has {gigabytes(free)} free"
    return f"{sentence}: {holders_text(reading.processes)}" if reading.processes else sentence
