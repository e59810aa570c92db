"""Scores as functions of image weights, for a bootstrap over images of scores that are not means. A protocol whose
score can be computed from image weights adds a function to `STATISTICS`; paired tests and rankings then apply to
its results as to all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from tasks.metrics.classification import RankedScores, eleven_point_precision, ranked
from tasks.metrics.outcome import NORMAL_95
from tasks.metrics.pixels import Angles, PixelCounts
from tasks.metrics.pool_splits import pool_covariance

Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Statistic = Callable[[Weights], Floats]
"""The score [b] under each column of image weights [images, b]."""
DETECTIONS = frozenset({"box_scores", "true_boxes"})
COLOURS = frozenset({"colour", "colour_predicted"})


def statistic(metric: str, arrays: Arrays) -> Statistic | None:
    """The function of image weights that computes the metric from the arrays; None if there is none."""
    for (name, needs), make in STATISTICS.items():
        if metric == name and needs <= set(arrays):
            return make(arrays)
    return None


def per_sample(metric: str, arrays: Arrays) -> Floats | None:
    """Values [n] whose mean is the score: an array with the metric's name."""
    found = arrays.get(metric)
    return None if found is None or found.ndim != 1 or "classes" in arrays else found.astype(np.float64)


def _average_precision(overlaps: Sequence[float], arrays: Arrays) -> Statistic:
    from tasks.metrics.detection import restored  # noqa: PLC0415 - of no use without detections

    measured = restored(arrays)

    def mean(weights: Weights) -> Floats:
        found: Floats = np.mean([measured.under(overlap, weights) for overlap in overlaps], axis=0)
        return found

    return mean


def _explained(arrays: Arrays) -> Statistic:
    """Fraction of the variance of the mean colour that is explained."""
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


BLOCK = 64
"""Number of replicates in memory at once."""

Counts = npt.NDArray[np.float32]


def counts(samples: int, replicates: int, seed: int) -> Iterator[Counts]:
    """Blocks of [samples, some replicates]; every column has the sum `samples`."""
    generator = np.random.default_rng(seed)
    for start in range(0, replicates, BLOCK):
        width = min(BLOCK, replicates - start)
        drawn = generator.integers(0, samples, size=(samples, width)) * width + np.arange(width)
        yield np.bincount(drawn.ravel(), minlength=samples * width).reshape(samples, width).astype(np.float32)


Labels = npt.NDArray[np.integer]

REPLICATES = 1000
"""Number of resamples for the covariance of scores that are sums over images."""
AP_REPLICATES = 64
"""Number of resamples for average precisions, each of which requires a pass over all detections: standard errors are
accurate to a tenth.
"""


@dataclass(frozen=True)
class Spread:
    """Scores of backbones on one task, and their variation over resampled test samples."""

    values: npt.NDArray[np.floating]
    """[backbones]; NaN if not measured. Higher is better."""
    factor: npt.NDArray[np.floating]
    """[backbones, directions]: its product with its transpose is the covariance of the scores."""


def of_samples(values: npt.NDArray[np.floating], per_sample: npt.NDArray[np.floating]) -> Spread:
    """Scores that are means of `per_sample` [backbones, n], in percent: accuracy, or accuracy per episode."""
    centred = per_sample - per_sample.mean(axis=1, keepdims=True)
    return Spread(values, _root(centred @ centred.T / per_sample.shape[1] ** 2))


def of_pools(values: Floats, episodes: Floats, splits: Floats) -> Spread:
    """Accuracies over `episodes` [backbones, episodes] on other pools, by `splits` [backbones, splits, draws, 2, 2]."""
    centred = episodes - episodes.mean(axis=1, keepdims=True)
    drawn = centred @ centred.T / episodes.shape[1] ** 2
    return Spread(values, _root(pool_covariance(splits) + drawn))


def of_classes(values: Floats, right: Floats, labels: Labels) -> Spread:
    """Mean per-class accuracies from `right` [backbones, n], 0 to 1, and `labels` [n]: each class varies
    independently. The variance of a class of few images is shrunk towards that of all images.
    """
    _, place, size = np.unique(labels, return_inverse=True, return_counts=True)
    member = (place[:, None] == np.arange(len(size))).astype(np.float64) / size
    share = 1.0 / size  # of what the images of all classes show: a pseudo-image in every class
    own = (right - (right @ member)[:, place]) * np.sqrt(share / size)[place]
    common = right - right.mean(axis=1, keepdims=True)
    weight = float((share / size).sum()) / right.shape[1]
    covariance = (own @ own.T + weight * (common @ common.T)) * (100.0 / len(size)) ** 2
    return Spread(values, _root(covariance))


def of_precisions(values: Floats, scores: Sequence[Floats], positives: Labels, seed: int = 0) -> Spread:
    """11-point mAPs from one [n, classes] array of `scores` per backbone, by a common bootstrap."""
    rankings = [[[ranked(*column) for column in zip(one.T, positives.T, strict=True)]] for one in scores]
    blocks = list(counts(len(positives), AP_REPLICATES, seed))
    return of_replicates(
        values, np.stack([np.concatenate([mean_precision(one, block) for block in blocks]) for one in rankings])
    )


def of_statistics(
    values: Floats, statistics: Sequence[Statistic], samples: int, *, replicates: int = REPLICATES, seed: int = 0
) -> Spread:
    """Scores that are functions of image weights, by a common bootstrap over images."""
    blocks = list(counts(samples, replicates, seed))
    return of_replicates(values, np.stack([np.concatenate([one(block) for block in blocks]) for one in statistics]))


def of_replicates(values: Floats, drawn: Floats) -> Spread:
    """Scores of which `drawn` [backbones, replicates] are replicates of a common bootstrap over images."""
    usable = drawn[:, ~np.isnan(drawn).any(axis=0)]
    centred = usable - usable.mean(axis=1, keepdims=True)
    return Spread(values, _root(centred @ centred.T / max(usable.shape[1] - 1, 1)))


def of_intervals(values: Floats, half_widths: Floats) -> Spread:
    """Scores with only 95 % intervals: they vary independently, which yields more ties than there are."""
    return Spread(values, np.diag(np.nan_to_num(half_widths) / NORMAL_95))


def _root(covariance: npt.NDArray[np.floating]) -> Floats:
    """A factor of a covariance that may be singular (e.g. two backbones with equal errors)."""
    size, vectors = np.linalg.eigh(covariance)
    found: Floats = vectors * np.sqrt(np.maximum(size, 0.0))
    return found


def mean_precision(rankings: list[list[RankedScores]], weights: npt.NDArray[np.float32]) -> Floats:
    """Mean 11-point AP in percent [b] under every column of sample `weights` [n, b], averaged over the seeds."""
    by_seed = [np.nanmean([eleven_point_precision(one, weights) for one in ranking], axis=0) for ranking in rankings]
    found: Floats = np.mean(by_seed, axis=0)
    return found
