"""Index of a workspace's runs with their status, updated cheaply even for tens of thousands of runs.

Submissions, requests and claims touch the folder of runs, so while that is unchanged only active runs are read. When it
has changed, run folders with a new modification time are read again: an ended run is read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from sys import intern
from typing import cast, get_args

import orjson
from pydantic import ValidationError

from ssl_console.system.errors import user_name
from ssl_console.workspace.config import AUTO, DevicesPerRun, Share
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.records import SharedFieldSets
from ssl_console.workspace.run import SPEC_VERSION, Placement, RunState, check_version, read_placement
from ssl_console.workspace.run_status import QueuedRun, RunStatus, compact, read_status
from ssl_console.workspace.run_summaries import RunSummary, is_settled, read_summaries, write_summaries
from tasks.catalog.spec import TaskSpec

SETTLED_S = 0.1
"""Resolution of file times in seconds: a newer change may be followed by another one with the same time."""
FULL_SCAN_S = 30.0
"""Seconds after which every folder is read again regardless of its modification time."""
LIFE_EVERY_S = 1.0
"""Seconds between two checks of a run's process while its folder does not change."""
MANY, REST_EACH_S, LONGEST_REST_S = 200, 2e-4, 0.5
"""Reading the modification time of a run folder takes about 5 us. With more runs than `MANY`, callers that can
wait scan all folders less often.
"""
MANY_UNKNOWN = 200
"""Number of ended runs without a summary above which the summaries are written again."""


@dataclass(frozen=True)
class RunInfo:
    """A run: the part of its specification that listings and the queue need, and its status."""

    folder: RunFolder
    backbone: str
    task: str
    protocol: str
    variant: str
    """`tasks.catalog.spec.TaskSpec.variant`: separates the columns of one task."""
    seed: int
    created: float
    """Seconds since the epoch."""
    submitted_priority: int
    """As submitted; `priority` is the current one."""
    submitted_placement: Placement
    """As submitted; `placement` is the current one."""
    status: RunStatus

    @property
    def run_id(self) -> str:
        return self.folder.run_id

    @property
    def under_way(self) -> bool:
        """Whether an attempt is starting or running."""
        return self.status.state in {RunState.STARTING, RunState.RUNNING}

    @property
    def over(self) -> bool:
        """Whether the run has ended and its end is recorded."""
        return self.status.state.final and not (self.status.end is None and self.status.state is not RunState.DONE)

    @property
    def unsettled(self) -> bool:
        """Whether the status can change without a request: the run is active, or lost and not yet recorded as such."""
        return self.under_way or (self.status.state is RunState.FAILED and self.status.end is None)

    @property
    def priority(self) -> int:
        """Last requested priority."""
        return self.submitted_priority if self.status.priority is None else self.status.priority

    @property
    def placement(self) -> Placement:
        """Last requested placement."""
        return self.status.placement or self.submitted_placement

    @cached_property
    def queued_run(self) -> QueuedRun:
        """The scheduler's view of the run."""
        place = self.placement
        return QueuedRun(
            self.run_id,
            self.backbone,
            self.task,
            self.priority,
            self.created,
            place.devices,
            place.launcher,
            place.share,
            self.status.backoff,
            self.status.reason,
        )


@dataclass(frozen=True)
class Changes:
    """Result of one refresh."""

    changed: tuple[RunInfo, ...] = ()
    """New runs, and those with a different status."""
    removed: tuple[str, ...] = ()


