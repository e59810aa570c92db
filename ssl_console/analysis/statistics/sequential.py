"""Anytime-valid inference on the mean of paired differences: bounds that hold at every sample size at once.

The bounds may be looked at after every sample, and the decision when to stop may depend on them. A bettor stakes a part
of a capital on the differences being above a hypothetical mean; if that is the true mean, the capital exceeds 1 / a
with probability a at most, at any time (Ville's inequality). Source: Waudby-Smith and Ramdas, Journal of the Royal
Statistical Society B 86 (2024), sections 3 and 4, with bets tuned to all samples that there are.

Differences are in points. The samples are independent draws; their order is random, so that sorted classes do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.paired_tests import PairedTest
from tasks.metrics.outcome import NORMAL_95

Floats = npt.NDArray[np.float64]

ERROR = 0.05
"""Probability of any wrong statement, over all looks together."""
LARGEST_BET = 0.75  # of the capital that could be lost on one sample
STEPS = 40  # halvings of the interval in which a bound is searched
MOST_VALUES = 4_000  # more samples are averaged in groups, which costs no precision at this number
BETTING, MIXTURE = "betting on samples", "normal mixture"
PERCENT = 100.0
"""Largest difference of two scores of one sample, in points."""


@dataclass(frozen=True)
class AnytimeTest:
    """Bounds of a mean difference that hold at all sample sizes at once."""

    difference: float
    low: float
    high: float
    n: int
    method: str
    evidence: float
    """E-value against a difference of at most 0: the final capital of the bettor, 1 without evidence."""
    counter_evidence: float
    """E-value against a difference of at least 0."""
    needed: int | None = None
    """Number of samples, in random order, after which the sign was certain; None if it is not, or unknown."""

    def within(self, margin: float) -> bool:
        """Whether the difference is certainly smaller than `margin` points, in either direction."""
        return -margin < self.low and self.high < margin

    @property
    def reversed(self) -> AnytimeTest:
        """The test of the second minus the first."""
        ends = (-self.difference, -self.high, -self.low)
        return AnytimeTest(*ends, self.n, self.method, self.counter_evidence, self.evidence, self.needed)


def share_of_error(looks: int, comparisons: int = 1, error: float = ERROR) -> float:
    """Probability of error of one interval, if there are `comparisons` of them at each of `looks` looks (Bonferroni).

    A look at another quantity counts (one more protocol, one more dataset); looks at each further sample of one test do
    not.
    """
    return error / max(1, looks) / max(1, comparisons)


def anytime_test(
    differences: Floats,
    error: float = ERROR,
    *,
    reach: float = PERCENT,
    horizon: int | None = None,
    shuffle: bool = True,
) -> AnytimeTest:
    """Test the mean of `differences` [n], each between -`reach` and `reach` points.

    `horizon` is the number of samples to which bets are tuned, n by default; the test is valid for any. Samples that
    arrive one after another in random order are tested as they are, without `shuffle`, and with the horizon of all of
    them: the first of them then give the same capital, however many follow. Raises ValueError for no differences, or
    ones beyond `reach`.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values) or not float(np.abs(values).max()) <= reach + 1:
        raise ValueError(f"{len(values)} differences, at most {reach:g} points each, are needed for an anytime test")
    values = np.random.default_rng(0).permutation(values) if shuffle else values
    mean, size = float(values.mean()), math.ceil(max(horizon or 0, len(values)) / MOST_VALUES)
    grouped = _grouped(values, size, complete=len(values) < (horizon or 0))
    bettor, rival = (Bettor.of(one, error, reach, (horizon or len(values)) / size) for one in (grouped, -grouped))
    ahead, behind = bettor.log_capital(0.0), rival.log_capital(0.0)
    certain = np.flatnonzero(np.maximum(ahead, behind) >= bettor.target)
    return AnytimeTest(
        difference=mean,
        low=min(mean, bettor.bound()),
        high=max(mean, -rival.bound()),
        n=len(differences),
        method=BETTING,
        evidence=_exp(ahead[-1]),
        counter_evidence=_exp(behind[-1]),
        needed=min(len(values), (int(certain[0]) + 1) * size) if len(certain) else None,
    )


