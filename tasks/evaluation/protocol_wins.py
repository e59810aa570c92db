"""How often one backbone is ahead of another over many protocols, with an interval over other test images.

Protocols are not independent of one another: they share the test images, and those with the same classifier, blocks or
pooling share part of their true difference. Resampling images alone covers too little: a drawn difference has the noise
of two samples, which pulls the fraction of protocols towards one half, however many of them truly have the same sign.
Therefore the interval is that of a posterior. True differences d [protocols] are normal around an unknown mean with
covariance K, and measured ones have the error of the same images in addition, with covariance E:

    K = s^2 (w_1 [same pooling] + w_2 [same blocks] + w_3 [same classifier] + w_4 [same up to the seed] + w_5 I)

Deviations s and weights w are averaged over a grid in proportion to their likelihood, with a uniform prior of s (Gelman
2006); draws are by Matheron's rule. The prior of the mean relative to s is a Cauchy distribution (Jeffreys 1961) of
scale 3: one of scale 1 prefers means near 0, so that the interval covers too much there and too little where one
backbone is nearly always ahead, and a flat one covers too little near 0. E is the covariance over images, shrunk
towards one that depends only on which choices two protocols share (Ledoit & Wolf 2003, in the form of Schaefer &
Strimmer 2005). With hundreds of protocols and few images, the smallest eigenvalues of the plain covariance are far too
small, and differences that are due to the images pass for true ones.

In simulations with known truth (`tests/verdicts/protocols.py`) the interval covers it in at least 92 % of the worlds in
each of 15 settings with a fixed mean difference, least where it is 0 for all of them, and in at least 94 % in 6 where
the mean is drawn as well. Coverage exceeds 97 % where the true fraction is often 0 or 1: 99 % (1,000 worlds) with a
mean of 0.1, a deviation of 0.05 and 1,000 images. There the fraction is 1 in 56 % of the worlds, and the upper end of
the interval is 1 in 99 %, so that only the lower end can be wrong. The shortest interval with 96 % of the posterior is
12 % narrower and still covers 98 %, but with independent protocols of mean 0 it covers only 89 % (120 worlds).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import chi2

from tasks.features.requests import CHOICES, EvaluationChoice, PairwiseWins

Floats = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]
DRAWS = 1_000
LEVEL = (2.0, 98.0)
"""Percentiles of the posterior at the ends of the 95 % interval. The structure of true differences is only
approximately one of those assumed: with 2.5 and 97.5, coverage in the simulations is as low as 91 %."""
ROUNDING = 1e-9
"""Largest difference of two scores, as fractions, that counts as equal."""
DIGITS = 12
"""Decimals of a fraction."""
DEVIATIONS = tuple(0.03 * 20 ** (number / 5) for number in range(11))
"""Of true differences, in standard errors of a difference: 0.03 to 12."""
MEAN_SCALE = 3.0
"""Scale of the mean difference before the measurement, in deviations of the differences."""
MEANS = tuple(float(MEAN_SCALE**2 / chi2.ppf((number + 0.5) / 8, 1)) for number in range(8))
"""Variances of the mean difference before the measurement, relative to that of the differences: equally likely values
of the scale mixture of normals that is a Cauchy distribution."""
JITTER = 1e-3
"""Own error of every difference, in standard errors: several protocols may have equal answers."""


def score_weights(labels: npt.NDArray[np.int64], metric: str) -> Floats:
    """Weight of each image in the metric [n], so that the score is their sum over correct images."""
    if metric != "mean-per-class":
        return np.full(len(labels), 1 / max(1, len(labels)))
    counts = np.bincount(labels)
    return np.asarray(1 / (counts[labels] * np.count_nonzero(counts)), dtype=np.float64)


def pairwise_wins(
    right: Mapping[str, Right],
    labels: npt.NDArray[np.int64],
    metric: str,
    protocols: Sequence[EvaluationChoice],
    *,
    draws: int = DRAWS,
) -> Iterator[PairwiseWins]:
    """Fraction of protocols in which the first of two backbones scores higher, for every pair; a tie counts half.

    `right` are [protocols, n]: whether each test image is classified correctly.
    """
    weights, alike = score_weights(labels, metric), _alike(protocols)
    structures = [_Structure.of(one) for one in _structures(alike)]
    shared = [(1 << place) * one for place, one in enumerate(alike.values())]
    pattern = np.asarray(sum(shared), dtype=np.int64)  # number of the set of choices that two protocols share
    groups = labels if metric == "mean-per-class" else np.zeros_like(labels)
    for first, second in combinations(right, 2):
        parts = weights * (right[first].astype(np.float64) - right[second])
        differences = parts.sum(axis=1)
        even = np.abs(differences) <= ROUNDING
        share = float(((differences > ROUNDING) + 0.5 * even).mean())
        rows, counts = _distinct(right[first], right[second])
        noise = shrunk_covariance(_errors(parts[rows], groups), pattern[np.ix_(rows, rows)])
        some = [one.of_rows(rows) for one in structures]
        low, high = np.percentile(_shares(differences[rows], counts / len(parts), noise, some, draws), LEVEL)
        yield PairwiseWins(
            first=first, second=second, share=share, low=min(low, share), high=max(high, share), ties=int(even.sum())
        )


def _distinct(first: Right, second: Right) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Protocols of which no two have the same answers of both backbones, and the number of those with each.

    Equal answers are equal classifiers, as those of two seeds that select the same strength, or of two poolings without
    a class token: their true differences are equal too.
    """
    answers = np.packbits(np.concatenate([first, second], axis=1), axis=1)
    _, rows, counts = np.unique(answers, axis=0, return_index=True, return_counts=True)
    return rows, counts


