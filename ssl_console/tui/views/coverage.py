"""The coverage grid: what is known of every backbone on every task. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from ssl_console.tui.data.catalog import BackboneEntry, Catalog, FilteredCatalog, TaskEntry
from ssl_console.tui.data.filter_query import parse, split
from ssl_console.tui.data.state import Pair
from ssl_console.tui.views import memoize_by_identity
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView


class CellStatus(StrEnum):
    """How a cell of the grid stands."""

    EMPTY = "not measured"
    DONE = "done"
    STALE = "out of date"
    RUNNING = "running"
    STARTING = "starting"
    QUEUED = "queued"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NO_WEIGHTS = "weights missing"
    NO_DATA = "data missing"


ACTIVE = frozenset({CellStatus.RUNNING, CellStatus.STARTING, CellStatus.QUEUED})
_OF_STATE: Mapping[RunState, CellStatus] = {
    RunState.QUEUED: CellStatus.QUEUED,
    RunState.STARTING: CellStatus.STARTING,
    RunState.RUNNING: CellStatus.RUNNING,
    RunState.FAILED: CellStatus.FAILED,
    RunState.CANCELLED: CellStatus.CANCELLED,
}


@dataclass(frozen=True)
class CoverageCell:
    """One cell of the grid."""

    status: CellStatus = CellStatus.EMPTY
    score: float | None = None
    """The newest result's, even where a newer run is under way."""
    share: float | None = None
    """How far a running one is, where that is known."""
    detail: str = ""
    run_id: str | None = None

    @property
    def needs_run(self) -> bool:
        """Whether "run what is missing" means it: no up-to-date result, none on its way, nothing lacking."""
        return self.status in {CellStatus.EMPTY, CellStatus.STALE, CellStatus.FAILED, CellStatus.CANCELLED}


NOTHING = CoverageCell()


@dataclass(frozen=True)
class Coverage:
    """Everything that the grid is made of."""

    catalogue: Catalog = field(default_factory=Catalog)
    results: Mapping[Pair, Result] = field(default_factory=dict)
    runs: Mapping[Pair, RunView] = field(default_factory=dict)
    stale: Mapping[Pair, str] = field(default_factory=dict)
    """Why a result no longer counts as up to date."""

    @classmethod
    def of(
        cls,
        catalogue: Catalog,
        results: Sequence[Result],
        runs: Iterable[RunView],
        stale: Mapping[Pair, str],
        suite: str | None = None,
    ) -> Coverage:
        """The newest own result and the run of every pair that counts, in the variant that the suite measures."""
        variants = catalogue.variants(suite)
        latest: dict[Pair, RunView] = {}
        for run in runs:
            pair = (run.backbone, run.task)
            if variants.get(run.task) == run.variant and (pair not in latest or _rank(latest[pair]) < _rank(run)):
                latest[pair] = run
        return cls(catalogue, _newest(results, catalogue, suite), latest, stale)

    def cell(self, backbone: str, task: str) -> CoverageCell:
        """What is known of one pair: a run under way counts most, then the result, then why there is none."""
        pair = (backbone, task)
        result, run = self.results.get(pair), self.runs.get(pair)
        score = result.value if result else None
        if run is not None and not run.state.final:
            return CoverageCell(_OF_STATE[run.state], score, run.progress.share, _of_run(run), run.run_id)
        if run is not None and run.state in {RunState.FAILED, RunState.CANCELLED} and _later(run, result):
            return CoverageCell(_OF_STATE[run.state], score, None, run.status.kind or run.reason, run.run_id)
        if result is not None:
            status = CellStatus.STALE if pair in self.stale else CellStatus.DONE
            return CoverageCell(status, score, None, self.stale.get(pair, ""), result.run_id)
        return self._without_result(backbone, task)

    def _without_result(self, backbone: str, task: str) -> CoverageCell:
        entry, of_task = self.catalogue.backbone.get(backbone), self.catalogue.task.get(task)
        if entry is not None and entry.missing is not None:
            return CoverageCell(CellStatus.NO_WEIGHTS, detail=entry.missing.advice)
        if of_task is not None and of_task.missing is not None:
            return CoverageCell(CellStatus.NO_DATA, detail=of_task.missing.advice)
        return NOTHING

    @cached_property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Lowest and highest score of every task."""
        found: dict[str, list[float]] = {}
        for (_, task), result in self.results.items():
            found.setdefault(task, []).append(result.value)
        return {task: (min(values), max(values)) for task, values in found.items()}


@memoize_by_identity
def _newest(results: Sequence[Result], catalogue: Catalog, suite: str | None) -> Mapping[Pair, Result]:
    """The newest own result of every pair in the variant that the suite measures."""
    variants = catalogue.variants(suite)
    newest: dict[Pair, Result] = {}
    for result in results:
        pair = (result.backbone, result.task)
        if result.source != "mine" or variants.get(result.task) != result.variant:
            continue
        if pair not in newest or newest[pair].finished < result.finished:
            newest[pair] = result
    return newest


def _rank(run: RunView) -> tuple[bool, float, str]:
    """Of several runs of a pair (seeds, say) one under way counts most, then the newest; never the folder's order."""
    return not run.state.final, run.created, run.run_id


def _of_run(run: RunView) -> str:
    return run.reason if run.state is RunState.QUEUED else run.progress.phase


def _later(run: RunView, result: Result | None) -> bool:
    return result is None or (run.status.ended or run.created) > result.finished


@memoize_by_identity
def filter_catalog(catalogue: Catalog, suite: str | None, text: str) -> FilteredCatalog:
    """The backbones and tasks that a suite and a filter leave; what can be measured at once comes first."""
    chosen = catalogue.suite.get(suite or "")
    tasks = _of_suite(chosen.tasks if chosen else (), catalogue.tasks)
    backbones = _of_suite(chosen.backbones if chosen else (), catalogue.backbones)
    terms = parse(text)
    rows = [entry.subject for entry in backbones]
    columns = [entry.subject for entry in tasks]
    for_rows, for_columns = split(terms, rows, columns)
    known = {name for subject in (*rows, *columns) for name in subject.fields}
    protocols = {entry.protocol: place for place, entry in enumerate(reversed(tasks))}
    fitting = [entry for entry in tasks if for_columns.matches(entry.subject)]
    return FilteredCatalog(
        tuple(sorted((entry for entry in backbones if for_rows.matches(entry.subject)), key=_lacks)),
        tuple(sorted(fitting, key=lambda entry: (-protocols[entry.protocol], _lacks(entry)))),
        tuple(terms.unknown_fields(known)),
    )


Entry = TypeVar("Entry", BackboneEntry, TaskEntry)


def _of_suite(names: Sequence[str], entries: Sequence[Entry]) -> Sequence[Entry]:
    wanted = set(names)
    return [entry for entry in entries if entry.name in wanted] if wanted else entries


def _lacks(entry: BackboneEntry | TaskEntry) -> bool:
    return entry.missing is not None
