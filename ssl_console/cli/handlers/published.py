"""`ledger`, `compare --published` and `doctor --published`: published scores; own ones against those of the same
protocol, with outliers and the scatter; and cells of published tables measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from backbones.io.card_files import is_glob, match
from ssl_console.analysis.badged_results import MarkedScore, mark_sentences
from ssl_console.analysis.published.agreement import (
    Ledger,
    LedgerColumn,
    LedgerEntry,
    ledger,
    ledger_document,
    published_backbones,
)
from ssl_console.analysis.published.tables import PROVENANCE_WORDS, source_of
from ssl_console.cli.handlers.backbones import fetch_weights
from ssl_console.cli.handlers.run import RunOptions, RunSelection, run
from ssl_console.cli.handlers.tasks import fetch_data
from ssl_console.cli.output import stdout
from ssl_console.operations.published_boards import (
    PublishedRow,
    add_board,
    added_boards,
    published_rows,
    row_document,
)
from ssl_console.operations.published_check import (
    CELLS,
    CellVerdict,
    PublishedCell,
    judge_cells,
    results_with_published_metrics,
)
from ssl_console.operations.session import Session, resolve_backbone
from ssl_console.system.errors import ConsoleError, ExitCode, MissingInputs
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result
from tasks.datasets.presence import presence

HEAD = ("task", "backbone", "measured", "published", "difference", "chosen on", "where", "verdict")
COLUMNS = 80
"""Width of a plot that is not written to a terminal."""
OTHERS_SHOWN = 12
"""Published numbers of other protocols that are listed; more are counted."""
MARKS = {True: "ok  ", False: "BAD "}


def show_ledger(
    session: Session, first: str, second: str | None, suite: str | None, figure: Path | None, *, as_json: bool
) -> None:
    """Print the ledger of a backbone or a glob. Raises ConsoleError when nothing is comparable."""
    if second is not None:
        raise ConsoleError(f"compare {first} --published takes one backbone or glob, not also {second}")
    if figure is not None:
        from ssl_console.analysis.figures import check_name

        check_name(figure)
    results = results_with_published_metrics(session, suite)
    boards = added_boards(session)
    found = ledger(_backbones(first, results, set(published_backbones(boards))), results, boards)
    if as_json:
        stdout.document(ledger_document(found))
    elif found.columns:
        _print(found)
    if not as_json:
        _say_others(found)
    if not found.columns:
        raise ConsoleError(
            f"nothing measured of {first} has the protocol of a published score: `ssl-console run --preset NAME`"
        )
    if figure is not None:
        from ssl_console.analysis.figures import save_published_scatter

        save_published_scatter(found.columns, figure)
        stdout.say(f"{figure} written")


def _backbones(pattern: str, results: list[Result], published: set[str]) -> list[str]:
    """Measured backbones of the pattern that have published numbers. Raises ConsoleError where there are none."""
    measured = list(dict.fromkeys(one.backbone for one in results))
    if not measured:
        raise ConsoleError("no results to compare: start with `ssl-console run`")
    names = (
        match([pattern], measured, "measured backbone") if is_glob(pattern) else [resolve_backbone(pattern, measured)]
    )
    known = [name for name in names if name in published]
    if not known:
        raise ConsoleError(f"no published scores for {', '.join(names)}; `ssl-console ledger list` lists all")
    return known


def _print(found: Ledger) -> None:
    rows = [_row(column, entry) for column in found.columns for entry in column.entries]
    stdout.table(HEAD, rows, right=frozenset({2, 3, 4}))
    for column in found.columns:
        stdout.lines(["", *_scatter(column), _sentence(column)])
    own = [
        MarkedScore(entry.backbone, column.column.task, entry.pair.own.run_id, entry.pair.own.badges)
        for column in found.columns
        for entry in column.entries
    ]
    for warning in mark_sentences(own):
        stdout.say(warning)
    for column in found.columns:
        if column.chosen_on_test:
            stdout.say(
                f"{column.column.task}: published settings were chosen on the test images ({column.column.protocol}), "
                "so published scores are too high"
            )


def _scatter(column: LedgerColumn) -> list[str]:
    """Published against own scores as a plot in characters; empty for a single backbone."""
    from ssl_console.tui.style.glyphs import choose
    from ssl_console.tui.views.ledger import scatter_lines

    lines = scatter_lines(column, stdout.terminal_columns() or COLUMNS, choose())
    return ["".join(span.text for span in one).rstrip() for one in lines]


def _row(column: LedgerColumn, entry: LedgerEntry) -> tuple[str, ...]:
    pair = entry.pair
    return (
        f"{column.column.task} {column.column.metric} [{column.variant}]",
        entry.backbone,
        f"{pair.own.value:.2f}{marks(pair.own.badges)}",
        f"{pair.published.value:.2f}{marks(pair.published.badges)}",
        f"{pair.difference:+.2f}",
        "TEST" if column.chosen_on_test else column.column.chosen_on,
        column.column.table,
        f"{'reproduced' if pair.agrees else 'differs'}: {pair.basis}{'; OUTLIER' if entry.outlier else ''}",
    )


def _sentence(column: LedgerColumn) -> str:
    correlation = "" if column.correlation is None else f", Spearman {column.correlation:.2f}"
    outliers = ", ".join(one.backbone for one in column.outliers)
    return (
        f"{column.column.task} [{column.variant}]: {len(column.entries)} backbones, median difference "
        f"{column.shift:+.2f}{correlation}; outliers: {outliers or 'none'}; {source_of(column.column)}"
    )


def _say_others(found: Ledger) -> None:
    for one in found.others[:OTHERS_SHOWN]:
        about = f" ({one.column.protocol})" if one.column.protocol else ""
        flag = "; chosen on the test images" if one.column.chosen_on == "test" else ""
        stdout.say(
            f"not comparable: {one.backbone} {one.column.task} [{one.column.variant}] {one.value:g}{about}{flag}; "
            f"{one.column.table}, {source_of(one.column)}"
        )
    if len(found.others) > OTHERS_SHOWN:
        stdout.say(f"{len(found.others) - OTHERS_SHOWN} more numbers of other protocols: --json lists all")


LIST_HEAD = ("backbone", "task", "variant", "score", "chosen on", "mark", "where", "remark")


def list_ledger(session: Session, backbones: Sequence[str], tasks: Sequence[str], *, as_json: bool) -> None:
    """Print every published score of backbones and tasks (names or globs; empty: all). Raises UnknownName."""
    rows = list(published_rows(session))
    if backbones:
        wanted = set(match(backbones, dict.fromkeys(row.backbone for row in rows), "backbone with published scores"))
        rows = [row for row in rows if row.backbone in wanted]
    if tasks:
        wanted = set(match(tasks, dict.fromkeys(row.column.task for row in rows), "task with published scores"))
        rows = [row for row in rows if row.column.task in wanted]
    if as_json:
        stdout.document({"published": [row_document(row) for row in rows]})
        return
    stdout.table(LIST_HEAD, [_listed(row) for row in rows], right=frozenset({3}))
    sources = dict.fromkeys(source_of(row.column) for row in rows)
    stdout.say(f"{len(rows)} published scores from {len(sources)} sources; --json has protocols and sources")
    if any(row.column.chosen_on == "test" for row in rows):
        stdout.say("TEST: settings were chosen on the reported images, so the score is too high")


def _listed(row: PublishedRow) -> tuple[str, ...]:
    column = row.column
    chosen = "TEST" if column.chosen_on == "test" else column.chosen_on
    mark = "" if column.provenance == "read" else PROVENANCE_WORDS[column.provenance]
    score = f"{row.value:g}"
    return row.backbone, f"{column.task} {column.metric}", column.variant, score, chosen, mark, column.table, row.remark


def add_to_ledger(session: Session, file: Path, *, as_json: bool) -> None:
    """Add a board's file to the ledger of the workspace. Raises ConsoleError."""
    table, stored = add_board(session, file)
    own = sum(name not in table.others for name in table.rows)
    if as_json:
        counts = {"rows": len(table.rows), "with_card": own, "columns": [column.key for column in table.columns]}
        stdout.document({"file": str(stored), "title": table.title, **counts})
        return
    stdout.lines(
        [f"{table.title}: {len(table.rows)} backbones, {own} of them with a card, {len(table.columns)} columns"]
    )
    if table.note:
        stdout.say(table.note)
    stdout.say(f"stored as {stored}; remove the file to remove the board")


