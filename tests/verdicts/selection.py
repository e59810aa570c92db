"""Probabilities of being the best backbone: reliability in worlds from equal to clearly different backbones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from ssl_console.analysis.statistics.selection import best_of
from tests.verdicts.rates import Floats, Rate, affordable, repeated, simulation

RATIOS = (0.02, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0)
"""Deviations between backbones in standard errors of their scores."""
NEARLY_EQUAL = 0.6
"""Largest of them that no test can resolve."""
BANDS = {"nearly equal": (0.15, 0.05), "from equal to clear": (0.05, 0.05)}
"""Largest excess and shortfall of a stated probability. Of few backbones, chance alone cannot show that they are nearly
equal, so that an excess remains where all of them are."""
SHARED = 0.6
"""Fraction of the randomness of answers that backbones have in common."""


@simulation
def probability_best(scale: float) -> Iterator[Rate]:
    """How often the backbone with the highest score is the best, in every fifth of the scale of its stated probability:
    `best_of`, with scores of the same test images."""
    found: list[tuple[float, float, bool]] = []
    for backbones in affordable((2, 3, 5, 10), scale, (2, 5)):
        for images in affordable((300, 3_000), scale, (300,)):
            for ratio in RATIOS:
                generator = np.random.default_rng((backbones, images, round(100 * ratio)))
                found += [(ratio, *_leader(generator, backbones, images, ratio)) for _ in repeated(100, scale, 25)]
    every = np.array(found)
    near = every[:, 0] <= NEARLY_EQUAL
    for name, chosen in zip(BANDS, (every[near], every), strict=True):
        yield from _reliability(name, chosen[:, 1], chosen[:, 2])


def _leader(generator: np.random.Generator, backbones: int, images: int, ratio: float) -> tuple[float, bool]:
    """Stated probability of the backbone with the highest score, and whether it is the best."""
    level = 0.75
    error = np.sqrt(level * (1 - level) * (1 - SHARED) / images)
    chances = np.clip(level + ratio * error * generator.standard_normal(backbones), 0.02, 0.98)
    common = np.sqrt(SHARED) * generator.standard_normal(images)
    own = np.sqrt(1 - SHARED) * generator.standard_normal((backbones, images))
    scores = 100.0 * (common + own < norm.ppf(chances)[:, None])
    means = scores.mean(axis=1)
    belief = best_of(means, np.cov(scores) / images, draws=400, seed=int(generator.integers(1 << 30)))
    best = int(means.argmax())
    return float(belief.probability[best]), best == int(chances.argmax())


def _reliability(name: str, stated: Floats, true: Floats) -> Iterator[Rate]:
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (stated > low) & (stated <= low + 0.2)
        count = int(inside.sum())
        if count >= 20:
            said, were = float(stated[inside].mean()), float(true[inside].mean())
            excess, shortfall = (band + 2 * np.sqrt(said * (1 - said) / count) for band in BANDS[name])
            setting = f"{name}, {said:.2f} stated of {count}"
            yield Rate("probability_best", setting, were, said - excess, said + shortfall, 1)
