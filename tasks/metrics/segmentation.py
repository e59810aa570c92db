"""Scores of segmentation over the pixels of all images together, not means over images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import IGNORED

Floats = npt.NDArray[np.float64]


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
