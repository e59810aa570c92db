"""The user's selection in the rankings, and the rows and columns that match it, in their order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from pydantic import JsonValue, TypeAdapter, ValidationError

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.badged_results import BadgeSources
from ssl_console.analysis.filter_query import Filterable, column_subject, filter_ranking, row_subject
from ssl_console.analysis.published import all_published, unmarked, with_published
from ssl_console.analysis.ranking import (
    AGGREGATES,
    ESTIMATE,
    Ranking,
    RankingRow,
    pick_columns,
    rank,
    sort_rows,
)
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.views import memoize_by_identity
from ssl_console.tui.widgets.table_model import Column
from ssl_console.workspace.result import Result

Published = Literal["off", "beside", "all"]
Grouping = Literal["", "family", "architecture", "pre-training data", "size"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
GROUP = "\0"
"""Prefix of the key of a group's header among the keys of rows."""
UNKNOWN = "unknown"
SIZES = ((10, "under 10 M"), (35, "10 to 35 M"), (120, "35 to 120 M"), (500, "120 to 500 M"))
"""Upper limits in millions of parameters."""
SCALES = {aggregate.name: 1 if aggregate.name == "mean" else 2 for aggregate in AGGREGATES}
"""Number of displayed decimals."""
NARROW = 100
"""Cells of a screen below which the columns of the sort keys stay at the left."""


@dataclass(frozen=True)
class RankingQuery:
    """Selection of rows, columns and content."""

    suite: str | None = None
    filter: str = ""
    hidden: frozenset[str] = frozenset()
    sort: str = ESTIMATE
    reverse: bool = False
    then: tuple[tuple[str, bool], ...] = ()
    """Further sort keys for ties, each with its direction."""
    group: str = ""
    """One of `GROUPINGS`; empty for none."""
    pins: tuple[str, ...] = ()
    """Pinned columns."""
    weights: bool = False
    """Whether only backbones with present weights are shown."""
    intervals: bool = False
    differences: bool = False
    """Whether differences from published scores are shown."""
    heat: bool = True
    common: bool = False
    """Whether only the columns with scores of all shown rows are used; otherwise, incomplete rows have no rank."""
    published: Published = "beside"
    """Display of published numbers: none, in measured columns, or in all columns."""

    @property
    def sorts(self) -> tuple[tuple[str, bool], ...]:
        """Every sort key with its direction, True for the reverse of best first."""
        return (self.sort, self.reverse), *self.then

    def sorted_by(self, column: str) -> RankingQuery:
        """Sorted by this column alone; in reverse if it already is."""
        reverse = not self.reverse if self.sort == column and not self.then else False
        return replace(self, sort=column, reverse=reverse, then=())

    def also_sorted_by(self, column: str) -> RankingQuery:
        """With this column as a further sort key; in reverse if it already is, and without it after that."""
        if column == self.sort:
            return replace(self, reverse=not self.reverse)
        direction = dict(self.then).get(column)
        others = tuple(pair for pair in self.then if pair[0] != column)
        if direction is None:
            return replace(self, then=(*self.then, (column, False)))
        if not direction:
            return replace(self, then=tuple((key, key == column or back) for key, back in self.then))
        return replace(self, then=others)

    def limited_to(self, columns: Collection[str]) -> RankingQuery:
        """Without sort keys for other columns."""
        left = [pair for pair in self.sorts if pair[0] in columns] or [(ESTIMATE, False)]
        return replace(self, sort=left[0][0], reverse=left[0][1], then=tuple(left[1:]))

    def pinned(self, column: str) -> RankingQuery:
        """With the column pinned or unpinned."""
        pins = tuple(pin for pin in self.pins if pin != column)
        return replace(self, pins=pins if column in self.pins else (*self.pins, column))

    @property
    def terms(self) -> str:
        """The filter, including the condition on weights."""
        return f"({self.filter}) weights:present" if self.weights else self.filter


