"""The coverage grid: the status of every backbone on every task. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from ssl_console.analysis.filter_query import parse, split
from ssl_console.analysis.ranking_cell import average_seeds
from ssl_console.operations.downloads import DownloadItem, DownloadProgress
from ssl_console.planning.plan import Blocker
from ssl_console.tui.data.catalog import BackboneEntry, Catalog, FilteredCatalog, TaskEntry
from ssl_console.tui.data.state import Pair
from ssl_console.tui.views import memoize_by_identity
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView
from tasks.datasets.manifest import ReadingProgress


class CellStatus(StrEnum):
    """Status of a cell of the grid."""

    EMPTY = "not measured"
    DONE = "done"
    STALE = "out of date"
    RUNNING = "running"
    STARTING = "starting"
    QUEUED = "queued"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NO_WEIGHTS = "weights missing"
    FETCHING = "being fetched"
    NO_DATA = "data missing"
    PENDING = "pending"


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
    """Score of the newest result, even while a newer run is active."""
    share: float | None = None
    """Progress of a run, 0 to 1, if known."""
    detail: str = ""
    run_id: str | None = None
    marks: str = ""
    """Marks of warnings, after the score."""

    @property
    def needs_run(self) -> bool:
        """Whether it can be measured, and has no up-to-date result and no active run."""
        return self.status in {CellStatus.EMPTY, CellStatus.STALE, CellStatus.FAILED, CellStatus.CANCELLED}


NOTHING = CoverageCell()
NOT_READING: Mapping[str, ReadingProgress] = {}
Downloads = Mapping[DownloadItem, DownloadProgress]
NOT_FETCHING: Downloads = {}


@dataclass(frozen=True)
class Coverage:
    """Content of the grid."""

    catalogue: Catalog = field(default_factory=Catalog)
    results: Mapping[Pair, Result] = field(default_factory=dict)
    runs: Mapping[Pair, RunView] = field(default_factory=dict)
    stale: Mapping[Pair, str] = field(default_factory=dict)
    """Reason by pair for out-of-date results."""
    seeds: Mapping[Pair, int] = field(default_factory=dict)
    """Number of seeds of a mean score."""
    reading: Mapping[str, ReadingProgress] = field(default_factory=dict)
    """Datasets that are pending because their files are being read."""
    downloads: Downloads = field(default_factory=dict)
    """Requested weights and data."""

    @classmethod
    def of(
        cls,
        catalogue: Catalog,
        results: Sequence[Result],
        runs: Iterable[RunView],
        stale: Mapping[Pair, str],
        suite: str | None = None,
        reading: Mapping[str, ReadingProgress] = NOT_READING,
        downloads: Downloads = NOT_FETCHING,
    ) -> Coverage:
        """The newest own result and the newest run of every pair, in the variant of the suite."""
        variants = catalogue.variants(suite)
        latest: dict[Pair, RunView] = {}
        for run in runs:
            pair = (run.backbone, run.task)
            if variants.get(run.task) == run.variant and (pair not in latest or _rank(latest[pair]) < _rank(run)):
                latest[pair] = run
        averaged, seeds = _averages(results, catalogue, suite)
        return cls(catalogue, averaged, latest, stale, seeds, reading, downloads)

    def cell(self, backbone: str, task: str) -> CoverageCell:
        """Status of one pair: of an active run, of the result, or the reason for its absence."""
        pair = (backbone, task)
        result, run = self.results.get(pair), self.runs.get(pair)
        score, doubts = (result.value, marks(result.badges)) if result else (None, "")
        if run is not None and not run.state.final:
            detail = run.reason if run.state is RunState.QUEUED else run.progress.phase
            return CoverageCell(_OF_STATE[run.state], score, run.progress.share, detail, run.run_id, doubts)
        entry = self.catalogue.task.get(task)
        if entry is not None and entry.dataset.name in self.reading:
            read = self.reading[entry.dataset.name]  # whether the result is up to date is known afterwards
            share = read.done / read.total if read.total else None
            return CoverageCell(CellStatus.PENDING, score, share, reading_text(read), marks=doubts)
        if run is not None and run.state in {RunState.FAILED, RunState.CANCELLED} and _later(run, result):
            return CoverageCell(_OF_STATE[run.state], score, None, run.status.kind or run.reason, run.run_id, doubts)
        if result is not None:
            status = CellStatus.STALE if pair in self.stale else CellStatus.DONE
            return CoverageCell(status, score, None, self.stale.get(pair, ""), result.run_id, doubts)
        return self._without_result(backbone, task)

    def _without_result(self, backbone: str, task: str) -> CoverageCell:
        entry, of_task = self.catalogue.backbone.get(backbone), self.catalogue.task.get(task)
        if entry is not None and entry.missing is not None:
            return _lacking(entry.missing, CellStatus.NO_WEIGHTS, self.downloads)
        if of_task is not None and of_task.missing is not None:
            return _lacking(of_task.missing, CellStatus.NO_DATA, self.downloads)
        return NOTHING


@memoize_by_identity
def coverage_of(
    catalogue: Catalog,
    results: Sequence[Result],
    runs: Mapping[str, RunView],
    stale: Mapping[Pair, str],
    suite: str | None,
    reading: Mapping[str, ReadingProgress],
    downloads: Downloads,
) -> Coverage:
    """`Coverage.of`, memoized, as it is requested whenever the cursor moves."""
    return Coverage.of(catalogue, results, runs.values(), stale, suite, reading, downloads)


def download_of(missing: Blocker) -> DownloadItem:
    """The download that provides missing weights or data."""
    return DownloadItem("weights" if missing.kind == "weights" else "data", missing.name)


def _lacking(missing: Blocker, status: CellStatus, downloads: Downloads) -> CoverageCell:
    """A pair whose weights or data are missing, or being fetched."""
    download = downloads.get(download_of(missing))
    if download is not None and download.active:
        share = download.share if download.step == "download" else None
        return CoverageCell(CellStatus.FETCHING, share=share, detail=str(download))
    if download is not None and download.state == "failed":
        return CoverageCell(status, detail=str(download))
    return CoverageCell(status, detail=f"{missing.reason}: w fetches them" if missing.fetchable else missing.advice)


def reading_text(progress: ReadingProgress) -> str:
    """Progress of reading a dataset's files, in words."""
    count = f": {progress.done:,} of {progress.total:,}" if progress.total else " ..."
    return f"the files of {progress.name} are being read{count}"


