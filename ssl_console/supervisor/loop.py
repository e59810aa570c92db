"""The supervisor's round: look at the runs, look at the workers, hand out what is queued, tell everyone."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import log2

from backbones.io.files import write_atomically
from ssl_console.launchers.base import Resources
from ssl_console.launchers.registry import Launchers
from ssl_console.supervisor import failure_records
from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.supervisor.collector import Collector
from ssl_console.supervisor.memory import Memory, reserved_mb
from ssl_console.supervisor.queue import NO_SLOT, FreeSlot, SchedulerState, choose, need_mb
from ssl_console.supervisor.slots import Slot, SlotTable
from ssl_console.supervisor.slurm_slots import Cluster, for_slurm
from ssl_console.supervisor.worker_monitor import WorkerMonitor
from ssl_console.system.devices import all_devices, choose_devices, cpu_count
from ssl_console.system.errors import ConsoleError, format_os_error, shortage
from ssl_console.system.processes import own_start, this_host
from ssl_console.workspace.config import SLURM
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, is_paused, request_retry
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_index import RunIndex, RunInfo
from ssl_console.workspace.supervisor_state import SupervisorState

LOG = logging.getLogger(__name__)
STATE_EVERY_S = 0.5
ALIVE_EVERY_S = 20.0
"""The state file is rewritten at least this often: on other hosts its age tells that the supervisor lives."""
PROBLEMS_TOLD = 5
RECENT_S = 3600.0
"""A run that ran out of memory longer ago is not tried again by itself: nothing starts by surprise."""
GOES_ON = {True: "goes on from what it kept: its node was taken away", False: "begins again: its node was taken away"}
INTERRUPTED_S = 24 * 3600.0
"""The same of one whose node was taken away while nobody looked."""


@dataclass
class Supervisor:
    """One workspace's queue, devices and database."""

    workspace: Workspace
    launcher: Launchers
    options: SupervisorOptions
    index: RunIndex = field(init=False)
    watch: WorkerMonitor = field(init=False)
    slots: SlotTable = field(init=False)
    collector: Collector = field(init=False)
    cluster: Cluster = field(init=False)
    memory: Memory = field(default_factory=Memory)
    paused: bool = False
    shortage: str = ""
    """Why the workspace cannot be written."""
    waiting: dict[str, str] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)
    _pid_started: float = field(default_factory=own_start)
    _asked_devices: set[str] = field(default_factory=set)
    _dirty: bool = True
    _told: SupervisorState | None = None
    _unsettled: dict[str, RunInfo] = field(default_factory=dict)
    """Runs about which something may have to be written that could not be written yet."""
    _busy_at: float = 0.0

    def __post_init__(self) -> None:
        self.index = RunIndex(self.workspace)
        self.watch = WorkerMonitor(self.workspace, self.launcher, self.options)
        self.collector = Collector(self.workspace)
        self.slots = SlotTable(self.options.slots_per_device)
        self.cluster = Cluster(self.workspace, self.launcher.slurm, self.slots)

    def begin(self, now: float) -> None:
        """Open the slots, learn from the database, take over what an earlier supervisor left.

        Raises ConsoleError for devices that do not exist, StoreError for a newer version's database.
        """
        self.slots.open(choose_devices(self.options.devices, all_devices()))
        self.memory.learn(self.collector.open())
        self._busy_at = now
        self.tick(now, adopting=True)

    def tick(self, now: float, *, adopting: bool = False, thorough: bool = True) -> None:
        """One round. Raises OSError when the workspace cannot be read or written; the next round tries again.

        One that is not `thorough` may leave to later ones what others have just asked for, where runs are many.
        """
        changed = self.index.refresh(now, at_once=thorough).changed
        if adopting:
            self._adopt(changed)
            self.cluster.recover(self.index.entries, now)
        if changed:
            self._dirty |= any(not entry.under_way for entry in changed)  # that a run goes on frees nothing
            self.memory.learn(self.collector.note(changed))
            self._unsettled |= {entry.run_id: entry for entry in changed}
        self._settle(now)
        self.collector.write(now)
        self._look_at_workers(now)
        self._open_asked_devices()
        if self._worth_choosing(now):
            self._hand_out(now)
        self._publish_state(now)

    @property
    def queued(self) -> list[RunInfo]:
        """Queued runs that no worker has been given."""
        given = {run_id for slot in self.slots for run_id in (slot.run_id, *slot.then)}
        return [entry for entry in self.index.queued.values() if entry.run_id not in given]

    @property
    def only_jobs(self) -> bool:
        """Whether everything that goes on is a cluster's."""
        return self.slots.busy and all(slot.is_job for slot in self.slots if slot.run_id)

    def may_leave(self, now: float) -> bool:
        """Whether there has been nothing to do for a while; a worker that is being ended is something to do."""
        busy = self.slots.busy or any(slot.stopping for slot in self.slots)
        if busy or self.collector.behind or self.index.queued or now < self._busy_at:
            self._busy_at = now
        return now - self._busy_at > self.options.linger_s

    def dismiss_all(self, now: float) -> None:
        """No worker is given anything more."""
        for slot in self.slots:
            self.watch.leave(slot, now)

    def _settle(self, now: float) -> None:
        """Write what is still missing about runs that have ended, and try again those that ran out of memory."""
        ours = {slot.run_id for slot in self.slots}
        for run_id, entry in tuple(self._unsettled.items()):
            self._settle_one(entry, now, ours=run_id in ours)
            del self._unsettled[run_id]

    def _settle_one(self, entry: RunInfo, now: float, *, ours: bool) -> None:
        status = entry.status
        if status.state is RunState.DONE:
            entry.folder.tidy()  # its worker may have died just before
        elif status.state is RunState.CANCELLED and status.end is None and not ours:
            self.watch.record(entry.folder, failure_records.of_cancelled_in_queue(status))
        elif status.state is RunState.FAILED and status.end is None and not ours:
            self.watch.record(entry.folder, failure_records.of_lost(status))
        elif status.kind == "oom" and now - (status.ended or 0.0) < RECENT_S:
            self._retry_smaller(entry)
        elif status.kind == "interrupted" and now - (status.ended or 0.0) < INTERRUPTED_S:
            self._go_on(entry)

    def _retry_smaller(self, entry: RunInfo) -> None:
        tried = round(-log2(entry.status.batch_scale))
        if tried >= self.options.retries or entry.folder.cancel.exists():
            return
        try:
            request_retry(
                self.workspace, entry.run_id, "ran out of memory: again with half the batch", 0.5 ** (tried + 1)
            )
        except NotPossible as error:
            LOG.info("%s", error)

    def _go_on(self, entry: RunInfo) -> None:
        """Queue a run again whose node was taken away: always if it has kept something, else a few times."""
        kept = entry.folder.checkpoint.is_dir() and any(entry.folder.checkpoint.iterdir())
        if entry.folder.cancel.exists() or (not kept and entry.status.attempt > self.cluster.settings.restarts):
            return
        try:
            request_retry(self.workspace, entry.run_id, GOES_ON[kept])
        except NotPossible as error:
            LOG.info("%s", error)

    def _adopt(self, entries: Iterable[RunInfo]) -> None:
        """Take over workers of an earlier supervisor: they keep their slot until they are done."""
        devices = {device.name: device for device in all_devices()} if entries else {}
        for entry in entries:
            owner = entry.status.owner
            if not entry.under_way or owner is None or owner.device not in devices:
                continue
            worker = self.launcher.adopt(owner)
            if worker is not None:
                LOG.info("run %s: found again, process %d goes on", entry.run_id, owner.pid)
                slot = self.slots.around(worker, devices[owner.device])
                slot.take(entry.run_id, entry.status.attempt, entry.backbone, owner.started)
                slot.pid = owner.pid

    def _look_at_workers(self, now: float) -> None:
        workers = self.launcher.snapshot()
        self.watch.footprints.refresh(slot.pid for slot in self.slots if slot.pid is not None and slot.run_id)
        for slot in self.slots:
            before = slot.free, slot.worker, slot.run_id
            entry = self.index.entries.get(slot.run_id) if slot.run_id else None
            try:
                self.watch.look(slot, workers.get(slot.worker or ""), entry, now)
                self.cluster.advance(slot, self.index.entries, now)
            except OSError as error:  # what became of this one cannot be written: it is looked at again, others go on
                LOG.error("%s: %s", slot.name, format_os_error(error))
            self._dirty |= (slot.free, slot.worker, slot.run_id) != before
        self.slots.close_extra()

    def _open_asked_devices(self) -> None:
        """Open slots on devices that queued runs ask for by name; one that does not exist is their waiting reason."""
        asked = {name for entry in self.queued for name in entry.devices} - self._asked_devices - {SLURM}
        if not asked:
            return
        self._asked_devices |= asked
        found = all_devices()
        for name in sorted(asked):
            try:
                self.slots.open(choose_devices([name], found), on_demand=True)
            except ConsoleError as error:
                LOG.warning("%s", error)

    def _worth_choosing(self, now: float) -> bool:
        paused, short = is_paused(self.workspace), shortage(self.workspace.root)
        if (paused, short) != (self.paused, self.shortage):
            self.paused, self.shortage, self._dirty = paused, short, True
        active = self.slots.busy or self._dirty
        self._dirty |= self.memory.refresh(self.slots, now, at_once=self._dirty) if active else False
        self._dirty |= self.cluster.worth_trying(now)
        worth, self._dirty = self._dirty, False
        return worth

    def _hand_out(self, now: float) -> None:
        if self.shortage:
            self._dirty = True
            return
        queued = self.queued
        self.cluster.assign_runs((entry for entry in queued if for_slurm(entry)), now, paused=self.paused)
        entries = {entry.run_id: entry for entry in queued if not for_slurm(entry)}
        choice = choose([entry.queued_run for entry in entries.values()], self._free_slots(), self._situation())
        for given in choice.assignments:
            self._give(self.slots.named(given.slot), entries[given.run_id], now)
        told = {} if self.paused else choice.waiting
        self.waiting = {run_id: reason for run_id, reason in told.items() if reason != NO_SLOT}

    def _free_slots(self) -> list[FreeSlot]:
        return [
            FreeSlot(slot.name, slot.device, slot.backbone, self.memory.worker_mb(slot), slot.on_demand)
            for slot in self.slots
            if slot.free
        ]

    def _situation(self) -> SchedulerState:
        bare = SchedulerState(peaks_mb=self.memory.peaks_mb)
        busy = [slot for slot in self.slots if slot.run_id in self.index.entries and not slot.is_job]
        needs = {
            slot.name: need_mb(self.index.entries[slot.run_id or ""].queued_run, slot.device, bare) for slot in busy
        }
        return SchedulerState(
            busy_backbones=Counter(slot.backbone for slot in busy if slot.backbone),
            readings=self.memory.readings,
            reserved_mb=reserved_mb(
                {name: need for name, need in needs.items() if need is not None},
                {slot.name: self.memory.worker_mb(slot) for slot in busy},
                {slot.name: slot.device.name for slot in busy},
            ),
            peaks_mb=self.memory.peaks_mb,
            paused=self.paused,
            known_devices=tuple(device.name for device in self.slots.devices),
        )

    def _give(self, slot: Slot, entry: RunInfo, now: float) -> None:
        """Hand the run to the slot's worker, or to a new one."""
        if slot.worker is None or not self.launcher.hand_over(slot.worker, entry.run_id):
            threads = max(1, cpu_count() // max(1, sum(not slot.is_job for slot in self.slots)))
            slot.worker = self.launcher.submit((entry.run_id,), Resources(slot.name, slot.device, threads))
        LOG.info("run %s: %s on %s goes to %s", entry.run_id, entry.backbone, entry.task, slot.name)
        slot.take(entry.run_id, entry.status.attempt, entry.backbone, now)
        self.index.expect(entry.run_id)

    def _publish_state(self, now: float) -> None:
        unreadable = islice(self.index.unreadable.values(), PROBLEMS_TOLD)
        state = SupervisorState(
            host=this_host(),
            pid=os.getpid(),
            pid_started=self._pid_started,
            started=self._started,
            paused=self.paused,
            slots=tuple(slot.state() for slot in self.slots),
            devices=(*self.memory.states(self.slots), *self.cluster.device_state()),
            waiting={**self.waiting, **self.cluster.told()},
            problems=tuple(
                filter(None, [self.shortage, self.collector.problem, self.launcher.slurm.problem, *unreadable])
            ),
        )
        age = now - self._told.updated if self._told else ALIVE_EVERY_S
        same = self._told is not None and state == self._told.model_copy(update={"updated": 0.0})
        if 0 <= age < STATE_EVERY_S or (same and 0 <= age < ALIVE_EVERY_S):
            return
        self._told = state.model_copy(update={"updated": now})
        write_atomically(self.workspace.supervisor_state, self._told.model_dump_json().encode())
