"""Rank confidence intervals of a table: a dialog that is updated while bootstrap replicates are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, get_args

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.ranking import Ranking
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Span, Tone, line, wrap
from ssl_console.tui.views.rank_intervals import rank_interval_lines
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines

if TYPE_CHECKING:
    from ssl_console.analysis.rank_intervals import GrowingRanks, RankTable
    from ssl_console.analysis.statistics.rank_bootstrap import Missing

REPLICATES = 1000
STEP = 125
"""Replicates between two updates."""


class RankIntervalsDialog(Dialog[None]):
    """Rank intervals, the probability of rank one, groups of ties, and the critical-difference diagram."""

    BINDINGS: ClassVar = bindings("ranks")

    def __init__(self, ranking: Ranking, missing: Missing = "complete rows") -> None:
        super().__init__()
        self._ranking, self._missing = ranking, missing
        self.table: RankTable | None = None

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = "Rank confidence intervals"
            yield Lines([line(Span(" reading predictions ...", Tone.DIM))], id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Start drawing replicates."""
        self._begin()

    def _begin(self) -> None:
        app, ranking, missing = host(self), self._ranking, self._missing
        predictions = app.backend.session.outputs.predictions

        def read() -> GrowingRanks | str:
            from ssl_console.analysis.rank_intervals import GrowingRanks  # noqa: PLC0415 - loads numpy

            try:
                return GrowingRanks.of(ranking, predictions, missing)
            except ValueError as error:
                return str(error)

        app.in_background(read, self._go_on, group="ranks")

    def _go_on(self, growing: GrowingRanks | str) -> None:
        """Draw further replicates while the dialog is open."""
        if isinstance(growing, str):
            self._tell(f"{growing}; m treats missing scores otherwise")
        elif self.is_attached:
            work = growing
            host(self).in_background(lambda: work.grown(STEP), lambda table: self._take(work, table), group="ranks")

    def _take(self, growing: GrowingRanks, table: RankTable) -> None:
        if not self.is_attached:
            return
        self.table = table
        width = max(60, self.query_one(Lines).size.width)
        self.query_one(Lines).show(rank_interval_lines(table, REPLICATES, width, render_context(self).glyphs))
        if table.ranks.replicates < REPLICATES:
            self._go_on(growing)

    def _tell(self, text: str) -> None:
        self.query_one(Lines).show([line(Span(f" {part}", Tone.WARN)) for part in wrap(text, 78)])

    def action_missing(self) -> None:
        """Switch to the next treatment of missing scores."""
        from ssl_console.analysis.statistics.rank_bootstrap import Missing  # noqa: PLC0415 - loads numpy

        ways = get_args(Missing)
        self._missing = ways[(ways.index(self._missing) + 1) % len(ways)]
        self._begin()