def view_document(query: RankingQuery) -> dict[str, JsonValue]:
    """A query as JSON, for a saved view."""
    return cast("dict[str, JsonValue]", TypeAdapter(RankingQuery).dump_python(query, mode="json"))


def view_of_document(document: JsonValue) -> RankingQuery | None:
    """The query of a saved view; None for an invalid document."""
    try:
        return TypeAdapter(RankingQuery).validate_python(document)
    except ValidationError:
        return None


@memoize_by_identity
def base_ranking(results: tuple[Result, ...], columns: tuple[tuple[str, str], ...] | None, shown: Published) -> Ranking:
    """Own and published rows in these columns. Memoized, as it is the input of filtering and sorting."""
    own = [result for result in results if result.source == "mine"]
    if shown == "off":
        return rank(own, columns)
    return rank(with_published(own, all_published(), columns, all_tasks=shown == "all"), columns)


@memoize_by_identity
def badge_sources(catalogue: Catalog) -> BadgeSources:
    """Facts of the backbones' cards about results."""
    return BadgeSources.of(entry.card for entry in catalogue.backbones)


@memoize_by_identity
def badged(results: tuple[Result, ...], catalogue: Catalog) -> tuple[Result, ...]:
    """The results with all warnings. Memoized, as it is the input of all views and exports."""
    return tuple(badge_sources(catalogue).badged(results))


@memoize_by_identity
def badged_by_run(results: tuple[Result, ...], catalogue: Catalog) -> Mapping[str, Result]:
    """Results with all warnings, by run."""
    return {result.run_id: result for result in badged(results, catalogue)}


def apply_query(base: Ranking, query: RankingQuery, catalogue: Catalog) -> tuple[Ranking, tuple[str, ...]]:
    """The rows and columns selected by a filter and the user's choice of columns."""
    if not query.terms.strip():
        labels = [column.label for column in base.columns if column.label not in query.hidden]
        return base if len(labels) == len(base.columns) else pick_columns(base, labels), ()
    rows, columns = filter_subjects(base, catalogue)
    shown = {label: subject for label, subject in columns.items() if label not in query.hidden}
    return filter_ranking(base, query.terms, rows, shown)


@memoize_by_identity
def filter_subjects(base: Ranking, catalogue: Catalog) -> tuple[Mapping[str, Filterable], Mapping[str, Filterable]]:
    """Subjects of a filter by row, and by column. Memoized, as each letter of a filter needs all of them."""
    rows: dict[str, Filterable] = {}
    for row in base.rows:
        backbone = catalogue.backbone.get(unmarked(row.backbone))
        rows[row.backbone] = row_subject(row, backbone.subject if backbone else None)
    columns: dict[str, Filterable] = {}
    for column in base.columns:
        task = catalogue.task.get(column.task)
        columns[column.label] = column_subject(column, task.subject if task else None)
    return rows, columns


def reordered(base: Ranking, shown: Ranking) -> bool:
    """Whether the order of the rows differs from that with all columns of `base`."""
    if len(shown.columns) == len(base.columns):
        return False
    before = {row.backbone: row.order for row in base.rows}
    now = [before[row.backbone] for row in sorted(shown.rows, key=lambda row: row.order)]
    return now != sorted(now)


