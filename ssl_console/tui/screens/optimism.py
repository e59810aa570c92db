"""Optimism of the results in a table: their scores, and those with settings chosen on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.optimism import (
    ABOUT,
    Optimism,
    WithoutOptimism,
    audit,
    by_protocol,
)
from ssl_console.analysis.ranking import Ranking
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

Audit = tuple[list[Optimism], list[WithoutOptimism]]
BIGGEST = 12
"""Maximum number of results listed per protocol, by descending optimism."""


class OptimismDialog(Dialog[None]):
    """Optimism by protocol, then the results with the largest."""

    BINDINGS: ClassVar = bindings("help")

    def __init__(self, ranking: Ranking, results: Sequence[Result]) -> None:
        super().__init__()
        places = {(row.backbone, column.key) for row in ranking.rows for column in ranking.columns}
        self._results = [one for one in results if one.source == "mine" and (one.backbone, one.column) in places]

    def compose(self) -> ComposeResult:
        """The panel."""
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
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(ABOUT, width - 2)]
    numbers = " ".join(fit(name, 8, "right") for name in ("results", "median", "largest"))
    lines += [(), line(Span(f" {fit('protocol', 16)} {numbers}  other leader  pairs swapped", Tone.DIM))]
    for one in by_protocol(known, unknown):
        order = f"{f'{one.other_leader} of {one.columns}':<13} {one.swapped} of {one.pairs}" if one.pairs else "—"
        lines.append(
            line(f" {fit(one.protocol, 16)} {one.results:>8} {one.median:>+8.2f} {one.largest:>+8.2f}  {order}")
        )
        largest = sorted((each for each in known if each.protocol == one.protocol), key=lambda each: -each.inflation)
        lines += [_result_line(each, width) for each in largest[:BIGGEST] if each.inflation > 0]
    if not known:
        lines.append(line(Span(" no result of this table documents it", Tone.WARN)))
    for reason in dict.fromkeys(one.reason for one in unknown):
        count = sum(one.reason == reason for one in unknown)
        lines += [line(Span(f" {text}", Tone.DIM)) for text in wrap(f"missing for {count}: {reason}", width - 2)]
    return lines


def _result_line(one: Optimism, width: int) -> Line:
    scores = f"{one.selected:.2f}{marks(one.badges)} becomes {one.on_test:.2f}"
    text = f"{fit(f'{one.backbone} {one.task}', 34)} {scores}  {one.choice}"
    return line("   ", Span(fit(text, max(40, width - 13)), Tone.PLAIN), Span(f" {one.inflation:+.2f}", Tone.WARN))
