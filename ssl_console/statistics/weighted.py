"""Scores as functions of how often each image counts: what a bootstrap over images needs, for scores that are no means.

A protocol whose score can be counted under image weights adds its own way to `STATISTICS`; its results are then tested
in pairs, and ranked, like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from tasks.dense.angles import Angles
from tasks.dense.confusion import PixelCounts

Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Statistic = Callable[[Weights], Floats]
"""The score [b] under each column of image weights [images, b]."""
DETECTIONS = frozenset({"box_scores", "true_boxes"})
COLOURS = frozenset({"colour", "colour_predicted"})


def statistic(metric: str, arrays: Arrays) -> Statistic | None:
    """How the metric follows from the arrays under weights; None when that is not known."""
    for (name, needs), make in STATISTICS.items():
        if metric == name and needs <= set(arrays):
            return make(arrays)
    return None


def per_sample(metric: str, arrays: Arrays) -> Floats | None:
    """Values [n] whose mean is the score: an array that has the metric's name."""
    found = arrays.get(metric)
    return None if found is None or found.ndim != 1 or "classes" in arrays else found.astype(np.float64)


def _average_precision(overlaps: Sequence[float], arrays: Arrays) -> Statistic:
    from tasks.detection.kept import restored  # noqa: PLC0415 - of no use without detections

    measured = restored(arrays)

    def mean(weights: Weights) -> Floats:
        found: Floats = np.mean([measured.under(overlap, weights) for overlap in overlaps], axis=0)
        return found

    return mean


def _explained(arrays: Arrays) -> Statistic:
    """The share of the variance of the mean colour that is explained."""
    wanted = arrays["colour"].astype(np.float64)[:, :3]
    errors = ((arrays["colour_predicted"].astype(np.float64)[:, :3] - wanted) ** 2).sum(axis=1)
    squares = (wanted**2).sum(axis=1)

    def share(weights: Weights) -> Floats:
        counted = weights.T.astype(np.float64)
        spread = counted @ squares - ((counted @ wanted) ** 2).sum(axis=1) / counted.sum(axis=1)
        found: Floats = 100 * (1 - (counted @ errors) / np.maximum(spread, np.finfo(np.float64).tiny))
        return found

    return share


def _mean_iou(arrays: Arrays) -> Statistic:
    counts = PixelCounts(arrays["pixel_counts"].astype(np.int32))
    return lambda weights: counts.mean_ious(weights.T.astype(np.float64))


def _mean_angle(arrays: Arrays) -> Statistic:
    angles = Angles(np.empty(0, np.int64), arrays["angle_sums"].astype(np.float64))
    return lambda weights: angles.mean_angles(weights.T.astype(np.float64))


STATISTICS: Mapping[tuple[str, frozenset[str]], Callable[[Arrays], Statistic]] = {
    ("ap50", DETECTIONS): partial(_average_precision, (0.5,)),
    ("mean-colour", COLOURS): _explained,
    ("miou", frozenset({"pixel_counts"})): _mean_iou,
    ("mean-angle", frozenset({"angle_sums"})): _mean_angle,
}
