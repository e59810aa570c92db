"""How often one backbone is ahead of another over many protocols, with an interval over other test images.

Protocols are not independent of one another: they share the test images, and those with the same classifier, blocks or
pooling share part of their true difference. Resampling images alone covers too little: a drawn difference has the noise
of two samples, which pulls the fraction of protocols towards one half, however many of them truly have the same sign.
Therefore the interval is that of a posterior. True differences d [protocols] are normal around an unknown mean with
covariance K, and measured ones have the error of the same images in addition:

    K = s^2 (w_1 [same pooling] + w_2 [same blocks] + w_3 [same classifier] + w_4 [same up to the seed] + w_5 I)

Deviations s and weights w are averaged over a grid in proportion to their likelihood; draws are by Matheron's rule.
In simulations with known truth (`tests/verdicts/protocols.py`, 120 worlds each) the interval covers it in 96 to 97 % of
the worlds with 1,000 images, and in 90 to 94 % of those with 300: with few images it is somewhat too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from tasks.features.requests import CHOICES, EvaluationChoice, PairwiseWins

Floats = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]
DRAWS = 1_000
LEVEL = (2.5, 97.5)
ROUNDING = 1e-9
"""Largest difference of two scores, as fractions, that counts as equal."""
DEVIATIONS = tuple(0.03 * 20 ** (number / 5) for number in range(11))
"""Of true differences, in standard errors of a difference: 0.03 to 12."""
FLAT = 1e3
"""Deviation of the mean difference before anything is known, in standard errors."""
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
    weights, structures = score_weights(labels, metric), _structures(protocols)
    groups = labels if metric == "mean-per-class" else np.zeros_like(labels)
    for first, second in combinations(right, 2):
        parts = weights * (right[first].astype(np.float64) - right[second])
        differences = parts.sum(axis=1)
        even = np.abs(differences) <= ROUNDING
        share = float(((differences > ROUNDING) + 0.5 * even).mean())
        low, high = np.percentile(_shares(differences, _errors(parts, groups), structures, draws), LEVEL)
        yield PairwiseWins(
            first=first, second=second, share=share, low=min(low, share), high=max(high, share), ties=int(even.sum())
        )


def _errors(parts: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """Errors [protocols, n], independent between images, whose sums have the covariance of the differences."""
    found = np.empty_like(parts)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        centred = parts[:, rows] - parts[:, rows].mean(axis=1, keepdims=True)
        found[:, rows] = centred * np.sqrt(len(rows) / max(1, len(rows) - 1))
    return found


def _structures(protocols: Sequence[EvaluationChoice]) -> list[Floats]:
    """Correlations [protocols, protocols] of true differences, from independent to decided by one choice."""
    values = {name: np.array([one.values[name] for one in protocols]) for name in CHOICES}
    alike = {name: (one[:, None] == one[None, :]).astype(np.float64) for name, one in values.items()}
    choices = [alike[name] for name in CHOICES if name != "seed" and not alike[name].all()]
    own, cell = np.eye(len(protocols)), np.prod([alike[name] for name in CHOICES if name != "seed"], axis=0)
    found = [own, 0.9 * cell + 0.1 * own]
    if choices:
        every = np.mean(choices, axis=0)
        found += [0.6 * every + 0.3 * cell + 0.1 * own]
        found += [0.7 * one + 0.2 * cell + 0.1 * own for one in choices]
    return found


@dataclass(frozen=True)
class _State:
    """One deviation and one structure: covariance of true differences, with the factor of that of measured ones."""

    truth: Floats
    factor: tuple[Floats, bool]
    log_likelihood: float


def _shares(differences: Floats, errors: Floats, structures: Sequence[Floats], draws: int) -> Floats:
    """Draws of the fraction of protocols with a positive true difference."""
    random, noise = np.random.default_rng(0), errors @ errors.T
    scale = float(np.sqrt(np.median(np.diagonal(noise))))
    if scale <= 0:
        return np.full(1, float(((differences > ROUNDING) + 0.5 * (np.abs(differences) <= ROUNDING)).mean()))
    measured, noise = differences / scale, noise / scale**2 + JITTER**2 * np.eye(len(noise))
    states = [_state(measured, noise, one, deviation) for one in structures for deviation in DEVIATIONS]
    likely = np.array([state.log_likelihood for state in states])
    chances = np.exp(likely - likely.max())
    counts = random.multinomial(draws, chances / chances.sum())
    drawn = [
        _posterior(measured, errors / scale, state, int(count), random)
        for state, count in zip(states, counts, strict=True)
        if count
    ]
    return np.asarray((np.concatenate(drawn, axis=1) > 0).mean(axis=0), dtype=np.float64)


def _state(measured: Floats, noise: Floats, structure: Floats, deviation: float) -> _State:
    truth = deviation**2 * structure + FLAT**2
    factor = cho_factor(truth + noise, lower=True, check_finite=False)
    fit = float(measured @ cho_solve(factor, measured, check_finite=False))
    return _State(truth, factor, -0.5 * fit - float(np.log(np.diagonal(factor[0])).sum()))


def _posterior(measured: Floats, errors: Floats, state: _State, count: int, random: np.random.Generator) -> Floats:
    """Draws [protocols, count] of true differences: a draw before the measurement, moved by what was measured."""
    values, vectors = np.linalg.eigh(state.truth)
    before = (vectors * np.sqrt(np.maximum(values, 0.0))) @ random.standard_normal((len(measured), count))
    noise = errors @ random.standard_normal((errors.shape[1], count))
    noise += JITTER * random.standard_normal(noise.shape)
    gap = measured[:, None] - before - noise
    found: Floats = before + state.truth @ cho_solve(state.factor, gap, check_finite=False)
    return found
