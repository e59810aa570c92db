"""Wilcoxon's signed-rank test: over several tasks, is one backbone ahead more, and by more, than it is behind?

Source: Wilcoxon 1945; its use for classifiers over data sets: Demsar, JMLR 7 (2006). The effect size is the
matched-pairs rank-biserial correlation (Kerby, Comprehensive Psychology 3 (2014)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_console.ranking import average_ranks
from ssl_console.statistics.distributions import normal_two_sided

MOST_EXACT = 50
"""Differences up to which every assignment of signs is counted; the normal approximation from there on."""


@dataclass(frozen=True)
class SignedRank:
    """The test's outcome."""

    n: int
    """Differences that are not 0; the others say nothing."""
    positive: float
    """Sum of the ranks of the positive differences."""
    p_value: float
    """Two-sided."""
    effect: float
    """Rank-biserial correlation: -1 when all differences are negative, 1 when all are positive."""


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Test whether `differences` lie around 0. Ties share their average rank, also in the exact distribution."""
    kept = [difference for difference in differences if difference != 0]
    if not kept:
        return SignedRank(0, 0.0, 1.0, 0.0)
    ranks = average_ranks([abs(difference) for difference in kept], higher_is_better=False)
    positive = math.fsum(rank for rank, difference in zip(ranks, kept, strict=True) if difference > 0)
    total = math.fsum(ranks)
    p = _exact(ranks, positive) if len(kept) <= MOST_EXACT else _approximate(ranks, positive)
    return SignedRank(len(kept), positive, p, (2 * positive - total) / total)


def _exact(ranks: Sequence[float], positive: float) -> float:
    """Among all assignments of signs, the share whose sum is at least as far out. Average ranks double to integers."""
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
