"""Following several runs at once: what has changed, how far all of them are, how long it will take. Pure.

A face (a live display, plain lines, JSON lines, the terminal app) reads `Standing`s a few times a second and shows what
`changes` and `overall` say about them.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pydantic import ValidationError

from ssl_console.planning.duration import History, Work, format_duration, makespan
from ssl_console.workspace.events import Progress
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.run import JobState, RunState
from ssl_console.workspace.run_observer import Observation, RunObserver, RunView

STATE_WORDS = {
    RunState.RUNNING: "running",
    RunState.STARTING: "starting",
    RunState.QUEUED: "queued",
    RunState.DONE: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}


@dataclass(frozen=True)
class RunProgress:
    """Where one followed run stands."""

    run_id: str
    work: Work
    seed: int
    state: RunState
    reason: str = ""
    """Why it waits, or how it ended."""
    attempt: int = 1
    kind: str | None = None
    """The kind of failure."""
    device: str = ""
    job: JobState | None = None
    """The cluster's job that carries it out, is to, or did."""
    ended: float | None = None
    """When it ended, in seconds since the epoch."""
    progress: Progress = field(default_factory=Progress)
    result: Result | None = None
    """Of a run that is done, as soon as its result can be read."""

    @property
    def title(self) -> str:
        """`backbone on task`, with the seed unless it is the usual one."""
        return f"{self.work.backbone} on {self.work.task}" + (f", seed {self.seed}" if self.seed else "")


@dataclass(frozen=True)
class ProgressSummary:
    """All followed runs together."""

    counts: Mapping[RunState, int]
    total: int
    """How many are followed."""
    left_s: float | None
    """Seconds until the last one ends; None while nothing comparable has been measured."""

    @property
    def gone(self) -> int:
        """How many are not there any more: somebody removed their folders."""
        return self.total - sum(self.counts.values())

    @property
    def finished(self) -> int:
        """How many have ended, well or not."""
        return sum(count for state, count in self.counts.items() if state.final)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.finished + self.gone == self.total

    @property
    def succeeded(self) -> bool:
        """Whether all are done."""
        return self.counts.get(RunState.DONE, 0) == self.total

    @property
    def words(self) -> str:
        """`12 of 60 finished (1 failed), 2 running, 46 queued, about 3 min left`."""
        ill = [f"{self.counts[s]} {s}" for s in (RunState.FAILED, RunState.CANCELLED) if self.counts.get(s)]
        words = [f"{self.finished} of {self.total} finished" + (f" ({', '.join(ill)})" if ill else "")]
        going = (RunState.RUNNING, RunState.STARTING, RunState.QUEUED)
        words += [f"{self.counts[s]} {STATE_WORDS[s]}" for s in going if self.counts.get(s)]
        words += [f"{self.gone} removed"] if self.gone else []
        if self.left_s is not None and not self.ended:
            words.append(f"about {format_duration(self.left_s)} left")
        return ", ".join(words)


def changes(before: Sequence[RunProgress], after: Sequence[RunProgress]) -> list[RunProgress]:
    """Those whose state, attempt or reason is another than before; all of them where there is no before."""
    known = {one.run_id: _fingerprint(one) for one in before}
    return [one for one in after if known.get(one.run_id) != _fingerprint(one)]


def overall(
    standings: Sequence[RunProgress], history: History, slots: int, now: float, followed: int | None = None
) -> ProgressSummary:
    """Counts and time left; `followed` is how many there should be, if not all of them may be there any more."""
    counts = Counter(one.state for one in standings)
    total = len(standings) if followed is None else followed
    return ProgressSummary(counts, total, time_left(standings, history, slots, now))


def time_left(standings: Sequence[RunProgress], history: History, slots: int, now: float) -> float | None:
    """Seconds until all have ended: what earlier runs took, with what is not like any of them taken as their mean."""
    left = [one for one in standings if not one.state.final]
    expected = [history.seconds(one.work) for one in left]
    known = [seconds for seconds in expected if seconds is not None]
    if not known and left:
        return None
    usual = fmean(known) if known else 0.0
    going = [one.state is not RunState.QUEUED for one in left]
    seconds = [usual if one is None else one for one in expected]
    remaining = [
        max(whole - elapsed_s(one, now), 0.0) if runs else whole
        for one, whole, runs in zip(left, seconds, going, strict=True)
    ]
    order = sorted(range(len(left)), key=lambda index: not going[index])
    return makespan([remaining[index] for index in order], slots)


