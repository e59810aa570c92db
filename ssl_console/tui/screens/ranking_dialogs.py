"""Dialogs of Rankings: rank confidence intervals, optimism of the scores, and results that share no column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, get_args

from textual.app import ComposeResult
from textual.containers import Vertical

from backbones.io.errors import counted
from ssl_console.analysis.comparability import IncomparableResult, kept_apart
from ssl_console.analysis.further_scores import ABOUT as OPTIMISM_ABOUT
from ssl_console.analysis.further_scores import Optimism, WithoutOptimism, audit, by_protocol
from ssl_console.analysis.ranking import Ranking
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.views.ranking_details import rank_interval_lines
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

if TYPE_CHECKING:
    from ssl_console.analysis.rank_intervals import GrowingRanks, RankTable
    from ssl_console.analysis.statistics.rank_bootstrap import Missing

REPLICATES = 1000
STEP = 125
"""Replicates between two updates."""
Audit = tuple[list[Optimism], list[WithoutOptimism]]
BIGGEST = 12
"""Maximum number of results listed per protocol, by descending optimism."""
INCOMPARABLE_ABOUT = (
    "Only results of one comparability key share a column: the same protocol, version and parameters (including "
    "the preprocessing), the same data (by digest), the same metric and the same precision."
)


class RankIntervalsDialog(Dialog[None]):
    """Rank intervals, the probability of rank one, groups of ties, and the critical-difference diagram."""

    BINDINGS: ClassVar = bindings("ranks")
    HELP_TEXT = (
        "Ranks if other test images had been drawn: each backbone's rank, its 95 % interval, the "
        "probability of being the best, and groups without a significant difference. Replicates are drawn while "
        "this is open; m changes the treatment of missing scores. Below, the critical-difference diagram over "
        "tasks."
    )

    def __init__(self, ranking: Ranking, missing: Missing = "complete rows") -> None:
        super().__init__()
        self._ranking, self._missing = ranking, missing
        self.table: RankTable | None = None

    def compose(self) -> ComposeResult:
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

        app.in_background(read, self._grow, group="ranks")

    def _grow(self, growing: GrowingRanks | str) -> None:
        """Draw further replicates while the dialog is open."""
        if isinstance(growing, str):
            text = f"{growing}; m changes the treatment of missing scores"
            self.query_one(Lines).show([line(Span(f" {part}", Tone.WARN)) for part in wrap(text, 78)])
        elif self.is_attached:
            ranks = growing
            host(self).in_background(lambda: ranks.grown(STEP), lambda table: self._take(ranks, table), group="ranks")

    def _take(self, growing: GrowingRanks, table: RankTable) -> None:
        if not self.is_attached:
            return
        self.table = table
        width = max(60, self.query_one(Lines).size.width)
        self.query_one(Lines).show(rank_interval_lines(table, REPLICATES, width, render_context(self).glyphs))
        if table.ranks.replicates < REPLICATES:
            self._grow(growing)

    def action_missing(self) -> None:
        """Switch to the next treatment of missing scores."""
        from ssl_console.analysis.statistics.rank_bootstrap import Missing  # noqa: PLC0415 - loads numpy

        treatments = get_args(Missing)
        self._missing = treatments[(treatments.index(self._missing) + 1) % len(treatments)]
        self._begin()


class OptimismDialog(Dialog[None]):
    """Optimism by protocol, then the results with the largest."""

    BINDINGS: ClassVar = bindings("panel")
    HELP_TEXT = (
        "Scores that would have been reported if C, learning rate, k, block or step had been chosen on the test "
        "images: by protocol, how much higher they are, how often another backbone would lead, and how many pairs "
        "would change their order. Step and setting of a training are separate rows. Results whose record lacks it are "
        "counted with the reason."
    )

    def __init__(self, ranking: Ranking, results: Sequence[Result]) -> None:
        super().__init__()
        places = {(row.backbone, column.key) for row in ranking.rows for column in ranking.columns}
        self._results = [one for one in results if one.source == "mine" and (one.backbone, one.column) in places]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = "Chosen on the test images"
            yield Lines([line(Span(" reading records ...", Tone.DIM))], id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Read the records of the results."""
        app, results = host(self), self._results
        record = app.backend.session.outputs.record
        app.in_background(
            lambda: audit(results, {one.run_id: record(one.run_id) for one in results}), self._show, group="optimism"
        )

    def _show(self, found: Audit) -> None:
        if self.is_attached:
            text = self.query_one(Lines)
            text.show(optimism_lines(found, max(60, text.size.width)))


def optimism_lines(found: Audit, width: int) -> list[Line]:
    """The table of protocols, and for each the results whose scores would change most."""
    known, unknown = found
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(OPTIMISM_ABOUT, width - 2)]
    numbers = " ".join(fit(name, 8, "right") for name in ("results", "median", "largest"))
    lines += [(), line(Span(f" {fit('protocol', 16)} {numbers}  other leader  pairs swapped", Tone.DIM))]
    for one in by_protocol(known, unknown):
        order = f"{f'{one.other_leader} of {one.columns}':<13} {one.swapped} of {one.pairs}" if one.pairs else "—"
        lines.append(
            line(f" {fit(one.protocol, 16)} {one.results:>8} {one.median:>+8.2f} {one.largest:>+8.2f}  {order}")
        )
        largest = sorted((each for each in known if each.group == one.protocol), key=lambda each: -each.inflation)
        for each in [result for result in largest[:BIGGEST] if result.inflation > 0]:
            scores = f"{each.selected:.2f}{marks(each.badges)} becomes {each.on_test:.2f}"
            text = fit(f"{fit(f'{each.backbone} {each.task}', 34)} {scores}  {each.choice}", max(40, width - 13))
            lines.append(line("   ", text, Span(f" {each.inflation:+.2f}", Tone.WARN)))
    if not known:
        lines.append(line(Span(" no result of this table has this record", Tone.WARN)))
    for reason in dict.fromkeys(one.reason for one in unknown):
        count = sum(one.reason == reason for one in unknown)
        lines += [
            line(Span(f" {text}", Tone.DIM))
            for text in wrap(f"missing for {counted(count, 'result')}: {reason}", width - 2)
        ]
    return lines


class IncomparableDialog(Dialog[None]):
    """Further columns of the tasks of a table, and their differences."""

    BINDINGS: ClassVar = bindings("panel")
    HELP_TEXT = (
        "Results of the tasks of this table that are in other columns, or in none, with the settings in which they "
        "differ from those shown."
    )

    def __init__(self, ranking: Ranking, results: Sequence[Result]) -> None:
        super().__init__()
        self._ranking, self._results = ranking, results

    def compose(self) -> ComposeResult:
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
    lines: list[Line] = [line(Span(text, Tone.DIM)) for text in wrap(INCOMPARABLE_ABOUT, width)]
    for result in results:
        lines += [(), *(line(text) for text in wrap(result.sentence, width))]
    return (
        lines if results else [*lines, (), line("Every task of this table has one column, so nothing is kept apart.")]
    )
