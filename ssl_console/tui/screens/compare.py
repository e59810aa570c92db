"""Compare: differences between backbones, and transfer against size, speed and ImageNet accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ssl_console.analysis.layer_curves import LayerCurve, layer_curve
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.choosers import ChooseDialog, PickDialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, line
from ssl_console.tui.views import compare
from ssl_console.tui.views.compare import TASK, CompareTable, CostAxis, PairedTests
from ssl_console.tui.views.layer_curves import layer_chart
from ssl_console.tui.views.ranking_query import badged, base_ranking
from ssl_console.tui.widgets.chart import ChartView
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.events import Curve

VIEWS = ("transfer", "cost", "curves")
ALL = "*"


class CompareScreen(ConsoleScreen):
    """Differences and charts."""

    MODE = "compare"
    KEYS = (
        Key("open", "enter", "open", "result", "Open the result under the cursor", footer=False),
        Key("view", "tab,v", "view(1)", "next chart", "Next chart: transfer, cost, curves"),
        Key("view-back", "shift+tab", "view(-1)", "previous chart", "Previous chart", footer=False),
        Key("zoom", "z", "zoom", "zoom", "Maximise the chart, or restore it"),
        Key("choose", "c", "choose", "backbones", "Choose the backbones"),
        Key("task", "t", "task", "task", "The task whose curves are drawn"),
        Key("base", "b", "base", "base", "Differences to the backbone under the cursor"),
        Key("axis", "a", "axis", "axis", "Cost: parameters or images/s", footer=False),
    )
    HELP_TEXT = (
        "The base backbone comes first; the others show their score and the difference to it, in colour where a "
        "paired test on the same samples is significant (Holm's correction over the tasks). Without a difference, a "
        "task is equal within the margin of its metric ([margins] of config.toml), or cannot tell. "
        "The chart shows every backbone; those compared have their own colours."
    )

    def __init__(self) -> None:
        super().__init__()
        self._chart_name = "transfer"
        self._base: str | None = None
        self._chosen_task: str | None = None
        self._axis: CostAxis = "parameters"
        self._curves: dict[str, Mapping[str, Curve]] = {}
        self._layer_curves: dict[str, LayerCurve | None] = {}
        """By run; None while it is read, and for one that has none."""
        self._asked: tuple[tuple[str, str], ...] = ()
        self._paired = PairedTests({})
        self._tested: tuple[object, ...] = ()
        """Arguments of the paired tests: base, others, columns and results."""

    def body(self) -> ComposeResult:
        """Summary, table and chart."""
        yield StyledText(id="summary", classes="hint")
        with Horizontal(id="panes"):
            yield LineTable(
                cursor="cell", id="differences", empty="Nothing to compare yet: tick something in Plan and launch it."
            )
            with Vertical(id="chart-pane"):
                yield StyledText(id="tabs", classes="hint")
                yield ChartView(id="chart")
        yield StyledText(id="details", classes="details")

    def on_mount(self) -> None:
        """Begin in the table."""
        self.query_one(LineTable).focus()

    def _comparison(self, state: AppState) -> CompareTable:
        suite = state.catalogue.suite.get(state.suite or "")
        ranking = base_ranking(badged(state.results, state.catalogue), suite.columns if suite else None, "beside")
        backbones = compare.chosen(state.marked, ranking)
        base = self._base if self._base in backbones else next(iter(backbones), "")
        speeds = {result.backbone: result.images_per_s for result in state.results if result.images_per_s}
        known = {column.label for column in ranking.columns}
        task = self._chosen_task if self._chosen_task in known else None
        glyphs = render_context(self).glyphs
        return CompareTable(ranking, backbones, base, state.catalogue, speeds, glyphs, self._paired, task)

    def update_view(self, state: AppState) -> None:
        """Show differences and chart."""
        comparison = self._comparison(state)
        self._test(comparison, state)
        self.query_one("#differences", LineTable).show(
            comparison.rows(self.size.width // (1 if self.has_class("narrow") else 2))
        )
        self.query_one("#summary", StyledText).show([comparison.summary()])
        self.query_one("#tabs", StyledText).show([self._tabs()])
        self._show_details(comparison)
        self._show_chart(comparison)

    def _show_details(self, comparison: CompareTable) -> None:
        """About the backbone and the task under the cursor; about the first of the others elsewhere."""
        table = self.query_one("#differences", LineTable)
        others = [name for name in comparison.backbones if name != comparison.base]
        name = table.column if table.column in others else next(iter(others), "")
        told = self._paired.about(name or "", comparison.key(table.row or ""), self.size.width)
        details = self.query_one("#details", StyledText)
        lines = len(details.content)
        details.show(told)
        if len(told) != lines:
            details.refresh(layout=True)

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_details(self._comparison(self.state))

    def _test(self, comparison: CompareTable, state: AppState) -> None:
        """Repeat the paired tests in a thread when their arguments have changed."""
        suite = state.catalogue.suite.get(state.suite or "")
        if suite is None and state.suite is not None:
            return
        others = tuple(name for name in comparison.backbones if name not in {comparison.base, ""})
        results = badged(state.results, state.catalogue)
        arguments = (comparison.base, others, suite.columns if suite else None, results)
        if self._tested and arguments[:3] == self._tested[:3] and results is self._tested[3]:
            return
        self._tested, self._paired = arguments, PairedTests({})
        session, base, columns = host(self).backend.session, comparison.base, arguments[2]

        def work() -> PairedTests:
            return PairedTests({name: session.compare(name, base, results, columns) for name in others})

        if others and base:
            self.in_background(work, self._take_tests, group="paired")

    def _take_tests(self, paired: PairedTests) -> None:
        self._paired = paired
        self.refresh_view()

    def _tabs(self) -> Line:
        spans = [Span(f" {name} ", Tone.TITLE if name == self._chart_name else Tone.DIM) for name in VIEWS]
        return line(" ", *spans, Span(f"   {self._chosen_task or 'mean over all tasks'}", Tone.FAINT))

    def _show_chart(self, comparison: CompareTable) -> None:
        chart = self.query_one("#chart", ChartView)
        match self._chart_name:
            case "transfer":
                chart.show(comparison.transfer())
            case "cost":
                chart.show(comparison.cost(self._axis))
            case _ if comparison.shows_layers:
                chart.show(layer_chart(comparison.backbones, self._layer_curves_of(comparison)))
                self._fetch_layer_curves(comparison)
            case _:
                chart.show(comparison.curves(self._curves_of(comparison)))
                self._fetch_curves(comparison)

    def _layer_curves_of(self, comparison: CompareTable) -> dict[str, LayerCurve]:
        runs = comparison.runs
        found = {name: self._layer_curves.get(run_id) for name, run_id in runs.items()}
        return {name: curve for name, curve in found.items() if curve is not None}

    def _fetch_layer_curves(self, comparison: CompareTable) -> None:
        run_ids = [run_id for run_id in comparison.runs.values() if run_id not in self._layer_curves]
        session = host(self).backend.session

        def work() -> dict[str, LayerCurve | None]:
            records = {run_id: session.outputs.record(run_id) for run_id in run_ids}
            return {run_id: None if one is None else layer_curve(one) for run_id, one in records.items()}

        if run_ids:
            self._layer_curves |= dict.fromkeys(run_ids)
            self.in_background(work, self._take_layer_curves, group="layers")

    def _take_layer_curves(self, curves: dict[str, LayerCurve | None]) -> None:
        self._layer_curves.update(curves)
        self.refresh_view()

    def _curves_of(self, comparison: CompareTable) -> dict[str, Mapping[str, Curve]]:
        curves = {}
        for name in comparison.backbones:
            row = comparison.row.get(name)
            score = row.cells.get(comparison.task or "") if row else None
            if score is not None and score.run_id in self._curves:
                curves[name] = self._curves[score.run_id]
        return curves

    def _fetch_curves(self, comparison: CompareTable) -> None:
        rows = [comparison.row[name] for name in comparison.backbones if name in comparison.row]
        cells = (row.cells.get(comparison.task or "") for row in rows)
        run_ids = tuple(cell.run_id for cell in cells if cell is not None and cell.run_id not in self._curves)
        asked = tuple((run_id, "") for run_id in run_ids)
        if run_ids and asked != self._asked:
            self._asked = asked
            backend = host(self).backend
            self.in_background(
                lambda: {name: backend.curves(name) for name in run_ids}, self._take_curves, group="curves"
            )

    def _take_curves(self, curves: Mapping[str, Mapping[str, Curve]]) -> None:
        self._curves.update(curves)
        self.refresh_view()

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    def go_back(self) -> bool:
        """Out of the zoomed chart."""
        if self.has_class("zoomed"):
            self.action_zoom()
            return True
        return False

    # -- actions ------------------------------------------------------------------------------------------------

    def action_view(self, step: int) -> None:
        """Another chart."""
        self._chart_name = VIEWS[(VIEWS.index(self._chart_name) + step) % len(VIEWS)]
        self.refresh_view()

    def action_zoom(self) -> None:
        """The chart alone, or both."""
        self.toggle_class("zoomed")

    def action_choose(self) -> None:
        """Choose the backbones."""
        comparison = self._comparison(self.state)
        names = {name: name for name in compare.choices(comparison.ranking)}
        dialog = ChooseDialog("Compare", names, comparison.backbones)
        self.app.push_screen(dialog, self._take_choice)

    def _take_choice(self, names: tuple[str, ...] | None) -> None:
        if names is not None:
            app = host(self)
            app.set_state(replace(app.state, marked=names))

    def action_task(self) -> None:
        """The task whose scores and curves are drawn."""
        comparison = self._comparison(self.state)
        options = [(ALL, "mean over all tasks"), *((column.label, column.label) for column in comparison.columns)]
        self.app.push_screen(PickDialog("Task", options, self._chosen_task or ALL), self._take_task)

    def _take_task(self, name: str | None) -> None:
        if name is not None:
            self._chosen_task = None if name == ALL else name
            self.refresh_view()

    def action_base(self) -> None:
        """Differences to the backbone under the cursor."""
        column = self.query_one("#differences", LineTable).column
        if column not in {None, TASK}:
            self._base = column
            self.refresh_view()

    def action_axis(self) -> None:
        """Parameters or speed."""
        self._axis = "images/s" if self._axis == "parameters" else "parameters"
        self._chart_name = "cost"
        self.refresh_view()

    def action_open(self) -> None:
        """Everything about the result under the cursor."""
        table = self.query_one("#differences", LineTable)
        row = self._comparison(self.state).row.get(table.column or "")
        score = row.cells.get(table.row or "") if row else None
        if score is not None and score.source == "mine":
            host(self).open_result(score.run_id)