def check_published(session: Session, *, as_json: bool, cells: Sequence[PublishedCell] = CELLS) -> ExitCode:
    """Measure the missing cells; 0 when every published score is reproduced, 1 otherwise.

    Raises MissingInputs where weights or data cannot be fetched.
    """
    backbones = tuple(dict.fromkeys(cell.backbone for cell in cells))
    tasks = tuple(dict.fromkeys(cell.task for cell in cells))
    stdout.say(f"{len(cells)} published scores: {', '.join(backbones)} on {', '.join(tasks)}")
    with redirect_stdout(sys.stderr):  # only the result goes to standard output
        _fetch(session, backbones, tasks)
        for preset in dict.fromkeys(cell.preset for cell in cells):
            run(session, RunSelection(backbones=backbones, tasks=tasks, preset=preset), RunOptions())
    verdicts = judge_cells(cells, session.results())
    if as_json:
        stdout.document({"published": [_document(verdict) for verdict in verdicts]})
    else:
        _show(verdicts)
    return ExitCode.DONE if all(verdict.agrees for verdict in verdicts) else ExitCode.RUN_FAILED


def _fetch(session: Session, backbones: Sequence[str], tasks: Sequence[str]) -> None:
    """Fetch missing inputs; failures have been printed."""
    absent = [
        card.name for card in session.backbones.select(backbones) if session.weights.state(card).status != "present"
    ]
    cards = {spec.dataset: session.tasks.card_of(spec) for spec in session.tasks.select(tasks)}
    missing = [name for name, card in cards.items() if presence(card, session.data_root).status != "present"]
    fetches = [(fetch_weights, name) for name in absent] + [(fetch_data, name) for name in missing]
    failed = next((name for fetch, name in fetches if fetch(session, (name,)) is not ExitCode.DONE), None)
    if failed is not None:
        raise MissingInputs(
            f"{failed} could not be fetched, so nothing was measured; this check requires network access"
        )


def _show(verdicts: Sequence[CellVerdict]) -> None:
    width = max(len(verdict.cell.backbone) for verdict in verdicts)
    stdout.lines([f"{MARKS[one.agrees]} {one.cell.backbone:<{width}} {one.words}" for one in verdicts])
    agreeing = sum(verdict.agrees for verdict in verdicts)
    stdout.lines([f"{agreeing} of {len(verdicts)} published scores are reproduced on this machine"])


def _document(verdict: CellVerdict) -> dict[str, object]:
    cell, result = verdict.cell, verdict.result
    return {
        "backbone": cell.backbone,
        "task": cell.task,
        "preset": cell.preset,
        "published": cell.expected,
        "allowed": cell.tolerance,
        "source": cell.source,
        "measured": None if result is None else result.value,
        "difference": verdict.difference,
        "run_id": None if result is None else result.run_id,
        "agrees": verdict.agrees,
    }
