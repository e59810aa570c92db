"""The coverage grid as rows and lines. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from backbones.io.errors import counted
from ssl_console.tui.data.catalog import BackboneEntry, FilteredCatalog, TaskEntry, protocol_title
from ssl_console.tui.data.state import AppState, Pair, PairSelection, extent
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Cell, Line, Span, Tone, fit, length, line
from ssl_console.tui.views import memoize_by_identity
from ssl_console.tui.views.coverage import CellStatus, Coverage, CoverageCell, filter_catalog
from ssl_console.tui.widgets.table_model import Column, TableModel

NAME = "backbone"
CELL_WIDTH = 8
WIDEST_LABEL = 12
NONE_TICKED: frozenset[str] = frozenset()

TONES = {
    CellStatus.EMPTY: Tone.FAINT,
    CellStatus.DONE: Tone.PLAIN,
    CellStatus.STALE: Tone.WARN,
    CellStatus.RUNNING: Tone.BUSY,
    CellStatus.STARTING: Tone.BUSY,
    CellStatus.QUEUED: Tone.DIM,
    CellStatus.FAILED: Tone.BAD,
    CellStatus.CANCELLED: Tone.DIM,
    CellStatus.NO_WEIGHTS: Tone.FAINT,
    CellStatus.FETCHING: Tone.BUSY,
    CellStatus.NO_DATA: Tone.FAINT,
    CellStatus.PENDING: Tone.DIM,
}


@dataclass(frozen=True)
class CoverageGrid:
    """The displayed grid: its content, the ticks, and the part that matches a filter."""

    coverage: Coverage
    shown: FilteredCatalog
    selection: PairSelection
    glyphs: Glyphs

    @cached_property
    def _models(self) -> dict[int, TableModel]:
        """Tables by screen width."""
        return {}

    def rows(self, width: int) -> TableModel:
        """As a table for a screen of `width` cells, cached by width."""
        if width not in self._models:
            self._models[width] = self._model(width)
        return self._models[width]

    def _model(self, width: int) -> TableModel:
        longest = max((len(entry.name) for entry in self.shown.backbones), default=0)
        name_width = max(16, min(longest + 2, width // 3))
        columns = (
            Column(NAME, "  backbone", name_width, name=True),
            *(self._column(task) for task in self.shown.tasks),
        )
        return TableModel(columns, [entry.name for entry in self.shown.backbones], self._cell)

    def column(self, task: str) -> list[Pair]:
        """The shown pairs of one task."""
        return [(entry.name, task) for entry in self.shown.backbones]

    def row(self, backbone: str) -> list[Pair]:
        """The shown pairs of one backbone."""
        return [(backbone, entry.name) for entry in self.shown.tasks]

    @cached_property
    def _backbones(self) -> frozenset[str]:
        return frozenset(entry.name for entry in self.shown.backbones)

    @cached_property
    def _tasks(self) -> frozenset[str]:
        return frozenset(entry.name for entry in self.shown.tasks)

    def unmeasured(self) -> list[Pair]:
        """All shown pairs that lack an up-to-date result and can be measured."""
        pairs = (pair for entry in self.shown.backbones for pair in self.row(entry.name))
        return [pair for pair in pairs if self.coverage.cell(*pair).needs_run]

    def _column(self, task: TaskEntry) -> Column:
        width = max(CELL_WIDTH, min(len(task.short), WIDEST_LABEL))
        ticked = extent(self.selection.by_task.get(task.name, NONE_TICKED), self._backbones) == "all"
        return Column(task.name, task.short, width, "right", group=protocol_title(task.protocol), marked=ticked)

    def _cell(self, backbone: str, column: Column) -> Cell:
        if column.key == NAME:
            ticks = extent(self.selection.by_backbone.get(backbone, NONE_TICKED), self._tasks)
            lacking = self.coverage.catalogue.backbone[backbone].missing is not None
            tone = Tone.ACCENT if ticks != "none" else Tone.DIM if lacking else Tone.PLAIN
            mark = {"none": " ", "some": self.glyphs.partly, "all": self.glyphs.ticked}[ticks]
            return Cell(f"{mark} {backbone}", tone)
        covered = self.coverage.cell(backbone, column.key)
        ticked = self.selection.has(backbone, column.key)
        text = cell_text(covered, self.glyphs)
        if not ticked:
            return Cell(text, TONES[covered.status])
        return Cell(f"{self.glyphs.ticked} {fit(text, column.width - 2, 'right')}", Tone.ACCENT, picked=True)


@memoize_by_identity
def coverage_grid(
    coverage: Coverage, suite: str | None, text: str, selection: PairSelection, glyphs: Glyphs
) -> CoverageGrid:
    """The grid of a suite and a filter. Memoized, as it is requested whenever the cursor moves or a device is read."""
    return CoverageGrid(coverage, filter_catalog(coverage.catalogue, suite, text), selection, glyphs)


def cell_text(covered: CoverageCell, glyphs: Glyphs) -> str:
    """A cell in at most seven characters: a sign for the status, and the most important number."""
    sign, word = _SIGNS[covered.status]
    if covered.status in {CellStatus.DONE, CellStatus.STALE}:
        return f"{covered.score:.1f}{covered.marks}{getattr(glyphs, sign) if sign else ''}"
    if covered.status in {CellStatus.RUNNING, CellStatus.PENDING, CellStatus.FETCHING} and covered.share is not None:
        word = f"{covered.share:.0%}"
    if covered.status is CellStatus.FAILED:
        word = covered.detail or word
    return f"{getattr(glyphs, sign)} {word}".rstrip()


_SIGNS = {
    CellStatus.EMPTY: ("empty", ""),
    CellStatus.DONE: ("", ""),
    CellStatus.STALE: ("stale", ""),
    CellStatus.RUNNING: ("running", "run"),
    CellStatus.STARTING: ("starting", "start"),
    CellStatus.QUEUED: ("queued", "wait"),
    CellStatus.FAILED: ("failed", "fail"),
    CellStatus.CANCELLED: ("cancelled", "stop"),
    CellStatus.NO_WEIGHTS: ("missing", ""),
    CellStatus.FETCHING: ("missing", "fetch"),
    CellStatus.NO_DATA: ("missing", ""),
    CellStatus.PENDING: ("queued", "read"),
}


def about_cell(grid: CoverageGrid, backbone: str | None, task: str | None, width: int) -> list[Line]:
    """Two lines about the cell under the cursor; a detail without room takes the facts' place."""
    entry = grid.coverage.catalogue.backbone.get(backbone or "")
    of_task = grid.coverage.catalogue.task.get(task or "")
    if entry is None or of_task is None:
        return [line(), line()]
    covered = grid.coverage.cell(entry.name, of_task.name)
    result = grid.coverage.results.get((entry.name, of_task.name))
    head: list[Span] = [Span(f" {entry.name}", Tone.STRONG), Span(" on ", Tone.DIM), Span(of_task.name, Tone.STRONG)]
    tone = TONES[covered.status]
    head += [Span("  "), Span(covered.status.value, Tone.DIM if tone is Tone.FAINT else tone)]
    if result is not None:
        interval = f"  {result.value:.1f} [{result.ci_low:.1f}, {result.ci_high:.1f}]"
        seeds = grid.coverage.seeds.get((entry.name, of_task.name), 1)
        over = f", mean of {seeds} seeds" if seeds > 1 else ""
        head += [Span(interval), Span(f"  {result.metric}, n {result.n:,}{over}", Tone.DIM)]
    detail = Span(f"  {covered.detail}" if covered.detail else "", Tone.WARN)
    if length([*head, detail]) > width:
        return [tuple(head), line(Span(f" {covered.detail}", Tone.WARN))]
    data = of_task.dataset
    facts = f" {_facts(entry)}   {data.title}, {data.classes} classes, {data.metric}"
    return [(*head, detail), line(Span(facts, Tone.DIM))]


