"""Rankings: backbones by tasks, sorted by any column, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from textual import on
from textual.app import ComposeResult

from ssl_console.analysis.filter_query import COLUMN_FIELDS, RANKING_FIELDS, ROW_FIELDS
from ssl_console.analysis.published import PUBLISHED, unmarked
from ssl_console.analysis.ranking import AGGREGATES
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.choosers import (
    ChooseDialog,
    NameDialog,
    PickDialog,
    ViewsDialog,
    about_view,
    opened_view,
    save_view,
    saved_views,
    suite_dialog,
    take_suite,
)
from ssl_console.tui.screens.editing import EditTarget, card_target
from ssl_console.tui.screens.export import ExportDialog
from ssl_console.tui.screens.marking import MarkingScreen, marking_keys
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import wrap_line
from ssl_console.tui.views.ranking import NAME, PLACE, RankingTable, ranking_table
from ssl_console.tui.views.ranking_details import about_score, column_name, copied_cell, left_out_of_view, summary_lines
from ssl_console.tui.views.ranking_query import (
    GROUP,
    GROUPINGS,
    Published,
    RankingQuery,
    apply_query,
    badged,
    base_ranking,
)
from ssl_console.tui.widgets.inputs import FilterBar
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.table_model import FilterHits
from ssl_console.tui.widgets.virtual_table import LineTable

NO_RESULTS = "No results yet: tick something in Plan and launch it. Press p for the published numbers of the paper."
PUBLISHED_NEXT: Mapping[Published, Published] = {"beside": "all", "all": "off", "off": "beside"}


class RankingsScreen(MarkingScreen[str]):
    """The ranking table."""

    MODE = "rankings"
    SHOWS_DEVICES = False
    KEYS = (
        Key("open", "enter", "open", "result", "Open the result under the cursor"),
        Key("sort", "s", "sort", "sort", "Sort by the column under the cursor; again: reverse the order"),
        *marking_keys("backbone", ", for Compare and the export"),
        Key("export", "x", "export", "export", "Write this view to a file and to the clipboard"),
        Key("filter", "slash", "filter", "filter", "Filter, e.g. family:dino score:linear/dtd>70 or name:own/*"),
        Key("columns", "c", "columns", "columns", "Choose the columns"),
        Key("compare", "C", "compare", "compare", "Compare the marked backbones"),
        Key("intervals", "i", "intervals", "intervals", "Show the 95 % intervals"),
        Key("suite", "t", "suite", "suite", "Show the columns of one suite, or of all"),
        Key("ranks", "r", "ranks", "rank intervals", "Rank confidence intervals, ties, critical difference"),
        Key("sort-also", "S", "sort_also", "sort also", "Sort by this column as well, to break ties", footer=False),
        Key("hide", "minus", "hide", "hide", "Hide the column under the cursor", footer=False),
        Key("pin", "P", "pin", "pin", "Pin the column under the cursor at the left, or unpin it", footer=False),
        Key("find-column", "F", "find_column", "find column", "Go to a column by its name", footer=False),
        Key("group", "b", "group", "group", "Group by family, architecture, pre-training data or size", footer=False),
        Key(
            "weights", "W", "weights", "with weights", "Show only backbones with present weights, or all", footer=False
        ),
        Key("views", "o", "views", "views", "Open or remove a saved view", footer=False),
        Key("save-view", "O", "save_view", "save view", "Save this view under a name", footer=False),
        Key("copy", "y", "copy", "copy cell", "Copy the cell under the cursor", footer=False),
        Key(
            "difference",
            "d",
            "difference",
            "difference",
            "Show the difference of own scores from the published ones",
            footer=False,
        ),
        Key("heat", "H", "heat", "heat", "Turn heat colours on or off", footer=False),
        Key("paper", "p", "paper", "paper", "Published numbers: in the measured columns, all, or none", footer=False),
        Key(
            "missing",
            "m",
            "missing",
            "missing",
            "Means of complete rows only, or over the tasks common to all",
            footer=False,
        ),
        Key(
            "optimism",
            "E",
            "optimism",
            "optimism",
            "Effect of choosing settings on the test images",
            footer=False,
        ),
        Key("apart", "w", "apart", "kept apart", "Why results of these tasks are in other columns", footer=False),
    )
    HELP_TEXT = (
        "The best score of a column is bold, the second underlined; the bar behind a score, and its colour, show where "
        "it is between the column's worst and best. A rank with = is tied: the intervals overlap. Rows that lack "
        "a score have no mean and no mean rank. Rows with † are published numbers, scores with ‡ were imported, scores "
        "with § are on data seen in pre-training. A score with ! carries a warning, which the lines below the "
        "table explain. Backbones with ~ are ahead of one another in a cycle."
    )

    def __init__(self) -> None:
        super().__init__()
        self._ranking_query = RankingQuery()
        self.table: RankingTable | None = None

    def body(self) -> ComposeResult:
        """Summary, filter, table, details."""
        yield StyledText(id="summary", classes="hint")
        yield FilterBar(f"{ROW_FIELDS}, {RANKING_FIELDS} of backbones; {COLUMN_FIELDS} of tasks")
        yield LineTable(cursor="cell", id="ranking")
        yield StyledText(id="details", classes="details")

    def on_mount(self) -> None:
        table = self.query_one(LineTable)
        table.hits = self._hits
        table.focus()

    def _hits(self) -> FilterHits:
        """Backbones and columns matched by the last filter."""
        text, table = self.query_one(FilterBar).last, self.table
        if not text or table is None:
            return FilterHits()
        found, _ = apply_query(table.ranking, RankingQuery(filter=text), self.state.catalogue)
        rows, columns = [row.backbone for row in found.rows], [column.label for column in found.columns]
        narrow = len(rows) < table.total
        return FilterHits(rows if narrow else (), columns if len(columns) < table.columns or not narrow else ())

    def update_view(self, state: AppState) -> None:
        """Show the table, and details of the cell under the cursor."""
        self._filter.show_text(state.ranking_filter)
        query = replace(self._ranking_query, suite=state.suite, filter=state.ranking_filter)
        results = badged(state.results, state.catalogue)
        shown = ranking_table(results, query, state.catalogue, render_context(self).glyphs, state.marked)
        self.table = shown
        table = self.query_one("#ranking", LineTable)
        table.empty = NO_RESULTS if not state.results else "No matches: escape clears the filter."
        table.show(shown.rows(self.size.width))
        self.query_one("#summary", StyledText).show_all(summary_lines(shown, state.suite, self.size.width))
        self._show_details()

    def _show_details(self) -> None:
        table = self.query_one("#ranking", LineTable)
        if self.table is not None:
            lines = about_score(self.table, table.row, table.column)
            parts = [part for one in lines for part in wrap_line(one, self.size.width - 1)]
            self.query_one("#details", StyledText).show(parts)

    def _set_query(self, query: RankingQuery) -> None:
        self._ranking_query = query
        self.refresh_view()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_details()

    @on(FilterBar.Changed)
    def _filtered(self, message: FilterBar.Changed) -> None:
        app = host(self)
        app.set_state(replace(app.state, ranking_filter=message.text))

    @on(LineTable.HeaderClicked)
    def _header_clicked(self, message: LineTable.HeaderClicked) -> None:
        self._sort(message.column)

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    def edit_targets(self) -> list[EditTarget]:
        """The card of the backbone under the cursor."""
        name = unmarked(self.query_one("#ranking", LineTable).row or "")
        return [card_target(name)] if name in self.state.catalogue.backbone else []

    def go_back(self) -> bool:
        had_filter, app = self._filter.clear(), host(self)
        app.set_state(replace(app.state, ranking_filter=""))
        self.query_one("#ranking", LineTable).focus()
        return had_filter

    def places(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Rows and columns, for the palette."""
        table = self.query_one("#ranking", LineTable)
        for column in self.table.measured if self.table is not None else ():
            yield "column", column.label, partial(table.move_to, column=column.label)
        for row in table.rows.keys:
            yield "row", row, partial(table.move_to, row=row)

    # -- actions ------------------------------------------------------------------------------------------------

    def _sort(self, column: str | None) -> None:
        if column is not None:
            self._set_query(self._ranking_query.sorted_by(NAME if column == PLACE else column))

    def action_sort(self) -> None:
        self._sort(self.query_one("#ranking", LineTable).column)

    def action_sort_also(self) -> None:
        """Add the column under the cursor as a further sort key."""
        column = self.query_one("#ranking", LineTable).column
        if column is not None:
            self._set_query(self._ranking_query.also_sorted_by(column))

    @property
    def marks(self) -> Sequence[str]:
        """The marked backbones, in the order of marking."""
        return self.state.marked

    def set_marks(self, marks: Sequence[str]) -> None:
        """Mark these backbones."""
        app = host(self)
        app.set_state(replace(app.state, marked=tuple(marks)))

    def items(self, rows: Sequence[str], columns: Sequence[str]) -> Sequence[str]:  # noqa: ARG002 - rows alone are marked
        """The measured backbones of these rows; for a group's header alone, those of the group."""
        groups = self.table.groups if self.table else {}
        names = groups[rows[0]] if len(rows) == 1 and rows[0] in groups else rows
        return [name for name in names if name and not name.startswith(GROUP) and not name.endswith(PUBLISHED)]

    def action_filter(self) -> None:
        self.query_one(FilterBar).edit()

    def action_suite(self) -> None:
        self.app.push_screen(suite_dialog(self.state), lambda name: take_suite(host(self), name))

    def action_columns(self) -> None:
        suite = self.state.catalogue.suite.get(self.state.suite or "")
        base = base_ranking(self.state.results, suite.columns if suite else None, self._ranking_query.published)
        columns = {aggregate.name: aggregate.title for aggregate in AGGREGATES}
        columns |= {column.label: column.label for column in base.columns}
        shown = [name for name in columns if name not in self._ranking_query.hidden]
        dialog = ChooseDialog("Columns", columns, shown)

        def show(chosen: tuple[str, ...] | None) -> None:
            if chosen is not None:
                self._hide(frozenset(columns) - frozenset(chosen), "choice of columns")

        self.app.push_screen(dialog, show)

    def _hide(self, hidden: frozenset[str], what: str) -> None:
        before = self._ranking_query.hidden
        host(self).undoable(what, lambda: self._set_query(replace(self._ranking_query, hidden=before)))
        self._set_query(replace(self._ranking_query, hidden=hidden))

    def action_hide(self) -> None:
        column = self.query_one("#ranking", LineTable).column
        if column not in {None, NAME, PLACE}:
            self._hide(self._ranking_query.hidden | {column or ""}, f"hiding of {column_name(column or '')}")

    def action_pin(self) -> None:
        column = self.query_one("#ranking", LineTable).column
        if column is not None:
            self._set_query(self._ranking_query.pinned(column))

    def action_find_column(self) -> None:
        """Go to a column by its name."""
        table = self.query_one("#ranking", LineTable)
        options = [(column.key, column_name(column.key)) for column in table.rows.columns[table.rows.first_reached :]]
        self.app.push_screen(PickDialog("Column", options, table.column), lambda name: table.move_to(column=name))

    def action_group(self) -> None:
        """Choose the property by which rows are grouped."""
        query, options = self._ranking_query, [(name, name or "no groups") for name in GROUPINGS]
        dialog = PickDialog("Group by", options, query.group)
        self.app.push_screen(
            dialog, lambda name: self._set_query(replace(query, group=name)) if name is not None else None
        )

    def action_weights(self) -> None:
        """Show only backbones with present weights, or all."""
        self._set_query(replace(self._ranking_query, weights=not self._ranking_query.weights))

    def action_copy(self) -> None:
        """Copy the cell under the cursor, with its interval and its warnings."""
        table = self.query_one("#ranking", LineTable)
        if self.table is not None and table.row is not None:
            host(self).copy(copied_cell(self.table, table.row, table.column or ""))

    def action_save_view(self) -> None:

        def save(name: str | None) -> None:
            if name:
                save_view(self, name, replace(self._ranking_query, suite=self.state.suite, filter=self._filter.text))

        self.app.push_screen(NameDialog("Save this view", "Suite, filter, sort keys, columns, pins and groups."), save)

    def action_views(self) -> None:
        app = host(self)

        def show(name: str | None) -> None:
            query = opened_view(self, name) if name else None
            if query is not None:
                self._ranking_query = query
                app.state = replace(app.state, ranking_filter=query.filter)
                app.choose_suite(query.suite)

        options = [(name, f"{name}  {about_view(view)}") for name, view in saved_views(self).items()]
        if options:
            self.app.push_screen(ViewsDialog("Views", options, None), show)
        else:
            app.notify_user("No view has been saved yet: O saves this one.")

    @property
    def _filter(self) -> FilterBar:
        return self.query_one(FilterBar)

    def action_intervals(self) -> None:
        self._set_query(replace(self._ranking_query, intervals=not self._ranking_query.intervals, differences=False))

    def action_difference(self) -> None:
        """Show or hide differences from published numbers, which replace the intervals."""
        shown = not self._ranking_query.differences
        published = "beside" if shown and self._ranking_query.published == "off" else self._ranking_query.published
        self._set_query(replace(self._ranking_query, differences=shown, intervals=False, published=published))

    def action_heat(self) -> None:
        self._set_query(replace(self._ranking_query, heat=not self._ranking_query.heat))

    def action_paper(self) -> None:
        """Switch the display of published numbers: in measured columns, in all columns, or none."""
        shown = self._ranking_query.published
        self._set_query(replace(self._ranking_query, published=PUBLISHED_NEXT[shown]))

    def action_missing(self) -> None:
        """Switch between complete rows and the tasks that all shown backbones have."""
        self._set_query(replace(self._ranking_query, common=not self._ranking_query.common))

    def action_ranks(self) -> None:
        from ssl_console.tui.screens.ranking_dialogs import RankIntervalsDialog  # noqa: PLC0415 - loaded when needed

        if self.table is not None and self.table.ranking.rows:
            self.app.push_screen(RankIntervalsDialog(self.table.ranking))

    def action_apart(self) -> None:
        """Explain results of these tasks that are in other columns, or in none."""
        from ssl_console.tui.screens.ranking_dialogs import IncomparableDialog  # noqa: PLC0415 - loaded when needed

        if self.table is not None:
            self.app.push_screen(IncomparableDialog(self.table.ranking, self.state.results))

    def action_optimism(self) -> None:
        """Show scores with settings chosen on the test images."""
        from ssl_console.tui.screens.ranking_dialogs import OptimismDialog  # noqa: PLC0415 - loaded when needed

        if self.table is not None:
            self.app.push_screen(OptimismDialog(self.table.ranking, self.state.results))

    def action_export(self) -> None:
        """Export the current view; not available on a read-only page in a browser."""
        if self.app.is_web and host(self).readonly:
            host(self).notify_user("A read-only page writes no files.")
        elif self.table is not None and self.table.ranking.rows:
            left_out = left_out_of_view(self.table)
            dialog = ExportDialog(self.table.as_shown, self.table.query.hidden, left_out, self.state.marked)
            self.app.push_screen(dialog)

    def action_compare(self) -> None:
        host(self).show_screen("compare")

    def action_open(self) -> None:
        """Open the result under the cursor."""
        table = self.query_one("#ranking", LineTable)
        if self.table is None or table.row is None:
            return
        row = self.table.row.get(table.row)
        if row is None:
            return
        score = row.cells.get(table.column or "") or next(iter(row.cells.values()), None)
        if score is not None and score.source == "mine":
            among = tuple(cell.run_id for cell in row.cells.values() if cell.source == "mine")
            host(self).open_result(score.run_id, among)
