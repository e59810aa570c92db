"""The metric specified by a dataset, from class scores, with its 95 % interval.

Mean per-class accuracy, a mean of proportions of few images each, is not normally distributed: it is bounded, and if
every answer is correct its sample variance is 0. Therefore its variance is converted to the number of images whose
proportion would have the same variance, and the interval is Wilson's for that number. Up to `FEW` wrong or correct
answers it is no narrower than Clopper and Pearson's. Source: Dean and Pagano, Survey Methodology 41(1) (2015), for
proportions of stratified samples.

The variance within a class is estimated from its own images if it has enough, else from those of all classes. With few
errors all classes are assumed to be equally hard, because two errors in one class are no evidence that the others have
none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from tasks.datasets.card import MetricName
from tasks.datasets.dataset import LEFT_OPEN, DataError, Labels
from tasks.metrics.classification import (
    IntLabels,
    Scores,
    accuracy,
    devkit_mean_average_precision,
    mean_average_precision,
    mean_per_class_accuracy,
)
from tasks.metrics.confidence_intervals import halves_mean_average_precision, wilson
from tasks.metrics.outcome import Interval, Json, wilson_bounds

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
EFFECTIVE_NUMBER = "wilson, effective size"
OWN = 3.0
"""Weight of the variance within all classes, in images of the class."""
POOLED = 40.0
"""Expected number of errors at which the variance within classes and the variance of equally hard classes have equal
weight."""
FEW = 15.0
"""Number of answers of the rarer kind, correct or wrong, up to which Clopper and Pearson's interval is a lower bound
of the width. With these three numbers the simulated coverage (`tests/verdicts`) is 93 to 97 % from 20 to 5,000
images."""


def check_metric(metric: MetricName, labels: Labels, dataset: str = "the dataset") -> None:
    """Raise DataError if the metric does not match the kind of labels."""
    if (metric == "map11") != (labels.ndim == 2):
        kind = "several labels" if labels.ndim == 2 else "one label"
        raise DataError(f"{dataset} has {kind} per image, which does not fit the metric {metric}: correct its card")


def score(metric: MetricName, scores: Scores, labels: Labels) -> float:
    """The metric in percent of `scores` [n, classes] against `labels` ([n], or [n, classes] of 0 and 1)."""
    if metric == "map11":
        return mean_average_precision(scores, labels)
    predicted = scores.argmax(axis=1)
    if metric == "mean-per-class":
        return mean_per_class_accuracy(predicted, labels, scores.shape[1])
    return accuracy(predicted, labels)


def all_scores(scores: Scores, labels: Labels) -> Mapping[str, float]:
    """Every metric that matches the labels; with `map11`, also that of VOC's devkit."""
    if labels.ndim == 2:
        return {"map11": score("map11", scores, labels), "map11-devkit": devkit_mean_average_precision(scores, labels)}
    names: tuple[MetricName, ...] = ("accuracy", "mean-per-class")
    return {name: score(name, scores, labels) for name in names}


def without_left_open(scores: Scores, labels: Labels) -> tuple[Scores, Labels]:
    """Scores and labels without the images whose label for a class is left open (VOC's difficult).

    They are ranked below every other image as negatives, where they affect no precision at a positive.
    """
    if labels.ndim == 1 or not (open_ones := labels == LEFT_OPEN).any():
        return scores, labels
    lowest = scores.min(axis=0, keepdims=True) - 1
    return np.where(open_ones, lowest, scores).astype(scores.dtype), np.where(open_ones, 0, labels)


def chance_diagnostics(labels: Labels) -> dict[str, Json]:
    """Score of random predictions as a diagnostic for multi-label data, where it differs from the prevalence because
    interpolated precision is biased upwards for few images. Empty for single-label data, where it follows from the
    classes."""
    if labels.ndim == 1:
        return {}
    return {"chance": mean_average_precision(np.random.default_rng(0).random(labels.shape), labels)}


def interval(metric: MetricName, scores: Scores, labels: Labels) -> Interval:
    """95 % interval of `score(...)`: Wilson's for accuracies, by resampling for the others (fixed seed)."""
    if metric == "map11":
        return halves_mean_average_precision(scores, labels)
    predicted = scores.argmax(axis=1)
    if metric == "mean-per-class":
        return wilson_mean_per_class(predicted, labels, scores.shape[1])
    return wilson(int(np.sum(predicted == labels)), len(labels))


def wilson_mean_per_class(predictions: IntLabels, targets: IntLabels, classes: int) -> Interval:
    """Interval in percent of the mean recall over the classes in `targets`; `predictions` and `targets` are [n]."""
    every = np.bincount(targets, minlength=classes)
    occur = every > 0
    sizes = every[occur].astype(np.float64)
    right = np.bincount(targets[predictions == targets], minlength=classes)[occur].astype(np.float64)
    share = float((right / sizes).mean())
    images = float(len(sizes) ** 2 / (1 / sizes).sum())  # whose proportion has the same variance
    if 0 < share < 1:
        images = max(images, share * (1 - share) / _variance(right, sizes, share))
    low, high = _proportion(share, images)
    return Interval(100.0 * min(low, share), 100.0 * max(high, share), LEVEL, EFFECTIVE_NUMBER)


def _variance(right: Floats, sizes: Floats, share: float) -> float:
    """Variance of the mean over classes: at least half of that of equally hard classes."""
    freedom, even = sizes - 1, share * (1 - share)
    within = right * (sizes - right) / np.maximum(sizes * freedom, 1)
    pooled = float((freedom * within).sum() / max(freedom.sum(), 1))
    errors = float(freedom.sum()) * min(share, 1 - share)
    common = (errors * pooled + POOLED * even) / (errors + POOLED)
    own = (freedom * within + OWN * common) / (freedom + OWN)
    single = float((own / sizes).sum()) / len(sizes) ** 2
    alike = common * float((1 / sizes).sum()) / len(sizes) ** 2
    return max(single, (single + alike) / 2)


def _proportion(share: float, images: float) -> tuple[float, float]:
    """Wilson's interval of a proportion of `images`, 0 to 1, widened if one kind of answer is rare."""
    low, high = wilson_bounds(share, images)
    if min(share, 1 - share) * images < FEW:
        right, wrong, tail = share * images, (1 - share) * images, (1 - LEVEL) / 2
        low = min(low, float(betaincinv(right, wrong + 1, tail))) if right > 0 else 0.0
        high = max(high, float(betaincinv(right + 1, wrong, 1 - tail))) if wrong > 0 else 1.0
    return max(0.0, low), min(1.0, high)
