"""Handing runs to Slurm: which share a job, what it asks for, and slots that are there as long as their jobs.

Slurm decides when a job starts, so everything is handed over at once, up to the number of jobs that the settings allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydantic import ValidationError

from backbones.io.card_files import CardNameError
from ssl_console.launchers.base import Resources
from ssl_console.launchers.slurm.launcher import SlurmLauncher
from ssl_console.supervisor.slots import Slot, SlotTable
from ssl_console.system.device import Device
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import SLURM, JobRequest, SlurmSettings, load_config
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import JobState, RunState
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import PAUSED, read_status
from ssl_console.workspace.supervisor_state import DeviceState

TRY_EVERY_S = 5.0
LINE_FULL = "as many jobs as [slurm] jobs allows are with Slurm already"


@dataclass(frozen=True)
class JobGroup:
    """Runs of one backbone that share a job."""

    request: JobRequest
    entries: tuple[RunInfo, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """In the order in which they are carried out."""
        return tuple(entry.run_id for entry in self.entries)


@dataclass
class Cluster:
    """The supervisor's dealings with Slurm."""

    workspace: Workspace
    launcher: SlurmLauncher
    slots: SlotTable
    waiting: dict[str, str] = field(default_factory=dict)
    """Why runs wait, by run id: in Slurm's queue, or here."""
    settings: SlurmSettings = field(init=False)
    """As config.toml said when runs were last handed out."""
    _tried: float = 0.0
    _members: dict[str, frozenset[str]] = field(default_factory=dict)
    """Tasks by suite, of the suites that the settings name."""

    def __post_init__(self) -> None:
        self.settings = self.launcher.settings

    def recover(self, entries: Mapping[str, RunInfo], now: float) -> None:
        """Slots around the jobs of an earlier supervisor; a run that several jobs hold is the newest one's."""
        for living in self.launcher.recover():
            held = [run_id for run_id in living.run_ids if run_id in entries]
            slot = self._open(living.worker, now)
            slot.then = tuple(held)
            self.advance(slot, entries, now)

    def advance(self, slot: Slot, entries: Mapping[str, RunInfo], now: float) -> None:
        """On to the next run of the slot's job that is not over, if there is one."""
        while slot.run_id is None and slot.then:
            first, *rest = slot.then
            slot.then = tuple(rest)
            entry = entries.get(first)
            if entry is not None and not entry.status.state.final:
                slot.take(first, entry.status.attempt, entry.backbone, now)

    def assign_runs(self, queued: Iterable[RunInfo], now: float, *, paused: bool) -> None:
        """Give Slurm what is queued for it; what cannot be given has a reason."""
        self.waiting = {}
        line = sorted(queued, key=lambda entry: (-entry.priority, entry.created, entry.run_id))
        if paused:
            self.waiting = {entry.run_id: PAUSED for entry in line}
        elif line:
            self._tried = now
            self._hand_over(line, now)

    def worth_trying(self, now: float) -> bool:
        """Whether runs wait here and it was a while ago that they were looked at: the settings may be better now."""
        return bool(self.waiting) and now - self._tried > TRY_EVERY_S

    def _hand_over(self, line: Sequence[RunInfo], now: float) -> None:
        try:
            self.settings = load_config(self.workspace).slurm
        except ConsoleError as error:
            self.waiting = {entry.run_id: str(error) for entry in line}
            return
        for bundle in bundles(self._requests(line), self.settings.runs_per_job):
            self._give(bundle, now)

    def told(self) -> dict[str, str]:
        """Why runs wait."""
        mine = [slot for slot in self.slots if slot.is_job and slot.job is not None and slot.job.waits]
        in_line = {
            run_id: slot.job.words for slot in mine if slot.job for run_id in (slot.run_id, *slot.then) if run_id
        }
        return {**self.waiting, **in_line}

    def device_state(self) -> tuple[DeviceState, ...]:
        """The cluster as a device: how many jobs run and wait, by partition."""
        jobs = [slot.job for slot in self.slots if slot.is_job and slot.job is not None]
        if not jobs and not self.launcher.problem:
            return ()
        by_partition = groupby(sorted(jobs, key=lambda job: job.partition), key=lambda job: job.partition)
        parts = [_tally(partition, list(found)) for partition, found in by_partition]
        return (DeviceState(device=Device(SLURM, "; ".join(parts)), problem=self.launcher.problem),)

    def _requests(self, line: Sequence[RunInfo]) -> Iterator[tuple[JobRequest, RunInfo]]:
        for entry in line:
            try:
                yield self._request(entry.task), entry
            except (ValidationError, CardNameError, ConsoleError) as error:
                self.waiting[entry.run_id] = f"{self.workspace.config}, [slurm]: {_one_line(error)}"

    def _request(self, task: str) -> JobRequest:
        suites = [name for name in self.settings.suites if task in self._tasks_of(name)]
        return self.settings.request(task, suites)

    def _tasks_of(self, suite: str) -> frozenset[str]:
        if suite not in self._members:
            from tasks.catalog.catalog import TaskCatalog  # noqa: PLC0415 - reads every card: only where a suite is named

            catalog = TaskCatalog.load([self.workspace.tasks])
            self._members[suite] = frozenset(spec.name for spec in catalog.select(suite=suite))
        return self._members[suite]

    def _give(self, bundle: JobGroup, now: float) -> None:
        if sum(slot.is_job for slot in self.slots) >= self.settings.jobs:
            self.waiting |= dict.fromkeys(bundle.run_ids, LINE_FULL)
            return
        entries = [entry for entry in bundle.entries if _queued_still(entry, now)]
        if not entries:
            return
        run_ids = tuple(entry.run_id for entry in entries)
        worker = self.launcher.submit(run_ids, Resources(SLURM, Device(SLURM, ""), 1, bundle.request))
        slot = self._open(worker, now)
        slot.take(run_ids[0], entries[0].status.attempt, entries[0].backbone, now)
        slot.then = run_ids[1:]

    def _open(self, worker: str, now: float) -> Slot:
        slot = Slot(f"{SLURM}/{worker}", Device(SLURM, ""), on_demand=True, worker=worker, since=now)
        self.slots.slots.append(slot)
        return slot