@dataclass
class RunIndex:
    """The runs of one workspace, as of the last `refresh`."""

    workspace: Workspace
    entries: dict[str, RunInfo] = field(default_factory=dict)
    queued: dict[str, RunInfo] = field(default_factory=dict)
    """Those of `entries` that are queued."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Unusable run folders by name, and the reason."""
    _times: dict[str, int | None] = field(default_factory=dict)
    _runs_time: int | None = None
    _scanned: float = 0.0
    _unsettled: dict[str, float] = field(default_factory=dict)
    """Runs that can change without a request, and the time of their last reading (seconds since the epoch)."""
    _expected: set[str] = field(default_factory=set)
    """Queued runs that are assigned to a worker."""
    _summarized: int = 0
    """Number of runs with a stored summary."""
    _sets: SharedFieldSets = field(default_factory=SharedFieldSets)

    def expect(self, run_id: str) -> None:
        """Poll this queued run, which is assigned to a worker, so that its start is detected without reading all
        folders.
        """
        self._expected.add(run_id)
        self._unsettled.setdefault(run_id, 0.0)

    def refresh(self, now: float, *, at_once: bool = True) -> Changes:
        """Read changes. `now` is in seconds since the epoch.

        Unless `at_once`, changes by other processes to runs that are neither active nor expected may appear later where
        runs are many: 0.2 s with 1,000 of them, never more than 0.5 s.
        """
        runs = len(self.entries)
        rest_s = 0.0 if at_once or runs <= MANY else min(LONGEST_REST_S, REST_EACH_S * runs)
        if not 0 <= now - self._scanned < rest_s and self._must_scan(now):
            before = self.entries.copy()
            self._scan(now)
            changed = [entry for name, entry in self.entries.items() if before.get(name) is not entry]
            return Changes(tuple(changed), tuple(name for name in before if name not in self.entries))
        changed = []
        for name, read in tuple(self._unsettled.items()):
            due = self._touched(name, now) or not 0 <= now - read < LIFE_EVERY_S
            if due and self._reread(name, now):
                changed.append(self.entries[name])
        return Changes(tuple(changed))

    def _must_scan(self, now: float) -> bool:
        try:
            time = self.workspace.runs.stat().st_mtime_ns
        except FileNotFoundError:
            return bool(self.entries)
        if time == self._runs_time and 0 <= now - self._scanned < FULL_SCAN_S:
            return False
        self._runs_time = time if _settled(time, now) else None
        return True

    def _scan(self, now: float) -> None:
        first, self._scanned = not self._scanned, now
        found = list(self.workspace.run_entries())
        present = {entry.name: entry.time_ns for entry in found if entry.guest is None}
        guests = {entry.name: entry.guest for entry in found if entry.guest is not None}
        if first:
            self._take_summaries(present)
        for name in self.entries.keys() - present.keys():
            del self.entries[name]
            self.queued.pop(name, None)
            self._times.pop(name, None)
            self._unsettled.pop(name, None)
            self._expected.discard(name)
        for name in self.unreadable.keys() - present.keys():
            del self.unreadable[name]
        for name, uid in guests.items():
            self.unreadable[name] = f"{self.workspace.run(name).path} was created by {user_name(uid)}: not executed"
        for name, time in present.items():
            if self._times.get(name) != time or name in self._unsettled:
                self._times[name] = time if _settled(time, now) else None
                if self._times[name] is None:
                    self._runs_time = None
                self._reread(name, now)
        if first:
            self.keep_summaries(now)

    def _take_summaries(self, times: Mapping[str, int]) -> None:
        """Use the stored summaries of ended runs. Damage makes all of them unknown, never wrong."""
        with suppress(ValueError):  # includes pydantic's errors
            for summary in read_summaries(self.workspace, times):
                self.entries[summary.run_id] = _from_summary(self.workspace.run(summary.run_id), summary)
                self._times[summary.run_id] = summary.time_ns
        self._summarized = len(self.entries)

    def keep_summaries(self, now: float) -> None:
        """Write the summaries of ended runs where many have none, if the workspace is writable."""
        settled = [
            (run, time)
            for name, run in self.entries.items()
            if run.over and (time := self._times.get(name)) is not None and is_settled(time, now)
        ]
        if len(settled) - self._summarized >= MANY_UNKNOWN:
            with suppress(OSError):
                write_summaries(self.workspace, (_summary(run, time) for run, time in settled))
                self._summarized = len(settled)

    def _touched(self, name: str, now: float) -> bool:
        """Whether files were added to or removed from a run folder since the last reading."""
        try:
            time = self.workspace.run(name).path.stat().st_mtime_ns
        except FileNotFoundError:
            return False  # the folder of runs shows that too
        if self._times.get(name) == time:
            return False
        self._times[name] = time if _settled(time, now) else None
        return True

    def _reread(self, name: str, now: float) -> bool:
        """Read one run folder; return whether anything changed."""
        folder, old = self.workspace.run(name), self.entries.get(name)
        try:
            status = compact(read_status(folder, now), self._sets)
            if old is None or (old.status.state.final and old.status == status):  # its backbone may have been renamed
                entry = _read_info(folder, status)
                entry = old if old is not None and entry == old else entry
            else:
                entry = old if old.status == status else replace(old, status=status)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.unreadable[name] = f"{folder.spec} cannot be used: {error}"
            return False
        self.unreadable.pop(name, None)
        if entry.status.state is not RunState.QUEUED:
            self._expected.discard(name)
        if entry.unsettled or name in self._expected:
            self._unsettled[name] = now
        else:
            self._unsettled.pop(name, None)
        if entry is old:
            return False
        self.entries[name] = entry
        if entry.status.state is RunState.QUEUED:
            self.queued[name] = entry
        else:
            self.queued.pop(name, None)
        return True


