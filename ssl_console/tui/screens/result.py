"""Details of one result, and the command that reproduces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal

from ssl_console.operations.launch import repeat_command
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.choosers import PickDialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.views import result as resultview
from ssl_console.tui.views.ranking_query import badge_sources
from ssl_console.tui.views.result import about, candidates, difference_lines
from ssl_console.tui.widgets.graphics import ChartView, ImageView
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.pictures import Picture
from ssl_console.workspace.result import Result, ResultRecord

if TYPE_CHECKING:
    from ssl_console.analysis.result_diff import FieldDifference


@dataclass(frozen=True)
class OpenResult:
    """Files of the displayed result."""

    run_id: str = ""
    record: ResultRecord | None = None
    command: str = ""
    per_class: Sequence[tuple[str, float, int]] = ()
    pictures: Sequence[Picture] = ()


class ResultScreen(ConsoleScreen):
    """One result."""

    MODE = "result"
    SHOWS_DEVICES = False
    KEYS = (
        Key("copy", "y", "copy", "copy command", "Copy the command that reproduces it"),
        Key("copy-json", "Y", "copy_json", "copy JSON", "Copy the whole record as JSON", footer=False),
        Key("chart", "tab", "chart", "chart", "Show the chart if it does not fit next to the text"),
        Key("next", "right_square_bracket", "step(1)", "next", "The next result of the list that it was opened from"),
        Key("previous", "left_square_bracket", "step(-1)", "previous", "The previous result of that list"),
        Key("why", "w", "why", "difference", "Differences from another result, part by part"),
        Key(
            "again",
            "r",
            "repeat",
            "measure again",
            "Measure again with the same parameters",
            footer=False,
            changes=True,
        ),
    )
    HELP_TEXT = (
        "Provenance of the number: scores and intervals, selected settings, parameters, the digests that make its "
        "key, the versions, and the command that reproduces it. Open a result with enter in Rankings or Compare."
    )

    def __init__(self) -> None:
        super().__init__()
        self._opened = OpenResult()
        self._wanted = ""
        self._among: tuple[str, ...] = ()
        self._difference: FieldDifference | None = None
        """Difference from another chosen result, shown instead of the record."""

    def body(self) -> ComposeResult:
        """Text, and the chart or the image of the run, next to it or in its place."""
        with Horizontal(id="panes"):
            yield Lines(id="text")
            yield ChartView(id="chart")
            yield ImageView(id="picture")

    def on_mount(self) -> None:
        self.query_one(Lines).focus()

    def open(self, run_id: str, among: tuple[str, ...]) -> None:
        """Show this result; `among` is the list for the next and previous actions."""
        self._wanted, self._among, self._difference = run_id, among, None
        self.query_one(Lines).scroll_to(y=0, animate=False, force=True, immediate=True)
        session = host(self).backend.session

        def read() -> OpenResult:
            record, command = session.record(run_id), repeat_command(session, run_id)
            return OpenResult(run_id, record, command, session.class_scores(run_id), session.pictures(run_id))

        self.in_background(read, self._take, group="record")

    def _take(self, opened: OpenResult) -> None:
        if opened.run_id == self._wanted:
            self._opened = opened
            self.refresh_view()

    def _result(self, state: AppState) -> Result | None:
        result = state.results_by_run.get(self._opened.run_id)
        return result or (self._opened.record.result if self._opened.record else None)

    def update_view(self, state: AppState) -> None:
        """Show the result; initially the newest one."""
        if not self._wanted and state.results:
            newest = max(state.results, key=lambda result: result.finished)
            self.open(newest.run_id, ())
        result, text = self._result(state), self.query_one(Lines)
        if result is None:
            text.show([line(Span(" No results yet: tick something in Plan and launch it.", Tone.DIM))])
            return
        width = max(40, text.size.width or self.size.width)
        if self._difference is not None:
            text.show(difference_lines(self._difference, width, render_context(self).glyphs))
            return
        opened = self._opened
        sources = badge_sources(state.catalogue)
        text.show(
            resultview.result_lines(
                result, opened.record, state.results, opened.command, width, opened.per_class, sources
            )
        )
        self.set_class(bool(opened.pictures), "pictured")
        self.query_one(ImageView).show(opened.pictures)
        self.query_one(ChartView).show(resultview.result_chart(result, opened.record, state.results))

    def go_back(self) -> bool:
        """Return from the difference or the chart to the text, then to the rankings."""
        if self._difference is not None:
            self._difference = None
            self.refresh_view()
        elif self.has_class("chart"):
            self.remove_class("chart")
        else:
            host(self).show_screen("rankings")
        return True

    # -- actions ------------------------------------------------------------------------------------------------

    def action_chart(self) -> None:
        """Show the chart instead of the text, if there is no room for both."""
        self.toggle_class("chart")

    def action_copy(self) -> None:
        if self._opened.command:
            host(self).copy(self._opened.command)

    def action_copy_json(self) -> None:
        result, record = self._result(self.state), self._opened.record
        if record is not None and result is not None:
            badges = badge_sources(self.state.catalogue).explained(result, record, self.state.results)
            record = record.model_copy(update={"badges": badges})
        whole = record or result
        if whole is not None:
            host(self).copy(whole.model_dump_json(indent=2))

    def action_why(self) -> None:
        """Choose another result of the task, and show the differences."""
        result = self._result(self.state)
        others = candidates(result, self.state.results) if result else []
        if not others:
            host(self).notify_user("There is no other result of this task.")
            return
        options = [(one.run_id, about(one)) for one in others]
        self.app.push_screen(PickDialog("Difference from", options, None), self._compare_with)

    def _compare_with(self, run_id: str | None) -> None:
        record, session = self._opened.record, host(self).backend.session
        if run_id is None or record is None:
            return

        def read() -> FieldDifference | None:
            from ssl_console.operations.disagreements import record_difference  # noqa: PLC0415 - loads numpy

            other = session.record(run_id)
            return record_difference(session, other, record) if other is not None else None

        self.in_background(read, self._show_difference, group="difference")

    def _show_difference(self, found: FieldDifference | None) -> None:
        if found is None:
            host(self).notify_user("The record of that result has been removed.")
            return
        self._difference = found
        self.query_one(Lines).scroll_to(y=0, animate=False, force=True, immediate=True)
        self.refresh_view()

    def action_step(self, by: int) -> None:
        """Show the next or previous result of the list from which it was opened, by default of all results."""
        among = self._among or tuple(self.state.results_by_run)
        if self._wanted in among:
            self.open(among[(among.index(self._wanted) + by) % len(among)], self._among)

    def action_repeat(self) -> None:
        result = self._result(self.state)
        if result is not None:
            host(self).measure_again(result)