def for_slurm(entry: RunInfo) -> bool:
    """Whether a run is to be a job."""
    return entry.devices == (SLURM,)


def _queued_still(entry: RunInfo, now: float) -> bool:
    """Whether that is so on the disk too: a job that has just been refused has ended its run."""
    try:
        status = read_status(entry.folder, now)
    except FileNotFoundError:
        return False
    return status.state is RunState.QUEUED and status.attempt == entry.status.attempt


def bundles(line: Iterable[tuple[JobRequest, RunInfo]], size: int) -> Iterator[JobGroup]:
    """Runs of one backbone, request and priority share a job; jobs in the order of their first runs."""
    groups: dict[tuple[JobRequest, str, int], list[RunInfo]] = {}
    for request, entry in line:
        groups.setdefault((request, entry.backbone, entry.priority), []).append(entry)
    made = [
        JobGroup(request, tuple(entries[start : start + size]))
        for (request, _, _), entries in groups.items()
        for start in range(0, len(entries), size)
    ]
    yield from sorted(made, key=lambda bundle: (-bundle.entries[0].priority, bundle.entries[0].created))


def _tally(partition: str, jobs: Sequence[JobState]) -> str:
    """`partition main: 4 jobs run, 10 wait`."""
    waits = sum(job.waits for job in jobs)
    runs = len(jobs) - waits
    name = f"partition {partition}" if partition else "not in a partition yet"
    return f"{name}: {runs} {'job runs' if runs == 1 else 'jobs run'}, {waits} wait"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
