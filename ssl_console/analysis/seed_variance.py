"""Variation of a score over seeds, separate from that over test samples. Pure; needs no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from ssl_console.workspace.result import Result


@dataclass(frozen=True)
class SeedSpread:
    """The same measurement with several seeds."""

    values: Mapping[int, float]
    """By seed."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.values.values())

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds."""
        return stdev(self.values.values())


def seed_spread(result: Result, results: Iterable[Result]) -> SeedSpread | None:
    """All seeds with which the same version of the backbone was measured in the column; None if there is only one."""
    alike = (
        one
        for one in sorted(results, key=lambda one: one.finished)
        if (one.column, one.backbone, one.made_of) == (result.column, result.backbone, result.made_of)
    )
    values = {result.seed: result.value, **{one.seed: one.value for one in alike}}
    return SeedSpread(dict(sorted(values.items()))) if len(values) > 1 else None
