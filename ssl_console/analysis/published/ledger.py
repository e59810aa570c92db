"""Own scores against published ones of the same protocol, over several backbones, with the outliers of each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from ssl_console.analysis.published.agreement import AgainstPublished, against_published, other_protocols
from ssl_console.analysis.published.tables import PublishedColumn, source_of
from ssl_console.analysis.statistics.correlation import spearman
from ssl_console.workspace.result import Result

FEWEST = 4
"""Minimum number of backbones in a column for a typical size of differences."""
DEVIATIONS = 3.5
"""Robust standard deviations from the median difference beyond which a difference is an outlier."""
MAD_TO_DEVIATION = 1.4826


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


def ledger(backbones: Sequence[str], results: Iterable[Result]) -> Ledger:
    """Own results of these backbones against the published numbers of the same protocol."""
    own = list(results)
    columns: dict[tuple[str, str], list[tuple[str, AgainstPublished]]] = defaultdict(list)
    others: list[OtherProtocol] = []
    for name in backbones:
        found = against_published(name, own)
        for pair in found:
            columns[pair.column.key, pair.variant].append((name, pair))
        others += [OtherProtocol(name, column, value) for column, value in other_protocols(name, found)]
    return Ledger(tuple(_column(pairs) for pairs in columns.values()), tuple(others))


def _column(pairs: Sequence[tuple[str, AgainstPublished]]) -> LedgerColumn:
    differences = [pair.difference for _, pair in pairs]
    entries = tuple(LedgerEntry(name, pair, _is_outlier(pair, differences)) for name, pair in pairs)
    return LedgerColumn(pairs[0][1].column, pairs[0][1].variant, entries)


def _is_outlier(pair: AgainstPublished, differences: Sequence[float]) -> bool:
    """Whether a difference is larger than allowed, and deviates from those of the other backbones if there are
    enough.
    """
    if len(differences) < FEWEST:
        return not pair.agrees
    middle = median(differences)
    deviation = MAD_TO_DEVIATION * median(abs(one - middle) for one in differences)
    return abs(pair.difference - middle) > max(DEVIATIONS * deviation, pair.allowed)


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
