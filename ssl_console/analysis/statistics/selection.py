"""Selection of the best of several backbones: probabilities, expected regret, and interaction with the protocol.

Scores are in percent. Backbones vary around their mean by a normal distribution whose deviation follows from the
scores, so that the probability of the highest score is not that of the luckiest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.distributions import f_tail

Floats = npt.NDArray[np.float64]

DRAWS = 8_000
DEVIATIONS = tuple(0.06 * 333 ** (number / 40) for number in range(41))
"""Deviations between backbones in standard errors of a score, 0.06 to 20: equally probable on a logarithmic scale
before the scores are seen, so that backbones which the images cannot separate are as likely as clearly different ones.
In points, with a smallest deviation of 0.1, many images would make nearly equal backbones improbable, and the luckiest
of them would be called the best with too high a probability. The smallest one is that with which stated probabilities
are right both for made-up backbones and for recorded answers (`tests/verdicts`): with 0.03 they are too low by up to
0.07 for recorded answers, with 0.1 too high by up to 0.04 for made-up ones."""
LEAST_ERROR = 0.01  # points, of every backbone independently of the others
NEGLIGIBLE = 1e-9
"""Eigenvalues below this fraction of the largest one are rounding errors."""


@dataclass(frozen=True)
class BestOf:
    """Belief about which of several backbones is the best; arrays are [backbones]."""

    probability: Floats
    """Probability of being the best; the sum is 1."""
    regret: Floats
    """Expected loss against the best one when this one is chosen, in points."""


def best_of(means: Floats, covariance: Floats, *, draws: int = DRAWS, seed: int = 0) -> BestOf:
    """Belief from `means` [backbones] and the covariance of their errors [backbones, backbones]."""
    if len(means) == 1:
        return BestOf(np.ones(1), np.zeros(1))
    generator = np.random.default_rng(seed)
    errors = covariance + np.eye(len(means)) * LEAST_ERROR**2
    effects = _posterior_draws(np.asarray(means, np.float64), errors, draws, generator)
    best = effects.max(axis=1, keepdims=True)
    wins = np.bincount(effects.argmax(axis=1), minlength=len(means))
    return BestOf(wins / len(effects), (best - effects).mean(axis=0))


def _posterior_draws(means: Floats, covariance: Floats, draws: int, generator: np.random.Generator) -> Floats:
    """Draws [about draws, backbones] of the true means, over all deviations in proportion to their probability."""
    variances = np.diag(covariance)
    of_pairs = variances[:, None] + variances[None, :] - 2 * covariance
    # median standard error of a difference of two backbones, as that of one of two independent scores
    scale = float(np.sqrt(np.median(of_pairs[np.triu_indices(len(variances), 1)]) / 2))
    parts = [_given_deviation(means, covariance, scale * one) for one in DEVIATIONS]
    weights = np.array([part[0] for part in parts])
    shares = np.exp(weights - weights.max())
    counts = generator.multinomial(draws, shares / shares.sum())
    drawn = [
        centre + generator.standard_normal((count, len(means))) @ factor.T
        for count, (_, centre, factor) in zip(counts, parts, strict=True)
        if count
    ]
    found: Floats = np.concatenate(drawn)
    return found


def _given_deviation(means: Floats, covariance: Floats, deviation: float) -> tuple[float, Floats, Floats]:
    """Log-likelihood of a deviation between backbones (their mean is unknown, with a flat prior); mean and a factor of
    the covariance of the true means.
    """
    size = len(means)
    total = covariance + deviation**2 * np.eye(size)
    inverse = np.linalg.inv(total)
    weight = inverse.sum(axis=1)
    middle = float(weight @ means / weight.sum())
    gaps = means - middle
    fit = -0.5 * (np.linalg.slogdet(total)[1] + np.log(weight.sum()) + gaps @ inverse @ gaps)
    gain = deviation**2 * inverse
    centre = middle + gain @ gaps
    pull = np.ones(size) - gain.sum(axis=1)
    spread = deviation**2 * (np.eye(size) - gain) + np.outer(pull, pull) / weight.sum()
    return float(fit), centre, _factor(spread)


def _factor(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    found: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return found


@dataclass(frozen=True)
class Interaction:
    """Whether differences between backbones depend on the protocol."""

    p_value: float
    contrasts: int
    """Numerator degrees of freedom: (backbones - 1) x (protocols - 1), without linearly dependent ones."""
    n: int


def interaction(scores: Floats) -> Interaction | None:
    """Test of backbone x protocol from `scores` [backbones, protocols, n] of the same samples (Hotelling's T squared).

    The null hypothesis: every backbone gains the same number of points from one protocol to another. None where there
    is one protocol, one backbone, or too few samples.
    """
    backbones, protocols, samples = scores.shape
    if backbones < 2 or protocols < 2:
        return None
    double = scores - scores.mean(axis=0, keepdims=True)
    double = double - double.mean(axis=1, keepdims=True)
    contrasts = double[1:, 1:].reshape((backbones - 1) * (protocols - 1), samples)
    means, covariance = contrasts.mean(axis=1), np.cov(contrasts, ddof=1).reshape(len(contrasts), len(contrasts))
    values, vectors = np.linalg.eigh(covariance)
    kept = values > NEGLIGIBLE * max(float(values.max()), 1e-12)
    rank = int(kept.sum())
    if rank == 0 or samples <= rank:
        return None
    distance = samples * float((((vectors[:, kept].T @ means) ** 2) / values[kept]).sum())
    ratio = distance * (samples - rank) / (rank * (samples - 1))
    return Interaction(f_tail(ratio, rank, samples - rank), rank, samples)
