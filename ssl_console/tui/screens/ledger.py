"""Own scores against published ones of the same protocol: a table for each published column, with its outliers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.published.agreement import (
    Ledger,
    LedgerColumn,
    LedgerEntry,
    OtherProtocol,
    ledger,
    published_backbones,
)
from ssl_console.analysis.published.tables import source_of
from ssl_console.operations.published_boards import added_boards
from ssl_console.operations.published_check import results_with_published_metrics
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.screens.export import free_name
from ssl_console.tui.style.text import Line, Span, Tone, fit_middle, line, wrap
from ssl_console.tui.widgets.styled_text import Lines, WrappedKeys
from ssl_console.workspace.badges import ADVICE, marks

ABOUT = (
    "Own scores and published ones of the same protocol. The allowed difference is what both intervals allow, or the "
    "tolerance that the source states; an outlier differs in another way than the other backbones of its column."
)
NAME = 30
OTHERS_SHOWN = 20


def read_ledger(session: Session, suite: str | None) -> Ledger:
    """The ledger of every measured backbone that has published scores. Raises ConsoleError where there is none."""
    results = results_with_published_metrics(session, suite)
    boards = added_boards(session)
    published = set(published_backbones(boards))
    names = [name for name in dict.fromkeys(one.backbone for one in results) if name in published]
    if not names:
        where = f"of suite {suite} " if suite else ""
        raise ConsoleError(f"no backbone that was measured {where}has published scores: p in Rankings lists some")
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
        """The panel."""
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
        width = max(60, text.scrollable_content_region.width or text.size.width)
        if isinstance(found, str):
            text.show([line(Span(f" {part}", Tone.WARN)) for part in wrap(found, width - 2)])
        else:
            self._found = found
            text.show(ledger_lines(found, width))

    def action_copy(self) -> None:
        """Copy the command line of the same table."""
        host(self).copy(ledger_command(self._suite), "the command of this table: copied.")

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


def ledger_lines(found: Ledger, width: int) -> list[Line]:
    """A table for each column, then the numbers of other protocols."""
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(ABOUT, width - 2)]
    for column in found.columns:
        lines += [(), *_column(column, width)]
    if not found.columns:
        lines += [(), line(Span(" nothing measured has the protocol of a published score", Tone.WARN))]
    return [*lines, *_others(found.others, width)]


def _column(column: LedgerColumn, width: int) -> Iterator[Line]:
    about, chosen = column.column, "TEST" if column.chosen_on_test else column.column.chosen_on
    flag = Tone.WARN if column.chosen_on_test else Tone.DIM
    yield line(
        Span(f" {about.task} {about.metric} [{column.variant}]", Tone.TITLE),
        Span(f"  {about.table}, settings chosen on: ", Tone.DIM), Span(chosen, flag),
    )  # fmt: skip
    yield line(
        Span(
            f" {fit_middle('backbone', NAME)} {'measured':>9} {'published':>9} {'differs':>8} {'allowed':>8}", Tone.DIM
        )
    )
    yield from map(_entry, column.entries)
    correlation = "" if column.correlation is None else f", Spearman {column.correlation:.2f}"
    outliers = ", ".join(one.backbone for one in column.outliers) or "none"
    sentence = f"median difference {column.shift:+.2f}{correlation}; outliers: {outliers}; {source_of(about)}"
    yield from (line(Span(f" {text}", Tone.DIM)) for text in wrap(sentence, width - 2))
    doubts = dict.fromkeys(badge for one in column.entries for badge in one.pair.own.badges)
    for badge in doubts:
        yield from (
            line(Span(f" {text}", Tone.WARN))
            for text in wrap(f"{marks([badge])} {badge}: {ADVICE.get(badge, '')}", width - 2)
        )


def _entry(one: LedgerEntry) -> Line:
    pair = one.pair
    own, printed = (
        f"{pair.own.value:.2f}{marks(pair.own.badges)}",
        f"{pair.published.value:.2f}{marks(pair.published.badges)}",
    )
    numbers = f" {fit_middle(one.backbone, NAME)} {own:>9} {printed:>9} {pair.difference:>+8.2f} {pair.allowed:>8.2g}"
    word = "outlier" if one.outlier else "reproduced" if pair.agrees else "differs"
    tone = Tone.BAD if one.outlier else Tone.GOOD if pair.agrees else Tone.WARN
    return line(numbers, Span(f"  {word}", tone))


def _others(others: tuple[OtherProtocol, ...], width: int) -> Iterator[Line]:
    if not others:
        return
    yield ()
    yield line(Span(" Published by other protocols, never compared", Tone.TITLE))
    for one in others[:OTHERS_SHOWN]:
        flag = ", chosen on the test images" if one.column.chosen_on == "test" else ""
        text = f" {fit_middle(one.backbone, NAME)} {one.value:>9.2f}  {one.column.task} [{one.column.variant}]{flag}"
        yield line(Span(fit_middle(text, width), Tone.DIM))
    if len(others) > OTHERS_SHOWN:
        yield line(Span(f" {len(others) - OTHERS_SHOWN} more: y copies the command, --json lists all", Tone.DIM))
