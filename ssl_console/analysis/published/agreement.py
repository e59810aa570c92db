"""Agreement of measurements with published numbers. If an interval was published, the difference may be as large as
both intervals together allow, as samples or episodes differ; otherwise as large as the tolerance stated in the
table.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ssl_console.analysis.published.tables import (
    VARIANT,
    PublishedColumn,
    PublishedTable,
    all_published,
    column_of_number,
    source_of,
)
from ssl_console.analysis.ranking import Ranking
from ssl_console.analysis.ranking_cell import RankingCell, average_seeds
from ssl_console.analysis.statistics.correlation import spearman
from ssl_console.workspace.result import Result

PUBLISHED = " †"
"""Suffix of the name of a backbone whose row of published numbers is among measured rows."""

Place = tuple[str, str]
"""Variant and comparability key of a column."""
FEWEST = 4
"""Minimum number of backbones in a column for a typical size of differences."""
DEVIATIONS = 3.5
"""Robust standard deviations from the median difference beyond which a difference is an outlier."""
MAD_TO_DEVIATION = 1.4826


def with_published(
    own: Sequence[Result],
    numbers: Iterable[Result],
    wanted: Sequence[tuple[str, str]] | None = None,
    *,
    all_tasks: bool = False,
) -> list[Result]:
    """`own`, and the published `numbers` moved into the own columns of their task and metric, under a name with a
    suffix.

    A task measured here in several variants has its published numbers in those among `wanted` (task, variant), else in
    the variant `paper`, else in all. A task that was not measured here is left out, unless `wanted` or `all_tasks`.
    Numbers of other protocols than the paper's are placed only in own columns of their variant.
    """
    columns = _columns(own)
    asked: dict[str, list[str]] = {}
    for task, variant in wanted or ():
        asked.setdefault(task, []).append(variant)
    moved = []
    for number in numbers:
        variants, found = asked.get(number.task, []), columns.get((number.task, number.metric), [])
        if number.variant != VARIANT:
            moved += [_moved(number, place) for place in found if place[0] == number.variant]
            continue
        places = _places(found, variants)
        if not places and (variants or all_tasks):
            places = [(variant, number.column) for variant in variants or [number.variant]]
        moved += [_moved(number, place) for place in places]
    return [*own, *moved]


def unmarked(backbone: str) -> str:
    """The backbone's own name."""
    return backbone.removesuffix(PUBLISHED)


def differences(ranking: Ranking) -> Mapping[tuple[str, str], float]:
    """Own score minus the published one by row and column label, if the ranking contains both."""
    rows = {row.backbone: row for row in ranking.rows}
    found = {}
    for name, row in rows.items():
        twin = rows.get(name + PUBLISHED)
        for label, cell in row.cells.items():
            if twin is not None and label in twin.cells:
                found[name, label] = cell.value - twin.cells[label].value
    return found


def _columns(own: Iterable[Result]) -> dict[tuple[str, str], list[Place]]:
    found: dict[tuple[str, str], dict[Place, None]] = {}
    for result in own:
        found.setdefault((result.task, result.metric), {})[result.variant, result.column] = None
    return {name: list(places) for name, places in found.items()}


def _places(places: Sequence[Place], variants: Sequence[str]) -> list[Place]:
    asked = [place for place in places if place[0] in variants]
    faithful = [place for place in places if place[0] == VARIANT]
    return asked or faithful or ([] if variants else list(places))


def _moved(number: Result, place: Place) -> Result:
    variant, column = place
    changed = {"backbone": f"{number.backbone}{PUBLISHED}", "variant": variant, "column": column}
    return number.model_copy(update=changed)


@dataclass(frozen=True)
class AgainstPublished:
    """One own score and the published one."""

    column: PublishedColumn
    variant: str
    """Variant of the own result; other than `paper` if measured with other parameters."""
    own: RankingCell
    published: RankingCell
    allowed: float
    """Allowed difference, in the metric's unit."""

    @property
    def difference(self) -> float:
        return self.own.value - self.published.value

    @property
    def agrees(self) -> bool:
        """Whether the published number is reproduced."""
        return abs(self.difference) <= self.allowed

    @property
    def basis(self) -> str:
        """The basis of the verdict, in words."""
        kind = "the stated tolerance" if self.published.half_width is None else "what both intervals allow"
        return f"within {self.allowed:.2g} of it, {kind}" if self.agrees else f"further than {self.allowed:.2g}, {kind}"


def against_published(
    backbone: str, results: Iterable[Result], boards: Sequence[PublishedTable] = ()
) -> tuple[AgainstPublished, ...]:
    """All own scores of a backbone that have a published one, in the order of the tables."""
    own = [result for result in results if result.backbone == backbone]
    numbers = [number for number in all_published(boards) if number.backbone == backbone]
    by_column: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(own, key=lambda result: result.finished):
        by_column[result.column].append(result)
    moved = [number for number in with_published(own, numbers) if number.backbone == backbone + PUBLISHED]
    # a difference is judged by the interval of the number, or by the tolerance of its column
    judged = [one for one in moved if one.ci_low < one.ci_high or column_of_number(one, boards).tolerance is not None]
    return tuple(_against(by_column[number.column], number, boards) for number in judged)


def published_backbones(boards: Sequence[PublishedTable] = ()) -> tuple[str, ...]:
    """All backbones with published numbers."""
    return tuple(dict.fromkeys(number.backbone for number in all_published(boards)))


