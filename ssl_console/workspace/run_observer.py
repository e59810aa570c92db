"""Observation of all runs of a workspace: both front ends poll it a few times a second for what has changed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from operator import attrgetter

from ssl_console.system.errors import shortage
from ssl_console.workspace.events import EventTail, Progress, fold
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import is_paused
from ssl_console.workspace.run import JobState, RunState
from ssl_console.workspace.run_index import RunIndex, RunInfo
from ssl_console.workspace.run_status import PAUSED
from ssl_console.workspace.supervisor_state import SlotState, SupervisorState, SupervisorView

NO_SUPERVISOR = "no supervisor is running: start one with `ssl-console resume`"


@dataclass(frozen=True)
class RunView(RunInfo):
    """A run as shown by both front ends: `RunInfo` with its progress, its device, and its waiting reason."""

    progress: Progress = field(default_factory=Progress)
    """Folded from the events of the newest attempt, for runs that were active since the observer started; for
    other runs `RunObserver.history` reads it.
    """
    waiting: str = ""
    """Why a queued run waits, or why the end of a lost run cannot be recorded."""
    device: str = ""
    """Present or assigned device."""
    helpers: tuple[str, ...] = ()
    """Devices, or launchers, of the workers that compute features for the run."""
    bad_lines: int = 0
    """Lines of the events file that are not events."""
    job: JobState | None = None
    """The cluster's job of the run."""
    held: bool = False
    """Whether that job is alive, according to the supervisor."""

    @cached_property
    def state(self) -> RunState:
        """State of the run. A queued run that is assigned to a worker is starting; a silent one is running while
        its job is alive.
        """
        if self.silent:
            return RunState.RUNNING
        return RunState.STARTING if self.status.state is RunState.QUEUED and self.device else self.status.state

    @property
    def places(self) -> str:
        """All devices of the run: `cuda:0, cuda:1`, or `2 x cpu`."""
        if not self.helpers:
            return self.device
        counts = Counter([self.device, *self.helpers])
        return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())

    @property
    def silent(self) -> bool:
        """Whether the run has stopped writing events while its job is alive."""
        return self.status.state is RunState.FAILED and self.status.end is None and self.held

    @cached_property
    def reason(self) -> str:
        """Why the run is in this state, in one sentence; may be empty."""
        if self.silent and self.job is not None:
            return f"silent, but its {self.job.words}"
        return self.waiting or self.status.reason


_info_values = attrgetter(*(one.name for one in fields(RunInfo)))
_run_view: Callable[..., RunView] = RunView


NO_PROGRESS = Progress()


@dataclass(frozen=True)
class Observation:
    """Result of one poll."""

    changed: tuple[RunView, ...]
    removed: tuple[str, ...]
    supervisor_changed: bool
    """Whether slots, devices, waiting reasons or the pause have changed."""


