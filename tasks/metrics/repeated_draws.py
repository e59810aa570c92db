"""Accuracy over several draws of training images, each scored on the same test images. Needs numpy, and not torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from tasks.metrics.confidence_intervals import LEVEL, wilson
from tasks.metrics.outcome import Interval

METHOD = "images and draws"
Predicted = npt.NDArray[np.integer]
"""[n, draws] predicted classes."""


def accuracy_of_draws(predicted: Predicted, labels: npt.NDArray[np.integer]) -> float:
    """Mean accuracy over draws, in percent."""
    return 100.0 * float((predicted == labels[:, None]).mean())


def interval_of_draws(predicted: Predicted, labels: npt.NDArray[np.integer]) -> Interval:
    """Interval of the accuracy expected over other test images and other draws.

    Images and draws are crossed random effects: the variance of the mean is the variance of images' means over their
    number, and of draws' means over theirs, less what both contain of the interaction. Degrees of freedom follow
    Satterthwaite (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4).
    """
    right = (predicted == labels[:, None]).astype(np.float64)
    images, draws = right.shape
    mean, by_image, by_draw = right.mean(), right.mean(axis=1), right.mean(axis=0)
    if images < 2 or draws < 2 or mean in (0.0, 1.0):
        return wilson(round(mean * images), images)
    residual = right - by_image[:, None] - by_draw[None] + mean
    shared = float((residual**2).sum()) / ((images - 1) * (draws - 1)) / (images * draws)
    parts = float(by_image.var(ddof=1)) / images, float(by_draw.var(ddof=1)) / draws
    variance = max(sum(parts) - shared, *parts)
    degrees = variance**2 / (parts[0] ** 2 / (images - 1) + parts[1] ** 2 / (draws - 1))
    half = float(stdtrit(degrees, 0.5 + LEVEL / 2)) * math.sqrt(variance)
    return Interval(100 * max(0.0, mean - half), 100 * min(1.0, mean + half), LEVEL, METHOD)


def scores_of_draws(arrays: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, float]:
    """Accuracies by name: `accuracy` of `predicted`, `accuracy@4` of `predicted@4`."""
    labels = arrays["label"].astype(np.int64)
    return {
        f"accuracy{name.removeprefix('predicted')}": accuracy_of_draws(values.astype(np.int64), labels)
        for name, values in arrays.items()
        if name == "predicted" or name.startswith("predicted@")
    }