def elapsed_s(one: RunProgress, now: float) -> float:
    """How long the run has been going on; 0 before it started."""
    return max(0.0, now - one.progress.started) if one.progress.started is not None else 0.0


def activity_text(one: RunProgress, now: float) -> str:
    """What a run does at the moment: `extracting train 512/1,347 images, 118 images/s, 7 s left`."""
    progress = one.progress
    if one.state is not RunState.RUNNING:
        return one.reason or STATE_WORDS[one.state]
    words = [progress.phase or "running"]
    if progress.total:
        words[0] += f" {progress.done:,}/{progress.total:,} {progress.unit}".rstrip()
    if progress.images_per_s:
        words.append(f"{progress.images_per_s:.0f} images/s")
    left = progress.eta_s(now)
    if left is not None and left >= 1:
        words.append(f"{format_duration(math.ceil(left))} left")
    if one.job is not None:
        words.append(f"on {one.job.node}, job {one.job.job_id}")
    return ", ".join(words)


def outcome_text(one: RunProgress) -> str:
    """How a run ended, in one sentence: its score with its interval, or what went wrong."""
    if one.state is RunState.DONE:
        if one.result is None:
            return "done"
        half = (one.result.ci_high - one.result.ci_low) / 2
        return f"{one.result.value:.1f} ±{half:.1f} ({format_duration(one.result.duration_s)})"
    kind = f" ({one.kind})" if one.kind else ""
    return f"{one.state}{kind}: {one.reason}" if one.reason else f"{one.state}{kind}"


def _fingerprint(one: RunProgress) -> tuple[RunState, int, str, bool]:
    reason = "" if one.state is RunState.RUNNING else one.reason
    return one.state, one.attempt, reason, one.result is not None


@dataclass
class StandingReader:
    """Standings of a workspace's runs. Specifications and results are read once, as they never change."""

    workspace: Workspace
    observer: RunObserver = field(init=False)
    _works: dict[str, Work] = field(default_factory=dict)
    _results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.observer = RunObserver(self.workspace)

    def look(self) -> Observation:
        """Look at the workspace again."""
        return self.observer.poll(time.time())

    def know(self, results: Iterable[Result]) -> None:
        """Take results from the database, so that their records need not be opened."""
        self._results.update((result.run_id, result) for result in results)

    def standings(self, run_ids: Iterable[str]) -> list[RunProgress]:
        """These runs as of the last look, in this order; one that is gone is left out."""
        views = (self.observer.runs.get(run_id) for run_id in run_ids)
        return [self._standing(view) for view in views if view is not None]

    def all_standings(self) -> list[RunProgress]:
        """All runs as of the last look, oldest first."""
        views = sorted(self.observer.runs.values(), key=lambda view: (view.created, view.run_id))
        return [self._standing(view) for view in views]

    def _standing(self, view: RunView) -> RunProgress:
        return RunProgress(
            run_id=view.run_id,
            work=self._work(view),
            seed=view.seed,
            state=view.state,
            reason=view.reason,
            attempt=view.status.attempt,
            kind=view.status.kind,
            device=view.device,
            job=view.job,
            ended=view.status.ended,
            progress=view.progress,
            result=self._result(view) if view.state is RunState.DONE else None,
        )

    def _work(self, view: RunView) -> Work:
        """What the run is about."""
        found = self._works.get(view.run_id)
        if found is None:
            result = self._results.get(view.run_id)
            variant = result.variant if result else view.variant
            found = Work(view.backbone, view.task, variant, view.protocol)
            self._works[view.run_id] = found
        return found

    def _result(self, view: RunView) -> Result | None:
        if view.run_id not in self._results:
            found = _read_result(view.folder)
            if found is None:
                return None
            self._results[view.run_id] = found
        return self._results[view.run_id]


def _read_result(folder: RunFolder) -> Result | None:
    try:
        return ResultRecord.model_validate_json(folder.result.read_bytes()).result
    except (OSError, ValidationError):
        return None
