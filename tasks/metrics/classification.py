"""Scores of predictions: accuracy, mean per-class accuracy and the 11-point average precision of VOC 2007.

Every public score is in percent, 0 to 100. Sources: paper section 4 and appendix A.2; `voc_ap` in linear.py of
linusericsson/ssl-transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntLabels = npt.NDArray[np.integer]
Scores = npt.NDArray[np.floating]
Positives = npt.NDArray[np.integer] | npt.NDArray[np.floating] | npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

RECALL_LEVELS = np.linspace(0.0, 1.0, 11)


def accuracy(predictions: IntLabels, targets: IntLabels) -> float:
    """Percentage of `predictions` [n] that equal `targets` [n]. Raises ValueError for other shapes."""
    _same_length(predictions, targets)
    return 100.0 * float(np.mean(predictions == targets))


def mean_per_class_accuracy(predictions: IntLabels, targets: IntLabels, classes: int) -> float:
    """Mean recall over the classes in `targets`, in percent: the diagonal of the confusion matrix over its row sums."""
    _same_length(predictions, targets)
    total = np.bincount(targets, minlength=classes)
    right = np.bincount(targets[predictions == targets], minlength=classes)
    recall = 100.0 * np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)
    return float(np.nanmean(recall))


def average_precisions(scores: Scores, positives: Positives) -> Floats:
    """11-point AP per class as published by ssl-transfer, in percent [k]; NaN for classes without positives.

    `scores` [n, k] rank the samples, `positives` [n, k] are 0/1. Samples of equal score enter together, as in a
    precision-recall curve over thresholds. The precision at recall 0 is 1, the end point of that curve.
    """
    if scores.ndim != 2 or scores.shape != positives.shape:
        raise ValueError(f"scores {scores.shape} and positives {positives.shape} must both be [samples, classes]")
    weights = np.ones((len(scores), 1), dtype=np.float32)
    columns = zip(scores.T, positives.T, strict=True)
    return np.array([eleven_point_precision(ranked(*column), weights)[0] for column in columns])


def mean_average_precision(scores: Scores, positives: Positives) -> float:
    """Mean 11-point AP over the classes with positives, in percent; `scores` and `positives` are [n, k]."""
    values = average_precisions(scores, positives)
    if np.isnan(values).all():
        raise ValueError("no class has a positive sample: average precision is undefined")
    return float(np.nanmean(values))


def devkit_mean_average_precision(scores: Scores, positives: Positives) -> float:
    """Mean 11-point AP by the rule of VOC's development kit (`VOCevalcls.m`), in percent.

    Unlike in the published `map11`, samples of equal score enter one by one in the order of the data, and the precision
    at recall 0 is the maximum over the curve.
    """
    occurring = positives.any(axis=0)
    if not occurring.any():
        raise ValueError("no class has a positive sample: average precision is undefined")
    of_classes = []
    for column, truth in zip(scores.T[occurring], positives.T[occurring], strict=True):
        found = np.cumsum(truth[np.argsort(-column, kind="stable")].astype(np.bool_))
        recall, precision = found / found[-1], found / np.arange(1, len(found) + 1)
        best = [precision[recall >= level - 1e-12].max(initial=0.0) for level in RECALL_LEVELS]
        of_classes.append(100.0 * float(np.mean(best)))
    return float(np.mean(of_classes))


@dataclass(frozen=True)
class RankedScores:
    """The samples of one class in order of descending score, for AP under many sample weights."""

    order: npt.NDArray[np.intp]
    """Sample indices in order of descending score [n]."""
    hits: npt.NDArray[np.float32]
    """1 if the sample at that rank is positive [n]."""
    ends: npt.NDArray[np.intp]
    """Ranks of possible thresholds that add a positive: the only relevant corners of the curve."""


def ranked(scores: Scores, positives: Positives) -> RankedScores:
    """Sort one class's `scores` [n] and find the corners of its precision-recall curve."""
    order = np.argsort(-scores, kind="stable")
    hits = positives[order].astype(np.bool_).astype(np.float32)
    falling = scores[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    gained = np.diff(np.cumsum(hits)[ends], prepend=np.float32(0)) > 0
    return RankedScores(order, hits, ends[gained])


def eleven_point_precision(ranking: RankedScores, weights: npt.NDArray[np.float32]) -> Floats:
    """AP in percent [b] under each column of sample `weights` [n, b]; NaN if the positives have no weight.

    Weights are integers with a sum below 2^24, so float32 sums are exact.
    """
    if not len(ranking.ends):
        return np.full(weights.shape[1], np.nan)
    ordered = weights[ranking.order]
    starts = np.concatenate([[0], ranking.ends[:-1] + 1])
    upto = slice(0, ranking.ends[-1] + 1)
    counted = np.cumsum(np.add.reduceat(ordered[upto], starts), axis=0)
    found = np.cumsum(np.add.reduceat(ordered[upto] * ranking.hits[upto, None], starts), axis=0)
    return _eleven_points(counted.astype(np.float64), found.astype(np.float64))


def _eleven_points(counted: Floats, found: Floats) -> Floats:
    """AP in percent [b] from the numbers of samples and positives above each corner of the curve, both [corners, b]."""
    total = found[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = found / total, np.where(counted > 0, found / counted, 0.0)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    column = np.arange(len(total))
    at_levels = [best_from_here[np.argmax(recall >= level, axis=0), column] for level in RECALL_LEVELS[1:]]
    return np.where(total > 0, 100.0 * (1.0 + np.sum(at_levels, axis=0)) / len(RECALL_LEVELS), np.nan)


def _same_length(predictions: IntLabels, targets: IntLabels) -> None:
    if predictions.ndim != 1 or predictions.shape != targets.shape or not len(targets):
        raise ValueError(f"predictions {predictions.shape} and targets {targets.shape} must be one filled vector each")
