"""The classical view of many backbones on many tasks: Friedman's test and Nemenyi's critical difference.

Its verdict on two backbones depends on which others are in the pool (Benavoli, Corani and Mangili, JMLR 17 (2016)), so
it is a picture, not the judge. Sources: Friedman 1937; Iman and Davenport 1980; Nemenyi 1963; Demsar, JMLR 7 (2006).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.statistics.distributions import chi2_tail, f_tail, studentized_range_quantile
from ssl_console.statistics.placing import places

POOL_NOTE = "whether two backbones differ here depends on which others are compared with them"


@dataclass(frozen=True)
class Friedman:
    """Whether the backbones' mean ranks differ at all."""

    statistic: float
    p_value: float
    f_statistic: float
    """Iman and Davenport's correction of it, which is less timid."""
    f_p_value: float
    mean_ranks: tuple[float, ...]
    critical_difference: float
    """Mean ranks further apart than this differ, says Nemenyi at 5 %."""


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
    """Nemenyi's: mean ranks over `tasks` that lie further apart differ."""
    width = studentized_range_quantile(level, backbones) / math.sqrt(2)
    return width * math.sqrt(backbones * (backbones + 1) / (6 * tasks))


def cliques(mean_ranks: Mapping[str, float], difference: float) -> list[tuple[str, ...]]:
    """The bars of the critical-difference picture: largest runs of backbones within `difference`, best first."""
    order: Sequence[str] = sorted(mean_ranks, key=lambda name: mean_ranks[name])
    bars: list[tuple[str, ...]] = []
    covered = 0
    for start, name in enumerate(order):
        stop = max(i for i in range(start, len(order)) if mean_ranks[order[i]] - mean_ranks[name] <= difference) + 1
        if stop > covered and stop - start > 1:
            bars.append(tuple(order[start:stop]))
        covered = max(covered, stop)
    return bars
