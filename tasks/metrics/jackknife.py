"""Delete-a-group jackknife: scores of all images and without each group of them, and the interval.

Needs numpy, not torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from tasks.metrics.confidence_intervals import LEVEL
from tasks.metrics.outcome import Interval
from tasks.metrics.standard_errors import jackknife_error

Floats = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[np.generic]]
JACKKNIFE = "grouped jackknife"
NONE_VARIES = "as if a few images differed"
ROUNDING = 1e-6
"""Width of an interval, in percent, below which it counts as zero."""
GROUPS = 10
"""Number of groups of test images, each omitted once."""


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
