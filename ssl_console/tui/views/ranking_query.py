"""The user's selection in the rankings, and the rows and columns that match it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from pydantic import JsonValue, TypeAdapter, ValidationError

from ssl_console.analysis.badged_results import BadgeSources
from ssl_console.analysis.filter_query import Filterable
from ssl_console.analysis.published import all_published, unmarked, with_published
from ssl_console.analysis.ranking import ESTIMATE, Ranking, RankingColumn, pick_columns, rank
from ssl_console.analysis.ranking_filter import column_subject, filter_ranking, row_subject
from ssl_console.tui.data.catalog import Catalog
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
    then: tuple[tuple[str, bool], ...] = ()
    """Further sort keys for ties, each with its direction."""
    group: str = ""
    """One of `views.ranking_order.GROUPINGS`."""
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
    rows = _row_subjects(base, catalogue)
    shown = (column for column in base.columns if column.label not in query.hidden)
    columns = {column.label: _column_subject(column, catalogue) for column in shown}
    return filter_ranking(base, query.terms, rows, columns)


@memoize_by_identity
def _row_subjects(base: Ranking, catalogue: Catalog) -> Mapping[str, Filterable]:
    """Subjects of a filter, by row. Memoized, as each letter of a filter needs all of them."""
    entries = {row.backbone: catalogue.backbone.get(unmarked(row.backbone)) for row in base.rows}
    return {
        row.backbone: row_subject(row, entry.subject if (entry := entries[row.backbone]) else None) for row in base.rows
    }


def _column_subject(column: RankingColumn, catalogue: Catalog) -> Filterable:
    entry = catalogue.task.get(column.task)
    return column_subject(column, entry.subject if entry else None)


def reordered(base: Ranking, shown: Ranking) -> bool:
    """Whether the order of the rows differs from that with all columns of `base`."""
    if len(shown.columns) == len(base.columns):
        return False
    before = {row.backbone: row.order for row in base.rows}
    now = [before[row.backbone] for row in sorted(shown.rows, key=lambda row: row.order)]
    return now != sorted(now)
