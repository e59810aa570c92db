"""Tests of the difference of two backbones on one task, paired over its samples.

All differences are the first minus the second, on the scale of the score (percent). Arrays of correctness are [seeds,
n]; with several seeds, the value of a sample is the fraction of seeds with a correct answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.distributions import NORMAL, normal_two_sided, t_quantile, t_two_sided
from ssl_console.analysis.statistics.weighted_metrics import Statistic, counts, mean_precision
from tasks.metrics.classification import RankedScores, ranked
from tasks.metrics.outcome import OVER_POOLS
from tasks.metrics.pool_splits import split_error

Right = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]

LEVEL = 0.95
POWER = 0.8
REPLICATES = 1000
FEWEST_REPLICATES = 250
"""Minimum number of replicates for many images, which determines the standard error to 4 %."""
FLIPS = 9999
MANY, LARGE = 500, 0.01
"""Number of differing images, and the fraction of their sum of squares that none may exceed, for a normal
approximation of their sum.
"""
DECIMALS = 9
"""Decimals to which differences are rounded, in percentage points, so that equal ones are recognised."""
_SIDE = NORMAL.inv_cdf((1 + LEVEL) / 2)
DETECTABLE = _SIDE + NORMAL.inv_cdf(POWER)
"""Standard errors that a true difference must have to be detected at 5 % with 80 % power."""


@dataclass(frozen=True)
class PairedTest:
    """Test of one difference."""

    difference: float
    low: float
    high: float
    """The 95 % interval of the difference."""
    p_value: float
    standard_error: float
    n: int
    """Number of samples or episodes."""
    method: str

    @property
    def smallest(self) -> float:
        """The smallest true difference that data of this variance would detect at 5 % with 80 % power."""
        return DETECTABLE * self.standard_error

    @property
    def effect(self) -> float:
        """The difference in standard deviations of the differences by sample (Cohen's d for pairs)."""
        spread = self.standard_error * math.sqrt(self.n)
        return self.difference / spread if spread > 0 else 0.0


def accuracy(first: Right, second: Right) -> PairedTest:
    """Difference of accuracies from `first` and `second` [seeds, n], 1 for correct answers: McNemar's test for one
    seed. Raises ValueError if the numbers of samples differ.
    """
    _same_samples(first, second)
    if len(first) > 1 or len(second) > 1:
        return _of_means(100.0 * first.mean(axis=0), 100.0 * second.mean(axis=0), "paired t over samples")
    total = first.shape[1]
    ours, theirs = int(np.sum(first & ~second)), int(np.sum(~first & second))
    low, high = mcnemar_interval(ours, theirs, total)
    name = "McNemar, exact" if ours + theirs < FEW else "McNemar, mid-p"
    return PairedTest(
        difference=100.0 * (ours - theirs) / total,
        low=100.0 * low,
        high=100.0 * high,
        p_value=mcnemar_p_value(ours, theirs),
        standard_error=100.0 * mcnemar_standard_error(ours, theirs, total),
        n=total,
        method=name,
    )


def mean_per_class(
    first: Right, second: Right, labels: Labels, *, replicates: int = FLIPS, seed: int = 0
) -> PairedTest:
    """Difference of mean per-class accuracies, by exchanging the two backbones' answers at random, image by image.

    Under the null hypothesis the backbones are exchangeable on every image, so the test is valid for few images and
    unequal classes. The half-width of the interval is the 95 % quantile of the exchanged differences.
    """
    _same_samples(first, second)
    gaps = 100.0 * (first.mean(axis=0) - second.mean(axis=0))
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    moves = gaps / (sizes[place] * len(sizes))
    difference, known = float(moves.sum()), moves[moves != 0]
    if len(known):
        p, reach = _by_exchange(difference, known, replicates, seed)
    else:  # both backbones answer equally: the interval is that of McNemar's test
        images = len(sizes) ** 2 / float((1 / sizes).sum())
        p, reach = 1.0, 100.0 * _SIDE * mcnemar_standard_error(0, 0, images)
    error = _error_within(gaps, sizes, place)
    return PairedTest(difference, difference - reach, difference + reach, p, error, len(labels), "sign flips")


def _by_exchange(difference: float, moves: Floats, replicates: int, seed: int) -> tuple[float, float]:
    """Fraction of exchanges with at least this difference (mid-p for many images), and the 95 % quantile of their
    absolute values. Sums of many terms of which none is large are approximated by a normal distribution.
    """
    total = float(moves @ moves)
    if len(moves) > MANY and float(np.max(moves**2)) < LARGE * total:
        return normal_two_sided(difference / math.sqrt(total)), _SIDE * math.sqrt(total)
    found = np.round(np.abs(_exchanged(moves, replicates, seed)), DECIMALS)
    exchanged, times = np.unique(np.append(found, round(abs(difference), DECIMALS)), return_counts=True)
    equal = 1.0 if len(moves) < FEW else 0.5
    above = np.cumsum(times[::-1])[::-1] - times
    p_values = (above + equal * times) / times.sum()
    p = float(p_values[np.searchsorted(exchanged, round(abs(difference), DECIMALS))])
    return p, float(exchanged[p_values >= 1 - LEVEL][-1])


def _exchanged(moves: Floats, replicates: int, seed: int) -> Floats:
    """Sums of `moves` with random signs [replicates]; equal moves are counted instead of drawn individually."""
    values, times = np.unique(np.abs(moves), return_counts=True)
    heads = np.random.default_rng(seed).binomial(times, 0.5, size=(replicates, len(values)))
    found: Floats = (2 * heads - times) @ values
    return found


def _error_within(gaps: Floats, sizes: npt.NDArray[np.intp], place: npt.NDArray[np.intp]) -> float:
    """Standard error with every class's variance about its own mean; for classes of one image, that of all images
    together.
    """
    squares = np.bincount(place, (gaps - (np.bincount(place, gaps) / sizes)[place]) ** 2)
    freedom = sizes - 1
    overall = float(gaps.var())
    within = (squares + overall) / (freedom + 1)
    return float(np.sqrt((within / sizes).sum())) / len(sizes)


def average_precision(
    first: Floats, second: Floats, positives: Labels, *, replicates: int | None = None, seed: int = 0
) -> PairedTest:
    """Difference of 11-point mAPs from `first` and `second` [seeds, n, classes]; by a bootstrap over images, common
    to both.

    `positives` is [n, classes] of 0 and 1. Every class is sorted once; a resample only changes the weight of each
    image.
    """
    samples = len(positives)
    ours, theirs = _rankings(first, positives), _rankings(second, positives)
    blocks = [np.ones((samples, 1), dtype=np.float32), *counts(samples, replicates or affordable(samples), seed)]
    values = np.concatenate([mean_precision(ours, block) - mean_precision(theirs, block) for block in blocks])
    return _bootstrapped(float(values[0]), values[1:], samples)


def pools(
    first: Sequence[Floats], second: Sequence[Floats], splits: Sequence[Floats], images: npt.NDArray[np.integer]
) -> PairedTest:
    """Difference of mean accuracies over the same episodes, one array [episodes] per seed, for other pools of images.
    `splits` are the differences of both runs' accuracies on the halves of their pool, per seed, and `images`
    [classes] the numbers of its images: see `tasks.metrics.pool_splits`.
    """
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    found = split_error(splits, gaps, images)
    difference = float(np.mean([gap.mean() for gap in gaps]))
    return student(difference, found.error, found.degrees, int(images.sum()), OVER_POOLS)


def means(first: Floats, second: Floats) -> PairedTest:
    """Difference of means over the same samples, `first` and `second` [seeds, n]."""
    return _of_means(first.mean(axis=0), second.mean(axis=0), "paired t over samples")


def weighted(
    first: Sequence[Statistic],
    second: Sequence[Statistic],
    samples: int,
    *,
    replicates: int | None = None,
    seed: int = 0,
) -> PairedTest:
    """Difference of scores that are functions of image weights, one per seed, by a bootstrap over images common to
    both.
    """
    blocks = [np.ones((samples, 1), dtype=np.float32), *counts(samples, replicates or affordable(samples), seed)]
    values = np.concatenate([_averaged(first, block) - _averaged(second, block) for block in blocks])
    known = values[1:][~np.isnan(values[1:])]
    return _bootstrapped(float(values[0]), known, samples)


def _averaged(statistics: Sequence[Statistic], weights: npt.NDArray[np.float32]) -> Floats:
    found: Floats = np.mean([one(weights) for one in statistics], axis=0)
    return found


def _rankings(scores: Floats, positives: Labels) -> list[list[RankedScores]]:
    return [[ranked(*column) for column in zip(one.T, positives.T, strict=True)] for one in scores]


def student(difference: float, error: float, degrees: float, samples: int, method: str) -> PairedTest:
    """Interval and p-value from the same standard error, so that they are consistent.

    Without an error, all differences are equal: that is as certain as equally many equal signs, and the interval is as
    wide as Wilson's.
    """
    if error <= 0:
        p = 1.0 if difference == 0 else min(1.0, 2.0 ** (1 - samples))
        half = 100.0 * _SIDE**2 / (samples + _SIDE**2)
        error = half / _SIDE
    else:
        p = t_two_sided(difference / error, degrees)
        half = t_quantile(degrees, LEVEL) * error
    return PairedTest(difference, difference - half, difference + half, p, error, samples, method)


def _of_means(first: Floats, second: Floats, method: str) -> PairedTest:
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    total = len(gaps)
    error = float(gaps.std(ddof=1)) / math.sqrt(total) if total > 1 else 0.0
    return student(float(gaps.mean()), error, max(total - 1, 1), total, method)


def affordable(samples: int) -> int:
    """Number of bootstrap replicates for this many images."""
    return max(FEWEST_REPLICATES, min(REPLICATES, 1_000 * REPLICATES // max(samples, 1)))


def _bootstrapped(difference: float, values: Floats, samples: int) -> PairedTest:
    """Correct the bootstrap's variance, which divides by the number of samples, to Student's, which divides by one
    less. Few replicates reduce the degrees of freedom.
    """
    error = float(values.std(ddof=1)) * math.sqrt(samples / max(samples - 1, 1))
    degrees = 1 / (1 / max(samples - 1, 1) + 1 / max(len(values) - 1, 1))
    return student(difference, error, degrees, samples, "paired bootstrap")


def _same_samples(first: Right, second: Right) -> None:
    if first.shape[1] != second.shape[1] or not first.shape[1]:
        raise ValueError(f"{first.shape[1]} samples cannot be paired with {second.shape[1]}")


FEW = 25
"""Number of disagreements below which the exact test is used; mid-p otherwise."""


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Two-sided p-value for `only_first` samples correct only in the first classifier and `only_second` only in the
    second.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    exact = min(1.0, 2 * _at_most(fewer, total))
    if total < FEW or only_first == only_second:
        return exact
    return 2 * _at_most(fewer, total) - _exactly(fewer, total)


def mcnemar_interval(only_first: int, only_second: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two proportions of the same `total` samples; it never has width 0."""
    first, second = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    deviation = math.sqrt((first + second - (first - second) ** 2) / (total + 2))
    half = NORMAL.inv_cdf((1 + level) / 2) * deviation
    return max(-1.0, first - second - half), min(1.0, first - second + half)


def mcnemar_standard_error(only_first: int, only_second: int, total: float) -> float:
    """Standard error of the difference of two proportions, consistent with the interval."""
    first, second = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    return math.sqrt((first + second - (first - second) ** 2) / (total + 2))


def _at_most(count: int, total: int) -> float:
    return math.fsum(_exactly(i, total) for i in range(count + 1))


def _exactly(count: int, total: int) -> float:
    """Probability of `count` heads in `total` tosses of a coin."""
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return math.exp(ways - total * math.log(2))
