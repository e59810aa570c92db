"""Backbones by columns, and aggregates over several columns. Pure; needs no numpy.

A column contains only results of one comparability key (`Result.column`): same protocol, parameters and data. Rules:

* `mean` and `mean_log_odds` exist for complete rows only, never over a subset of the columns, and only if every column
  is a percentage: angles in degrees and accuracies have no mean.
* `mean_rank` is computed among the complete rows, over all shown columns, so that all ranks refer to the same rivals.
* Columns of analyses are descriptive: they are excluded from all aggregates if there are other columns.
* `estimate` exists for all rows: the backbone's effect in a model of the measured cells, which determines the order of
  the table (`ssl_console.analysis.additive_estimate`).
* `win_rate` compares pairs in which both have a score, so it exists for incomplete rows as well. A tie is half a win.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import fmean

from backbones.io.card_files import UnknownName, suggest
from ssl_console.analysis.additive_estimate import Estimate, circles, estimates, on_one_scale, ordered, sweeps
from ssl_console.analysis.ranking_cell import RankingCell, average_seeds
from ssl_console.workspace.result import Result
from tasks.catalog.protocols import is_descriptive


@dataclass(frozen=True)
class RankingColumn:
    """Comparable results: one task in one variant on one version of its data."""

    label: str
    """The task's name, followed by metric and variant in brackets if the table contains several columns of the task."""
    key: str | None
    """The comparability key; None for a requested column without results."""
    task: str
    variant: str
    metric: str = ""
    higher_is_better: bool = True
    protocol: str = ""
    dataset: str = ""

    @property
    def describes(self) -> bool:
        """Whether it is descriptive: higher is neither better nor worse."""
        return is_descriptive(self.protocol)


@dataclass(frozen=True)
class RankingRow:
    """One backbone. Undefined aggregates are None."""

    backbone: str
    cells: Mapping[str, RankingCell]
    """Cells by column label; without an entry if not measured."""
    complete: bool
    mean: float | None = None
    mean_log_odds: float | None = None
    mean_rank: float | None = None
    """1 is best."""
    win_rate: float | None = None
    """Fraction of comparisons won, 0 to 1."""
    estimate: Estimate | None = None
    order: int = 0
    """Position in the default order."""
    circle: bool = False
    """Whether the row is part of a cycle, so that no order satisfies all pairwise leads on common tasks."""


@dataclass(frozen=True)
class Ranking:
    """The table: rows best first."""

    columns: tuple[RankingColumn, ...]
    rows: tuple[RankingRow, ...]

    @property
    def incomplete(self) -> int:
        """Number of rows with missing cells."""
        return sum(not row.complete for row in self.rows)


@dataclass(frozen=True)
class Aggregate:
    """A column computed from the others."""

    name: str
    title: str
    value: Callable[[RankingRow], float | None]
    ascending: bool
    show: Callable[[float], str]


ESTIMATE = "estimate"
CIRCLE = "~"
"""Mark of an estimate in a cycle: this row and others are ahead of one another on their common tasks."""
ABOUT_CIRCLE = "ahead of one another in a cycle, over the tasks that each pair shares, so no order holds for all"
"""Below exported tables; verification of a bundle derives its tables again, so the words must stay as they are."""

AGGREGATES: tuple[Aggregate, ...] = (
    Aggregate(ESTIMATE, "estimate", lambda row: row.estimate.value if row.estimate else None, False, "{:+.2f}".format),
    Aggregate("mean", "mean", lambda row: row.mean, False, lambda value: f"{value:.1f}"),
    Aggregate("mean_log_odds", "log-odds", lambda row: row.mean_log_odds, False, lambda value: f"{value:.2f}"),
    Aggregate("mean_rank", "mean rank", lambda row: row.mean_rank, True, lambda value: f"{value:.2f}"),
    Aggregate("win_rate", "win rate", lambda row: row.win_rate, False, lambda value: f"{100 * value:.0f} %"),
)


def rank(results: Iterable[Result], wanted: Sequence[tuple[str, str]] | None = None) -> Ranking:
    """The ranking of all results, best estimate first.

    `wanted` lists (task, variant): exactly these columns are shown, in this order, each on the newest version of its
    data; a column without results is empty. By default, every comparability key in `results` is a column.
    """
    by_column: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_column[result.column].append(result)
    if wanted is None:
        found = [_column(key, ones) for key, ones in by_column.items()]
        found.sort(key=lambda column: (column.task, column.variant, column.key or ""))
    else:
        found = _wanted_columns(by_column, wanted)
    columns = _labelled(found)
    cells = {column.label: _cells(by_column.get(column.key or "", ())) for column in columns}
    rows = []
    for name in sorted({name for column in cells.values() for name in column}):
        own = {label: column[name] for label, column in cells.items() if name in column}
        rows.append(RankingRow(name, own, complete=_complete(own, columns)))
    ranking = Ranking(tuple(columns), tuple(_with_aggregates(columns, rows)))
    return replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: row.order)))


