"""Compare: differences between backbones, and transfer against size, speed and ImageNet accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from ssl_console.analysis.filter_query import COLUMN_FIELDS, RANKING_FIELDS, ROW_FIELDS
from ssl_console.analysis.ranking import pick_columns, pick_rows
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.choosers import ChooseDialog, suite_dialog, take_suite
from ssl_console.tui.screens.compare_dialogs import (
    DisagreementDialog,
    open_judge,
    open_ladder,
    open_ledger,
    open_multiverse,
    open_race,
    paths_of,
)
from ssl_console.tui.screens.compare_pane import ComparePane
from ssl_console.tui.screens.marking import places_of
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.views import compare
from ssl_console.tui.views.compare import TASK, CompareTable
from ssl_console.tui.views.paired_tests import PairedTests
from ssl_console.tui.views.ranking_query import RankingQuery, apply_query, badged, base_ranking
from ssl_console.tui.widgets.inputs import FilterBar
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.table_model import FilterHits
from ssl_console.tui.widgets.virtual_table import LineTable


class CompareScreen(ConsoleScreen):
    """Differences and charts."""

    MODE = "compare"
    SHOWS_DEVICES = False
    KEYS = (
        Key("open", "enter", "open", "open", "Open the result under the cursor; in the images view, list the images"),
        Key(
            "view",
            "tab",
            "view(1)",
            "next view",
            "Next: differences, transfer, cost, curves, classes, images, similarity",
        ),
        Key("view-back", "shift+tab", "view(-1)", "previous view", "Previous view", footer=False),
        Key("zoom", "z", "zoom", "zoom", "Maximise the view, or restore it"),
        Key("filter", "slash", "filter", "filter", "Filter tasks and backbones, as in Rankings"),
        Key("choose", "c", "choose", "backbones", "Choose the backbones"),
        Key("base", "b", "base", "base", "Show differences from the backbone under the cursor"),
        Key("suite", "t", "suite", "suite", "Show the tasks of one suite, or of all", footer=False),
        Key(
            "ladder",
            "L",
            "ladder",
            "ladder",
            "Ladder: protocols from kNN to finetuning on the task's dataset",
            footer=False,
        ),
        Key("judge", "V", "judge", "judge", "Judge the backbone under the cursor against the base", footer=False),
        Key("race", "R", "race", "choose", "Race: choose a backbone for the task's dataset", footer=False),
        Key("ledger", "p", "ledger", "published", "Own scores against published ones, with outliers", footer=False),
        Key("axis", "a", "axis", "axis", "Cost: parameters or images/s", footer=False),
        Key(
            "multiverse",
            "M",
            "multiverse",
            "multiverse",
            "Multiverse: which backbone is ahead under how many protocols",
            footer=False,
        ),
        Key("copy", "y", "copy", "copy", "Copy the cell under the cursor; in the images view, the paths", footer=False),
    )
    HELP_TEXT = (
        "The base backbone comes first; the others show their score and the difference from it, in colour where a "
        "paired test on the same samples is significant (Holm's correction over the tasks). Otherwise the "
        "backbones are equal within the margin of the metric ([margins] in config.toml), or the test cannot tell. "
        "The view next to the table follows its cursor: the last row, the mean, shows all tasks together."
    )

    def __init__(self) -> None:
        super().__init__()
        self._base: str | None = None
        self._paired = PairedTests({})
        self._tested: tuple[object, ...] = ()
        """Arguments of the last paired tests: base, others, columns and results."""

    def body(self) -> ComposeResult:
        """Summary, table and view."""
        yield StyledText(id="summary", classes="hint")
        yield FilterBar(f"{ROW_FIELDS}, {RANKING_FIELDS} of backbones; {COLUMN_FIELDS} of tasks")
        with Horizontal(id="panes"):
            yield LineTable(
                cursor="cell", id="differences", empty="Nothing to compare yet: tick something in Plan and launch it."
            )
            yield ComparePane()
        yield StyledText(id="details", classes="details")

    def on_mount(self) -> None:
        table = self.query_one(LineTable)
        table.hits = self._hits
        table.focus()

    def _hits(self) -> FilterHits:
        """Tasks matched by the last filter."""
        text, comparison = self.query_one(FilterBar).last, self._comparison(self.state)
        if not text:
            return FilterHits()
        found, _ = apply_query(comparison.ranking, RankingQuery(filter=text), self.state.catalogue)
        return FilterHits(rows=[column.label for column in found.columns])

    def _comparison(self, state: AppState) -> CompareTable:
        """The marked backbones, or the first two, on the tasks selected by suite and filter."""
        suite, table = state.catalogue.suite.get(state.suite or ""), self.query_one("#differences", LineTable)
        whole = base_ranking(badged(state.results, state.catalogue), suite.columns if suite else None, "beside")
        shown, _ = apply_query(whole, RankingQuery(filter=state.ranking_filter), state.catalogue)
        kept = {row.backbone for row in shown.rows} | set(state.marked)
        ranking = whole
        if len(shown.columns) < len(whole.columns):
            ranking = pick_columns(ranking, [column.label for column in shown.columns])
        if len(kept) < len(whole.rows):
            ranking = pick_rows(ranking, kept)
        backbones = compare.chosen(state.marked, ranking)
        base = self._base if self._base in backbones else next(iter(backbones), "")
        speeds = {result.backbone: result.images_per_s for result in state.results if result.images_per_s}
        task = table.row if table.row in {column.label for column in ranking.columns} else None
        glyphs = render_context(self).glyphs
        return CompareTable(ranking, backbones, base, state.catalogue, speeds, glyphs, self._paired, task)

    def update_view(self, state: AppState) -> None:
        """Show the table and the view."""
        self.query_one(FilterBar).show_text(state.ranking_filter)
        comparison = self._comparison(state)
        self._test(comparison, state)
        table, narrow = self.query_one("#differences", LineTable), self.has_class("narrow")
        rows = comparison.rows(self.size.width // (1 if narrow else 2))
        needed = rows.geometry.total + 2 if comparison.columns else self.size.width
        table.styles.width = "100%" if narrow else min(needed, self.size.width * 3 // 5)
        table.show(rows)
        self._show_at_cursor(self._comparison(state))

    def _show_at_cursor(self, comparison: CompareTable) -> None:
        """Update everything that depends on the table's cursor."""
        filtered = f"   /{text}" if (text := self.state.ranking_filter.strip()) else ""
        hint = Span(filtered, Tone.ACCENT)
        self.query_one("#summary", StyledText).show([line(*comparison.summary(), hint)])
        other, task = self._other(comparison), self.query_one("#differences", LineTable).row or ""
        about = self._paired.about(other, comparison.key(task), self.size.width)
        self.query_one("#details", StyledText).show_all(about)
        self.query_one(ComparePane).show(comparison, other)

    def _other(self, comparison: CompareTable) -> str:
        """The backbone under the cursor, or the first that is not the base."""
        column = self.query_one("#differences", LineTable).column
        others = [name for name in comparison.backbones if name != comparison.base]
        return column if column in others else next(iter(others), "")

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_at_cursor(self._comparison(self.state))

    def _test(self, comparison: CompareTable, state: AppState) -> None:
        """Run the paired tests again, in a thread, if their arguments have changed."""
        if state.suite is not None and state.suite not in state.catalogue.suite:
            return
        others = tuple(name for name in comparison.backbones if name not in {comparison.base, ""})
        results = badged(state.results, state.catalogue)
        columns = tuple((column.task, column.variant) for column in comparison.ranking.columns)
        arguments = (comparison.base, others, columns, results)
        if self._tested and arguments[:3] == self._tested[:3] and results is self._tested[3]:
            return
        self._tested, self._paired = arguments, PairedTests({})
        session, base = host(self).backend.session, comparison.base

        def work() -> PairedTests:
            return PairedTests({name: session.compare(name, base, results, columns) for name in others})

        def show(paired: PairedTests) -> None:
            self._paired = paired
            self.refresh_view()

        if others and base:
            self.in_background(work, show, group="paired")

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    def go_back(self) -> bool:
        """Leave the zoomed view, then the filter."""
        if self.has_class("zoomed"):
            self.action_zoom()
            return True
        had_filter, app = self.query_one(FilterBar).clear(), host(self)
        app.set_state(replace(app.state, ranking_filter=""))
        self.query_one("#differences", LineTable).focus()
        return had_filter

    def places(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Tasks and backbones, for the palette."""
        yield from places_of(self.query_one("#differences", LineTable))

    # -- actions ------------------------------------------------------------------------------------------------

    def action_view(self, step: int) -> None:
        """Switch to the next or previous view."""
        self.query_one(ComparePane).turn(step)
        self.refresh_view()

    def action_filter(self) -> None:
        self.query_one(FilterBar).edit()

    @on(FilterBar.Changed)
    def _filtered(self, message: FilterBar.Changed) -> None:
        app = host(self)
        app.set_state(replace(app.state, ranking_filter=message.text))

    def action_zoom(self) -> None:
        """Switch between the chart alone and both panes."""
        self.toggle_class("zoomed")

    def action_choose(self) -> None:
        comparison = self._comparison(self.state)
        names = {name: name for name in compare.choices(comparison.ranking)}
        dialog = ChooseDialog("Compare", names, comparison.backbones)

        def mark(names: tuple[str, ...] | None) -> None:
            if names is not None:
                app = host(self)
                app.set_state(replace(app.state, marked=names))

        self.app.push_screen(dialog, mark)

    def action_suite(self) -> None:
        self.app.push_screen(suite_dialog(self.state), lambda name: take_suite(host(self), name))

    def action_base(self) -> None:
        """Take the backbone under the cursor as the base."""
        column = self.query_one("#differences", LineTable).column
        if column not in {None, TASK}:
            self._base = column
            self.refresh_view()

    def action_axis(self) -> None:
        """Switch the axis between parameters and speed."""
        pane = self.query_one(ComparePane)
        pane.axis, pane.view = "images/s" if pane.axis == "parameters" else "parameters", "cost"
        self.refresh_view()

    def action_ladder(self) -> None:
        """Open the ladder of the compared backbones, on the dataset of the task under the cursor."""
        open_ladder(self, self._comparison(self.state))

    def action_judge(self) -> None:
        """Judge the backbone under the cursor against the base."""
        comparison = self._comparison(self.state)
        open_judge(self, comparison, self._other(comparison))

    def action_race(self) -> None:
        """Choose a backbone for the dataset of the task under the cursor."""
        open_race(self, self._comparison(self.state))

    def action_ledger(self) -> None:
        """Compare own scores with published ones."""
        open_ledger(self)

    def action_multiverse(self) -> None:
        """Compute all protocols on stored features of the task under the cursor: its backbone against the base."""
        comparison = self._comparison(self.state)
        open_multiverse(self, comparison, self._other(comparison))

    def action_copy(self) -> None:
        """Copy the cell under the cursor; in the images view, the paths of the images that only the first classifies
        correctly.
        """
        pane, comparison = self.query_one(ComparePane), self._comparison(self.state)
        if pane.view == "images":
            if pane.images is not None:
                host(self).copy(*paths_of(pane.images.only_first, self._other(comparison), comparison.base))
            return
        table = self.query_one("#differences", LineTable)
        column = next((one for one in table.rows.columns if one.key == table.column), None)
        if table.row is not None and column is not None:
            host(self).copy(table.rows.cell(table.row, column).text.strip())

    def action_open(self) -> None:
        """Open the result under the cursor; in the images view, the list of images."""
        pane, comparison = self.query_one(ComparePane), self._comparison(self.state)
        if pane.view == "images" and pane.images is not None:
            self.app.push_screen(DisagreementDialog((self._other(comparison), comparison.base), pane.images))
            return
        table = self.query_one("#differences", LineTable)
        row = comparison.row.get(table.column or "")
        score = row.cells.get(table.row or "") if row else None
        if score is not None and score.source == "mine":
            host(self).open_result(score.run_id)