def _errors(parts: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """Errors [protocols, n], independent between images, whose sums have the covariance of the differences."""
    found = np.empty_like(parts)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        centred = parts[:, rows] - parts[:, rows].mean(axis=1, keepdims=True)
        found[:, rows] = centred * np.sqrt(len(rows) / max(1, len(rows) - 1))
    return found


def _alike(protocols: Sequence[EvaluationChoice]) -> dict[str, Floats]:
    """Whether two protocols [protocols, protocols] have the same value of a choice, by its name."""
    values = {name: np.array([one.values[name] for one in protocols]) for name in CHOICES}
    return {name: (one[:, None] == one[None, :]).astype(np.float64) for name, one in values.items()}


def _structures(alike: Mapping[str, Floats]) -> list[Floats]:
    """Correlations [protocols, protocols] of true differences, from independent to decided by one choice."""
    own, cell = np.eye(len(alike["seed"])), np.prod([alike[name] for name in CHOICES if name != "seed"], axis=0)
    choices = [alike[name] for name in CHOICES if name != "seed" and not alike[name].all()]
    found = [own, 0.9 * cell + 0.1 * own]
    if choices:
        every = np.mean(choices, axis=0)
        found += [0.6 * every + 0.3 * cell + 0.1 * own]
        found += [0.7 * one + 0.2 * cell + 0.1 * own for one in choices]
    if len(choices) > 2:
        pairs = np.mean([one * two for one, two in combinations(choices, 2)], axis=0)
        found += [0.3 * every + 0.3 * pairs + 0.3 * cell + 0.1 * own]
    return found


def shrunk_covariance(errors: Floats, pattern: npt.NDArray[np.int64]) -> Floats:
    """Covariance [protocols, protocols] of the sums of `errors` [protocols, n], which are independent between images.

    Correlations are shrunk towards their means over pairs of protocols that share the same choices, by the fraction
    that minimises the expected squared error.
    """
    plain = errors @ errors.T
    scale = np.sqrt(np.diagonal(plain))
    certain = scale <= 0
    units = errors / np.where(certain, 1.0, scale)[:, None]
    found = units @ units.T
    known = ~(certain[:, None] | certain[None, :])
    counts = np.bincount(pattern[known], minlength=pattern.max() + 1)
    sums = np.bincount(pattern[known], found[known], minlength=len(counts))
    target = (sums / np.maximum(counts, 1))[pattern]
    off = known & ~np.eye(len(found), dtype=bool)
    variance = np.square(units) @ np.square(units).T - np.square(found) / errors.shape[1]
    distance = float(np.square(found - target)[off].sum())
    weight = min(1.0, float(variance[off].sum()) / distance) if distance > 0 else 1.0
    values, vectors = np.linalg.eigh((1 - weight) * found + weight * target)
    correlation = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return np.asarray(correlation * np.outer(scale, scale), dtype=np.float64)


@dataclass(frozen=True)
class _Structure:
    """Correlations of true differences, with a root of them: root @ root.T."""

    correlation: Floats
    root: Floats

    @classmethod
    def of(cls, correlation: Floats) -> _Structure:
        values, vectors = np.linalg.eigh(correlation)
        return cls(correlation, vectors * np.sqrt(np.maximum(values, 0.0)))

    def of_rows(self, rows: npt.NDArray[np.intp]) -> _Structure:
        """The same for some protocols."""
        return _Structure(self.correlation[np.ix_(rows, rows)], self.root[rows])


@dataclass(frozen=True)
class _State:
    """One structure, one deviation, and one variance of the mean difference."""

    structure: _Structure
    deviation: float
    factor: tuple[Floats, bool]
    """Of the covariance of measured differences about their mean."""
    log_posterior: float
    mean: float
    mean_deviation: float
    """Posterior of the mean difference."""


def _shares(
    differences: Floats, weights: Floats, noise: Floats, structures: Sequence[_Structure], draws: int
) -> Floats:
    """Draws of the fraction of protocols with a positive true difference; `weights` are fractions of protocols."""
    random, scale = np.random.default_rng(0), float(np.sqrt(np.median(np.diagonal(noise))))
    if scale <= 0:
        return np.full(1, float(((differences > ROUNDING) + 0.5 * (np.abs(differences) <= ROUNDING)) @ weights)).round(
            DIGITS
        )
    measured, noise = differences / scale, noise / scale**2 + JITTER**2 * np.eye(len(noise))
    states = [
        state for one in structures for deviation in DEVIATIONS for state in _states(measured, noise, one, deviation)
    ]
    likely = np.array([state.log_posterior for state in states])
    chances = np.exp(likely - likely.max())
    counts = random.multinomial(draws, chances / chances.sum())
    root: Floats = np.asarray(np.linalg.cholesky(noise), dtype=np.float64)
    drawn = [
        _posterior(measured, root, state, int(count), random)
        for state, count in zip(states, counts, strict=True)
        if count
    ]
    shares = weights @ (np.concatenate(drawn, axis=1) > 0)
    return np.asarray(shares.round(DIGITS), dtype=np.float64)


def _states(measured: Floats, noise: Floats, structure: _Structure, deviation: float) -> Iterator[_State]:
    """The posterior of a deviation is its likelihood, times the deviation: the grid of deviations is geometric."""
    total = deviation**2 * structure.correlation + noise
    factor = cho_factor(total, lower=True, overwrite_a=True, check_finite=False)
    ones = np.ones(len(measured))
    solved, weights = cho_solve(factor, np.stack([measured, ones], axis=1), check_finite=False).T
    precision, weighted = float(ones @ weights), float(ones @ solved)
    constant = math.log(deviation) - 0.5 * float(measured @ solved) - float(np.log(np.diagonal(factor[0])).sum())
    for share in MEANS:
        variance = share * deviation**2
        known = precision + 1 / variance
        likelihood = 0.5 * weighted**2 / known - 0.5 * math.log1p(variance * precision)
        yield _State(structure, deviation, factor, constant + likelihood, weighted / known, known**-0.5)


def _posterior(measured: Floats, noise_root: Floats, state: _State, count: int, random: np.random.Generator) -> Floats:
    """Draws [protocols, count] of true differences: of their mean, then a draw before the measurement, moved by what
    was measured.
    """
    size, effects = (len(measured), count), (state.structure.root.shape[1], count)
    mean = state.mean + state.mean_deviation * random.standard_normal(count)
    before = mean + state.deviation * (state.structure.root @ random.standard_normal(effects))
    gap = measured[:, None] - before - noise_root @ random.standard_normal(size)
    moved = state.structure.correlation @ cho_solve(state.factor, gap, check_finite=False)
    return np.asarray(before + state.deviation**2 * moved, dtype=np.float64)
