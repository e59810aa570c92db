"""Scores over the pixels of all images together: segmentation, and surface normals from a histogram of angles.

The published evaluation of normals stores the probabilities of all pixels (150 GB); bins of a hundredth of a degree
determine the median as precisely. Angles are computed in float64, as published: in float32 the arc cosine near 1 has
errors of hundredths of a degree.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import IGNORED

Floats = npt.NDArray[np.float64]
BINS_PER_DEGREE = 100
THRESHOLDS = (11.25, 22.5, 30.0)
MEANS = {"mean-angle": 1.0, **{f"within-{threshold:g}": 100.0 for threshold in THRESHOLDS}}
"""Scores that are means over pixels, in the order of their sums, with their scale."""


def weighted_sums(weights: Floats, parts: npt.NDArray[np.generic]) -> Floats:
    """Sums [b, ...] of the images' `parts` [images, ...] under each row of image weights [b, images]."""
    flat = parts.reshape(len(parts), -1).astype(np.float64)
    return (weights @ flat).reshape(len(weights), *parts.shape[1:])


Classes = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int32]


class Confusion:
    """Confusion matrix of pixels; pixels without a true class are not counted.

    `matrix` is int64 [true, predicted], over all images.
    """

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), np.int64)
        self._images: list[Counts] = []

    def add(self, predicted: Classes, truth: Classes) -> None:
        """Add one image, both [h, w]."""
        classes, valid = len(self.matrix), truth != IGNORED
        cells = truth[valid].astype(np.int64) * classes + predicted[valid]
        matrix = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        self.matrix += matrix
        self._images.append(np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)]).astype(np.int32))

    @property
    def counts(self) -> PixelCounts:
        """Counts of every image."""
        return PixelCounts(np.stack(self._images))

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Stored predictions of a protocol, from which `tasks.metrics.rescore.pixels` computes every score."""
        return {
            "index": np.arange(len(self._images)),
            "pixel_counts": np.stack(self._images),
            "confusion": self.matrix,
        }


class PixelCounts:
    """Correct, true and predicted pixels per image and class, int32 [images, 3, classes], from which every score
    follows."""

    def __init__(self, images: Counts) -> None:
        self.images = images
        self._whole = images.sum(axis=0, dtype=np.int64)

    @property
    def ious(self) -> Floats:
        """Intersection over union per class in percent; NaN for a class that is neither present nor predicted."""
        return _ious(self._whole)

    @property
    def mean_iou(self) -> float:
        """Mean IoU in percent over the classes that are present or predicted."""
        return float(np.nanmean(self.ious))

    @property
    def pixel_accuracy(self) -> float:
        """Percentage of valid pixels with the correct class."""
        right, true, _ = self._whole.sum(axis=1)
        return 100.0 * float(right) / float(true)

    @property
    def scores(self) -> dict[str, float]:
        """Both scores by name."""
        return {"miou": self.mean_iou, "pixel-accuracy": self.pixel_accuracy}

    @property
    def chance(self) -> float:
        """Mean IoU in percent of predicting the most frequent class everywhere."""
        true = self._whole[1]
        return 100.0 * float(true.max()) / float(true.sum()) / int(np.count_nonzero(true))

    def mean_ious(self, weights: Floats) -> Floats:
        """Mean IoU [b] under each row of image weights [b, images]; NaN without pixels."""
        ious = _ious(np.moveaxis(weighted_sums(weights, self.images), 1, 0))
        there = np.sum(~np.isnan(ious), axis=-1)
        means: Floats = np.divide(np.nansum(ious, axis=-1), there, out=np.full(len(ious), np.nan), where=there > 0)
        return means


def _ious(parts: npt.NDArray[np.int64] | Floats) -> Floats:
    """[3, ..., classes] to [..., classes]."""
    right, true, predicted = parts.astype(np.float64)
    union = true + predicted - right
    found: Floats = 100.0 * np.divide(right, union, out=np.full(union.shape, np.nan), where=union > 0)
    return found


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