def published_numbers(
    backbone: str, boards: Sequence[PublishedTable] = ()
) -> tuple[tuple[PublishedColumn, float], ...]:
    """The published numbers of a backbone, with their columns."""
    own = (number for number in all_published(boards) if number.backbone == backbone)
    return tuple((column_of_number(number, boards), number.value) for number in own)


def other_protocols(
    backbone: str, found: Sequence[AgainstPublished], boards: Sequence[PublishedTable] = ()
) -> tuple[tuple[PublishedColumn, float], ...]:
    """The published numbers of a backbone without a comparable own result."""
    used = {one.column.key for one in found}
    return tuple((column, value) for column, value in published_numbers(backbone, boards) if column.key not in used)


def _against(own: Iterable[Result], number: Result, boards: Sequence[PublishedTable]) -> AgainstPublished:
    newest = {result.seed: result for result in own}
    cell, printed = average_seeds(list(newest.values())), average_seeds([number])
    column = column_of_number(number, boards)
    half = printed.half_width
    allowed = column.tolerance if half is None else math.hypot(half, cell.half_width or 0.0)
    assert allowed is not None
    return AgainstPublished(column, number.variant, cell, printed, allowed)


@dataclass(frozen=True)
class LedgerEntry:
    """One backbone in one published column."""

    backbone: str
    pair: AgainstPublished
    outlier: bool


@dataclass(frozen=True)
class LedgerColumn:
    """A published column, and own scores of the same protocol."""

    column: PublishedColumn
    variant: str
    entries: tuple[LedgerEntry, ...]

    @property
    def shift(self) -> float:
        """Median of own minus published: a difference of the protocols rather than of a backbone."""
        return median(one.pair.difference for one in self.entries)

    @property
    def correlation(self) -> float | None:
        """Spearman's, of own and published scores; None for fewer than three backbones."""
        if len(self.entries) < 3:
            return None
        own, printed = zip(*((one.pair.own.value, one.pair.published.value) for one in self.entries), strict=True)
        return spearman(own, printed)

    @property
    def outliers(self) -> tuple[LedgerEntry, ...]:
        """Backbones whose difference deviates from those of the others."""
        return tuple(one for one in self.entries if one.outlier)

    @property
    def chosen_on_test(self) -> bool:
        """Whether the published settings were chosen on the reported images."""
        return self.column.chosen_on == "test"


@dataclass(frozen=True)
class OtherProtocol:
    """A published number without a comparable own result."""

    backbone: str
    column: PublishedColumn
    value: float


@dataclass(frozen=True)
class Ledger:
    """All comparable columns, and published numbers of other protocols."""

    columns: tuple[LedgerColumn, ...]
    others: tuple[OtherProtocol, ...]


def ledger(backbones: Sequence[str], results: Iterable[Result], boards: Sequence[PublishedTable] = ()) -> Ledger:
    """Own results of these backbones against the published numbers of the same protocol."""
    own = list(results)
    columns: dict[tuple[str, str], list[tuple[str, AgainstPublished]]] = defaultdict(list)
    others: list[OtherProtocol] = []
    for name in backbones:
        found = against_published(name, own, boards)
        for pair in found:
            columns[pair.column.key, pair.variant].append((name, pair))
        others += [OtherProtocol(name, column, value) for column, value in other_protocols(name, found, boards)]
    return Ledger(tuple(_column(pairs) for pairs in columns.values()), tuple(others))


def _column(pairs: Sequence[tuple[str, AgainstPublished]]) -> LedgerColumn:
    """Column of all backbones. An outlier's difference is larger than allowed, and deviates from those of the other
    backbones if there are enough.
    """
    differences = [pair.difference for _, pair in pairs]
    middle, entries = median(differences), []
    usual = DEVIATIONS * (MAD_TO_DEVIATION * median(abs(one - middle) for one in differences))
    for name, pair in pairs:
        deviates = abs(pair.difference - middle) > max(usual, pair.allowed)
        entries.append(LedgerEntry(name, pair, deviates if len(differences) >= FEWEST else not pair.agrees))
    return LedgerColumn(pairs[0][1].column, pairs[0][1].variant, tuple(entries))


def ledger_document(found: Ledger) -> dict[str, object]:
    """The ledger as JSON."""
    return {
        "columns": [
            {
                **_about(one.column),
                "variant": one.variant,
                "median_difference": one.shift,
                "spearman": one.correlation,
                "outliers": [entry.backbone for entry in one.outliers],
                "backbones": [_entry(entry) for entry in one.entries],
            }
            for one in found.columns
        ],
        "other_protocols": [
            {"backbone": one.backbone, "published": one.value, **_about(one.column), "variant": one.column.variant}
            for one in found.others
        ],
    }


def _about(column: PublishedColumn) -> dict[str, object]:
    return {
        "task": column.task,
        "metric": column.metric,
        "key": column.key,
        "where": column.table,
        "source": source_of(column),
        "protocol": column.protocol or None,
        "chosen_on": column.chosen_on,
        "provenance": column.provenance,
    }


def _entry(entry: LedgerEntry) -> dict[str, object]:
    pair = entry.pair
    return {
        "backbone": entry.backbone,
        "own": pair.own.value,
        "run_id": pair.own.run_id,
        "badges": list(pair.own.badges),
        "published": pair.published.value,
        "difference": pair.difference,
        "allowed": pair.allowed,
        "agrees": pair.agrees,
        "outlier": entry.outlier,
    }
