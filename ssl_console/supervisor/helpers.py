"""Helpers: idle devices compute features for runs that other workers execute, as long as no run waits.

A helper is a worker like any other, with a slot of its own, but it neither claims its run nor decides about it: when it
dies, the run continues. It is stopped when its run is over, or as soon as a run waits for a device.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ssl_console.launchers.base import Batch, Launcher
from ssl_console.supervisor.queue import FreeSlot, SchedulerState, choose
from ssl_console.supervisor.slots import Slot, SlotTable, StopProgress
from ssl_console.system.devices import CPU
from ssl_console.workspace.config import AUTO, DevicesPerRun
from ssl_console.workspace.events import EventTail, Progress, fold
from ssl_console.workspace.run import ASSIST
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import QueuedRun

LOG = logging.getLogger(__name__)
ENCODING = "encoding "
"""Beginning of the name of a phase that helpers can shorten."""
MOST_ENDED = 3
"""Helpers of one attempt that may end by themselves, dead or without work, before it gets no more."""
LOOK_EVERY_S = 0.5


@dataclass
class HelperScheduler:
    """Starts and stops helpers. `give` passes a batch to the worker of a slot, or to a new one."""

    slots: SlotTable
    launchers: Mapping[str, Launcher]
    default: DevicesPerRun
    """Number of devices of a run that does not request another."""
    help_from_s: float
    """Time in seconds that an extraction must still need, as a helper takes a while to start."""
    give: Callable[[Slot, Launcher, Batch], None]
    _tails: dict[str, tuple[int, EventTail, Progress]] = field(default_factory=dict)
    _working: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Run and attempt of each helper that was not stopped, by the name of its slot."""
    _ended: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Number of helpers that ended by themselves, by run and attempt."""
    _looked: float = 0.0

    def stop_unneeded(self, entries: Mapping[str, RunInfo], now: float, *, runs_wait: bool) -> None:
        """Stop helpers whose run is over, and those on devices of this machine if other runs wait."""
        working = {slot.name: (slot.assists or "", slot.attempt) for slot in self._helpers if slot.stopping is None}
        self._ended.update(helped for name, helped in self._working.items() if name not in working)
        for slot in self._helpers:
            entry = entries.get(slot.assists or "")
            over = entry is None or not entry.under_way or entry.status.attempt != slot.attempt
            if slot.stopping is None and (over or (runs_wait and not slot.dedicated)):
                LOG.info("run %s: its helper %s is stopped", slot.assists, slot.name)
                slot.stopping = StopProgress("cancel", now)
                working.pop(slot.name)
        self._working = working

    def start(
        self,
        entries: Mapping[str, RunInfo],
        resources: Callable[[], tuple[Sequence[FreeSlot], SchedulerState]],
        now: float,
    ) -> None:
        """Start at most one helper for each run that has use for it. `resources` returns the free slots and their
        situation."""
        if 0 <= now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        main = {slot.run_id: slot for slot in self.slots if slot.run_id}
        wanting = [entry for run_id in main if (entry := entries.get(run_id)) and self._wants_help(entry, now)]
        self._tails = {run_id: kept for run_id, kept in self._tails.items() if run_id in main}
        free, situation = resources() if wanting else ((), SchedulerState())
        for entry in sorted(wanting, key=lambda entry: (-entry.priority, entry.created, entry.run_id)):
            launcher = self.launchers.get(entry.placement.launcher)
            if launcher is not None and launcher.capacity() is not None:
                self._submit(launcher, entry, now)
            elif launcher is not None:
                free = self._assign(launcher, entry, main[entry.run_id], free, situation, now)

    @property
    def _helpers(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.assists]

    def _wants_help(self, entry: RunInfo, now: float) -> bool:
        limit = entry.placement.devices_per_run or self.default
        helpers = sum(slot.assists == entry.run_id for slot in self._helpers)
        if not entry.under_way or (limit != AUTO and 1 + helpers >= limit):
            return False
        if self._ended[entry.run_id, entry.status.attempt] >= MOST_ENDED:
            return False
        progress = self._progress(entry)
        left_s = progress.eta_s(now) if progress.phase.startswith(ENCODING) else None
        return left_s is not None and left_s > self.help_from_s

    def _progress(self, entry: RunInfo) -> Progress:
        attempt, tail, progress = self._tails.get(entry.run_id, (0, None, Progress()))
        if tail is None or attempt != entry.status.attempt:
            tail, progress = EventTail.of(entry.folder.events(entry.status.attempt)), Progress()
        progress = fold(tail.poll(), progress)
        self._tails[entry.run_id] = entry.status.attempt, tail, progress
        return progress

    def _assign(
        self,
        launcher: Launcher,
        entry: RunInfo,
        main: Slot,
        free: Sequence[FreeSlot],
        situation: SchedulerState,
        now: float,
    ) -> Sequence[FreeSlot]:
        """Start a helper on a free device of the same kind; return the slots that are still free."""
        slots = [slot for slot in self.slots if slot is main or slot.assists == entry.run_id]
        used = [slot.device for slot in slots if slot.device is not None]
        suitable = [one for one in free if helps(one, [device.name for device in used], used[0].kind)] if used else []
        run: QueuedRun = replace(entry.queued_run, backoff=None)
        given = choose([run], suitable, situation).assignments
        if not given:
            return free
        slot = self.slots.named(given[0].slot)
        self.give(slot, launcher, Batch((f"{ASSIST}{entry.run_id}",)))
        LOG.info("run %s: helped by %s", entry.run_id, slot.name)
        slot.assist(entry.run_id, entry.status.attempt, entry.backbone, now)
        return [one for one in free if one.name != slot.name]

    def _submit(self, launcher: Launcher, entry: RunInfo, now: float) -> None:
        """Submit a job as a helper, where the number of them is limited by a number and the launcher's capacity."""
        capacity = launcher.capacity()
        if (entry.placement.devices_per_run or self.default) == AUTO or capacity is None:
            return
        batches = launcher.batches([entry]).batches
        mine = [slot for slot in self.slots.dedicated if slot.launcher is launcher]
        if not batches or len(mine) >= capacity.workers or any(slot.job and slot.job.waits for slot in mine):
            return
        worker = launcher.submit(Batch((f"{ASSIST}{entry.run_id}",), batches[0].request))
        LOG.info("run %s: helped by %s", entry.run_id, worker)
        slot = self.slots.open_dedicated(launcher, worker, now)
        slot.assist(entry.run_id, entry.status.attempt, entry.backbone, now)


def helps(slot: FreeSlot, used: Iterable[str], kind: str) -> bool:
    """Whether a helper in this slot makes a run faster: it needs a device of the same kind that the run does not use
    yet. Several workers can share a processor."""
    return slot.device.kind == kind and (kind == CPU or slot.device.name not in used)
