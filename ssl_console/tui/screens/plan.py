"""Plan: backbones by tasks, the status of every pair, and the selection to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from textual import on
from textual.app import ComposeResult

from backbones.io.errors import counted
from ssl_console.analysis.filter_query import COLUMN_FIELDS, ROW_FIELDS
from ssl_console.analysis.published import unmarked
from ssl_console.tui.data.backend import LaunchRequest
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.data.state import AppState, Pair, PairSelection
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.choosers import NameDialog, suite_dialog, take_suite
from ssl_console.tui.screens.editing import EditTarget, card_target
from ssl_console.tui.screens.launch import LaunchDialog, fetch_missing
from ssl_console.tui.screens.marking import MarkingScreen, marking_keys
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.views.coverage import CellStatus, coverage_of, filter_catalog
from ssl_console.tui.views.launch import kinds_of
from ssl_console.tui.views.plan import NAME, CoverageGrid, about_cell, coverage_grid, summary
from ssl_console.tui.views.ranking_query import badged
from ssl_console.tui.widgets.inputs import FilterBar
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.table_model import FilterHits
from ssl_console.tui.widgets.virtual_table import LineTable

FIELDS = f"{ROW_FIELDS} of backbones; {COLUMN_FIELDS} of tasks"


class PlanScreen(MarkingScreen[Pair]):
    """The coverage grid."""

    MODE = "plan"
    SHOWS_DEVICES = False
    KEYS = (
        *marking_keys("pair", verb="tick"),
        Key("launch", "enter", "launch", "launch", "Preview the launch, then start it", changes=True),
        Key("filter", "slash", "filter", "filter", "Filter, e.g. dino params:<30 linear"),
        Key("tick-missing", "m", "tick_missing", "missing", "Tick everything shown that has no up-to-date result"),
        Key("tick-row", "r", "tick_row", "row", "Tick the backbone for every task shown"),
        Key("tick-column", "c", "tick_column", "column", "Tick the task for every backbone shown"),
        Key(
            "fetch",
            "w",
            "fetch",
            "fetch",
            "Fetch missing weights and data of the ticked pairs, or of the one under the cursor",
            changes=True,
        ),
        Key("suite", "t,s", "suite", "suite", "Show the tasks of one suite, or of all"),
        Key(
            "save-suite",
            "O",
            "save_suite",
            "save suite",
            "Save the ticked tasks as a suite",
            footer=False,
            changes=True,
        ),
        Key("untick", "X", "untick", "untick all", "Untick everything", footer=False),
        Key("details", "d", "details", "result", "Open the result or the run under the cursor", footer=False),
    )
    HELP_TEXT = (
        "Rows are backbones, columns are tasks, grouped by protocol. A cell shows the score (the mean over seeds; ! "
        "is a warning) or the status: ▶ running, ◌ waiting, ✗ failed, ~ out of date, ↓ weights or data missing, "
        "· not measured. Tick the pairs to measure, then launch: a preview is shown first. w fetches missing weights "
        "and data."
    )

    def body(self) -> ComposeResult:
        """Summary, filter, grid, details."""
        yield StyledText(id="summary", classes="hint")
        yield FilterBar(FIELDS)
        yield LineTable(cursor="cell", id="grid")
        yield StyledText(id="details", classes="details")

    def on_mount(self) -> None:
        table = self.query_one(LineTable)
        table.hits = self._hits
        table.focus()

    def _hits(self) -> FilterHits:
        """Backbones and tasks matched by the last filter."""
        text, state = self.query_one(FilterBar).last, self.state
        if not text:
            return FilterHits()
        found, everything = (filter_catalog(state.catalogue, state.planned_suite, words) for words in (text, ""))
        rows, columns = [one.name for one in found.backbones], [one.name for one in found.tasks]
        return FilterHits(
            rows if len(rows) < len(everything.backbones) else (),
            columns if len(columns) < len(everything.tasks) else (),
        )

    @property
    def grid(self) -> CoverageGrid:
        """The displayed grid."""
        return self._grid(self.state)

    def _grid(self, state: AppState) -> CoverageGrid:
        suite = state.planned_suite
        catalogue = state.catalogue if state.opening is not None else Catalog()  # else it would show all for a moment
        results = badged(state.results, catalogue)
        inputs = (state.reading, state.downloads)
        coverage = coverage_of(catalogue, results, state.runs, state.stale, suite, *inputs)
        text = self.query_one(FilterBar).text
        return coverage_grid(coverage, suite, text, state.selection, render_context(self).glyphs)

    def update_view(self, state: AppState) -> None:
        """Show the grid, and details of the cell under the cursor."""
        grid = self._grid(state)
        table = self.query_one("#grid", LineTable)
        table.empty = "No matches: escape clears the filter."
        if not state.catalogue.backbones or state.opening is None:
            table.empty = "Reading the cards ..."
        elif state.planned_suite:
            table.empty = (
                f"No matches in suite {state.planned_suite}: escape clears the filter, then t shows all tasks."
            )
        table.show(grid.rows(self.size.width))
        text = self.query_one(FilterBar).text
        self.query_one("#summary", StyledText).show([summary(grid, state, bool(text))])
        self._show_details(grid)

    def _show_details(self, grid: CoverageGrid) -> None:
        table = self.query_one("#grid", LineTable)
        self.query_one("#details", StyledText).show(about_cell(grid, table.row, table.column, self.size.width))

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_details(self.grid)

    @on(FilterBar.Changed)
    def _filtered(self) -> None:
        self.refresh_view()

    @on(LineTable.HeaderClicked)
    def _header_clicked(self, message: LineTable.HeaderClicked) -> None:
        if message.column not in {None, NAME}:
            self.toggle(self.grid.column(message.column or ""), message.column or "")

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_mark()

    def edit_targets(self) -> list[EditTarget]:
        """The card of the backbone under the cursor."""
        name = unmarked(self.query_one("#grid", LineTable).row or "")
        return [card_target(name)] if name in self.state.catalogue.backbone else []

    def go_back(self) -> bool:
        had_filter = self.query_one(FilterBar).clear()
        self.refresh_view()
        self.query_one("#grid", LineTable).focus()
        return had_filter

    # -- ticking ------------------------------------------------------------------------------------------------

    @property
    def marks(self) -> Sequence[Pair]:
        """The ticked pairs."""
        return sorted(self.state.selection.pairs)

    def set_marks(self, marks: Sequence[Pair]) -> None:
        """Tick these pairs."""
        app = host(self)
        app.set_state(replace(app.state, selection=PairSelection(frozenset(marks))))

    def items(self, rows: Sequence[str], columns: Sequence[str]) -> Sequence[Pair]:
        """The pairs of these backbones and tasks."""
        tasks = self.state.catalogue.task
        return [(row, column) for row in rows for column in columns if row and column in tasks]

    def _cursor(self) -> Pair | None:
        table = self.query_one("#grid", LineTable)
        if table.row is None or table.column in {None, NAME}:
            return None
        return table.row, table.column or ""

    def action_tick_row(self) -> None:
        """Tick or untick the row under the cursor."""
        pair = self._cursor()
        if pair is not None:
            self.toggle(self.grid.row(pair[0]), pair[0])

    def action_tick_column(self) -> None:
        """Tick or untick the column under the cursor."""
        pair = self._cursor()
        if pair is not None:
            self.toggle(self.grid.column(pair[1]), pair[1])

    def action_tick_missing(self) -> None:
        """Tick all shown pairs without an up-to-date result."""
        pairs = self.grid.unmeasured()
        if not pairs:
            host(self).notify_user(
                "Nothing is missing: every pair has a result, is running or queued, or lacks weights or data."
            )
            return
        self.change_marks([*self.marks, *pairs], f"mark of {len(pairs)} missing pairs")

    def action_untick(self) -> None:
        self.change_marks([], "unmarking of everything")

    # -- suites, filters, launching -----------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.query_one(FilterBar).edit()

    def action_suite(self) -> None:
        everything = f"all {counted(len(self.state.catalogue.tasks), 'task')}"
        dialog = suite_dialog(self.state, everything, self.state.planned_suite)
        self.app.push_screen(dialog, lambda name: take_suite(host(self), name))

    def action_save_suite(self) -> None:
        """Save the ticked tasks as a suite, or all shown tasks if none is ticked."""
        chosen = {task for _, task in self.state.selection.pairs} or {task.name for task in self.grid.shown.tasks}
        tasks = [name for name in self.state.catalogue.task if name in chosen]
        about = f"{counted(len(tasks), 'task')}: {', '.join(tasks[:4])}{' ...' if len(tasks) > 4 else ''}"
        self.app.push_screen(NameDialog("Save as suite", about), lambda name: self._save_suite(name, tasks))

    def _save_suite(self, name: str | None, tasks: Sequence[str]) -> None:
        app = host(self)

        def work() -> Path:
            from ssl_console.operations.backbone_cards import save_suite  # noqa: PLC0415 - loaded when it is needed

            return save_suite(app.backend.session, name or "", tasks)

        def saved(path: Path) -> None:
            app.notify_user(f"{path} was written. e edits it.")
            app.reload_catalogue()
            app.choose_suite(name)

        if name:
            self.in_background(work, saved, group="suite")

    def action_fetch(self) -> None:
        """Queue the downloads of missing weights and data, after a confirmation for several or for data."""
        grid, app = self.query_one("#grid", LineTable), host(self)
        missing = self.state.catalogue.missing(self.state.selection.pairs or [(grid.row or "", grid.column or "")])
        fetchable = [item for item in missing if item.fetchable]
        if fetchable:
            fetch_missing(self.app, fetchable)
        elif missing:
            advice = "\n".join(f"{item.name}: {item.advice}" for item in missing)
            app.show_problem(f"These {kinds_of(missing)} cannot be downloaded", advice)
        else:
            app.notify_user("No weights or data are missing here.")

    def action_launch(self) -> None:
        """Preview the launch."""
        state = self.state
        pairs = state.selection.ordered(state.catalogue.backbone, state.catalogue.task)
        cursor = self._cursor()
        if not pairs and cursor is not None:
            pairs = [cursor]
        if pairs:
            request = LaunchRequest(tuple(pairs), suite=state.planned_suite)
            self.app.push_screen(LaunchDialog(request, started=lambda: self.set_marks(())))

    def go_to(self, backbone: str | None, task: str | None) -> None:
        """Move the cursor to a pair, and clear filters that hide it."""
        if backbone not in (None, *self.grid.rows(80).keys) or task not in (None, *self.grid.rows(80).column_index):
            self.query_one(FilterBar).clear()
            host(self).set_state(replace(self.state, suite=None, opening=""))
        self.refresh_view()  # changes while another screen was in front may not have been drawn yet
        self.query_one("#grid", LineTable).move_to(backbone, task)

    def action_details(self) -> None:
        """Open the result, or the run, under the cursor."""
        pair = self._cursor()
        if pair is None:
            return
        covered = self.grid.coverage.cell(*pair)
        if covered.run_id is None:
            return
        finished = covered.status in {CellStatus.DONE, CellStatus.STALE}
        host(self).open_result(covered.run_id) if finished else host(self).open_run(covered.run_id)
