"""Status of a run, from its folder alone. `judge` is pure; `read_facts` reads the files.

Sources in order of precedence: `result.json`; the end of the newest attempt; recent events of an unfinished attempt;
its living process; otherwise the run is lost. Attempt n + 1 exists only after `end.<n>.json`, so the newest attempt is
unique.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ssl_console.system.processes import is_here, lives
from ssl_console.workspace.config import LOCAL, Share
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.records import Record, SharedFieldSets
from ssl_console.workspace.run import Attempt, Backoff, End, Placement, Retry, RunState

FRESH_HERE_S = 10.0
"""Seconds that the supervisor has to record the end of a worker of this host before its run is lost."""
FRESH_ELSEWHERE_S = 120.0
"""Seconds without events after which a run of another host is lost: its process cannot be checked, and files may
arrive late.
"""

_R = TypeVar("_R", bound=Record)
RESULT = "result.json"
_NUMBERED = re.compile(r"(attempt|end|retry)\.([1-9][0-9]{0,5})\.json")
PAUSED = "paused: continue with `ssl-console resume`"


@dataclass(frozen=True)
class FolderFacts:
    """Content of a run folder. Numbers are those of the newest file of a kind, 0 where there is none."""

    finished: float | None = None
    """Time of `result.json` (seconds since the epoch); None when there is none."""
    cancel: bool = False
    attempt: int = 0
    ended: int = 0
    retry: int = 0
    owner: Attempt | None = None
    """Worker that executes attempt number `attempt`."""
    owner_here: bool = False
    """Whether the owner is a process of this machine."""
    owner_lives: bool = False
    """Whether that process runs; False for another machine's."""
    last_sign: float | None = None
    """Time of the newest attempt's last event, or of its claim (seconds since the epoch)."""
    reported: bool = False
    """Whether the newest attempt has written an event."""
    end: End | None = None
    """How attempt number `ended` ended."""
    request: Retry | None = None
    """The request for attempt number `retry`."""
    priority: int | None = None
    """A priority requested after submission."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Status of a run."""

    state: RunState
    reason: str = ""
    """Why a queued run is queued again; the one sentence of an ended run."""
    attempt: int = 1
    """The newest attempt; for a queued run, the next one."""
    owner: Attempt | None = None
    end: End | None = None
    """End of the newest attempt without a result; None for a lost one whose end is not recorded yet."""
    finished: float | None = None
    """Time of the result of a done run (seconds since the epoch)."""
    cancel_requested: bool = False
    batch_scale: float = 1.0
    """Factor on the extraction batch size, from the request for this attempt."""
    priority: int | None = None
    """Priority of a queued run requested after submission; None for the specification's."""
    placement: Placement | None = None
    """Placement in the newest retry request; None for the specification's."""
    backoff: Backoff | None = None
    """Conditions of a queued attempt, from the request for it; of any other, of the newest attempt."""

    @property
    def kind(self) -> str | None:
        """The kind of failure; None for everything else."""
        if self.state is not RunState.FAILED:
            return None
        return self.end.kind if self.end else "lost"

    @property
    def ended(self) -> float | None:
        """Time of its end, in seconds since the epoch."""
        return self.end.ended if self.end else self.finished


def judge(facts: FolderFacts, now: float) -> RunStatus:
    """Status of the run at `now`."""
    if facts.finished is not None:
        return RunStatus(RunState.DONE, attempt=max(1, facts.attempt), owner=facts.owner, finished=facts.finished)
    if facts.attempt > facts.ended:
        return _under_way(facts, now)
    if facts.ended and facts.retry <= facts.ended:
        return _ended(facts)
    return _queued(facts)


def read_facts(folder: RunFolder) -> FolderFacts:
    """Read a run folder. Raises FileNotFoundError when it does not exist."""
    names, newest, finished = set(), {"attempt": 0, "end": 0, "retry": 0}, None
    with os.scandir(folder.path) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.name == RESULT:
                finished = entry.stat().st_mtime
            elif match := _NUMBERED.fullmatch(entry.name):
                newest[match[1]] = max(newest[match[1]], int(match[2]))
    attempt, ended, retry = newest["attempt"], newest["end"], newest["retry"]
    owner = _read(Attempt, folder.attempt(attempt)) if attempt else None
    here = owner is not None and is_here(owner.host, owner.machine)
    last_event = last_event_time(folder.events(attempt)) if attempt > ended else None
    return FolderFacts(
        finished=finished,
        cancel="cancel" in names,
        attempt=attempt,
        ended=ended,
        retry=retry,
        owner=owner,
        owner_here=here,
        owner_lives=owner is not None and here and attempt > ended and lives(owner.pid, owner.pid_started),
        last_sign=last_event or (owner.started if owner else None),
        reported=last_event is not None,
        end=_read_end(folder, ended) if ended else None,
        request=_read(Retry, folder.retry(retry)) if retry else None,
        priority=_read_priority(folder.priority) if "priority" in names else None,
    )


