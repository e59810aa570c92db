"""Explanation of results of a task that are in other columns than those shown, or in none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.comparability import IncomparableResult, kept_apart
from ssl_console.analysis.ranking import Ranking
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.result import Result

ABOUT = (
    "Only results of one comparability key share a column: the same protocol, version and parameters (the "
    "preprocessing is one), the same data by their digest, the same metric, the same precision."
)


class IncomparableDialog(Dialog[None]):
    """Further columns of the tasks of a table, and their differences."""

    BINDINGS: ClassVar = bindings("help")

    def __init__(self, ranking: Ranking, results: Sequence[Result]) -> None:
        super().__init__()
        self._ranking, self._results = ranking, results

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog help") as panel:
            panel.border_title = "Kept apart"
            yield Lines([line(Span("reading records ...", Tone.DIM))], id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Read the records of the results in question."""
        app, ranking, results = host(self), self._ranking, self._results
        app.in_background(lambda: kept_apart(results, ranking, app.backend.session.identity), self._show, group="apart")

    def _show(self, further: Sequence[IncomparableResult]) -> None:
        if self.is_attached:
            self.query_one(Lines).show(incomparable_lines(further, min(76, self.app.size.width - 8)))


def incomparable_lines(results: Sequence[IncomparableResult], width: int) -> list[Line]:
    """One paragraph per column."""
    lines: list[Line] = [line(Span(text, Tone.DIM)) for text in wrap(ABOUT, width)]
    for result in results:
        lines += [(), *(line(text) for text in wrap(result.sentence, width))]
    return (
        lines if results else [*lines, (), line("Every task of this table has one column, so nothing is kept apart.")]
    )
