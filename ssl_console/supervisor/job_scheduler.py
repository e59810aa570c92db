"""Scheduling for launchers with a queue of their own: batches are submitted at once, up to the launcher's
capacity, and each worker has a slot for its lifetime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ssl_console.launchers.base import AdoptedWorker, Batch, Launcher
from ssl_console.supervisor.slots import Slot, SlotTable
from ssl_console.workspace.run import ASSIST, RunState
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import PAUSED, read_status
from ssl_console.workspace.supervisor_state import LauncherState

TRY_EVERY_S = 5.0


@dataclass
class JobScheduler:
    """Assigns queued runs to launchers, and advances each slot from one run of its worker to the next."""

    slots: SlotTable
    waiting: dict[str, str] = field(default_factory=dict)
    """Why runs have not been submitted, by run id."""
    _tried: float = 0.0

    def recover(self, launcher: Launcher, adopted: AdoptedWorker, entries: Mapping[str, RunInfo], now: float) -> None:
        """Open a slot for a worker of an earlier supervisor."""
        slot = self.slots.open_dedicated(launcher, adopted.name, now)
        helped = entries.get(adopted.run_ids[0].removeprefix(ASSIST))
        if adopted.run_ids[0].startswith(ASSIST) and helped is not None:
            slot.assist(helped.run_id, helped.status.attempt, helped.backbone, now)
        slot.then = tuple(run_id for run_id in adopted.run_ids if run_id in entries)
        self.advance(slot, entries, now)

    def advance(self, slot: Slot, entries: Mapping[str, RunInfo], now: float) -> None:
        """Advance to the next unfinished run of the slot's worker, if there is one."""
        while slot.run_id is None and slot.then:
            first, *rest = slot.then
            slot.then = tuple(rest)
            entry = entries.get(first)
            if entry is not None and not entry.status.state.final:
                slot.take(first, entry.status.attempt, entry.backbone, now)

    def begin_assigning(self) -> None:
        """Clear the waiting reasons; `assign_runs` follows for each launcher."""
        self.waiting = {}

    def assign_runs(self, launcher: Launcher, queued: Iterable[RunInfo], now: float, *, paused: bool) -> None:
        """Submit the queued runs of a launcher; runs that cannot be submitted get a waiting reason."""
        line = sorted(queued, key=lambda entry: (-entry.priority, entry.created, entry.run_id))
        if paused:
            self.waiting |= {entry.run_id: PAUSED for entry in line}
            return
        self._tried = now
        entries = {entry.run_id: entry for entry in line}
        batching = launcher.batches(line)
        self.waiting |= batching.waiting
        for batch in batching.batches:
            self._submit(launcher, batch, entries, now)

    def worth_trying(self, now: float) -> bool:
        """Whether runs wait, and were last tried a while ago: the settings may have been corrected."""
        return bool(self.waiting) and now - self._tried > TRY_EVERY_S

    def reasons(self) -> dict[str, str]:
        """Why runs wait, by run id: for submission, or in the queue of their launcher."""
        queued = [slot for slot in self.slots.dedicated if slot.job is not None and slot.job.waits]
        in_line = {
            run_id: slot.job.words for slot in queued if slot.job for run_id in (slot.run_id, *slot.then) if run_id
        }
        return {**self.waiting, **in_line}

    def states(self, launchers: Iterable[Launcher]) -> tuple[LauncherState, ...]:
        """States of launchers with slots of their own that have workers or a problem, for the state file."""
        found = []
        for launcher in launchers:
            jobs = [slot.job for slot in self._slots_of(launcher) if slot.job is not None]
            if launcher.capacity() is not None and (jobs or launcher.problem):
                found.append(
                    LauncherState(name=launcher.name, summary=launcher.summarise(jobs), problem=launcher.problem)
                )
        return tuple(found)

    def _submit(self, launcher: Launcher, batch: Batch, entries: Mapping[str, RunInfo], now: float) -> None:
        capacity = launcher.capacity()
        if capacity is not None and len(self._slots_of(launcher)) >= capacity.workers:
            self.waiting |= dict.fromkeys(batch.run_ids, capacity.full_reason)
            return
        runs = [entries[run_id] for run_id in batch.run_ids if _queued_still(entries[run_id], now)]
        if not runs:
            return
        first, *rest = runs
        worker = launcher.submit(Batch(tuple(entry.run_id for entry in runs), batch.request))
        slot = self.slots.open_dedicated(launcher, worker, now)
        slot.take(first.run_id, first.status.attempt, first.backbone, now)
        slot.then = tuple(entry.run_id for entry in rest)

    def _slots_of(self, launcher: Launcher) -> Sequence[Slot]:
        return [slot for slot in self.slots.dedicated if slot.launcher is launcher]


def _queued_still(entry: RunInfo, now: float) -> bool:
    """Whether the run is queued on disk too: the run of a job that was just rejected has ended."""
    try:
        status = read_status(entry.folder, now)
    except FileNotFoundError:
        return False
    return status.state is RunState.QUEUED and status.attempt == entry.status.attempt