def _summary(run: RunInfo, time_ns: int) -> RunSummary:
    return RunSummary(
        run_id=run.run_id,
        time_ns=time_ns,
        backbone=run.backbone,
        task=run.task,
        protocol=run.protocol,
        variant=run.variant,
        seed=run.seed,
        created=run.created,
        priority=run.submitted_priority,
        placement=run.submitted_placement,
        status=run.status,
    )


def _from_summary(folder: RunFolder, summary: RunSummary) -> RunInfo:
    return RunInfo(
        folder=folder,
        backbone=summary.backbone,
        task=summary.task,
        protocol=summary.protocol,
        variant=summary.variant,
        seed=summary.seed,
        created=summary.created,
        submitted_priority=summary.priority,
        submitted_placement=summary.placement,
        status=summary.status,
    )


def _settled(time_ns: int, now: float) -> bool:
    return abs(now - time_ns / 1e9) > SETTLED_S


def _read_info(folder: RunFolder, status: RunStatus) -> RunInfo:
    """Run from plain JSON: validating ten thousand specifications would take seconds."""
    spec: Mapping[str, object] = orjson.loads(folder.spec.read_bytes())
    check_version(spec.get("version", SPEC_VERSION))
    task, backbone = _table(spec["task"]), _table(spec["backbone"])
    return RunInfo(
        folder=folder,
        backbone=intern(str(backbone["name"])),
        task=intern(str(task["name"])),
        protocol=intern(str(task["protocol"])),
        variant=_variant(orjson.dumps(task)),
        seed=int(str(spec.get("seed", 0))),
        created=float(str(spec.get("created", 0.0))),
        submitted_priority=int(str(spec.get("priority", 0))),
        submitted_placement=_placement(spec),
        status=status,
    )


@lru_cache(maxsize=1024)
def _variant(task: bytes) -> str:
    """Variant of a task in JSON; the name of its preset if it comes from another version and cannot be interpreted."""
    try:
        return TaskSpec.model_validate_json(task).variant
    except (ValidationError, KeyError):
        return str(orjson.loads(task)["preset"])


def _placement(spec: Mapping[str, object]) -> Placement:
    launcher, stored, share = spec.get("launcher"), spec.get("devices"), spec.get("share")
    devices = tuple(map(str, stored)) if isinstance(stored, list) else ()
    placement = read_placement(None if launcher is None else str(launcher), devices)
    return replace(
        placement,
        share=cast("Share", share) if share in get_args(Share) else None,
        devices_per_run=_devices_per_run(spec.get("devices_per_run")),
    )


def _devices_per_run(value: object) -> DevicesPerRun | None:
    return AUTO if value == AUTO else value if isinstance(value, int) else None


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a table, not {value!r}")
    return value