def summary(grid: CoverageGrid, state: AppState, filtered: bool) -> Line:
    """The line above the grid: its size, and the number of ticks."""
    shown, suite = grid.shown, state.planned_suite
    scope = f" suite {suite}" if suite else " all tasks"
    size = f"  {counted(len(shown.backbones), 'backbone')} {grid.glyphs.times} {counted(len(shown.tasks), 'task')}"
    spans = [Span(scope, Tone.ACCENT if suite else Tone.DIM), Span(size, Tone.DIM)]
    if suite and not state.suite:
        spans += [Span("  t", Tone.KEY), Span(f" all {len(state.catalogue.tasks)}", Tone.DIM)]
    if filtered:
        spans.append(Span("  filtered", Tone.ACCENT))
    if shown.unknown:
        spans.append(Span(f"  unknown field {', '.join(shown.unknown)}", Tone.BAD))
    ticked = len(grid.selection.pairs)
    spans.append(Span(f"   {grid.glyphs.ticked} {ticked} ticked", Tone.ACCENT if ticked else Tone.FAINT))
    return tuple(spans)


def _facts(entry: BackboneEntry) -> str:
    facts = entry.card.facts
    parts = [
        facts.method,
        entry.card.architecture,
        f"{facts.parameters_millions:g} M" if facts.parameters_millions else None,
        f"{facts.epochs} epochs" if facts.epochs else None,
        f"ImageNet {facts.imagenet_top1:g}" if facts.imagenet_top1 else None,
    ]
    return ", ".join(part for part in parts if part)
