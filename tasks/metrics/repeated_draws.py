"""Accuracy over several draws of training images with the same test images. Needs numpy, not torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from tasks.metrics.confidence_intervals import LEVEL, wilson
from tasks.metrics.outcome import Interval
from tasks.metrics.standard_errors import crossed_error

METHOD = "images and draws"
Predicted = npt.NDArray[np.integer]
"""[n, draws] predicted classes."""


def accuracy_of_draws(predicted: Predicted, labels: npt.NDArray[np.integer]) -> float:
    """Mean accuracy over draws, in percent."""
    return 100.0 * float((predicted == labels[:, None]).mean())


def interval_of_draws(predicted: Predicted, labels: npt.NDArray[np.integer]) -> Interval:
    """Interval of the expected accuracy for other test images and other draws."""
    right = (predicted == labels[:, None]).astype(np.float64)
    images, draws = right.shape
    mean = float(right.mean())
    if images < 2 or draws < 2 or mean in (0.0, 1.0):
        return wilson(round(mean * images), images)
    error, degrees = crossed_error(right)
    half = float(stdtrit(degrees, 0.5 + LEVEL / 2)) * error
    return Interval(100 * max(0.0, mean - half), 100 * min(1.0, mean + half), LEVEL, METHOD)


def scores_of_draws(arrays: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, float]:
    """Accuracies by name: `accuracy` of `predicted`, `accuracy@4` of `predicted@4`."""
    labels = arrays["label"].astype(np.int64)
    return {
        f"accuracy{name.removeprefix('predicted')}": accuracy_of_draws(values.astype(np.int64), labels)
        for name, values in arrays.items()
        if name == "predicted" or name.startswith("predicted@")
    }
