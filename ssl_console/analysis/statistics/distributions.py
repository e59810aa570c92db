"""Tail probabilities and quantiles without scipy, and the format of p-values."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist

SMALLEST = 1e-4


def format_p(value: float, name: str = "p") -> str:
    """p-value with two digits, never shown as 0: `p = 0.032` or `p < 0.0001`; for a table, without a name and `=`."""
    text = f"< {SMALLEST:.4f}" if value < SMALLEST else f"= {value:.2g}"
    return f"{name} {text}" if name else text.removeprefix("= ")


NORMAL = NormalDist()
TINY = 1e-300
PRECISION = 1e-15
LARGE = 1e6
"""Degrees of freedom above which Student's t is the normal distribution."""
MOST_TERMS = 10_000
HALF_GRID = 8.5
"""Standard deviations beyond which the normal density is negligible in floating point."""


def normal_two_sided(z: float) -> float:
    """Probability that a standard normal variable is at least as far from 0 as `z`."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi2_tail(value: float, degrees: float) -> float:
    """Probability that a chi-squared variable exceeds `value`: the upper regularised incomplete gamma function."""
    if value <= 0:
        return 1.0
    half, x = degrees / 2, value / 2
    scale = math.exp(half * math.log(x) - x - math.lgamma(half))
    if x < half + 1:
        return 1 - scale * _gamma_series(half, x)
    return scale * _continued_fraction(lambda i: -i * (i - half), lambda i: x + 2 * i + 1 - half)


def f_tail(value: float, numerator: float, denominator: float) -> float:
    """Probability that an F variable with these degrees of freedom exceeds `value`."""
    if value <= 0:
        return 1.0
    return incomplete_beta(denominator / 2, numerator / 2, denominator / (denominator + numerator * value))


def t_two_sided(value: float, degrees: float) -> float:
    """Probability that Student's t is at least as far from 0 as `value`."""
    return normal_two_sided(value) if degrees > LARGE else f_tail(value * value, 1, degrees)


@cache
def t_quantile(degrees: float, level: float = 0.95) -> float:
    """Two-sided quantile of Student's t: |t| is below it with probability `level`."""
    low, high = 0.0, 2.0
    while t_two_sided(high, degrees) > 1 - level:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_two_sided(middle, degrees) > 1 - level else (low, middle)
    return high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for x in 0 to 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    logarithm = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)

    def step(i: int) -> float:
        half = i // 2
        if i % 2:
            return -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        return half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))

    return math.exp(logarithm) / a * _continued_fraction(step, lambda _i: 1.0)


def studentized_range_quantile(probability: float, groups: int) -> float:
    """Quantile of the range of `groups` independent standard normal variables (infinitely many degrees of freedom)."""
    low, high = 0.0, 100.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        if _range_probability(middle, groups) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _range_probability(width: float, groups: int) -> float:
    """Probability that all variables are within `width` below the largest one."""
    import numpy as np  # noqa: PLC0415 - rankings need no numpy

    z = np.linspace(-HALF_GRID, HALF_GRID, 2001)
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below = np.array([NORMAL.cdf(x) - NORMAL.cdf(x - width) for x in z])
    return float(groups * np.sum(density * below ** (groups - 1)) * (z[1] - z[0]))


def _gamma_series(a: float, x: float) -> float:
    term = total = 1 / a
    for i in range(1, MOST_TERMS):
        term *= x / (a + i)
        total += term
        if term < total * PRECISION:
            break
    return total


def _continued_fraction(numerator: Callable[[int], float], denominator: Callable[[int], float]) -> float:
    """1 / (d0 + n1 / (d1 + n2 / (d2 + ...))), by Lentz's method."""
    value = fraction = 1 / (denominator(0) or TINY)
    upper = 1 / TINY
    for i in range(1, MOST_TERMS):
        fraction = 1 / (denominator(i) + numerator(i) * fraction or TINY)
        upper = denominator(i) + numerator(i) / upper or TINY
        value *= fraction * upper
        if abs(fraction * upper - 1) < PRECISION:
            break
    return value
