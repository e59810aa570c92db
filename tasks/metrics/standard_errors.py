"""Standard errors of means over crossed images and draws, and of delete-a-group jackknives. Needs numpy only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def crossed_error(values: Floats) -> tuple[float, float]:
    """Standard error of the mean of `values` [images, draws] for other images and other draws, and its degrees of
    freedom; requires at least two of each.

    Images and draws are crossed random effects: the variance of the mean is the variance of image means over the number
    of images, plus that of draw means over the number of draws, minus the interaction contained in both. Degrees of
    freedom follow Satterthwaite (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4).
    """
    images, draws = values.shape
    mean, by_image, by_draw = values.mean(), values.mean(axis=1), values.mean(axis=0)
    residual = values - by_image[:, None] - by_draw[None] + mean
    shared = float((residual**2).sum()) / ((images - 1) * (draws - 1)) / (images * draws)
    parts = float(by_image.var(ddof=1)) / images, float(by_draw.var(ddof=1)) / draws
    variance = max(sum(parts) - shared, *parts)
    spread = parts[0] ** 2 / (images - 1) + parts[1] ** 2 / (draws - 1)
    return math.sqrt(variance), variance**2 / spread if spread > 0 else math.inf


def jackknife_error(without: Floats) -> float:
    """Standard error of a score from its values without each group of images (Shao and Wu, Ann. Statist., 1989)."""
    groups = len(without)
    return math.sqrt((groups - 1) / groups * float(((without - without.mean()) ** 2).sum()))
