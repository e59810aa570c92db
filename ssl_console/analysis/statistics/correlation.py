"""Whether two measurements go together: Pearson's and Spearman's coefficients. Pure; needs no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.ranking import average_ranks
from ssl_console.analysis.statistics.rank_bootstrap import places

FEWEST = 3
"""Pairs below which a coefficient says nothing."""


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Linear correlation, -1 to 1; None for fewer than three pairs or when one side does not vary."""
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values cannot be paired with {len(y)}")
    if len(x) < FEWEST:
        return None
    mean_x, mean_y = fmean(x), fmean(y)
    moment = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    return moment / spread if spread > 0 else None


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Correlation of ranks, ties at their average rank; None as for `pearson`."""
    return pearson(average_ranks(x), average_ranks(y))


def pareto_front(points: Sequence[tuple[float, float]], *, smaller_x_is_better: bool = True) -> list[int]:
    """Which points no other beats on both axes (larger y is better), in the order of x."""
    sign = 1.0 if smaller_x_is_better else -1.0
    order = sorted(range(len(points)), key=lambda index: (sign * points[index][0], -points[index][1]))
    front: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


Floats = npt.NDArray[np.float64]
REPLICATES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Coefficient:
    """One coefficient, -1 to 1, and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Association:
    """How two measurements of the same backbones go together."""

    n: int
    pearson: Coefficient
    spearman: Coefficient


def associate(
    x: Sequence[float], y: Sequence[float], *, replicates: int = REPLICATES, seed: int = 0
) -> Association | None:
    """Both coefficients; None for fewer than three pairs, or when one side does not vary.

    Intervals are percentiles over resampled pairs; resamples in which one side does not vary are left out.
    """
    line, order = pearson(x, y), spearman(x, y)
    if line is None or order is None:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(x), size=(replicates, len(x)))
    first, second = np.asarray(x, dtype=np.float64)[drawn], np.asarray(y, dtype=np.float64)[drawn]
    return Association(
        n=len(x),
        pearson=_coefficient(line, _correlations(first, second)),
        spearman=_coefficient(order, _correlations(places(first), places(second))),
    )


def _correlations(x: Floats, y: Floats) -> Floats:
    """Pearson's coefficient of every row of `x` with that of `y`; NaN where one does not vary."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    found: Floats = np.divide((x * y).sum(axis=1), spread, out=np.full(len(x), np.nan), where=spread > 1e-12)
    return found


def _coefficient(value: float, drawn: Floats) -> Coefficient:
    usable = drawn[~np.isnan(drawn)]
    if len(usable) < FEWEST:
        return Coefficient(value, -1.0, 1.0)
    low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Coefficient(value, float(low), float(high))