@dataclass
class RunObserver:
    """All runs of a workspace. Not thread-safe."""

    workspace: Workspace
    runs: dict[str, RunView] = field(default_factory=dict)
    supervisor: SupervisorState | None = None
    """None when no supervisor runs."""
    paused: bool = False
    shortage: str = ""
    """Why the workspace cannot be written; checked here, because a supervisor cannot report a full disk."""
    _index: RunIndex = field(init=False)
    _view: SupervisorView = field(init=False)
    _tails: dict[str, tuple[int, EventTail]] = field(default_factory=dict)
    _last_state: SupervisorState | None = None
    _assigned: dict[str, SlotState] = field(default_factory=dict)
    _helpers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Devices of helpers, by run."""
    _next: dict[str, SlotState] = field(default_factory=dict)
    """Jobs by the runs that they execute later."""

    def __post_init__(self) -> None:
        self._index = RunIndex(self.workspace)
        self._view = SupervisorView(self.workspace)

    def poll(self, now: float | None = None) -> Observation:
        """Read the workspace; return all changes since the last poll."""
        now = time.time() if now is None else now
        changes = self._index.refresh(now)
        supervisor_changed = self._read_supervisor(now)
        for run_id in changes.removed:
            self.runs.pop(run_id, None)
            self._tails.pop(run_id, None)
        touched = {run.run_id for run in changes.changed} | self._tails.keys()
        if supervisor_changed:
            touched |= {run_id for run_id, view in self.runs.items() if self._supervisor_differs(view)}
        changed = [view for run_id in touched if (view := self._update(run_id)) is not None]
        return Observation(tuple(changed), changes.removed, supervisor_changed)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """One sentence for every unusable run folder: damaged, or of a newer version."""
        return tuple(self._index.unreadable.values())

    def history(self, run_id: str) -> Progress:
        """All progress of the newest attempt of any run; reads its whole events file."""
        view = self.runs[run_id]
        tail = EventTail.of(view.folder.events(view.status.attempt))
        progress = Progress()
        while events := tail.poll():
            progress = fold(events, progress)
        return progress

    def _read_supervisor(self, now: float) -> bool:
        """Read the supervisor's state; return whether it, the pause or the shortage has changed."""
        self.supervisor = self._view.living(now)
        paused, short = is_paused(self.workspace), shortage(self.workspace.root)
        if self.supervisor is self._last_state and (paused, short) == (self.paused, self.shortage):
            return False
        self._last_state, self.paused, self.shortage = self.supervisor, paused, short
        slots = self.supervisor.slots if self.supervisor else ()
        self._assigned = {slot.run_id: slot for slot in slots if slot.run_id}
        self._next = {run_id: slot for slot in slots for run_id in slot.then}
        helped = [slot for slot in slots if slot.assists and not (slot.job and slot.job.waits)]
        self._helpers = dict.fromkeys((slot.assists or "" for slot in helped), ())
        for slot in helped:
            self._helpers[slot.assists or ""] += (slot.device,)
        return True

    def _update(self, run_id: str) -> RunView | None:
        """Update the view of a run; None when it is unchanged."""
        run = self._index.entries[run_id]
        old = self.runs.get(run_id)
        progress, bad_lines = self._progress(run, old)
        device = self._device(run)
        waiting = self._waiting(run_id) if run.status.state is RunState.QUEUED and not device else ""
        if run.status.state is RunState.FAILED and run.status.end is None:
            waiting = self.shortage  # its worker is gone, and its outcome cannot be recorded
        job = self._job(run)
        view = _run_view(
            *_info_values(run),
            progress=progress,
            waiting=waiting,
            device=device,
            bad_lines=bad_lines,
            job=job,
            held=job is not None and run_id in self._assigned,
            helpers=self._helpers.get(run_id, ()) if run.under_way else (),
        )
        if view == old:
            return None
        self.runs[run_id] = view
        return view

    def _progress(self, run: RunInfo, old: RunView | None) -> tuple[Progress, int]:
        attempt = run.status.attempt
        number, tail = self._tails.get(run.run_id, (0, None))
        before = old.progress if old and number == attempt else NO_PROGRESS
        if number != attempt or tail is None:
            if not run.under_way:
                self._tails.pop(run.run_id, None)
                return (old.progress, old.bad_lines) if old and old.status.attempt == attempt else (NO_PROGRESS, 0)
            tail = EventTail.of(run.folder.events(attempt))
            self._tails[run.run_id] = attempt, tail
        events = tail.poll()
        if not run.under_way and not events:
            self._tails.pop(run.run_id, None)
        return fold(events, before), tail.bad_lines

    def _device(self, run: RunInfo) -> str:
        if run.under_way and run.status.owner:
            return run.status.owner.place
        return self._assigned_device(run.run_id) if run.status.state is RunState.QUEUED else ""

    def _assigned_device(self, run_id: str) -> str:
        """Device whose worker is about to start the run; empty for a waiting job."""
        slot = self._assigned.get(run_id)
        return "" if slot is None or (slot.job is not None and slot.job.waits) else slot.device

    def _job(self, run: RunInfo) -> JobState | None:
        """Job of the run as its worker reported it; of a run without one, or a silent one, as its launcher
        reports it.
        """
        slot = self._assigned.get(run.run_id) or self._next.get(run.run_id)
        owner = run.status.owner
        if run.status.state is RunState.QUEUED or (run.unsettled and not run.under_way and slot is not None):
            return slot.job if slot else None
        if owner is None or not owner.job:
            return None
        return JobState(job_id=owner.job_id, state="RUNNING", partition=owner.partition, node=owner.host)

    def _supervisor_differs(self, view: RunView) -> bool:
        """Whether the supervisor's state now differs from what the view of a run shows."""
        if view.helpers != (self._helpers.get(view.run_id, ()) if view.under_way else ()):
            return True
        if view.status.state is not RunState.QUEUED:
            return False
        device = self._assigned_device(view.run_id)
        return (view.device, view.waiting) != (device, "" if device else self._waiting(view.run_id))

    def _waiting(self, run_id: str) -> str:
        if self.shortage:
            return self.shortage
        if self.supervisor is None:
            return PAUSED if self.paused else NO_SUPERVISOR
        return self.supervisor.waiting.get(run_id, PAUSED if self.paused else "")
