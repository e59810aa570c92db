"""McNemar's test: do two classifiers err equally often on the same samples? Only where they disagree counts.

Sources: McNemar 1947; mid-p: Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013); the interval
of the difference: Bonett and Price, Journal of Educational and Behavioral Statistics 37(4) (2012).
"""

from __future__ import annotations

import math

from ssl_console.statistics.distributions import NORMAL

FEW = 25
"""Disagreements below which the exact test is used; mid-p from there on."""


def p_value(only_first: int, only_second: int) -> float:
    """Two-sided p of `only_first` samples right in the first classifier alone against `only_second` in the other."""
    total, fewer = only_first + only_second, min(only_first, only_second)
    exact = min(1.0, 2 * _at_most(fewer, total))
    if total < FEW or only_first == only_second:
        return exact
    return 2 * _at_most(fewer, total) - _exactly(fewer, total)


def difference_interval(only_first: int, only_second: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two shares of the same `total` samples; it never has width 0."""
    first, second = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    deviation = math.sqrt((first + second - (first - second) ** 2) / (total + 2))
    half = NORMAL.inv_cdf((1 + level) / 2) * deviation
    return max(-1.0, first - second - half), min(1.0, first - second + half)


def standard_error(only_first: int, only_second: int, total: int) -> float:
    """Of the difference of the two shares, as the interval has it."""
    first, second = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    return math.sqrt((first + second - (first - second) ** 2) / (total + 2))


def _at_most(count: int, total: int) -> float:
    return math.fsum(_exactly(i, total) for i in range(count + 1))


def _exactly(count: int, total: int) -> float:
    """Probability of `count` heads in `total` throws."""
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return math.exp(ways - total * math.log(2))