def sort_rows(ranking: Ranking, by: str, reverse: bool = False) -> Ranking:
    """The same table, best first by one column, aggregate or `backbone`; stable, missing values always last.

    Raises UnknownName with suggestions for an unknown column.
    """
    if by == "backbone":
        return replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: row.backbone, reverse=reverse)))
    if by == ESTIMATE:
        return replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: row.order, reverse=reverse)))
    value, ascending = _sort_value(ranking, by)
    present = [row for row in ranking.rows if value(row) is not None]
    missing = [row for row in ranking.rows if value(row) is None]
    present.sort(key=lambda row: value(row) or 0.0, reverse=ascending == reverse)
    return replace(ranking, rows=(*present, *missing))


def pick_rows(ranking: Ranking, backbones: Iterable[str]) -> Ranking:
    """Select backbones and recompute aggregates among them."""
    chosen = set(backbones)
    if chosen.issuperset(row.backbone for row in ranking.rows):
        return ranking
    bare = [row for row in ranking.rows if row.backbone in chosen]
    return replace(ranking, rows=tuple(_with_aggregates(ranking.columns, bare)))


def pick_columns(ranking: Ranking, labels: Iterable[str], backbones: Collection[str] | None = None) -> Ranking:
    """Select columns and recompute aggregates; rows without a score in any of them are omitted. With `backbones`,
    select these rows as well.
    """
    chosen = set(labels)
    columns = tuple(column for column in ranking.columns if column.label in chosen)
    bare = []
    for row in ranking.rows:
        if backbones is not None and row.backbone not in backbones:
            continue
        cells = {label: cell for label, cell in row.cells.items() if label in chosen}
        if cells or not columns:
            bare.append(replace(row, cells=cells, complete=_complete(cells, columns)))
    return replace(ranking, columns=columns, rows=tuple(_with_aggregates(columns, bare)))


def judged(columns: Sequence[RankingColumn]) -> tuple[RankingColumn, ...]:
    """Columns that rank backbones: all but the descriptive ones, unless there are only these."""
    return tuple(column for column in columns if not column.describes) or tuple(columns)


def common_columns(ranking: Ranking) -> list[str]:
    """Labels of the columns in which every row has a score."""
    return [one.label for one in ranking.columns if all(one.label in row.cells for row in ranking.rows)]


def average_ranks(values: Sequence[float], higher_is_better: bool = True) -> list[float]:
    """Rank of each value, 1 for the best; ties have their average rank."""
    order = sorted(range(len(values)), key=values.__getitem__, reverse=higher_is_better)
    ranks = [0.0] * len(values)
    start = 0
    for _, group in groupby(order, key=values.__getitem__):
        tied = tuple(group)
        for index in tied:
            ranks[index] = start + (1 + len(tied)) / 2
        start += len(tied)
    return ranks


def _wanted_columns(
    by_column: Mapping[str, Sequence[Result]], wanted: Sequence[tuple[str, str]]
) -> list[RankingColumn]:
    newest: dict[tuple[str, str], tuple[float, str]] = {}
    for key, results in by_column.items():
        for result in results:
            place = (result.task, result.variant)
            if place not in newest or result.finished > newest[place][0]:
                newest[place] = (result.finished, key)
    columns = []
    for task, variant in dict.fromkeys(wanted):
        found = newest.get((task, variant))
        columns.append(
            _column(found[1], by_column[found[1]])
            if found
            else RankingColumn(task, None, task, variant, protocol=task.partition("/")[0])
        )
    return columns


def _column(key: str, results: Sequence[Result]) -> RankingColumn:
    one = max(results, key=lambda result: result.finished)
    measured = (one.metric, one.higher_is_better, one.protocol_name, one.dataset_name)
    return RankingColumn(one.task, key, one.task, one.variant, *measured)


def _labelled(columns: Sequence[RankingColumn]) -> list[RankingColumn]:
    """Shortest labels that are unique."""
    metrics: dict[str, set[str]] = defaultdict(set)
    for column in columns:
        metrics[column.task].add(column.metric)
    named = [c.task if len(metrics[c.task]) == 1 else f"{c.task} {c.metric}" for c in columns]
    tasks = Counter(named)
    variants = Counter(zip(named, (column.variant for column in columns), strict=True))
    labelled = []
    for label, column in zip(named, columns, strict=True):
        if variants[label, column.variant] > 1:
            labelled.append(replace(column, label=f"{label} [{column.variant} #{(column.key or '')[:6]}]"))
        else:
            labelled.append(replace(column, label=f"{label} [{column.variant}]" if tasks[label] > 1 else label))
    return labelled


