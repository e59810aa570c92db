"""Scores of surface normals from a histogram of angles over all pixels of all images.

The published evaluation stores the probabilities of all pixels (150 GB); bins of a hundredth of a degree determine the
median as precisely. Angles are computed in float64, as published: in float32 the arc cosine near 1 has errors of
hundredths of a degree.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.metrics.segmentation import weighted_sums

Floats = npt.NDArray[np.float64]
BINS_PER_DEGREE = 100
THRESHOLDS = (11.25, 22.5, 30.0)
MEANS = {"mean-angle": 1.0, **{f"within-{threshold:g}": 100.0 for threshold in THRESHOLDS}}
"""Scores that are means over pixels, in the order of their sums, with their scale."""


def angles_between(predicted: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> Floats:
    """Angles in degrees [n] between the vectors of each valid pixel, both [h, w, 3]; zero vectors mark invalid
    pixels."""
    truth = truth.reshape(-1, 3).astype(np.float64)
    length = np.linalg.norm(truth, axis=1)
    valid = length > 0.5
    ours = predicted.reshape(-1, 3)[valid].astype(np.float64)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True) + np.finfo(np.float64).eps
    cosine = np.sum(ours * (truth[valid] / length[valid, None]), axis=1)
    degrees: Floats = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return degrees


class AngleHistogram:
    """Histogram of angular errors.

    `counts` is int64 [18,000], in bins of equal width from 0 to 180 degrees, over all images.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(180 * BINS_PER_DEGREE, np.int64)
        self._images = array("d")

    def add(self, angles: Floats) -> None:
        """Add one image's valid pixels, in degrees [n]."""
        bins = np.minimum((angles * BINS_PER_DEGREE).astype(np.int64), len(self.counts) - 1)
        self.counts += np.bincount(bins, minlength=len(self.counts))
        below = (int(np.sum(angles < threshold)) for threshold in THRESHOLDS)
        self._images.extend((len(angles), float(angles.sum()), *below))

    @property
    def angles(self) -> Angles:
        """Data from which every score can be computed."""
        return Angles(self.counts, np.array(self._images).reshape(-1, 1 + len(MEANS)))


@dataclass(frozen=True)
class Angles:
    """Sums over the angles of all pixels."""

    counts: npt.NDArray[np.int64]
    """[18,000]: see `AngleHistogram`; determines the median."""
    images: Floats
    """[images, 5]: number of valid pixels of each image, the sum of their angles, and the numbers below each
    threshold."""

    @property
    def median(self) -> float:
        """Median angle in degrees, interpolated linearly within its bin."""
        below = np.cumsum(self.counts)
        half = 0.5 * int(below[-1])
        place = int(np.searchsorted(below, half))
        before = below[place] - self.counts[place]
        return float((place + (half - before) / self.counts[place]) / BINS_PER_DEGREE)

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name: mean and median in degrees, fractions of pixels below a threshold in percent."""
        every = np.ones((1, len(self.images)))
        found = {name: float(self.under(name, every)[0]) for name in MEANS}
        return {"mean-angle": found.pop("mean-angle"), "median-angle": self.median, **found}

    def mean_angles(self, weights: Floats) -> Floats:
        """Mean angle [b] in degrees under each row of image weights [b, images]."""
        return self.under("mean-angle", weights)

    def under(self, score: str, weights: Floats) -> Floats:
        """One of `MEANS` [b] under each row of image weights [b, images]; NaN without pixels."""
        sums = weighted_sums(weights, self.images)
        pixels, wanted = sums[:, 0], MEANS[score] * sums[:, 1 + list(MEANS).index(score)]
        means: Floats = np.divide(wanted, pixels, out=np.full(len(pixels), np.nan), where=pixels > 0)
        return means
