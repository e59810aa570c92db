"""Delete-a-group jackknife and repeated draws: scores with groups of images left out, or of several training sets.

Needs numpy, not torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from tasks.metrics.confidence_intervals import LEVEL, wilson
from tasks.metrics.outcome import Interval
from tasks.metrics.standard_errors import crossed_error, jackknife_error

METHOD = "images and draws"
Predicted = npt.NDArray[np.integer]
"""[n, draws] predicted classes."""
Arrays = Mapping[str, npt.NDArray[np.generic]]
JACKKNIFE = "grouped jackknife"
NONE_VARIES = "as if a few images differed"
ROUNDING = 1e-6
"""Width of an interval, in percent, below which it counts as zero."""
GROUPS = 10
"""Number of groups of test images, each omitted once."""
Floats = npt.NDArray[np.float64]


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
    """Mean accuracies over draws in percent, by name: `accuracy` of `predicted`, `accuracy@4` of `predicted@4`."""
    labels = arrays["label"].astype(np.int64)
    return {
        f"accuracy{name.removeprefix('predicted')}": 100.0 * float((values.astype(np.int64) == labels[:, None]).mean())
        for name, values in arrays.items()
        if name == "predicted" or name.startswith("predicted@")
    }


def group_of(rows: int) -> npt.NDArray[np.int64]:
    """Group index [rows] of every image: image i is in group i modulo `GROUPS`."""
    groups: npt.NDArray[np.int64] = np.arange(rows) % GROUPS
    return groups


def jackknife(whole: float, without: Floats) -> Interval:
    """Interval of a score from its values without each group of images (Shao and Wu, Ann. Statist., 1989)."""
    groups = len(without)
    if groups < 2 or not np.isfinite(without).all():
        return Interval(-math.inf, math.inf, LEVEL, JACKKNIFE)
    half = float(stdtrit(groups - 1, 0.5 + LEVEL / 2)) * jackknife_error(without)
    return Interval(whole - half, whole + half, LEVEL, JACKKNIFE)


def scores_of_jackknife(arrays: Arrays) -> dict[str, float]:
    """The scores stored as `jackknife:NAME`, whose first value is that of all images."""
    return {
        name.removeprefix("jackknife:"): float(values[0])
        for name, values in arrays.items()
        if name.startswith("jackknife:")
    }


def interval_of_jackknife(arrays: Arrays, metric: str) -> Interval:
    """Interval of a stored score."""
    values = arrays[f"jackknife:{metric}"].astype(np.float64)
    return jackknife(float(values[0]), values[1:])


def percent_interval(values: Floats, reach: float) -> Interval:
    """Interval of a score in percent from its values [1 + groups], that of all images first; clipped to 0 and 100.

    If no group changes the score, `reach` to either side of it.
    """
    found = jackknife(float(values[0]), values[1:][np.isfinite(values[1:])])
    if found.high - found.low < ROUNDING:
        found = Interval(found.low - reach, found.high + reach, found.level, NONE_VARIES)
    return Interval(max(0.0, found.low), min(100.0, found.high), found.level, found.method)
