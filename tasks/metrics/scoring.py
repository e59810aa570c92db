"""The metric specified by a dataset, from class scores, with its confidence interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.datasets.card import MetricName
from tasks.datasets.dataset import LEFT_OPEN, DataError, Labels
from tasks.metrics.classification import (
    Scores,
    accuracy,
    devkit_mean_average_precision,
    mean_average_precision,
    mean_per_class_accuracy,
)
from tasks.metrics.confidence_intervals import halves_mean_average_precision, wilson
from tasks.metrics.outcome import Interval, Json
from tasks.metrics.per_class_interval import wilson_mean_per_class


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
