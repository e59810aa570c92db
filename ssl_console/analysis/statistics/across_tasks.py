"""Tests over several tasks: Wilcoxon's signed-rank test, Friedman's test, Holm's correction.

Source: Wilcoxon 1945; its use for classifiers over data sets: Demsar, JMLR 7 (2006). The effect size is the
matched-pairs rank-biserial correlation (Kerby, Comprehensive Psychology 3 (2014)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.ranking import average_ranks
from ssl_console.analysis.statistics.distributions import (
    chi2_tail,
    f_tail,
    normal_two_sided,
    studentized_range_quantile,
)
from ssl_console.analysis.statistics.rank_bootstrap import places

MOST_EXACT = 50
"""Maximum number of differences for the exact distribution over all signs; above, the normal approximation is used."""


@dataclass(frozen=True)
class SignedRank:
    """The test's outcome."""

    n: int
    """Number of non-zero differences; the others are omitted."""
    positive: float
    """Sum of the ranks of the positive differences."""
    p_value: float
    """Two-sided."""
    effect: float
    """Rank-biserial correlation: -1 if all differences are negative, 1 if all are positive."""


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Test whether `differences` are distributed symmetrically about 0. Ties have their average rank, also in the
    exact distribution.
    """
    kept = [difference for difference in differences if difference != 0]
    if not kept:
        return SignedRank(0, 0.0, 1.0, 0.0)
    ranks = average_ranks([abs(difference) for difference in kept], higher_is_better=False)
    positive = math.fsum(rank for rank, difference in zip(ranks, kept, strict=True) if difference > 0)
    total = math.fsum(ranks)
    p = _exact(ranks, positive) if len(kept) <= MOST_EXACT else _approximate(ranks, positive)
    return SignedRank(len(kept), positive, p, (2 * positive - total) / total)


def _exact(ranks: Sequence[float], positive: float) -> float:
    """Fraction of all sign assignments whose sum is at least as extreme. Average ranks are doubled to integers."""
    doubled = [round(2 * rank) for rank in ranks]
    ways = np.zeros(sum(doubled) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    ways /= ways.sum()
    reached = round(2 * positive)
    return min(1.0, 2 * float(min(ways[: reached + 1].sum(), ways[reached:].sum())))


def _approximate(ranks: Sequence[float], positive: float) -> float:
    deviation = math.sqrt(math.fsum(rank * rank for rank in ranks) / 4)
    return normal_two_sided((positive - math.fsum(ranks) / 2) / deviation)


POOL_NOTE = "whether two backbones differ here depends on which others are compared with them"


@dataclass(frozen=True)
class Friedman:
    """Outcome of Friedman's test: whether the backbones' mean ranks differ at all."""

    statistic: float
    p_value: float
    f_statistic: float
    """Iman and Davenport's correction, which is less conservative."""
    f_p_value: float
    mean_ranks: tuple[float, ...]
    critical_difference: float
    """Minimum significant difference of mean ranks (Nemenyi, 5 %)."""


def friedman(scores: npt.NDArray[np.float64], level: float = 0.95) -> Friedman:
    """Test `scores` [tasks, backbones], higher is better. Raises ValueError for fewer than 2 tasks or backbones."""
    tasks, backbones = scores.shape
    if tasks < 2 or backbones < 2:
        raise ValueError(f"{tasks} tasks and {backbones} backbones are too few: two of each are needed")
    ranks = places(scores)
    means = ranks.mean(axis=0)
    expected = tasks * backbones * (backbones + 1) ** 2 / 4
    between, within = tasks * np.sum(means**2) - expected, np.sum(ranks**2) - expected
    statistic = float(tasks * (backbones - 1) * between / within) if within > 0 else 0.0
    spare = tasks * (backbones - 1) - statistic
    f_statistic = (tasks - 1) * statistic / spare if spare > 1e-12 else math.inf
    degrees = (backbones - 1, (tasks - 1) * (backbones - 1))
    return Friedman(
        statistic=statistic,
        p_value=chi2_tail(statistic, backbones - 1),
        f_statistic=f_statistic,
        f_p_value=f_tail(f_statistic, *degrees) if math.isfinite(f_statistic) else 0.0,
        mean_ranks=tuple(float(mean) for mean in means),
        critical_difference=critical_difference(backbones, tasks, level),
    )


def critical_difference(backbones: int, tasks: int, level: float = 0.95) -> float:
    """Minimum significant difference of mean ranks over `tasks` (Nemenyi)."""
    width = studentized_range_quantile(level, backbones) / math.sqrt(2)
    return width * math.sqrt(backbones * (backbones + 1) / (6 * tasks))


def cliques(mean_ranks: Mapping[str, float], difference: float) -> list[tuple[str, ...]]:
    """The bars of the critical-difference diagram: maximal groups of backbones within `difference`, best first."""
    order: Sequence[str] = sorted(mean_ranks, key=lambda name: mean_ranks[name])
    bars: list[tuple[str, ...]] = []
    covered = 0
    for start, name in enumerate(order):
        stop = max(i for i in range(start, len(order)) if mean_ranks[order[i]] - mean_ranks[name] <= difference) + 1
        if stop > covered and stop - start > 1:
            bars.append(tuple(order[start:stop]))
        covered = max(covered, stop)
    return bars


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple tests (Holm), in the given order. Rejecting below 5 % has a family-wise error of
    5 %.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    found = [0.0] * len(p_values)
    largest = 0.0
    for done, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - done) * p_values[place]))
        found[place] = largest
    return found
