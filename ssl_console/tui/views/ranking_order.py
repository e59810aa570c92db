"""The order of the ranking's rows and columns: sort keys, groups, and what a narrow screen shows first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.published import unmarked
from ssl_console.analysis.ranking import AGGREGATES, ESTIMATE, Ranking, RankingRow, sort_rows
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.views.ranking_query import RankingQuery
from ssl_console.tui.widgets.table_model import Column

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
class ColumnOrder:
    """Columns as a screen of some width shows them, those of place and name aside."""

    pinned: tuple[Column, ...]
    """Of these, as many stay at the left as leave half of the room to the others."""
    others: tuple[Column, ...]
    behind: tuple[Column, ...] = ()
    """Aggregates that stand after the tasks, because before them they would leave too little room."""
    fixed: int = 0
    """Pinned columns that stay at the left."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.pinned, *self.others, *self.behind)


def order_columns(
    aggregates: Sequence[Column], tasks: Sequence[Column], query: RankingQuery, width: int, room: int
) -> ColumnOrder:
    """The columns for a screen of `width` cells, `room` of them behind the names.

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
    return ColumnOrder(tuple(pinned), tuple(others), tuple(behind), _fitting(pinned, room))


def _cells(columns: Sequence[Column]) -> int:
    return sum(column.width + 1 for column in columns)


def _fitting(pinned: Sequence[Column], room: int) -> int:
    """How many pinned columns stay at the left: half of the room remains for those that scroll."""
    return sum(2 * _cells(pinned[:count]) <= room for count in range(1, len(pinned) + 1))


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
        ranking = _sorted_as_shown(ranking, key, backwards)
    return _grouped(ranking, query, catalogue)


def _sorted_as_shown(ranking: Ranking, by: str, reverse: bool) -> Ranking:
    """Stable sort by displayed values."""
    ordered = sort_rows(ranking, by, reverse).rows
    places: dict[object, int] = {}
    for row in ordered:
        places.setdefault(_shown(row, by), len(places))
    return replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: places[_shown(row, by)])))


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
    found: dict[str, list[str]] = {}
    group = partial(_group_of_row, query=query, catalogue=catalogue)
    for row in ranking.rows:
        found.setdefault(f"{GROUP}{group(row)}", []).append(row.backbone)
    return {head: tuple(names) for head, names in found.items()}


def _grouped(ranking: Ranking, query: RankingQuery, catalogue: Catalog) -> Ranking:
    groups = groups_of(ranking, query, catalogue)
    if not groups:
        return ranking
    place = {name: number for number, names in enumerate(groups.values()) for name in names}
    return replace(ranking, rows=tuple(sorted(ranking.rows, key=lambda row: place[row.backbone])))


def _group_of_row(row: RankingRow, query: RankingQuery, catalogue: Catalog) -> str:
    entry = catalogue.backbone.get(unmarked(row.backbone))
    return group_of(entry.card if entry else None, query.group)