@memoize_by_identity
def _averages(
    results: Sequence[Result], catalogue: Catalog, suite: str | None
) -> tuple[Mapping[Pair, Result], Mapping[Pair, int]]:
    """Mean over seeds of every pair, and the number of its seeds; memoized, as the cursor moves more often."""
    measured = _measured(results, catalogue, suite)
    return {pair: _averaged(held) for pair, held in measured.items()}, {
        pair: len(held) for pair, held in measured.items()
    }


def _measured(results: Sequence[Result], catalogue: Catalog, suite: str | None) -> Mapping[Pair, list[Result]]:
    """The newest own result of each seed for every pair, in the variant of the suite."""
    variants = catalogue.variants(suite)
    found: dict[Pair, dict[int, Result]] = {}
    for result in sorted(results, key=lambda one: one.finished):
        if result.source != "mine" or variants.get(result.task) != result.variant:
            continue
        held = found.setdefault((result.backbone, result.task), {})
        if any((other.column, other.made_of) != (result.column, result.made_of) for other in held.values()):
            held.clear()
        held.pop(result.seed, None)
        held[result.seed] = result
    return {pair: list(held.values()) for pair, held in found.items()}


def _averaged(results: Sequence[Result]) -> Result:
    """The newest result with the mean over seeds, as in rankings."""
    if len(results) == 1:
        return results[0]
    cell = average_seeds(results)
    update = {"value": cell.value, "ci_low": cell.ci_low, "ci_high": cell.ci_high, "badges": cell.badges}
    return results[-1].model_copy(update=update)


def _rank(run: RunView) -> tuple[bool, float, str]:
    """Sort key of several runs of a pair, e.g. of its seeds: active ones last, then by creation time."""
    return not run.state.final, run.created, run.run_id


def _later(run: RunView, result: Result | None) -> bool:
    return result is None or (run.status.ended or run.created) > result.finished


@memoize_by_identity
def filter_catalog(catalogue: Catalog, suite: str | None, text: str) -> FilteredCatalog:
    """The backbones and tasks that match a suite and a filter; those without missing inputs come first."""
    chosen = catalogue.suite.get(suite or "")
    tasks = _of_suite(chosen.tasks if chosen else (), catalogue.tasks)
    backbones = _of_suite(chosen.backbones if chosen else (), catalogue.backbones)
    terms = parse(text)
    rows = [entry.subject for entry in backbones]
    columns = [entry.subject for entry in tasks]
    for_rows, for_columns = split(terms, rows, columns)
    fields = {name for subject in (*rows, *columns) for name in subject.fields}
    protocols = {entry.protocol: index for index, entry in enumerate(reversed(tasks))}
    fitting = [entry for entry in tasks if for_columns.matches(entry.subject)]
    return FilteredCatalog(
        tuple(sorted((entry for entry in backbones if for_rows.matches(entry.subject)), key=_lacks)),
        tuple(sorted(fitting, key=lambda entry: (-protocols[entry.protocol], _lacks(entry)))),
        tuple(terms.unknown_fields(fields)),
    )


Entry = TypeVar("Entry", BackboneEntry, TaskEntry)


def _of_suite(names: Sequence[str], entries: Sequence[Entry]) -> Sequence[Entry]:
    members = set(names)
    return [entry for entry in entries if entry.name in members] if members else entries


def _lacks(entry: BackboneEntry | TaskEntry) -> bool:
    return entry.missing is not None
