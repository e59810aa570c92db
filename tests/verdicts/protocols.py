"""Fraction of protocols in which one backbone is ahead: coverage in worlds with known truth."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, product, repeat

import numpy as np
from scipy.stats import norm

from tasks.evaluation.protocol_wins import Right, pairwise_wins
from tasks.features.requests import EvaluationChoice
from tests.verdicts.rates import COVERED, Floats, Rate, affordable, repeated, simulation

HEADS, POOLINGS, BLOCKS, SEEDS = ("knn", "centroid", "ridge"), ("cls", "mean"), ("last", "last-2", "half"), range(4)
PROTOCOLS = tuple(
    EvaluationChoice.model_validate({"head": head, "pooling": pooling, "blocks": blocks, "seed": seed})
    for head, pooling, blocks, seed in product(HEADS, POOLINGS, BLOCKS, SEEDS)
)
SHAPE = (len(HEADS), len(POOLINGS) * len(BLOCKS), len(SEEDS))
Structure = tuple[float, float, float, float]
"""Fractions of the variance of true differences: of the classifier, the layer, both together, and the seed."""
STRUCTURES: dict[str, Structure] = {
    "every choice matters": (0.3, 0.3, 0.3, 0.1),
    "independent protocols": (0.0, 0.0, 0.0, 1.0),
    "the classifier decides": (0.7, 0.2, 0.08, 0.02),
}
WORLDS = ((0.0, 0.2, 300), (0.2, 0.2, 300), (0.4, 0.3, 1_000), (0.1, 0.05, 1_000), (0.1, 0.3, 3_000))
"""Mean and deviation of true differences in log-odds, and the number of test images."""
VARYING = ((0.3, 0.2, 300), (0.2, 0.1, 1_000))
"""The same with a mean that differs between worlds; the first number is its deviation."""
SHARED, HARDNESS = 0.7, 1.5
"""Fraction of common randomness of protocols, and the deviation of images' difficulty in log-odds."""
GRID = np.linspace(-6.0, 6.0, 1_001)


@simulation
def protocol_wins(scale: float) -> Iterator[Rate]:
    """Coverage of `pairwise_wins` on 72 protocols that share images, classifiers, layers and seeds."""
    for mean, deviation, images in affordable(WORLDS, scale, ((0.2, 0.2, 300),)):
        for number, structure in enumerate(STRUCTURES):
            random = np.random.default_rng((images, round(100 * mean), number))
            yield _rate(random, structure, repeat(mean), deviation, images, f"mean {mean:g}", scale)


@simulation
def protocol_wins_over_worlds(scale: float) -> Iterator[Rate]:
    """The same over worlds whose mean difference varies: a credible interval has its level on average over them."""
    for spread, deviation, images in affordable(VARYING, scale, ((0.3, 0.2, 300),)):
        for number, structure in enumerate(STRUCTURES):
            random = np.random.default_rng((images, round(100 * spread), number, 1))
            means = (spread * float(random.standard_normal()) for _ in count())
            yield _rate(random, structure, means, deviation, images, f"mean drawn with deviation {spread:g}", scale)


def _rate(
    random: np.random.Generator,
    structure: str,
    means: Iterator[float],
    deviation: float,
    images: int,
    words: str,
    scale: float,
) -> Rate:
    times, covered, at_ends = repeated(300, scale, least=15), 0, 0
    for _ in times:
        truth, right = _world(random, next(means), deviation, images, STRUCTURES[structure])
        (found,) = pairwise_wins(right, np.zeros(images, np.int64), "accuracy", PROTOCOLS, draws=400)
        covered += found.low - 1e-9 <= truth <= found.high + 1e-9
        at_ends += truth in (0.0, 1.0)
    setting = f"{structure}, {words}, deviation {deviation:g}, {images} images, coverage"
    return Rate("protocol_wins", setting, covered / len(times), *_band(at_ends / len(times)), len(times))


def _band(at_ends: float) -> tuple[float, float]:
    """Bounds of coverage where this fraction of worlds has a true fraction of 0 or 1.

    Such a truth is outside the interval only if the interval stops short of that end of the scale, which requires that
    at most 2 % of the posterior are exactly there. With as much noise as true difference that almost never occurs, so
    these worlds may all be covered; of the others at most `COVERED[1]` may be. The lower bound is the same for all.
    """
    low, high = COVERED
    return low, at_ends + (1 - at_ends) * high


def _world(
    generator: np.random.Generator, mean: float, deviation: float, images: int, structure: Structure
) -> tuple[float, dict[str, Right]]:
    """The true fraction of protocols in which the first backbone is better, and answers on drawn images."""
    heads, layers, seeds = SHAPE
    shapes = ((heads, 1, 1), (1, layers, 1), (heads, layers, 1), SHAPE)
    effect = sum(
        np.sqrt(part) * generator.standard_normal(shape) for part, shape in zip(structure, shapes, strict=True)
    )
    difference = (mean + deviation * np.broadcast_to(effect, SHAPE)).reshape(-1)
    level = 1.0 + 0.3 * np.repeat(generator.standard_normal(heads * layers), seeds)
    first, second = level + difference / 2, level - difference / 2
    hard = generator.standard_normal(images)
    right = {name: _answers(generator, one, hard) for name, one in (("a", first), ("b", second))}
    return float(np.mean(_chance(first) > _chance(second))), right


def _chance(level: Floats) -> Floats:
    """Accuracy [protocols] over all images."""
    weights = norm.pdf(GRID)
    found: Floats = _logistic(level[:, None] + HARDNESS * GRID) @ weights / weights.sum()
    return found


def _answers(generator: np.random.Generator, level: Floats, hard: Floats) -> Right:
    heads, layers, seeds = SHAPE
    parts = (
        (0.6 * SHARED, (1, 1, 1)),
        (0.4 * SHARED, (1, layers, 1)),
        (0.7 * (1 - SHARED), (heads, layers, 1)),
        (0.3 * (1 - SHARED), (heads, layers, seeds)),
    )
    luck = sum(np.sqrt(part) * generator.standard_normal((*shape, len(hard))) for part, shape in parts)
    chance = norm.cdf(np.broadcast_to(luck, (*SHAPE, len(hard))).reshape(len(level), len(hard)))
    found: Right = chance < _logistic(level[:, None] + HARDNESS * hard)
    return found


def _logistic(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)
