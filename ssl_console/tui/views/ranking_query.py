"""The user's selection of the rankings, and the rows and columns that match it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ssl_console.analysis.badged_results import BadgeSources
from ssl_console.analysis.published import all_published, unmarked, with_published
from ssl_console.analysis.ranking import ESTIMATE, Ranking, RankingColumn, pick_columns, pick_rows, rank
from ssl_console.tui.data.catalog import Catalog
from ssl_console.tui.data.filter_query import Filter, Filterable, parse, split
from ssl_console.tui.views import memoize_by_identity
from ssl_console.workspace.result import Result

Published = Literal["off", "beside", "all"]


@dataclass(frozen=True)
class RankingQuery:
    """Selection of rows, columns and content."""

    suite: str | None = None
    filter: str = ""
    hidden: frozenset[str] = frozenset()
    sort: str = ESTIMATE
    reverse: bool = False
    intervals: bool = False
    differences: bool = False
    """Show how far own scores are from the published ones."""
    heat: bool = True
    common: bool = False
    """Only the columns in which every row shown has a score; without it, incomplete rows have no rank."""
    published: Published = "beside"
    """Published numbers: none, in the columns that were measured here too, or in all columns there are."""

    def sorted_by(self, column: str) -> RankingQuery:
        """Sorted by this column; the other way round if it is already."""
        return replace(self, sort=column, reverse=not self.reverse if self.sort == column else False)


@memoize_by_identity
def base_ranking(results: tuple[Result, ...], columns: tuple[tuple[str, str], ...] | None, shown: Published) -> Ranking:
    """Own and published rows in these columns. Memoized: filtering and sorting start from it."""
    own = [result for result in results if result.source == "mine"]
    if shown == "off":
        return rank(own, columns)
    return rank(with_published(own, all_published(), columns, all_tasks=shown == "all"), columns)


@memoize_by_identity
def badge_sources(catalogue: Catalog) -> BadgeSources:
    """What the backbones' cards say about results."""
    return BadgeSources.of(entry.card for entry in catalogue.backbones)


@memoize_by_identity
def badged(results: tuple[Result, ...], catalogue: Catalog) -> tuple[Result, ...]:
    """The results with every reason to doubt them. Memoized: every view and export starts from it."""
    return tuple(badge_sources(catalogue).badged(results))


def apply_query(base: Ranking, query: RankingQuery, catalogue: Catalog) -> tuple[Ranking, tuple[str, ...]]:
    """The rows and columns that a filter and the user's choice of columns leave."""
    rows = {row.backbone: _backbone_subject(row.backbone, catalogue) for row in base.rows}
    columns = {column.label: _task_subject(column, catalogue) for column in base.columns}
    terms = parse(query.filter)
    for_rows, for_columns = split(terms, rows.values(), columns.values())
    fields = {name for subject in (*rows.values(), *columns.values()) for name in subject.fields}
    labels = [label for label, subject in columns.items() if label not in query.hidden and for_columns.matches(subject)]
    ranking = base if len(labels) == len(base.columns) else pick_columns(base, labels)
    if for_rows != Filter():
        ranking = pick_rows(ranking, [name for name, subject in rows.items() if for_rows.matches(subject)])
    return ranking, tuple(terms.unknown_fields(fields))


def _backbone_subject(name: str, catalogue: Catalog) -> Filterable:
    entry = catalogue.backbone.get(unmarked(name))
    return entry.subject if entry else Filterable(name, {"name": name})


def _task_subject(column: RankingColumn, catalogue: Catalog) -> Filterable:
    entry = catalogue.task.get(column.task)
    fields = {**(entry.subject.fields if entry else {}), "variant": column.variant, "task": column.task}
    return Filterable(f"{column.label} {entry.subject.words if entry else ''}", fields)


def reordered(base: Ranking, shown: Ranking) -> bool:
    """Whether the rows stand in another order than they would with all columns of `base`."""
    if len(shown.columns) == len(base.columns):
        return False
    before = {row.backbone: row.order for row in base.rows}
    now = [before[row.backbone] for row in sorted(shown.rows, key=lambda row: row.order)]
    return now != sorted(now)
