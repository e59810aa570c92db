"""Does a measurement repeat the published number?

Where an interval was printed, the two may differ by what both intervals allow together, as their samples or episodes
are not the same. Elsewhere they may differ by the tolerance that the table states.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_console.ranking import Cell, average_seeds
from ssl_console.reference.beside import PUBLISHED, beside
from ssl_console.reference.tables import PublishedColumn, column_of, published
from ssl_console.result import Result


@dataclass(frozen=True)
class AgainstPublished:
    """One own score and the published one."""

    column: PublishedColumn
    variant: str
    """Of the own result: anything but `paper` was measured with other parameters."""
    own: Cell
    published: Cell
    allowed: float
    """How far apart they may lie, in the metric's unit."""

    @property
    def difference(self) -> float:
        """Own minus published."""
        return self.own.value - self.published.value

    @property
    def agrees(self) -> bool:
        """Whether the published number is repeated."""
        return abs(self.difference) <= self.allowed

    @property
    def basis(self) -> str:
        """What the verdict rests on, in words."""
        kind = "the stated tolerance" if self.published.half_width is None else "what both intervals allow"
        return f"within {self.allowed:.2g} of it, {kind}" if self.agrees else f"further than {self.allowed:.2g}, {kind}"


def against_published(backbone: str, results: Iterable[Result]) -> tuple[AgainstPublished, ...]:
    """Every own score of a backbone for which there is a published one, in the order of the tables."""
    own = [result for result in results if result.backbone == backbone]
    numbers = [number for number in published() if number.backbone == backbone]
    by_column: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(own, key=lambda result: result.finished):
        by_column[result.column].append(result)
    moved = [number for number in beside(own, numbers) if number.backbone == backbone + PUBLISHED]
    return tuple(_against(by_column[number.column], number) for number in moved)


def published_backbones() -> tuple[str, ...]:
    """Everything that has a published number."""
    return tuple(dict.fromkeys(number.backbone for number in published()))


def _against(own: Iterable[Result], number: Result) -> AgainstPublished:
    newest = {result.seed: result for result in own}
    cell, printed = average_seeds(list(newest.values())), average_seeds([number])
    column = column_of(number.task, number.metric)
    assert column is not None
    half = printed.half_width
    allowed = column.tolerance if half is None else math.hypot(half, cell.half_width or 0.0)
    assert allowed is not None
    return AgainstPublished(column, number.variant, cell, printed, allowed)
