"""Rankings: backbones by tasks, sorted by any column, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from textual import on
from textual.app import ComposeResult

from ssl_console.analysis.published import PUBLISHED
from ssl_console.analysis.ranking import AGGREGATES
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.choosers import ChooseDialog, PickDialog
from ssl_console.tui.screens.comparability import IncomparableDialog
from ssl_console.tui.screens.export import ExportDialog
from ssl_console.tui.screens.plan import FIELDS
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.views.ranking import NAME, PLACE, RankingTable, about_score, ranking_table, summary
from ssl_console.tui.views.ranking_query import Published, RankingQuery, badged, base_ranking
from ssl_console.tui.widgets.filter_bar import FilterBar
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.virtual_table import LineTable

EVERYTHING = "*"
NO_RESULTS = "No results yet: tick something in Plan and launch it. Press p for the published numbers of the paper."
PUBLISHED_NEXT: Mapping[Published, Published] = {"beside": "all", "all": "off", "off": "beside"}


class RankingsScreen(ConsoleScreen):
    """The ranking table."""

    MODE = "rankings"
    KEYS = (
        Key("open", "enter", "open", "result", "Open the result under the cursor"),
        Key("sort", "s", "sort", "sort", "Sort by the column under the cursor; again: reverse the order"),
        Key("mark", "space", "mark", "mark", "Mark the backbone for Compare"),
        Key(
            "difference",
            "d",
            "difference",
            "difference",
            "Difference of own scores to the published ones",
            footer=False,
        ),
        Key("export", "x", "export", "export", "Write this view to a file and to the clipboard"),
        Key("filter", "slash", "filter", "filter", "Filter, e.g. dino params:<30 linear"),
        Key("columns", "c", "columns", "columns", "Choose the columns"),
        Key("intervals", "i", "intervals", "intervals", "Show the 95 % intervals"),
        Key("suite", "u", "suite", "suite", "The columns of one suite, or all"),
        Key("heat", "H", "heat", "heat", "Heat colours on or off", footer=False),
        Key("paper", "p", "paper", "paper", "Published numbers: in the measured columns, all, or none", footer=False),
        Key("ranks", "r", "ranks", "rank intervals", "Rank confidence intervals, ties, critical difference"),
        Key("missing", "m", "missing", "missing", "Rank complete rows, or over the tasks common to all", footer=False),
        Key("compare", "v", "compare", "compare", "Compare the marked backbones", footer=False),
        Key("apart", "w", "apart", "kept apart", "Why results of these tasks are in other columns", footer=False),
    )
    HELP_TEXT = (
        "The best score of a column is bold, the second underlined; the bar behind a score, and its colour, show where "
        "it is between the column's worst and best. A place with = is tied: the intervals overlap. Rows that lack "
        "a score have no mean and no mean rank. Rows with † are published numbers, scores with ‡ were imported, those "
        "with § are on data that the pre-training saw. A score with ! carries a warning, which the lines below the "
        "table explain. Estimates with ~ are ahead of one another in a circle."
    )

    def __init__(self) -> None:
        super().__init__()
        self._ranking_query = RankingQuery()
        self.table: RankingTable | None = None

    def body(self) -> ComposeResult:
        """Summary, filter, table, details."""
        yield StyledText(id="summary", classes="hint")
        yield FilterBar(FIELDS)
        yield LineTable(cursor="cell", id="ranking")
        yield StyledText(id="details", classes="details")

    def on_mount(self) -> None:
        """Begin in the table."""
        self.query_one(LineTable).focus()

    def update_view(self, state: AppState) -> None:
        """Show the table, and details of the cell under the cursor."""
        query = replace(self._ranking_query, suite=state.suite, filter=self.query_one(FilterBar).text)
        results = badged(state.results, state.catalogue)
        shown = ranking_table(results, query, state.catalogue, render_context(self).glyphs, state.marked)
        self.table = shown
        table = self.query_one("#ranking", LineTable)
        table.empty = NO_RESULTS if not state.results else "No match: escape clears the filter."
        table.show(shown.rows(self.size.width))
        self.query_one("#summary", StyledText).show([summary(shown, state.suite)])
        self._show_details()

    def _show_details(self) -> None:
        table = self.query_one("#ranking", LineTable)
        if self.table is not None:
            self.query_one("#details", StyledText).show(about_score(self.table, table.row, table.column))

    def _set_query(self, query: RankingQuery) -> None:
        self._ranking_query = query
        self.refresh_view()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_details()

    @on(FilterBar.Changed)
    def _filtered(self) -> None:
        self.refresh_view()

    @on(LineTable.HeaderClicked)
    def _header_clicked(self, message: LineTable.HeaderClicked) -> None:
        self._sort(message.column)

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    def go_back(self) -> bool:
        """Out of the filter."""
        had_filter = self.query_one(FilterBar).clear()
        self.refresh_view()
        self.query_one("#ranking", LineTable).focus()
        return had_filter

    def places(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Rows and columns, for the palette."""
        table = self.query_one("#ranking", LineTable)
        for column in self.table.ranking.columns if self.table is not None else ():
            yield "column", column.label, partial(table.move_to, column=column.label)
        for row in table.rows.keys:
            yield "row", row, partial(table.move_to, row=row)

    # -- actions ------------------------------------------------------------------------------------------------

    def _sort(self, column: str | None) -> None:
        if column is not None:
            self._set_query(self._ranking_query.sorted_by(NAME if column == PLACE else column))

    def action_sort(self) -> None:
        """By the column under the cursor."""
        self._sort(self.query_one("#ranking", LineTable).column)

    def action_mark(self) -> None:
        """Mark the backbone for Compare."""
        row = self.query_one("#ranking", LineTable).row
        if row is not None and not row.endswith(PUBLISHED):
            app = host(self)
            app.set_state(app.state.with_mark_toggled(row))

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).edit()

    def action_suite(self) -> None:
        """Pick a suite."""
        options = [(EVERYTHING, "everything measured")]
        suites = self.state.catalogue.suites
        options += [(suite.name, f"{suite.name}, {len(suite.tasks)} tasks: {suite.title}") for suite in suites]
        self.app.push_screen(PickDialog("Suite", options, self.state.suite or EVERYTHING), self._take_suite)

    def _take_suite(self, name: str | None) -> None:
        if name is not None:
            host(self).choose_suite(None if name == EVERYTHING else name)

    def action_columns(self) -> None:
        """Choose the columns."""
        suite = self.state.catalogue.suite.get(self.state.suite or "")
        base = base_ranking(self.state.results, suite.columns if suite else None, self._ranking_query.published)
        columns = {aggregate.name: aggregate.title for aggregate in AGGREGATES}
        columns |= {column.label: column.label for column in base.columns}
        shown = [name for name in columns if name not in self._ranking_query.hidden]
        dialog = ChooseDialog("Columns", columns, shown)
        self.app.push_screen(dialog, lambda chosen: self._take_columns(list(columns), chosen))

    def _take_columns(self, names: list[str], chosen: tuple[str, ...] | None) -> None:
        if chosen is not None:
            self._set_query(replace(self._ranking_query, hidden=frozenset(names) - frozenset(chosen)))

    def action_intervals(self) -> None:
        """Intervals on or off."""
        self._set_query(replace(self._ranking_query, intervals=not self._ranking_query.intervals, differences=False))

    def action_difference(self) -> None:
        """Differences to the published numbers on or off; they take the intervals' place."""
        shown = not self._ranking_query.differences
        published = "beside" if shown and self._ranking_query.published == "off" else self._ranking_query.published
        self._set_query(replace(self._ranking_query, differences=shown, intervals=False, published=published))

    def action_heat(self) -> None:
        """Heat on or off."""
        self._set_query(replace(self._ranking_query, heat=not self._ranking_query.heat))

    def action_paper(self) -> None:
        """Published numbers: in the columns measured here, in all columns there are, or none."""
        shown = self._ranking_query.published
        self._set_query(replace(self._ranking_query, published=PUBLISHED_NEXT[shown]))

    def action_missing(self) -> None:
        """Complete rows, or only the tasks that every backbone shown has."""
        self._set_query(replace(self._ranking_query, common=not self._ranking_query.common))

    def action_ranks(self) -> None:
        """Show rank confidence intervals."""
        from ssl_console.tui.screens.rank_intervals import RankIntervalsDialog  # noqa: PLC0415 - loaded when it is needed

        if self.table is not None and self.table.ranking.rows:
            self.app.push_screen(RankIntervalsDialog(self.table.ranking))

    def action_apart(self) -> None:
        """Explain why results of these tasks are in other columns, or in none."""
        if self.table is not None:
            self.app.push_screen(IncomparableDialog(self.table.ranking, self.state.results))

    def action_export(self) -> None:
        """Write exactly this view."""
        if self.table is not None and self.table.ranking.rows:
            self.app.push_screen(ExportDialog(self.table.ranking, self.table.query.hidden))

    def action_compare(self) -> None:
        """Compare what is marked."""
        host(self).show_screen("compare")

    def action_open(self) -> None:
        """Everything about the result under the cursor."""
        table = self.query_one("#ranking", LineTable)
        if self.table is None or table.row is None:
            return
        row = self.table.row[table.row]
        score = row.cells.get(table.column or "") or next(iter(row.cells.values()), None)
        if score is not None and score.source == "mine":
            among = tuple(cell.run_id for cell in row.cells.values() if cell.source == "mine")
            host(self).open_result(score.run_id, among)


def initial_table(state: AppState, glyphs: Glyphs) -> RankingTable:
    """The table that the screen shows first; memoized, so that computing it early saves the time later."""
    return ranking_table(
        badged(state.results, state.catalogue),
        RankingQuery(suite=state.suite),
        state.catalogue,
        glyphs,
        state.marked,
    )
