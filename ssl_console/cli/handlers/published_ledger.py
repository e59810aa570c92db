"""`compare --published`: own scores against published ones of the same protocol, outliers, and the scatter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backbones.io.card_files import is_glob, match
from ssl_console.analysis.marked_scores import MarkedScore, mark_sentences
from ssl_console.analysis.published.agreement import published_backbones
from ssl_console.analysis.published.ledger import Ledger, LedgerColumn, LedgerEntry, ledger, ledger_document
from ssl_console.analysis.published.tables import further_numbers, source_of
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session, resolve_backbone
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

HEAD = ("task", "backbone", "measured", "published", "difference", "chosen on", "where", "verdict")
OTHERS_SHOWN = 12
"""Published numbers of other protocols that are listed; more are counted."""


def show_ledger(
    session: Session, first: str, second: str | None, suite: str | None, figure: Path | None, *, as_json: bool
) -> None:
    """Print the ledger of a backbone or a glob. Raises ConsoleError when nothing is comparable."""
    if second is not None:
        raise ConsoleError(f"compare {first} --published takes one backbone or glob, not also {second}")
    if figure is not None:
        from ssl_console.analysis.figures import check_name

        check_name(figure)
    results = _results(session, suite)
    found = ledger(_backbones(first, results), results)
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
        from ssl_console.analysis.published_figure import save_published_scatter

        save_published_scatter(found.columns, figure)
        stdout.say(f"{figure} written")


def _results(session: Session, suite: str | None) -> list[Result]:
    own = [one for one in session.badged_results() if one.source == "mine"]
    if suite is not None:
        wanted = {(spec.name, spec.variant) for spec in session.tasks.select(suite=suite)}
        own = [one for one in own if (one.task, one.variant) in wanted]

    def metrics_of(run_id: str) -> Mapping[str, float]:
        record = session.outputs.record(run_id)
        return record.metrics if record else {}

    return [*own, *further_numbers(own, metrics_of)]


def _backbones(pattern: str, results: list[Result]) -> list[str]:
    """Measured backbones of the pattern that have published numbers. Raises ConsoleError where there are none."""
    measured = list(dict.fromkeys(one.backbone for one in results))
    if not measured:
        raise ConsoleError("no results to compare: start with `ssl-console run`")
    names = (
        match([pattern], measured, "measured backbone") if is_glob(pattern) else [resolve_backbone(pattern, measured)]
    )
    known = [name for name in names if name in set(published_backbones())]
    if not known:
        raise ConsoleError(f"no published scores for {', '.join(names)}; `ssl-console rank --source paper` lists some")
    return known


def _print(found: Ledger) -> None:
    rows = [_row(column, entry) for column in found.columns for entry in column.entries]
    stdout.table(HEAD, rows, right=frozenset({2, 3, 4}))
    stdout.lines(["", *(_sentence(column) for column in found.columns)])
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
