"""Plan of a launch: each run is done, out of date, active or to be started. Pure functions.

A run id is a prefix of its result's key, so the same work submitted twice, even by two consoles at once, is one folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backbones.catalog.card import BackboneCard, Precision
from backbones.catalog.layer_info import LayerRequest
from ssl_console.planning.duration import History, Work, makespan
from ssl_console.workspace.result import Identity, Result, what_changed
from ssl_console.workspace.run import RUN_ID_DIGITS, RunState
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard

Status = Literal["done", "stale", "active", "new"]
STATUSES: tuple[Status, ...] = ("done", "stale", "active", "new")


@dataclass(frozen=True)
class Blocker:
    """Missing weights or data of a run, or a problem of its backbone."""

    kind: Literal["weights", "data", "backbone", "doctor"]
    """`backbone`: incompatible with the protocol; `doctor`: failed a check, so its scores would be wrong."""
    name: str
    advice: str
    """The problem and its fix, in one sentence."""
    reason: str = ""
    """The problem alone, for front ends with their own fix."""
    fetchable: bool = False
    """Whether it can be downloaded by name."""
    megabytes: float | None = None
    """Size of the download, where the card states it."""


@dataclass(frozen=True)
class Candidate:
    """One backbone on one task with one seed, with its files resolved."""

    backbone: BackboneCard
    task: TaskSpec
    dataset: DatasetCard
    seed: int
    key: str | None
    """The result's key; None while weights or data are missing."""
    identity: Identity | None = None
    """The parts that the key is the digest of."""
    missing: tuple[Blocker, ...] = ()
    folders: tuple[tuple[str, RunState], ...] = ()
    """Run folders of this key: id and state, in order of creation."""
    precision: Precision = "float32"
    concerns: tuple[str, ...] = ()
    """Failed checks of a backbone that is measured with --override; they become warnings of every result."""
    layers: LayerRequest | None = None
    """Layer-wise features that its protocol reads."""
    layer_bytes: int = 0
    """Size of the layer-wise features of the whole dataset, in bytes."""

    @property
    def work(self) -> Work:
        """Properties that its duration depends on."""
        return Work(self.backbone.name, self.task.name, self.task.variant, self.task.protocol)


@dataclass(frozen=True)
class PlannedRun:
    """A candidate with its status."""

    candidate: Candidate
    status: Status
    run_id: str | None
    """Existing or future folder of the run; None while the key is unknown."""
    reason: str = ""
    """Explanation of a status other than a new run."""
    in_parts: bool = False
    """Whether its test images are scored in parts, which are written while the others are being encoded."""

    @property
    def to_run(self) -> bool:
        """Whether a launch has to start the run."""
        return self.status in {"stale", "new"} and not self.candidate.missing


@dataclass(frozen=True)
class Plan:
    """All selected runs, in order of selection."""

    runs: tuple[PlannedRun, ...]
    eta_s: float | None
    """Seconds until all new and active runs are done; None while nothing comparable was measured."""
    slots: int

    @property
    def to_run(self) -> tuple[PlannedRun, ...]:
        """Runs that a launch starts."""
        return tuple(run for run in self.runs if run.to_run)

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs per status, blocked runs, runs to start, and the total."""
        found = Counter(run.status for run in self.runs)
        lacking = sum(bool(run.candidate.missing) for run in self.runs)
        return {
            **{status: found[status] for status in STATUSES},
            "missing": lacking,
            "to_run": len(self.to_run),
            "total": len(self.runs),
        }

    @property
    def missing(self) -> tuple[Blocker, ...]:
        """Distinct blockers."""
        return tuple(dict.fromkeys(item for run in self.runs for item in run.candidate.missing))


def make_plan(
    candidates: Sequence[Candidate],
    results: Iterable[Result],
    *,
    slots: int,
    force: bool = False,
    old_identity: Callable[[str], Identity | None] = lambda _run_id: None,
) -> Plan:
    """Status of every candidate.

    `force` repeats finished runs (not active ones). `old_identity` returns the identity of an earlier run, from which
    the reason of an outdated result is derived.
    """
    history = tuple(results)
    known = ResultLookup({result.key: result for result in history}, {result.run_id: result.key for result in history})
    newest = {
        (result.backbone, result.task, result.variant, result.seed): result
        for result in sorted(history, key=lambda result: result.finished)
    }
    runs = []
    for candidate in candidates:
        run, task = _decide(candidate, known, force=force), candidate.task
        if run.status == "new" and run.candidate.key is not None and not run.reason:
            old = newest.get((candidate.backbone.name, task.name, task.variant, candidate.seed))
            run = _stale(run, old, old_identity)
        runs.append(run)
    durations = History.of(history)
    left = [run.candidate.work for run in runs if run.to_run or run.status == "active"]
    return Plan(tuple(runs), makespan([durations.seconds(work) for work in left], slots), slots)


def new_run_id(key: str, taken: Sequence[str]) -> str:
    """Id of the next run of a key: a prefix of the key, then with -2, -3 and so on."""
    first = key[:RUN_ID_DIGITS]
    if not taken:
        return first
    numbers = [int(name.rpartition("-")[2]) for name in taken if "-" in name]
    return f"{first}-{max([1, *numbers]) + 1}"


@dataclass(frozen=True)
class ResultLookup:
    """Results by key, and the keys by run."""

    by_key: Mapping[str, Result]
    keys: Mapping[str, str]

    def finished(self, candidate: Candidate) -> str | None:
        """The finished run folder of this key. A run whose data changed before it started has a result under another
        key.
        """
        done = (name for name, state in candidate.folders if state is RunState.DONE)
        return next((name for name in done if self.keys.get(name, candidate.key) == candidate.key), None)


def _decide(candidate: Candidate, known: ResultLookup, *, force: bool) -> PlannedRun:
    if candidate.key is None:
        return PlannedRun(candidate, "new", None, "; ".join(item.advice for item in candidate.missing))
    active = next((name for name, state in candidate.folders if not state.final), None)
    if active is not None:
        return PlannedRun(candidate, "active", active)
    result, finished = known.by_key.get(candidate.key), known.finished(candidate)
    if result is None and finished is None:
        return _to_run(candidate)
    if force:
        taken = [name for name, _ in candidate.folders] or [candidate.key]
        return PlannedRun(candidate, "new", new_run_id(candidate.key, taken), "repeated, as requested")
    if result is None:
        return PlannedRun(candidate, "done", finished)
    same = (result.backbone, result.task) == (candidate.backbone.name, candidate.task.name)
    reason = "" if same else f"the same measurement is listed as {result.backbone} on {result.task}"
    return PlannedRun(candidate, "done", result.run_id, reason)


def _to_run(candidate: Candidate) -> PlannedRun:
    """Repeat the last run of this key if it did not succeed, else create a new one."""
    assert candidate.key is not None
    name, state = candidate.folders[-1] if candidate.folders else ("", RunState.DONE)
    if state is not RunState.DONE:
        return PlannedRun(candidate, "new", name, f"repeated, was {state} before")
    return PlannedRun(candidate, "new", new_run_id(candidate.key, [name for name, _ in candidate.folders]))


def _stale(run: PlannedRun, old: Result | None, old_identity: Callable[[str], Identity | None]) -> PlannedRun:
    if old is None or old.key == run.candidate.key:
        return run
    before = old_identity(old.run_id)
    known = before is not None and run.candidate.identity is not None
    reason = what_changed(before or {}, run.candidate.identity or {}) if known else ""
    return PlannedRun(run.candidate, "stale", run.run_id, reason or "an input of the score changed")
