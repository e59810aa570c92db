"""The supervisor's tick: read the runs, observe the workers, assign queued runs, publish the state."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from backbones.cpu.free_cores import usable_cores
from backbones.io.files import create_exclusively, write_atomically
from ssl_console.launchers.base import Batch, Launcher, Resources
from ssl_console.supervisor import failures
from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.supervisor.collector import Collector
from ssl_console.supervisor.failures import AutomaticRetries
from ssl_console.supervisor.helpers import HelperScheduler
from ssl_console.supervisor.hooks import Hooks
from ssl_console.supervisor.jobs import JobScheduler
from ssl_console.supervisor.memory import Memory, reserved_mb
from ssl_console.supervisor.queue import NO_SLOT, FreeSlot, SchedulerState, choose, need_mb
from ssl_console.supervisor.slots import Slot, SlotTable
from ssl_console.supervisor.worker_monitor import WorkerMonitor
from ssl_console.system.devices import all_devices, choose_devices
from ssl_console.system.errors import ConsoleError, format_os_error, shortage
from ssl_console.system.processes import own_start, this_host, this_machine
from ssl_console.workspace.config import HookSettings, Share
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import is_paused
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_index import RunIndex, RunInfo
from ssl_console.workspace.supervisor_state import SupervisorState

LOG = logging.getLogger(__name__)
STATE_EVERY_S = 0.5
ALIVE_EVERY_S = 20.0
"""Maximum age of the state file in seconds: on other hosts its age shows that the supervisor is alive."""
MOST_PROBLEMS = 5


@dataclass
class Supervisor:
    """Supervisor of one workspace's queue, devices and database."""

    workspace: Workspace
    launchers: Mapping[str, Launcher]
    """By name."""
    options: SupervisorOptions
    hook_settings: HookSettings = field(default_factory=HookSettings)
    launcher_problems: tuple[str, ...] = ()
    """Reasons why other launchers cannot be used."""
    index: RunIndex = field(init=False)
    watch: WorkerMonitor = field(init=False)
    slots: SlotTable = field(init=False)
    collector: Collector = field(init=False)
    jobs: JobScheduler = field(init=False)
    helpers: HelperScheduler = field(init=False)
    retries: AutomaticRetries = field(init=False)
    hooks: Hooks = field(init=False)
    memory: Memory = field(default_factory=Memory)
    paused: bool = False
    shortage: str = ""
    """Reason why the workspace cannot be written."""
    waiting: dict[str, str] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)
    _pid_started: float = field(default_factory=own_start)
    _asked_devices: set[str] = field(default_factory=set)
    _dirty: bool = True
    _published: SupervisorState | None = None
    _unsettled: dict[str, RunInfo] = field(default_factory=dict)
    """Runs with an outcome that could not be recorded yet."""
    _busy_at: float = 0.0

    def __post_init__(self) -> None:
        self.index = RunIndex(self.workspace)
        self.watch = WorkerMonitor(self.workspace, self.options)
        self.collector = Collector(self.workspace)
        self.slots = SlotTable(self.options.slots_per_device)
        self.jobs = JobScheduler(self.slots)
        self.helpers = HelperScheduler(
            self.slots,
            self.launchers,
            self.options.devices_per_run,
            self.options.help_from_s,
            self._pass_on,
        )
        self.retries = AutomaticRetries(self.workspace, self.launchers, self.options.retries)
        self.hooks = Hooks(self.workspace, self.hook_settings)

    def begin(self, now: float) -> None:
        """Open the slots, read the database, adopt the workers of an earlier supervisor.

        Raises ConsoleError for devices that do not exist, StoreError for a newer version's database.
        """
        self.slots.open(choose_devices(self.options.devices, all_devices()))
        self.collector.open(self.memory.learn)
        self._busy_at = now
        self.tick(now, adopting=True)

    def tick(self, now: float, *, adopting: bool = False, thorough: bool = True) -> None:
        """Run one tick. Raises OSError when the workspace cannot be read or written; the next tick tries again.

        A tick that is not `thorough` may leave recent requests to a later tick, where runs are many.
        """
        changed = self.index.refresh(now, at_once=thorough).changed
        if adopting:
            self._adopt(changed, now)
        if changed:
            self._dirty |= any(not entry.under_way for entry in changed)  # a continuing run frees no resources
            self.memory.learn(self.collector.note(changed))
            self._unsettled |= {entry.run_id: entry for entry in changed}
        self._settle(now)
        self.hooks.observe(changed, self.index.entries, now)
        self.collector.write(now)
        self._look_at_workers(now)
        self._open_asked_devices()
        if self._worth_choosing(now):
            self._assign_runs(now)
        self._assign_helpers(now)
        self._publish_state(now)

    @property
    def queued(self) -> list[RunInfo]:
        """Queued runs that are not assigned to a worker."""
        given = {run_id for slot in self.slots for run_id in (slot.run_id, *slot.then)}
        return [entry for entry in self.index.queued.values() if entry.run_id not in given]

    @property
    def look_every_s(self) -> float | None:
        """Seconds between two checks of the busy workers, set by the most frequent of them; None without any."""
        return min((slot.patience.look_every_s for slot in self.slots if slot.run_id), default=None)

    def may_leave(self, now: float) -> bool:
        """Whether there has been nothing to do for a while; a worker that is being stopped counts as work."""
        busy = self.slots.busy or self.hooks.busy or any(slot.stopping for slot in self.slots)
        if busy or self.collector.behind or self.index.queued or now < self._busy_at:
            self._busy_at = now
        return now - self._busy_at > self.options.linger_s

    def dismiss_all(self, now: float) -> None:
        """Assign no further runs to any worker."""
        for slot in self.slots:
            self.watch.leave(slot, now)

    def give_up(self, moved_to: Path | None, reason: str) -> None:
        """Stop the workers of a workspace that was moved or removed: they cannot publish. Their runs get the reason."""
        for slot in self.slots:
            if slot.worker is None or slot.launcher is None or slot.dedicated:
                continue
            slot.launcher.stop(slot.worker, force=True)
            if slot.run_id is not None and moved_to is not None:
                end = failures.of_moved(slot.attempt, reason)
                folder = Workspace(moved_to).run(slot.run_id)
                if not folder.result.exists():
                    create_exclusively(folder.end(end.attempt), end.model_dump_json().encode())

    def _settle(self, now: float) -> None:
        """Record the missing ends of runs, and queue those that ran out of memory again."""
        ours = {slot.run_id for slot in self.slots}
        for run_id, entry in tuple(self._unsettled.items()):
            self._settle_one(entry, now, ours=run_id in ours)
            del self._unsettled[run_id]

    def _settle_one(self, entry: RunInfo, now: float, *, ours: bool) -> None:
        status = entry.status
        if status.state is RunState.DONE:
            entry.folder.tidy()  # its worker may just have died
        elif status.state is RunState.CANCELLED and status.end is None and not ours:
            self.watch.record(entry.folder, failures.of_cancelled_in_queue(status))
        elif status.state is RunState.FAILED and status.end is None and not ours:
            self.watch.record(entry.folder, failures.of_lost(status))
        else:
            self.retries.consider(entry, now, {slot.pid for slot in self.slots if slot.pid is not None})

    def _adopt(self, entries: Iterable[RunInfo], now: float) -> None:
        """Adopt the workers of an earlier supervisor: they keep their slots until they end."""
        devices = {device.name: device for device in all_devices()} if entries else {}
        owners = {entry.run_id: entry.status.owner for entry in entries if entry.under_way and entry.status.owner}
        for launcher in self.launchers.values():
            own_slots = launcher.capacity() is not None
            under_way = {
                run_id: owner
                for run_id, owner in owners.items()
                if self.index.entries[run_id].placement.launcher == launcher.name
                and (own_slots or owner.device in devices)
            }
            for adopted in launcher.adopt(under_way):
                if own_slots:
                    self.jobs.recover(launcher, adopted, self.index.entries, now)
                    continue
                owner, entry = under_way[adopted.run_ids[0]], self.index.entries[adopted.run_ids[0]]
                LOG.info("run %s: adopted, process %d continues", entry.run_id, owner.pid)
                slot = self.slots.around(launcher, adopted.name, devices[owner.device])
                slot.take(entry.run_id, entry.status.attempt, entry.backbone, owner.started)
                slot.pid = owner.pid

    def _look_at_workers(self, now: float) -> None:
        workers = {name: launcher.snapshot() for name, launcher in self.launchers.items()}
        working = (slot for slot in self.slots if slot.run_id or slot.assists)
        self.watch.footprints.refresh(slot.pid for slot in working if slot.pid is not None)
        for slot in self.slots:
            before = slot.free, slot.worker, slot.run_id
            entry = self.index.entries.get(slot.run_id) if slot.run_id else None
            try:
                started_by = workers[slot.launcher.name] if slot.launcher else {}
                self.watch.look(slot, started_by.get(slot.worker or ""), entry, now)
                self.jobs.advance(slot, self.index.entries, now)
            except OSError as error:  # the outcome of this run cannot be written: it is checked again, others continue
                LOG.error("%s: %s", slot.name, format_os_error(error))
            self._dirty |= (slot.free, slot.worker, slot.run_id) != before
        self.slots.close_extra()

    def _open_asked_devices(self) -> None:
        """Open slots on devices that queued runs request by name; a missing device becomes their waiting reason."""
        asked = {name for entry in self.queued for name in entry.placement.devices} - self._asked_devices
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
        active = self.slots.busy or self._dirty or bool(self.waiting)  # memory of other processes may become free
        self._dirty |= self.memory.refresh(self.slots, now, at_once=self._dirty) if active else False
        self._dirty |= self.jobs.worth_trying(now)
        worth, self._dirty = self._dirty, False
        return worth

    def _assign_runs(self, now: float) -> None:
        if self.shortage:
            self._dirty = True
            return
        queued: dict[str, list[RunInfo]] = {}
        for entry in self.queued:
            queued.setdefault(entry.placement.launcher, []).append(entry)
        self.waiting = {}
        self.jobs.begin_assigning()
        on_devices: list[RunInfo] = []
        for name, entries in queued.items():
            launcher = self.launchers.get(name)
            if launcher is None:
                available = ", ".join(self.launchers)
                reason = f"needs the launcher {name!r}, which is not installed; available: {available}"
                self.waiting |= dict.fromkeys((entry.run_id for entry in entries), reason)
            elif launcher.capacity() is None:
                on_devices += entries
            else:
                self.jobs.assign_runs(launcher, entries, now, paused=self.paused)
        self._assign_to_devices(on_devices, now)

    def _assign_to_devices(self, queued: Iterable[RunInfo], now: float) -> None:
        entries = {entry.run_id: entry for entry in queued}
        choice = choose([entry.queued_run for entry in entries.values()], self._free_slots(), self._situation(now))
        reasons = {} if self.paused else choice.waiting
        self.waiting |= {run_id: reason for run_id, reason in reasons.items() if reason != NO_SLOT}
        for given in choice.assignments:
            self._give(self.slots.named(given.slot), entries[given.run_id], now)
        for name in choice.dismissed:
            self.watch.leave(self.slots.named(name), now)

    def _assign_helpers(self, now: float) -> None:
        """Start helpers as long as no run waits, and stop those that are not needed."""
        waiting = {entry.placement.launcher for entry in self.queued}
        local = any(name in self.launchers and self.launchers[name].capacity() is None for name in waiting)
        self.helpers.stop_unneeded(self.index.entries, now, runs_wait=local and not self.paused)
        if not (waiting or self.paused or self.shortage):
            self.helpers.start(self.index.entries, lambda: (self._free_slots(), self._situation(now)), now)

    def _free_slots(self) -> list[FreeSlot]:
        return [
            FreeSlot(
                slot.name,
                slot.device,
                slot.backbone,
                self.memory.worker_mb(slot),
                launcher=slot.idle_launcher,
                only_named=slot.on_demand,
            )
            for slot in self.slots
            if slot.free and slot.device is not None
        ]

    def _situation(self, now: float) -> SchedulerState:
        bare = SchedulerState(peaks_mb=self.memory.peaks_mb)
        busy = [slot for slot in self.slots.on_devices if slot.run_id in self.index.entries]
        devices = {slot.name: slot.device for slot in busy if slot.device is not None}
        exclusive = [devices[slot.name] for slot in busy if self._share_of(slot) == "never"]
        needs = {
            slot.name: need_mb(self.index.entries[slot.run_id or ""].queued_run, devices[slot.name], bare)
            for slot in busy
        }
        return SchedulerState(
            busy_backbones=Counter(slot.backbone for slot in busy if slot.backbone),
            readings=self.memory.readings,
            reserved_mb=reserved_mb(
                {name: need for name, need in needs.items() if need is not None},
                {slot.name: self.memory.worker_mb(slot) for slot in busy},
                {name: device.name for name, device in devices.items()},
            ),
            peaks_mb=self.memory.peaks_mb,
            share=self.options.share,
            busy_devices=frozenset(device.name for device in devices.values()),
            exclusive_devices=frozenset(device.name for device in exclusive),
            now=now,
            paused=self.paused,
            known_devices=tuple(device.name for device in self.slots.devices),
        )

    def _share_of(self, slot: Slot) -> Share:
        """Sharing with which the slot's run was started."""
        return self.index.entries[slot.run_id or ""].placement.share or self.options.share

    def _give(self, slot: Slot, entry: RunInfo, now: float) -> None:
        """Assign the run to the slot's worker, or to a new one."""
        launcher = self.launchers[entry.placement.launcher]
        if slot.worker is None or not launcher.hand_over(slot.worker, entry.run_id):
            batching = launcher.batches([entry])
            self.waiting |= batching.waiting
            if not batching.batches:
                return
            self._start_worker(slot, launcher, batching.batches[0])
        LOG.info("run %s: %s on %s is assigned to %s", entry.run_id, entry.backbone, entry.task, slot.name)
        slot.take(entry.run_id, entry.status.attempt, entry.backbone, now)
        self.index.expect(entry.run_id)

    def _pass_on(self, slot: Slot, launcher: Launcher, batch: Batch) -> None:
        """Pass a batch of one entry to the slot's worker, or to a new one."""
        if slot.worker is None or not launcher.hand_over(slot.worker, batch.run_ids[0]):
            self._start_worker(slot, launcher, batch)

    def _start_worker(self, slot: Slot, launcher: Launcher, batch: Batch) -> None:
        assert slot.device is not None
        threads = max(1, usable_cores() // max(1, len(self.slots.on_devices)))
        resources = Resources(slot.name, slot.device, threads)
        slot.launcher, slot.worker = launcher, launcher.submit(batch, resources)

    def _publish_state(self, now: float) -> None:
        unreadable = islice(self.index.unreadable.values(), MOST_PROBLEMS)
        problems = [*self.launcher_problems, *(launcher.problem for launcher in self.launchers.values())]
        state = SupervisorState(
            host=this_host(),
            machine=this_machine(),
            pid=os.getpid(),
            pid_started=self._pid_started,
            started=self._started,
            paused=self.paused,
            slots=tuple(slot.state() for slot in self.slots),
            devices=self.memory.states(self.slots),
            launchers=self.jobs.states(self.launchers.values()),
            waiting={**self.waiting, **self.jobs.reasons()},
            problems=tuple(filter(None, [self.shortage, self.collector.problem, *problems, *unreadable])),
        )
        age = now - self._published.updated if self._published else ALIVE_EVERY_S
        same = self._published is not None and state == self._published.model_copy(update={"updated": 0.0})
        if 0 <= age < STATE_EVERY_S or (same and 0 <= age < ALIVE_EVERY_S):
            return
        self._published = state.model_copy(update={"updated": now})
        write_atomically(self.workspace.supervisor_state, self._published.model_dump_json().encode())
