"""Scores of segmentation from one confusion matrix over all pixels of all images, never a mean over images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.datasets.targets import IGNORED
from tasks.dense.resampling import Replicates, percentiles
from tasks.outcome import Interval

Classes = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


class Confusion:
    """Counts of pixels by true and predicted class; pixels without a true class do not count.

    `matrix` is int64 [true, predicted]; one that was counted before may be given.
    """

    def __init__(self, classes: int, matrix: npt.NDArray[np.int64] | None = None) -> None:
        self.matrix = np.zeros((classes, classes), np.int64) if matrix is None else matrix
        self._replicates = Replicates(3, classes)

    def add(self, predicted: Classes, truth: Classes) -> float:
        """One image, both [h, w]; its pixel accuracy in percent, NaN without a valid pixel."""
        classes, valid = len(self.matrix), truth != IGNORED
        cells = truth[valid].astype(np.int64) * classes + predicted[valid]
        matrix = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        self.matrix += matrix
        self._replicates.add(_parts(matrix))
        total = int(matrix.sum())
        return 100.0 * float(np.trace(matrix)) / total if total else float("nan")

    @property
    def ious(self) -> Floats:
        """Intersection over union per class in percent; NaN for a class that is neither there nor predicted."""
        return _ious(_parts(self.matrix))

    @property
    def mean_iou(self) -> float:
        """Over the classes that are there or were predicted, in percent."""
        return float(np.nanmean(self.ious))

    @property
    def pixel_accuracy(self) -> float:
        """Share of valid pixels whose class is right, in percent."""
        return 100.0 * float(np.trace(self.matrix)) / float(self.matrix.sum())

    @property
    def scores(self) -> dict[str, float]:
        """Both scores by name."""
        return {"miou": self.mean_iou, "pixel-accuracy": self.pixel_accuracy}

    @property
    def interval(self) -> Interval:
        """Of the mean IoU, over images."""
        return percentiles(self.replicates, self.mean_iou)

    @property
    def replicates(self) -> Floats:
        """Mean IoU [replicates], each over other images; the same ones for whatever is measured on the same images."""
        ious = _ious(np.moveaxis(self._replicates.sums, 1, 0))
        there = np.sum(~np.isnan(ious), axis=-1)
        means: Floats = np.divide(np.nansum(ious, axis=-1), there, out=np.full(len(ious), np.nan), where=there > 0)
        return means


def _parts(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Right, true and predicted pixels per class, [3, classes]."""
    return np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)])


def _ious(parts: npt.NDArray[np.int64] | Floats) -> Floats:
    """[3, ..., classes] to [..., classes]."""
    right, true, predicted = parts.astype(np.float64)
    union = true + predicted - right
    found: Floats = 100.0 * np.divide(right, union, out=np.full(union.shape, np.nan), where=union > 0)
    return found