def _cells(results: Sequence[Result]) -> dict[str, RankingCell]:
    """Mean by backbone over the newest result of each seed, for seeds measured on its newest version. Seeds measured
    before the weights or the preprocessing changed are excluded.
    """
    newest: dict[str, dict[int, Result]] = defaultdict(dict)
    for result in sorted(results, key=lambda result: (result.finished, result.run_id)):
        held = newest[result.backbone]
        if any(other.made_of != result.made_of for other in held.values()):
            held.clear()
        held[result.seed] = result
    return {backbone: average_seeds(list(seeds.values())) for backbone, seeds in newest.items()}


def _complete(cells: Mapping[str, RankingCell], columns: Sequence[RankingColumn]) -> bool:
    return all(column.label in cells for column in judged(columns))


@dataclass
class _Tally:
    """Sums of one row, accumulated over columns."""

    ranks: list[float] = field(default_factory=list)
    won: float = 0.0
    compared: int = 0


def _with_aggregates(columns: Sequence[RankingColumn], rows: Sequence[RankingRow]) -> list[RankingRow]:
    columns = judged(columns)
    tallies = {row.backbone: _Tally() for row in rows}
    complete = [row for row in rows if row.complete]
    for column in columns:
        _tally(column, rows, complete, tallies)
    return _estimated(columns, [_aggregated(row, columns, tallies[row.backbone]) for row in rows])


def _estimated(columns: Sequence[RankingColumn], rows: Sequence[RankingRow]) -> list[RankingRow]:
    """Rows with their estimates and positions."""
    percentages, others = _scores(columns, rows, shares=True), _scores(columns, rows, shares=False)
    scores = on_one_scale(percentages, others)
    found, edges = estimates(scores), sweeps({**percentages, **others})
    values = {name: one.value for name, one in found.items()}
    weights = {row.backbone: len(row.cells) for row in rows}
    order, rounds = ordered(values, weights, edges), circles(edges)
    places = {name: place for place, name in enumerate(order)}
    return [
        replace(
            row,
            estimate=found.get(row.backbone),
            order=places.get(row.backbone, len(rows)),
            circle=row.backbone in rounds,
        )
        for row in rows
    ]


def _scores(
    columns: Sequence[RankingColumn], rows: Sequence[RankingRow], *, shares: bool
) -> dict[str, dict[str, float]]:
    """Scores by column label and backbone, higher is better: log-odds of percentages, other scores unchanged."""
    found: dict[str, dict[str, float]] = {}
    for column in columns:
        if column.higher_is_better != shares:
            continue
        cells = {row.backbone: row.cells[column.label] for row in rows if column.label in row.cells}
        if cells:
            found[column.label] = {name: cell.log_odds if shares else -cell.value for name, cell in cells.items()}
    return found


def _tally(
    column: RankingColumn,
    rows: Sequence[RankingRow],
    complete: Sequence[RankingRow],
    tallies: Mapping[str, _Tally],
) -> None:
    present = [row for row in rows if column.label in row.cells]
    places = _places(column, present)
    for row, place in zip(present, places, strict=True):
        tallies[row.backbone].won += len(present) - place
        tallies[row.backbone].compared += len(present) - 1
    ranks = places if len(complete) == len(present) else _places(column, complete)
    for row, rank_ in zip(complete, ranks, strict=True):
        tallies[row.backbone].ranks.append(rank_)


def _places(column: RankingColumn, rows: Sequence[RankingRow]) -> list[float]:
    return average_ranks([row.cells[column.label].value for row in rows], column.higher_is_better)


def _aggregated(row: RankingRow, columns: Sequence[RankingColumn], tally: _Tally) -> RankingRow:
    cells = [row.cells[column.label] for column in columns if column.label in row.cells]
    summable = bool(cells) and row.complete and all(column.higher_is_better for column in columns)
    return replace(
        row,
        mean=fmean([cell.value for cell in cells]) if summable else None,
        mean_log_odds=fmean([cell.log_odds for cell in cells]) if summable else None,
        mean_rank=fmean(tally.ranks) if tally.ranks else None,
        win_rate=tally.won / tally.compared if tally.compared else None,
    )


def _sort_value(ranking: Ranking, by: str) -> tuple[Callable[[RankingRow], float | None], bool]:
    for aggregate in AGGREGATES:
        if by in {aggregate.name, aggregate.title}:
            return aggregate.value, aggregate.ascending
    named = [c for c in ranking.columns if c.label == by] or [c for c in ranking.columns if c.task == by]
    if len(named) == 1:
        label = named[0].label
        return lambda row: row.cells[label].value if label in row.cells else None, not named[0].higher_is_better
    known = ["backbone", *(aggregate.name for aggregate in AGGREGATES), *(column.label for column in ranking.columns)]
    raise UnknownName("column", by, [column.label for column in named] or suggest(by, known))
