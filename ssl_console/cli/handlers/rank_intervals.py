"""`rank --intervals` and `rank --figure`: the ranks with their uncertainty. Imports numpy."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ssl_console.analysis.badged_results import mark_sentences
from ssl_console.analysis.rank_intervals import CriticalDifference, RankTable, as_text, rank_table, ranks_document
from ssl_console.analysis.ranking import Ranking
from ssl_console.analysis.statistics.across_tasks import POOL_NOTE
from ssl_console.analysis.statistics.rank_bootstrap import Missing
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError

MISSING_VALUES = {word.split()[0]: word for word in get_args(Missing)}
"""Values of the option: `complete`, `common` and `drawn`."""


def parse_missing(word: str) -> Missing:
    """Value of the option. Raises ConsoleError for any other word."""
    chosen: Missing | None = next((one for one in get_args(Missing) if one == MISSING_VALUES.get(word)), None)
    if chosen is None:
        raise ConsoleError(f"--missing {word}: choose one of {', '.join(MISSING_VALUES)}")
    return chosen


def rank_table_of(session: Session, ranking: Ranking, missing: str) -> RankTable:
    """Ranks with their uncertainty. Raises ConsoleError when nothing is left to rank."""
    chosen = parse_missing(missing)
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
        _show_diagram(table.picture)
    _report(table)


def _show_diagram(picture: CriticalDifference) -> None:
    """Print the classical view, below the ranks."""
    note = "bars connect backbones without a significant difference (Nemenyi's test)"
    stdout.lines(["", f"critical difference {picture.difference:.2f}: {note}"])
    stdout.table(("backbone", "1 .. last", "mean rank", ""), as_text(picture), right=frozenset({2}))


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
            f"classical view: Friedman p = {classical.f_p_value:.2g}, critical difference of mean ranks "
            f"{classical.critical_difference:.2f} (Nemenyi); {POOL_NOTE}"
        )
