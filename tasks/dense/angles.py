"""Scores of surface normals from a histogram of angles over all pixels of all images; no pixel is kept.

The published evaluation keeps the probabilities of all pixels (150 GB); bins of a hundredth of a degree tell the median
as well. Angles are computed in float64, as there: in float32 the arc cosine near 1 is off by hundredths of a degree.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.dense.resampling import Replicates, percentiles
from tasks.outcome import Interval

Floats = npt.NDArray[np.float64]
BINS_PER_DEGREE = 100
THRESHOLDS = (11.25, 22.5, 30.0)


def angles_between(predicted: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> Floats:
    """Degrees [n] between the vectors of each valid pixel, both [h, w, 3]; a true vector of length 0 is not valid."""
    truth = truth.reshape(-1, 3).astype(np.float64)
    length = np.linalg.norm(truth, axis=1)
    valid = length > 0.5
    ours = predicted.reshape(-1, 3)[valid].astype(np.float64)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True) + np.finfo(np.float64).eps
    cosine = np.sum(ours * (truth[valid] / length[valid, None]), axis=1)
    degrees: Floats = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return degrees


class AngleHistogram:
    """How many pixels are off by how much.

    `counts` is int64 [18,000], bin after bin from 0 to 180 degrees; `within` int64 [3], below each threshold; `sum` the
    sum of all angles.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(180 * BINS_PER_DEGREE, np.int64)
        self.within = np.zeros(len(THRESHOLDS), np.int64)
        self.sum = 0.0
        self._replicates = Replicates(2)

    def add(self, angles: Floats) -> float:
        """One image's valid pixels, degrees [n]; their mean, NaN without one."""
        if not len(angles):
            return float("nan")
        bins = np.minimum((angles * BINS_PER_DEGREE).astype(np.int64), len(self.counts) - 1)
        self.counts += np.bincount(bins, minlength=len(self.counts))
        self.within += [int(np.sum(angles < threshold)) for threshold in THRESHOLDS]
        self.sum += float(angles.sum())
        self._replicates.add(np.array([angles.sum(), len(angles)]))
        return float(angles.mean())

    @property
    def total(self) -> int:
        """Pixels."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean angle in degrees."""
        return self.sum / self.total

    @property
    def median(self) -> float:
        """Median angle in degrees, straight within its bin."""
        below = np.cumsum(self.counts)
        half = 0.5 * self.total
        place = int(np.searchsorted(below, half))
        before = below[place] - self.counts[place]
        return float((place + (half - before) / self.counts[place]) / BINS_PER_DEGREE)

    @property
    def shares(self) -> dict[str, float]:
        """Per threshold, the share of pixels below it in percent."""
        return {
            f"within-{threshold:g}": 100.0 * int(count) / self.total
            for threshold, count in zip(THRESHOLDS, self.within, strict=True)
        }

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name."""
        return {"mean-angle": self.mean, "median-angle": self.median, **self.shares}

    @property
    def interval(self) -> Interval:
        """Of the mean, over images."""
        return percentiles(self.replicates, self.mean)

    @property
    def replicates(self) -> Floats:
        """Mean angle [replicates], each over other images; the same for whatever is measured on the same images."""
        total, count = self._replicates.sums.T
        means: Floats = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        return means
