"""Whether two measurements go together: Pearson's and Spearman's coefficients. Pure; needs no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from ssl_console.ranking import average_ranks

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