@dataclass(frozen=True)
class ColumnOrder:
    """Columns for a screen of some width, without those of place and name."""

    pinned: tuple[Column, ...]
    """Pinned columns, of which the first `fixed` stay at the left."""
    others: tuple[Column, ...]
    behind: tuple[Column, ...] = ()
    """Aggregates after the tasks, because there is too little room before them."""
    fixed: int = 0
    """Number of pinned columns that stay at the left; half of the room remains for the others."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.pinned, *self.others, *self.behind)


def order_columns(
    aggregates: Sequence[Column], tasks: Sequence[Column], query: RankingQuery, width: int, room: int
) -> ColumnOrder:
    """The columns for a screen of `width` cells, `room` of them after the names.

    On a narrow screen the columns of the sort keys are pinned. Where aggregates would take more than half of the room,
    only those of the sort keys and the estimate, which orders the rows otherwise, come before the tasks.
    """
    every, keys = [*aggregates, *tasks], [key for key, _ in query.sorts]
    sorted_task = [column.key for column in tasks if column.key in keys] if width < NARROW else []
    wanted = dict.fromkeys([*query.pins, *sorted_task])
    pinned = [column for key in wanted for column in every if column.key == key]
    leading = [column for column in aggregates if column not in pinned]
    behind: list[Column] = []
    if 2 * _cells(leading) > room:
        behind = [column for column in leading if column.key not in {ESTIMATE, *keys}]
    others = [column for column in every if column not in pinned and column not in behind]
    # half of the room remains for the columns that scroll
    fixed = sum(2 * _cells(pinned[:count]) <= room for count in range(1, len(pinned) + 1))
    return ColumnOrder(tuple(pinned), tuple(others), tuple(behind), fixed)


def _cells(columns: Sequence[Column]) -> int:
    return sum(column.width + 1 for column in columns)


def order_rows(ranking: Ranking, query: RankingQuery, catalogue: Catalog) -> Ranking:
    """The rows sorted by every key of the query: rows displayed equally by one key are ordered by the next.

    With groups, the group of the first row comes first.
    """
    (by, reverse), *then = query.sorts
    if not then:
        return _grouped(sort_rows(ranking, by, reverse), query, catalogue)
    for key, backwards in reversed(then):
        ranking = sort_rows(ranking, key, backwards)
    for key, backwards in reversed(query.sorts[:-1]):
        places: dict[object, int] = {}  # of displayed values: rows displayed equally keep their order
        for row in sort_rows(ranking, key, backwards).rows:
            places.setdefault(_shown(row, key), len(places))
        ranking = replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: places[_shown(row, key)])))
    return _grouped(ranking, query, catalogue)


def _shown(row: RankingRow, by: str) -> object:
    if by == "backbone":
        return row.backbone
    if by in row.cells:
        return round(row.cells[by].value, 1)
    aggregate = next((one for one in AGGREGATES if one.name == by), None)
    value = aggregate.value(row) if aggregate else None
    if value is None:
        return row.order if by == ESTIMATE else None
    return round(value, SCALES[by])


def group_of(card: BackboneCard | None, grouping: str) -> str:
    """The group of a backbone by its card."""
    if card is None:
        return UNKNOWN
    facts = card.facts
    match grouping:
        case "family":
            return facts.method
        case "architecture":
            return card.architecture
        case "pre-training data":
            return facts.pretraining_data or UNKNOWN
        case _:
            return _size(facts.parameters_millions)


def _size(millions: float | None) -> str:
    if millions is None:
        return UNKNOWN
    return next((name for limit, name in SIZES if millions < limit), "500 M and more")


def groups_of(ranking: Ranking, query: RankingQuery, catalogue: Catalog) -> Mapping[str, tuple[str, ...]]:
    """Backbones by the key of their group's header, groups in the order of their first rows; empty without grouping."""
    if not query.group:
        return {}
    groups: dict[str, list[str]] = {}
    for row in ranking.rows:
        entry = catalogue.backbone.get(unmarked(row.backbone))
        group = group_of(entry.card if entry else None, query.group)
        groups.setdefault(f"{GROUP}{group}", []).append(row.backbone)
    return {head: tuple(names) for head, names in groups.items()}


def _grouped(ranking: Ranking, query: RankingQuery, catalogue: Catalog) -> Ranking:
    groups = groups_of(ranking, query, catalogue)
    if not groups:
        return ranking
    place = {name: number for number, names in enumerate(groups.values()) for name in names}
    return replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: place[row.backbone])))
