"""Progress of several followed runs: changed runs, number of ended runs, and time left.

Everything is pure except `RunReader`. Front ends poll a few times a second and draw the `ProgressSnapshot`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from pydantic import ValidationError

from ssl_console.planning.duration import History, Work, makespan
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import Observation, RunObserver, RunView

Results = Mapping[str, Result]
"""Results by run id."""
Fingerprint = tuple[RunState, int, str, bool]
"""State, attempt, reason, and whether the result can be read: the parts of a run whose change is reported."""


@dataclass(frozen=True)
class ProgressSummary:
    """Summary of all followed runs."""

    counts: Mapping[RunState, int]
    total: int
    """Number of followed runs."""
    left_s: float | None
    """Seconds until the last one ends; None while nothing comparable has been measured."""

    @property
    def removed(self) -> int:
        """Number of runs whose folders have been removed."""
        return self.total - sum(self.counts.values())

    @property
    def finished(self) -> int:
        """Number of runs in a final state."""
        return sum(count for state, count in self.counts.items() if state.final)

    @property
    def ended(self) -> bool:
        return self.finished + self.removed == self.total

    @property
    def succeeded(self) -> bool:
        """Whether all runs are done."""
        return self.counts.get(RunState.DONE, 0) == self.total


@dataclass(frozen=True)
class ProgressSnapshot:
    """The followed runs at one moment."""

    now: float
    """Seconds since the epoch."""
    elapsed_s: float
    """Seconds since following began."""
    runs: Sequence[RunView]
    results: Results
    """Results of the runs that are done."""
    changed: Sequence[RunView]
    """Runs that have changed since the previous snapshot."""
    summary: ProgressSummary

    @cached_property
    def active(self) -> list[RunView]:
        """Runs that are assigned to a worker."""
        return [run for run in self.runs if run.state in {RunState.STARTING, RunState.RUNNING}]

    @property
    def ended(self) -> list[RunView]:
        """Runs that have just ended; a done one once its result can be read."""
        return [
            run
            for run in self.changed
            if run.state.final and (run.state is not RunState.DONE or run.run_id in self.results)
        ]

    @property
    def queued(self) -> list[RunView]:
        """Queued runs with a waiting reason."""
        return [run for run in self.runs if run.state is RunState.QUEUED and run.reason]

    @property
    def obstacles(self) -> list[str]:
        """Why no run is active, each reason once; empty while one is."""
        return [] if self.active else list(dict.fromkeys(run.reason for run in self.queued))


def fingerprints(runs: Iterable[RunView], results: Results) -> dict[str, Fingerprint]:
    """The fingerprint of every run, by run id."""
    return {run.run_id: _fingerprint(run, results) for run in runs}


def changes(before: Mapping[str, Fingerprint], runs: Iterable[RunView], results: Results) -> list[RunView]:
    """The runs whose fingerprint is new or has changed."""
    return [run for run in runs if before.get(run.run_id) != _fingerprint(run, results)]


def _fingerprint(run: RunView, results: Results) -> Fingerprint:
    reason = "" if run.state is RunState.RUNNING else run.reason
    return run.state, run.status.attempt, reason, run.run_id in results


def summarize(runs: Sequence[RunView], history: History, slots: int, now: float, total: int) -> ProgressSummary:
    """Counts and time left of the runs that still have a folder, out of `total` followed ones."""
    return ProgressSummary(Counter(run.state for run in runs), total, time_left(runs, history, slots, now))


def time_left(runs: Sequence[RunView], history: History, slots: int, now: float) -> float | None:
    """Seconds until all have ended, from the durations of earlier runs; a run unlike any of them takes their mean.

    None while nothing comparable has been measured.
    """
    left = sorted((run for run in runs if not run.state.final), key=lambda run: run.state is RunState.QUEUED)
    expected = [history.seconds(Work(run.backbone, run.task, run.variant, run.protocol)) for run in left]
    known = [seconds for seconds in expected if seconds is not None]
    if not known and left:
        return None
    mean = fmean(known) if known else 0.0
    remaining = []
    for run, seconds in zip(left, expected, strict=True):
        whole = mean if seconds is None else seconds
        remaining.append(whole if run.state is RunState.QUEUED else max(whole - elapsed_s(run, now), 0.0))
    return makespan(remaining, slots)


def elapsed_s(run: RunView, now: float) -> float:
    """Seconds since the run started; 0 before that."""
    return max(0.0, now - run.progress.started) if run.progress.started is not None else 0.0


@dataclass
class RunReader:
    """The runs of a workspace with their results. A result is read once, as it never changes."""

    workspace: Workspace
    results: dict[str, Result] = field(default_factory=dict)
    """Known results by run id; those of the database can be passed in, so that their records are not opened."""
    observer: RunObserver = field(init=False)

    def __post_init__(self) -> None:
        self.observer = RunObserver(self.workspace)

    def poll(self) -> Observation:
        return self.observer.poll()

    def runs(self, run_ids: Iterable[str] | None = None) -> list[RunView]:
        """These runs in this order, without removed ones; by default all runs, oldest first."""
        runs = self.observer.runs
        if run_ids is None:
            return sorted(runs.values(), key=lambda run: (run.created, run.run_id))
        return [runs[run_id] for run_id in run_ids if run_id in runs]

    def results_of(self, runs: Iterable[RunView]) -> dict[str, Result]:
        """Results of the done runs among these, as far as they can be read."""
        done = [run for run in runs if run.state is RunState.DONE]
        for run in done:
            if run.run_id not in self.results:
                with suppress(OSError, ValidationError):
                    record = ResultRecord.model_validate_json(run.folder.result.read_bytes())
                    self.results[run.run_id] = record.result
        return {run.run_id: self.results[run.run_id] for run in done if run.run_id in self.results}