def read_status(folder: RunFolder, now: float) -> RunStatus:
    """Status of the run in this folder. Raises FileNotFoundError when the folder does not exist."""
    return judge(read_facts(folder), now)


def compact(status: RunStatus, sets: SharedFieldSets) -> RunStatus:
    """The same status in less memory: without the worker of a run that has ended, unless its cluster job is shown."""
    recorded = status.state is RunState.DONE or (status.state.final and status.end is not None)
    if recorded and status.owner is not None and not status.owner.job:
        status = replace(status, owner=None)
    if status.owner is None and status.end is None:
        return status
    owner, end = status.owner and sets.share(status.owner), status.end and sets.share(status.end)
    return replace(status, owner=owner, end=end)


def last_event_time(path: Path) -> float | None:
    """Time of the last line of an events file (seconds since the epoch); None when there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime if stat.st_size else None


def _under_way(facts: FolderFacts, now: float) -> RunStatus:
    fresh_s = FRESH_HERE_S if facts.owner_here else FRESH_ELSEWHERE_S
    fresh = facts.last_sign is not None and now - facts.last_sign < fresh_s
    if not facts.owner_lives and not fresh:
        lost = RunStatus(RunState.FAILED, _lost(facts), facts.attempt, facts.owner, cancel_requested=facts.cancel)
        return replace(lost, placement=_placement(facts))
    return RunStatus(
        RunState.RUNNING if facts.reported else RunState.STARTING,
        "cancelling" if facts.cancel else "",
        facts.attempt,
        facts.owner,
        cancel_requested=facts.cancel,
        batch_scale=_scale(facts),
        placement=_placement(facts),
    )


def _lost(facts: FolderFacts) -> str:
    if facts.owner is None:
        return "its worker disappeared without a record; repeat the run with `ssl-console retry`"
    who = f"its worker, process {facts.owner.pid} on {facts.owner.host},"
    return f"{who} disappeared without a record; repeat the run with `ssl-console retry`"


def _ended(facts: FolderFacts) -> RunStatus:
    assert facts.end is not None
    state = RunState.CANCELLED if facts.end.state == "cancelled" else RunState.FAILED
    scale = facts.request.batch_scale if facts.request and facts.retry == facts.ended else 1.0
    where = _placement(facts)
    ended = RunStatus(state, facts.end.message, facts.ended, facts.owner, facts.end, batch_scale=scale, placement=where)
    return replace(ended, backoff=_backoff(facts, facts.ended))


def _queued(facts: FolderFacts) -> RunStatus:
    attempt = facts.ended + 1
    if facts.cancel:
        cancelled = RunStatus(RunState.CANCELLED, "cancelled before it started", attempt, cancel_requested=True)
        return replace(cancelled, placement=_placement(facts))
    again = facts.request if facts.retry == attempt else None
    reason = again.reason if again else ""
    queued = RunStatus(RunState.QUEUED, reason, attempt, batch_scale=_scale(facts), priority=facts.priority)
    return replace(queued, placement=_placement(facts), backoff=_backoff(facts, attempt))


def _scale(facts: FolderFacts) -> float:
    return facts.request.batch_scale if facts.request and facts.retry == facts.ended + 1 else 1.0


def _backoff(facts: FolderFacts, attempt: int) -> Backoff | None:
    return facts.request.backoff if facts.request and facts.retry == attempt else None


def _placement(facts: FolderFacts) -> Placement | None:
    return facts.request.placement if facts.request else None


def _read_end(folder: RunFolder, number: int) -> End:
    path = folder.end(number)
    unreadable = End(attempt=number, state="failed", kind="crash", message=f"{path} cannot be read", ended=0.0)
    return _read(End, path) or unreadable


def _read_priority(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _read(model: type[_R], path: Path) -> _R | None:
    """The record; None when it is missing or damaged: one file must not stop a reader."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


@dataclass(frozen=True)
class QueuedRun:
    """Scheduling properties of a queued run."""

    run_id: str
    backbone: str
    task: str
    priority: int
    created: float
    devices: tuple[str, ...] = ()
    """Names of the devices it may use, `cuda` meaning every CUDA device; empty means any."""
    launcher: str = LOCAL
    """Name of the launcher that starts its worker."""
    share: Share | None = None
    """When it starts on a CUDA device that other processes use; None for the setting."""
    backoff: Backoff | None = None
    """Conditions of its start, after other processes left too little device memory."""
    reason: str = ""
    """Why it is queued again."""
