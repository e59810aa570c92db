"""Own scores against published ones of the same protocol: a table for each published column, with its outliers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.published.agreement import (
    Ledger,
    ledger,
    published_backbones,
)
from ssl_console.operations.published_boards import added_boards
from ssl_console.operations.published_check import results_with_published_metrics
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.screens.export import free_name
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Span, Tone, line, wrap
from ssl_console.tui.views.ledger import ledger_lines
from ssl_console.tui.widgets.styled_text import Lines, WrappedKeys

LEAST_WIDTH = 48


def read_ledger(session: Session, suite: str | None) -> Ledger:
    """The ledger of every measured backbone that has published scores. Raises ConsoleError where there is none."""
    results = results_with_published_metrics(session, suite)
    boards = added_boards(session)
    published = set(published_backbones(boards))
    names = [name for name in dict.fromkeys(one.backbone for one in results) if name in published]
    if not names:
        where = f"on suite {suite} " if suite else ""
        raise ConsoleError(f"no backbone measured {where}has published scores: p in Rankings lists them")
    return ledger(names, results, boards)


class LedgerDialog(Dialog[None]):
    """The ledger of the suite that is shown."""

    BINDINGS: ClassVar = bindings("ledger")
    HELP_TEXT = (
        "A score is reproduced if it is within the allowed difference. TEST: the published settings were chosen on the "
        "reported images, so the published score is too high. Scores of other protocols are listed, never compared. "
        "`ssl-console ledger add FILE` adds the results file of a board (the ImageNet attentive board, timm)."
    )

    def __init__(self, suite: str | None) -> None:
        super().__init__()
        self._suite = suite
        self._found: Ledger | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = f"Published scores{f', suite {self._suite}' if self._suite else ''}"
            yield Lines([line(Span(" reading records ...", Tone.DIM))], id="text")
            yield WrappedKeys()

    def on_mount(self) -> None:
        """Read the records of the results."""
        session, suite = host(self).backend.session, self._suite

        def work() -> Ledger | str:
            try:
                return read_ledger(session, suite)
            except ConsoleError as error:
                return str(error)

        host(self).in_background(work, self._show, group="ledger")

    def _show(self, found: Ledger | str) -> None:
        if not self.is_attached:
            return
        text = self.query_one(Lines)
        width = max(LEAST_WIDTH, text.outer_size.width - text.gutter.width - text.styles.scrollbar_size_vertical)
        if isinstance(found, str):
            text.show([line(Span(f" {part}", Tone.WARN)) for part in wrap(found, width - 2)])
        else:
            self._found = found
            text.show(ledger_lines(found, width, render_context(self).glyphs))

    def action_copy(self) -> None:
        """Copy the command line of the same table."""
        host(self).copy(ledger_command(self._suite), "copied: the command of this table")

    def action_scatter(self) -> None:
        """Write the scatter of published against own scores."""
        app, found = host(self), self._found
        if app.readonly or found is None or not found.columns:
            app.notify_user("A read-only page writes no files." if app.readonly else "There is nothing to draw.")
            return
        path, columns = free_name(Path.cwd(), "published.svg"), found.columns

        def draw() -> None:
            from ssl_console.analysis.figures import save_published_scatter  # noqa: PLC0415 - reads arrays

            save_published_scatter(columns, path)

        app.in_background(draw, lambda _: app.notify_user(f"{path} written."), group="export")


def ledger_command(suite: str | None) -> str:
    """Equivalent command line."""
    return shlex.join(["ssl-console", "compare", "*", "--published", *(["--suite", suite] if suite else [])])
