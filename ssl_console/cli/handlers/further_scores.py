"""`rank --intervals`, `--figure`, `--optimism` and `--shifts`: rank intervals and further scores. Imports numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from backbones.io.card_files import match
from ssl_console.analysis.badged_results import legend, mark_sentences
from ssl_console.analysis.further_scores import (
    ABOUT,
    NOTHING_CHOSEN,
    Optimism,
    ProtocolOptimism,
    ShiftScores,
    audit,
    by_protocol,
    optimism_document,
    shift_document,
    shift_scores,
    shifts_of,
)
from ssl_console.analysis.rank_intervals import RankTable, as_text, rank_table, ranks_document
from ssl_console.analysis.ranking import Ranking
from ssl_console.analysis.statistics.across_tasks import POOL_NOTE
from ssl_console.analysis.statistics.distributions import format_p
from ssl_console.analysis.statistics.rank_bootstrap import Missing
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result

PROTOCOL_HEAD = ("protocol", "results", "lacking", "median", "largest", "other leader", "pairs swapped")
HEAD = ("task", "variant", "backbone", "seed", "score", "chosen without test", "best on test", "optimism", "choice")
MISSING_VALUES = {word.split()[0]: word for word in get_args(Missing)}
"""Values of the option: `complete`, `common` and `drawn`."""


@dataclass(frozen=True)
class ResultSelection:
    """Own results by suite, backbones and tasks; empty: all."""

    suite: str | None = None
    backbones: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def show_optimism(session: Session, selection: ResultSelection, *, as_json: bool) -> None:
    """Print the optimism of every protocol and result. Raises UnknownName for names without results."""
    rows = selected_results(session, selection)
    known, unknown = audit(rows, {row.run_id: session.outputs.record(row.run_id) for row in rows})
    if as_json:
        stdout.document(optimism_document(known, unknown))
        return
    if known:
        stdout.table(
            PROTOCOL_HEAD, [_protocol_row(one) for one in by_protocol(known, unknown)], right=frozenset(range(1, 7))
        )
        stdout.lines([""])
        stdout.table(HEAD, [_row(one) for one in known], right=frozenset({3, 4, 5, 6, 7}))
        _say_marks(one.badges for one in known)
        stdout.say(ABOUT)
    for (reason, protocol), count in sorted(Counter((one.reason, one.protocol) for one in unknown).items()):
        what = "nothing to inflate" if reason == NOTHING_CHOSEN else "optimism unknown"
        stdout.say(f"{protocol}: {what} in {count} result{'s' * (count != 1)}: {reason}")
    if not rows:
        stdout.say("no results yet: start with `ssl-console demo` or `ssl-console run`")


def show_shifts(session: Session, selection: ResultSelection, *, as_json: bool) -> None:
    """Print a table for each task with scores by shift. Raises UnknownName for names without results."""
    rows = selected_results(session, selection)
    records = {row.run_id: session.outputs.record(row.run_id) for row in rows}
    scores = shift_scores(rows, {run_id: record.metrics for run_id, record in records.items() if record is not None})
    if as_json:
        stdout.document(shift_document(scores))
        return
    by_task: dict[tuple[str, str], list[ShiftScores]] = {}
    for one in scores:
        by_task.setdefault((one.result.task, one.result.variant), []).append(one)
    for (task, variant), of_task in by_task.items():
        shifts = shifts_of(of_task)
        head = ("backbone", "seed", f"unshifted {of_task[0].metric}", *shifts, "drop")
        cells = [(one.result.backbone, str(one.result.seed), *one.cells(shifts)) for one in of_task]
        stdout.lines([f"{task} [{variant}]"])
        stdout.table(head, cells, right=frozenset(range(1, len(head))))
    _say_marks(one.result.badges for one in scores)
    if not scores:
        stdout.say("no result has scores by shift: run `robustness` tasks, e.g. `ssl-console run -t robustness/shapes`")


def selected_results(session: Session, selection: ResultSelection) -> list[Result]:
    """Own results of a selection. Raises UnknownName for a name or glob without results."""
    rows = [row for row in session.badged_results() if row.source == "mine"]
    if selection.suite is not None:
        wanted = {(spec.name, spec.variant) for spec in session.tasks.select(suite=selection.suite)}
        rows = [row for row in rows if (row.task, row.variant) in wanted]
    for patterns, field, kind in (
        (selection.tasks, "task", "task with results"),
        (selection.backbones, "backbone", "measured backbone"),
    ):
        if patterns:
            names = set(match(patterns, dict.fromkeys(getattr(row, field) for row in rows), kind))
            rows = [row for row in rows if getattr(row, field) in names]
    return rows


def _protocol_row(one: ProtocolOptimism) -> tuple[str, ...]:
    return (
        one.protocol,
        str(one.results),
        str(one.without) if one.without else "",
        f"{one.median:+.2f}",
        f"{one.largest:+.2f}",
        f"{one.other_leader} of {one.columns}" if one.columns else "—",
        f"{one.swapped} of {one.pairs}" if one.pairs else "—",
    )


def _row(one: Optimism) -> tuple[str, ...]:
    choice = one.choice if one.candidates is None else f"{one.choice} (of {one.candidates})"
    scores = (
        f"{one.value:.2f}{marks(one.badges)}",
        f"{one.selected:.2f}",
        f"{one.on_test:.2f}",
        f"{one.inflation:+.2f}",
    )
    return (one.task, one.variant, one.backbone, str(one.seed), *scores, choice)


def _say_marks(badges: Iterable[Sequence[str]]) -> None:
    for mark, meaning in legend(badges).items():
        stdout.say(f"{mark} {meaning}")


def rank_table_of(session: Session, ranking: Ranking, missing: str) -> RankTable:
    """Ranks with their uncertainty. Raises ConsoleError when nothing is left to rank, and for an unknown value of
    `--missing`.
    """
    chosen: Missing | None = next((one for one in get_args(Missing) if one == MISSING_VALUES.get(missing)), None)
    if chosen is None:
        raise ConsoleError(f"--missing {missing}: choose one of {', '.join(MISSING_VALUES)}")
    try:
        return rank_table(ranking, session.outputs.predictions, missing=chosen)
    except ValueError as error:
        raise ConsoleError(
            f"{error}; --missing selects the treatment of missing scores, -t and -b the tasks and backbones"
        ) from error


def save_diagram(session: Session, ranking: Ranking, missing: str, path: Path) -> None:
    """Write the critical-difference diagram. Raises ConsoleError when there is none."""
    from ssl_console.analysis.figures import check_name, save_critical_difference

    check_name(path)
    table = rank_table_of(session, ranking, missing)
    picture = table.picture
    if picture is None:
        raise ConsoleError(f"{path}: a critical-difference diagram requires two backbones on two tasks")
    save_critical_difference(picture, path, mark_sentences(table.marked))
    stdout.say(f"{path} written; {POOL_NOTE}")


def show_rank_intervals(session: Session, ranking: Ranking, missing: str, *, as_json: bool) -> None:
    """Print ranks, their intervals and ties. Raises ConsoleError when nothing is left to rank."""
    table = rank_table_of(session, ranking, missing)
    if as_json:
        stdout.document(ranks_document(table))
        return
    head = ("group", "backbone", "mean rank", "rank", "95 % interval", "first")
    lines = [
        (str(r.group), r.backbone, f"{r.mean_rank:.2f}", f"{r.rank:g}", f"{r.low:g} to {r.high:g}", f"{r.first:.0%}")
        for r in table.ranks.rows
    ]
    stdout.table(head, lines, right=frozenset({0, 2, 3, 5}))
    if table.picture is not None:
        note = "bars connect backbones without a significant difference (Nemenyi's test)"
        stdout.lines(["", f"critical difference {table.picture.difference:.2f}: {note}"])
        stdout.table(("backbone", "1 .. last", "mean rank", ""), as_text(table.picture), right=frozenset({2}))
    _report(table)


def _report(table: RankTable) -> None:
    ranks = table.ranks
    stdout.say(
        f"{ranks.replicates:,} replicates over {ranks.tasks} tasks, {ranks.missing}; backbones of one group are tied "
        "with its best"
    )
    if ranks.left_out:
        stdout.say(f"left out, because a score is missing: {', '.join(ranks.left_out)}")
    if table.by_intervals:
        stdout.say(
            f"resampled from their intervals only, because predictions are missing: {', '.join(table.by_intervals)}"
        )
    for sentence in mark_sentences(table.marked):
        stdout.say(sentence)
    classical = table.classical
    if classical is not None:
        stdout.say(
            f"classical view: Friedman {format_p(classical.f_p_value)}, critical difference of mean ranks "
            f"{classical.critical_difference:.2f} (Nemenyi); {POOL_NOTE}"
        )
