"""What the scores of a column are drawn against: its range, its best and its second best. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ssl_console.analysis.ranking import RankingRow


@dataclass(frozen=True)
class ColumnStats:
    """What a column's cells are drawn against; found out when the column is looked at."""

    label: str
    higher_is_better: bool
    rows: Sequence[RankingRow] = ()
    """Those that are shown."""

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
        """The best score as shown; whatever looks like it is best too."""
        return self._as_shown[0] if self._as_shown else ""

    @cached_property
    def second(self) -> str:
        """The second best, likewise."""
        return self._as_shown[1] if len(self._as_shown) > 1 else ""
