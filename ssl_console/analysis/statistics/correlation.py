"""Pearson's and Spearman's correlation coefficients. Pure; needs no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from ssl_console.analysis.ranking import average_ranks
from tasks.metrics.outcome import NORMAL_95

FEWEST = 3
"""Minimum number of pairs for a coefficient."""


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Linear correlation, -1 to 1; None for fewer than three pairs or without variation."""
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
    """Points that no other dominates on both axes (larger y is better), in the order of x."""
    sign = 1.0 if smaller_x_is_better else -1.0
    order = sorted(range(len(points)), key=lambda index: (sign * points[index][0], -points[index][1]))
    front: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


FEWEST_ASSOCIATED = 4
"""Minimum number of pairs for an interval; with fewer, it would contain every coefficient."""


@dataclass(frozen=True)
class Coefficient:
    """One coefficient, -1 to 1, and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Association:
    """Correlation of two measurements of the same backbones."""

    n: int
    pearson: Coefficient
    spearman: Coefficient


def associate(x: Sequence[float], y: Sequence[float]) -> Association | None:
    """Both coefficients; None for fewer than four pairs, or without variation.

    Intervals are Fisher's: normal on the scale of artanh. Source for ranks: Bonett and Wright, Psychometrika 65(1)
    (2000).
    """
    line, order, total = pearson(x, y), spearman(x, y), len(x)
    if line is None or order is None or total < FEWEST_ASSOCIATED:
        return None
    free = total - 3
    return Association(
        n=total,
        pearson=_coefficient(line, _tails(x, y, line) / free, 1 - 1e-12),
        spearman=_coefficient(order, (1 + order**2 / 2) / free, 1 - 6 / (total**3 - total)),
    )


def _coefficient(value: float, variance: float, most: float) -> Coefficient:
    """A perfect coefficient is replaced by `most`, which for ranks is half a swap of neighbours below it."""
    middle, half = math.atanh(max(-most, min(most, value))), NORMAL_95 * math.sqrt(variance)
    return Coefficient(value, min(value, math.tanh(middle - half)), max(value, math.tanh(middle + half)))


def _tails(x: Sequence[float], y: Sequence[float], value: float) -> float:
    """Variance of Pearson's coefficient relative to that for normal values, from the fourth moments; at least 1."""
    first, second = _standardised(x), _standardised(y)
    room = 1 - value**2
    if room < 1e-9:
        return 1.0
    moved = [(a * b - value * (a * a + b * b) / 2) ** 2 for a, b in zip(first, second, strict=True)]
    return max(1.0, fmean(moved) / room**2)


def _standardised(values: Sequence[float]) -> list[float]:
    mean, deviation = fmean(values), pstdev(values)
    return [(value - mean) / deviation for value in values]