@dataclass(frozen=True)
class Bettor:
    """Bets on samples being above a mean; `scaled` and `bets` are [n], the samples mapped to 0 to 1."""

    scaled: Floats
    bets: Floats
    """Stake on every sample, determined by those before it."""
    target: float
    """Logarithm of the capital at which a mean is refuted."""
    reach: float

    @classmethod
    def of(cls, values: Floats, error: float, reach: float, horizon: float) -> Bettor:
        """Bets for one side, which has half of the error."""
        scaled = np.clip((values + reach) / (2 * reach), 0.0, 1.0)
        counts = np.arange(1, len(scaled) + 1)
        means = (0.5 + np.cumsum(scaled)) / (counts + 1)
        # of the samples before each one, regularised by one sample of the largest variance
        variances = np.concatenate([[0.25], ((0.25 + np.cumsum((scaled - means) ** 2)) / (counts + 1))[:-1]])
        target = math.log(2 / error)
        bets = np.sqrt(2 * target / (variances * horizon))
        return cls(scaled, bets, target, reach)

    def log_capital(self, mean: float) -> Floats:
        """Logarithm of the capital [n] after every sample, if `mean` (in points) were the true one."""
        expected = (mean + self.reach) / (2 * self.reach)
        bets = np.minimum(self.bets, LARGEST_BET / max(expected, 1e-12))
        found: Floats = np.cumsum(np.log1p(bets * (self.scaled - expected)))
        return found

    def bound(self) -> float:
        """Lower confidence bound in points: the largest mean that is refuted at any time."""
        low, high = -self.reach, self.reach
        for _ in range(STEPS):
            middle = (low + high) / 2
            refuted = bool((self.log_capital(middle) >= self.target).any())
            low, high = (middle, high) if refuted else (low, middle)
        return low


def mixture_test(test: PairedTest, error: float = ERROR) -> AnytimeTest:
    """Anytime-valid form of a test whose score is not a mean over samples, from its standard error.

    It holds for many samples, as the test itself does: Robbins' normal mixture with estimated variance, tuned to this
    number of samples (Waudby-Smith and others, Annals of Statistics 52 (2024), theorem 2.2). Wider than the interval of
    the test by `mixture_quantile` / 1.96.
    """
    deviation = (test.high - test.low) / 2 / NORMAL_95  # standard error, enlarged for few degrees of freedom
    half = deviation * mixture_quantile(error)
    z = test.difference / deviation if deviation > 0 else 0.0
    ratio = _tuned(error)
    evidence = _exp(-0.5 * math.log1p(1 / ratio) + 0.5 * z * z / (1 + ratio))
    signs = (evidence, 0.0) if z > 0 else (0.0, evidence)
    return AnytimeTest(test.difference, test.difference - half, test.difference + half, test.n, MIXTURE, *signs)


def mixture_quantile(error: float) -> float:
    """Standard errors from the estimate to either anytime-valid bound, at the sample size that it is tuned to."""
    ratio = _tuned(error)
    return math.sqrt((1 + ratio) * math.log((1 + ratio) / (ratio * error**2)))


def _tuned(error: float) -> float:
    """Variance of the estimate in that of the mixture: the ratio with the narrowest bounds, by bisection of its
    condition log((1 + r) / (r error^2)) = 1 / r.
    """
    low, high = 1e-6, 1.0
    for _ in range(STEPS):
        ratio = (low + high) / 2
        wider = math.log((1 + ratio) / (ratio * error**2)) > 1 / ratio
        low, high = (low, ratio) if wider else (ratio, high)
    return (low + high) / 2


def mean_over_datasets(differences: Sequence[Floats], weights: Sequence[float], sizes: Sequence[int]) -> Floats:
    """Independent values [m] whose mean is the weighted mean over datasets, which have no image in common.

    `differences` are [n] for each dataset, in random order; of `sizes` images, the first n may be known. The images
    are dealt in their order to as many groups as the smallest dataset has images; a value is the weighted mean over
    datasets of the means of one group. Only groups whose images are all known count, so further images append values
    and change none. If all are known, the mean is moved onto the exact one, as some groups have one image more than
    others.
    """
    groups = min(sizes)
    dealt = [_dealt(one, size, groups) for one, size in zip(differences, sizes, strict=True)]
    complete = min(map(len, dealt))
    averaged: Floats = np.average([one[:complete] for one in dealt], axis=0, weights=weights)
    if complete < groups:
        return averaged
    exact = float(np.average([one.mean() for one in differences], weights=weights))
    moved: Floats = averaged + (exact - averaged.mean())
    return moved


def _grouped(values: Floats, size: int, *, complete: bool) -> Floats:
    """Means of successive groups of `size` values; only `complete` ones if more values follow."""
    starts = np.arange(0, len(values), size)
    if complete and len(values) % size and len(starts) > 1:
        starts, values = starts[:-1], values[: starts[-1]]
    return _means_of_successive(values, starts)


def _dealt(values: Floats, size: int, groups: int) -> Floats:
    """Means of successive groups of `size` images, as far as `values` [n] are known."""
    ends = np.arange(1, groups + 1) * size // groups
    complete = int(np.searchsorted(ends, len(values), side="right"))
    starts = np.concatenate([[0], ends])[:complete]
    return _means_of_successive(values[: ends[complete - 1]] if complete else values[:0], starts)


def _means_of_successive(values: Floats, starts: npt.NDArray[np.int64]) -> Floats:
    """Means of `values` [n] from each start to the next one."""
    if not len(starts):
        return np.zeros(0)
    counts = np.diff(np.append(starts, len(values)))
    means: Floats = np.add.reduceat(values, starts) / counts
    return means


def _exp(logarithm: float) -> float:
    return math.exp(min(float(logarithm), 700.0))
