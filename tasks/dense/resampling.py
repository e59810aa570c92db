"""Intervals over images whose memory does not depend on how many there are: a bootstrap that goes along.

Every image counts in every replicate as often as a Poisson draw says, which for many images is the bootstrap (Oza and
Russell 2001). So sums are kept per replicate, and no image has to be kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.intervals import LEVEL
from tasks.outcome import Interval

REPLICATES = 400


class Replicates:
    """Sums over images, [replicates, *shape]."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.sums = np.zeros((REPLICATES, *shape))
        self._random = np.random.default_rng(seed)

    def add(self, values: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> None:
        """One image's values, of the shape given at the start."""
        weights = self._random.poisson(1.0, REPLICATES).astype(np.float64)
        self.sums += weights.reshape(-1, *[1] * values.ndim) * values


def percentiles(values: npt.NDArray[np.float64], whole: float) -> Interval:
    """The middle 95 % of the replicates' scores, widened to hold the whole's."""
    low, high = np.nanquantile(values, [0.5 * (1 - LEVEL), 0.5 * (1 + LEVEL)])
    return Interval(min(float(low), whole), max(float(high), whole), LEVEL, "bootstrap over images")
