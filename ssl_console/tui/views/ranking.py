"""The ranking table: columns, rows, order, and the content of every cell. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ssl_console.analysis.comparability import count_apart
from ssl_console.analysis.published import PUBLISHED
from ssl_console.analysis.ranking import (
    AGGREGATES,
    CIRCLE,
    ESTIMATE,
    Aggregate,
    Ranking,
    RankingColumn,
    RankingRow,
    common_columns,
    pick_columns,
)
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.tui.data.catalog import Catalog, protocol_title
from ssl_console.tui.style import palette as heat
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Cell, Tone
from ssl_console.tui.views import memoize_by_identity
from ssl_console.tui.views.ranking_query import (
    GROUP,
    ColumnOrder,
    RankingQuery,
    apply_query,
    base_ranking,
    groups_of,
    order_columns,
    order_rows,
    reordered,
)
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.workspace.badges import half_widths, marks
from ssl_console.workspace.result import Result

PLACE, NAME = "#", "backbone"
PLACE_WIDTH = 4
NUMBER_WIDTH = 7
INTERVAL_WIDTH = 15
BEYOND_PERCENT = 4
"""Further cells for an interval of scores that are no percentages."""
AGGREGATE_WIDTH = 6
ESTIMATE_WIDTH = 13
"""Width with its interval."""
OVERALL = "overall"
ABOUT_AGGREGATES: Mapping[str, tuple[str, str]] = {
    "estimate": ("est.", "estimated effect in log-odds, from all existing scores; determines the order of the rows"),
    "mean": ("mean", "mean of the scores; complete rows only"),
    "mean_log_odds": ("odds", "mean of the log-odds of the scores; complete rows only"),
    "mean_rank": ("rank", "mean rank over the shown columns, among complete rows; 1 is best"),
    "win_rate": ("win %", "percentage of comparisons won, column by column; a tie is half a win"),
}
"""Short label, and explanation."""
ROUNDING = 0.05
"""Half of the last decimal shown: scores that differ by less are displayed equally."""


@dataclass(frozen=True)
class ColumnStats:
    """Range, best and second best score of a column; computed when the column is drawn."""

    label: str
    higher_is_better: bool
    rows: Sequence[RankingRow] = ()
    """Shown rows."""

    @cached_property
    def _values(self) -> list[float]:
        return [row.cells[self.label].value for row in self.rows if self.label in row.cells]

    @cached_property
    def low(self) -> float:
        """The lowest score."""
        return min(self._values, default=0.0)

    @cached_property
    def high(self) -> float:
        """The highest score."""
        return max(self._values, default=0.0)

    @cached_property
    def _as_shown(self) -> list[str]:
        ordered = sorted({round(value, 1) for value in self._values}, reverse=self.higher_is_better)
        return [f"{value:.1f}" for value in ordered[:2]]

    @cached_property
    def best(self) -> str:
        """The best score as displayed, and scores displayed equally."""
        return self._as_shown[0] if self._as_shown else ""

    @cached_property
    def second(self) -> str:
        """The second best score, likewise."""
        return self._as_shown[1] if len(self._as_shown) > 1 else ""


@memoize_by_identity
def _count_apart(results: tuple[Result, ...], columns: tuple[RankingColumn, ...]) -> int:
    """Number of results in further columns. Memoized: a filter of rows does not change the columns."""
    return count_apart(results, Ranking(columns, ()))


@dataclass(frozen=True)
class RankingTable:
    """The displayed ranking."""

    ranking: Ranking
    query: RankingQuery
    catalogue: Catalog
    glyphs: Glyphs
    marked: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Fields of the filter that no row or column has."""
    total: int = 0
    """Number of rows without the filter."""
    columns: int = 0
    """Number of columns before those missing in some row are omitted."""
    apart: int = 0
    """Number of further columns of its tasks, shown or not."""
    reordered: bool = False
    """Whether the omitted columns change the order."""

    @classmethod
    def of(
        cls,
        results: tuple[Result, ...],
        query: RankingQuery,
        catalogue: Catalog,
        glyphs: Glyphs,
        marked: tuple[str, ...] = (),
    ) -> RankingTable:
        """The rows and columns of the view, in its order, with aggregates recomputed."""
        suite = catalogue.suite.get(query.suite or "")
        base = base_ranking(results, suite.columns if suite else None, query.published)
        filtered, unknown = apply_query(base, query, catalogue)
        ranking = pick_columns(filtered, common_columns(filtered)) if query.common else filtered
        sortable = {NAME, *(a.name for a in AGGREGATES), *(column.label for column in ranking.columns)}
        query = query.limited_to(sortable)
        ranked = order_rows(ranking, query, catalogue)
        moved = reordered(base, ranking)
        apart = _count_apart(results, ranked.columns)
        return cls(
            ranked, query, catalogue, glyphs, marked, unknown, len(base.rows), len(filtered.columns), apart, moved
        )

    @cached_property
    def row(self) -> Mapping[str, RankingRow]:
        """By backbone."""
        return {row.backbone: row for row in self.ranking.rows}

    @cached_property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The backbones of every group by the key of its header, in the table's order; empty without grouping."""
        return groups_of(self.ranking, self.query, self.catalogue)

    @cached_property
    def keys(self) -> list[str]:
        """The rows of the table: the backbones, each group below its header."""
        if not self.groups:
            return [row.backbone for row in self.ranking.rows]
        return [key for head, names in self.groups.items() for key in (head, *names)]

    @cached_property
    def facts(self) -> Mapping[str, ColumnStats]:
        """Statistics of every column with scores."""
        rows = self.ranking.rows
        return {
            column.label: ColumnStats(column.label, column.higher_is_better, rows) for column in self.ranking.columns
        }

    @cached_property
    def measured(self) -> tuple[RankingColumn, ...]:
        """Columns in which some row has a score; all columns while no row has any."""
        found = {label for row in self.ranking.rows for label in row.cells}
        return tuple(column for column in self.ranking.columns if column.label in found) or self.ranking.columns

    @property
    def as_shown(self) -> Ranking:
        """The ranking without the columns in which no row has a score."""
        return replace(self.ranking, columns=self.measured)

    @cached_property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """Shown aggregates: not hidden by the user, and known for some row."""
        wanted = tuple(aggregate for aggregate in AGGREGATES if aggregate.name not in self.query.hidden)
        if not (self.ranking.rows and self.ranking.columns):
            return wanted
        return tuple(one for one in wanted if any(one.value(row) is not None for row in self.ranking.rows))

    @cached_property
    def places(self) -> Mapping[str, str]:
        """Rank of every row by the sort column; ties have the same rank, marked with `=`."""
        if self.query.sort == NAME:
            return {}
        numbers = {name: number for name, number in self._numbers().items() if number is not None}
        sharers = Counter(numbers.values())
        return {name: f"{number}{'=' if sharers[number] > 1 else ' '}" for name, number in numbers.items()}

    @cached_property
    def _models(self) -> dict[int, TableModel]:
        """Tables by screen width."""
        return {}

    def rows(self, width: int) -> TableModel:
        """The rows as a table for a screen of `width` cells, cached by width."""
        if width not in self._models:
            self._models[width] = self._model(width)
        return self._models[width]

    def _model(self, width: int) -> TableModel:
        name_width = self._name_width(width)
        place = Column(PLACE, "#", PLACE_WIDTH, "right")
        name = Column(NAME, "  backbone", name_width, sort=self._sign(NAME), name=True)
        order = self.order(width)
        return TableModel((place, name, *order.columns), self.keys, self._cell, 2 + order.fixed, reached=2)

    def order(self, width: int) -> ColumnOrder:
        """The columns after place and name, for a screen of `width` cells."""
        room = width - PLACE_WIDTH - self._name_width(width) - 2
        aggregates = [self._aggregate_column(aggregate) for aggregate in self.aggregates]
        return order_columns(aggregates, [self._scored_column(one) for one in self.measured], self.query, width, room)

    def _name_width(self, width: int) -> int:
        longest = max((len(row.backbone) for row in self.ranking.rows), default=8)
        return max(12, min(longest + 2, width // 3))

    # -- cells --------------------------------------------------------------------------------------------------

    def _cell(self, backbone: str, column: Column) -> Cell:
        if backbone.startswith(GROUP):
            return self._group_cell(backbone, column)
        row = self.row[backbone]
        if column.key == PLACE:
            return Cell(self.places.get(backbone, ""), Tone.DIM)
        if column.key == NAME:
            return self._name(row)
        aggregate = _AGGREGATES.get(column.key)
        if aggregate is not None:
            return self._aggregate(row, aggregate)
        return self._score(row, self.facts[column.key])

    def _group_cell(self, group: str, column: Column) -> Cell:
        """The header of a group: its name, and the best of its scores."""
        names = self.groups[group]
        if column.key == NAME:
            return Cell(f"{group.removeprefix(GROUP)} ({len(names)})", Tone.TITLE)
        facts = self.facts.get(column.key)
        scores = [
            self.row[name].cells[column.key].value for name in names if facts and column.key in self.row[name].cells
        ]
        if facts is None or not scores:
            return Cell("", Tone.DIM)
        return Cell(f"{(max if facts.higher_is_better else min)(scores):.1f}", Tone.DIM)

    def _name(self, row: RankingRow) -> Cell:
        mark = self.glyphs.ticked if row.backbone in self.marked else " "
        tone = Tone.ACCENT if row.backbone in self.marked else Tone.PLAIN
        if row.backbone.endswith(PUBLISHED):
            tone = Tone.DIM
        return Cell(f"{mark} {row.backbone}", tone)

    def _aggregate(self, row: RankingRow, aggregate: Aggregate) -> Cell:
        """An aggregate; the estimate with its interval, if intervals are shown, and with the mark of a cycle."""
        value = aggregate.value(row)
        if value is None:
            return Cell(self.glyphs.none, Tone.FAINT)
        shown = aggregate.show(value).removesuffix(" %")
        if aggregate.name == ESTIMATE:
            half = row.estimate.half_width if row.estimate and self.query.intervals else None
            shown += "" if half is None else f" {self.glyphs.plus_minus}{half:.2f}"
            shown += CIRCLE if row.circle else ""
        return Cell(shown, bold=aggregate.name in self._leaders.get(row.backbone, ()))

    def protocol(self, label: str) -> str:
        """Name of a column's protocol; empty for an aggregate."""
        return next((column.protocol for column in self.ranking.columns if column.label == label), "")

    def _score(self, row: RankingRow, facts: ColumnStats) -> Cell:
        """A score with its marks, and its interval or its difference from the published one, if shown and known."""
        score = row.cells.get(facts.label)
        if score is None:
            return Cell(self.glyphs.none, Tone.FAINT)
        text = f"{score.value:.1f}"
        shown = f"{text}{marks(score.badges)}"
        twin = self.published_twin(row, facts.label) if self.query.differences else None
        if self.query.intervals and score.half_width is not None:
            shown += f" {half_widths(score.value, score.ci_low, score.ci_high, self.glyphs.plus_minus)}"
        elif twin is not None and not self.query.intervals:
            shown += f" {score.value - twin.value:+.1f}"
        level = heat.level(score.value, facts.low, facts.high, higher_is_better=facts.higher_is_better)
        best, second = text == facts.best, text == facts.second
        return Cell(shown, heat=level if self.query.heat else None, bold=best, underline=second)

    def published_twin(self, row: RankingRow, label: str) -> RankingCell | None:
        """The published number for an own score."""
        other = self.row.get(f"{row.backbone}{PUBLISHED}")
        return other.cells.get(label) if other else None

    @cached_property
    def _leaders(self) -> Mapping[str, frozenset[str]]:
        """Names of the aggregates in which a backbone is the best, by backbone."""
        leaders: dict[str, frozenset[str]] = {}
        for aggregate in AGGREGATES:
            values = {row.backbone: aggregate.value(row) for row in self.ranking.rows}
            defined = [value for value in values.values() if value is not None]
            best = (min if aggregate.ascending else max)(defined, default=None)
            for name, value in values.items():
                if value is not None and value == best:
                    leaders[name] = leaders.get(name, frozenset()) | {aggregate.name}
        return leaders

    # -- columns ------------------------------------------------------------------------------------------------

    def _sign(self, key: str) -> str:
        """The direction, and the number among several sort keys."""
        for number, (by, reverse) in enumerate(self.query.sorts, start=1):
            if by == key:
                return (self.glyphs.up if reverse else self.glyphs.down) + (str(number) if self.query.then else "")
        return ""

    def _aggregate_column(self, aggregate: Aggregate) -> Column:
        label, _ = ABOUT_AGGREGATES[aggregate.name]
        wide = aggregate.name == ESTIMATE and self.query.intervals
        width = ESTIMATE_WIDTH if wide else AGGREGATE_WIDTH
        return Column(aggregate.name, label, width, "right", OVERALL, self._sign(aggregate.name))

    def _scored_column(self, column: RankingColumn) -> Column:
        protocol, _, short = column.label.rpartition("/")
        wide = self.query.intervals or self.query.differences
        width = INTERVAL_WIDTH + 2 * self.query.heat if wide else NUMBER_WIDTH
        width += BEYOND_PERCENT * (wide and not column.higher_is_better)
        width = max(width, min(len(short), 16))
        return Column(
            column.label, short or column.label, width, "right", protocol_title(protocol), self._sign(column.label)
        )

    # -- order --------------------------------------------------------------------------------------------------

    def _numbers(self) -> dict[str, int | None]:
        """Rank of every row: one more than the number of rows that are certainly better."""
        if self.query.sort in self.facts:
            return self._numbers_of_scores(self.facts[self.query.sort])
        if self.query.sort == ESTIMATE:
            return {row.backbone: row.order + 1 for row in self.ranking.rows}
        aggregate = _AGGREGATES[self.query.sort]
        values = {row.backbone: aggregate.value(row) for row in self.ranking.rows}
        better = sorted((v for v in values.values() if v is not None), reverse=not aggregate.ascending)
        return {name: None if value is None else better.index(value) + 1 for name, value in values.items()}

    def _numbers_of_scores(self, facts: ColumnStats) -> dict[str, int | None]:
        """Scores whose intervals overlap with the first of a group have its rank."""
        scores = {row.backbone: row.cells.get(facts.label) for row in self.ranking.rows}
        ordered = [(name, score) for name, score in scores.items() if score is not None]
        ordered.sort(key=lambda pair: pair[1].value, reverse=facts.higher_is_better)
        numbers: dict[str, int | None] = dict.fromkeys(scores)
        first, place = None, 0
        for number, (name, score) in enumerate(ordered, start=1):
            if first is None or score.ci_low > first.ci_high or first.ci_low > score.ci_high:
                first, place = score, number
            numbers[name] = place
        return numbers


ranking_table = memoize_by_identity(RankingTable.of)
"""`RankingTable.of`, memoized: the table is requested at every progress of a run."""


_AGGREGATES: Mapping[str, Aggregate] = {aggregate.name: aggregate for aggregate in AGGREGATES}
