"""The promises of intervals and tests, kept or broken over a thousand simulated measurements."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.statistics import paired
from ssl_console.statistics.wilcoxon import signed_rank
from tasks.intervals import bootstrap_mean_per_class, halves_mean_average_precision, wilson
from tasks.metrics import mean_average_precision
from tasks.outcome import Interval

CELLS = 1000
COVERED = (0.93, 0.97)
ALARMS = (0.03, 0.07)
REPLICATES = 400
CLASSES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
"""Shares of the classes."""
RECALLS = np.array([0.9, 0.8, 0.6, 0.7, 0.5])

pytestmark = pytest.mark.slow


def coverage(intervals: Iterator[Interval], truth: float) -> float:
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_wilson_intervals_cover_the_true_accuracy(share: float) -> None:
    right = np.random.default_rng(0).binomial(500, share, CELLS)
    found = coverage((wilson(int(count), 500) for count in right), 100 * share)
    assert COVERED[0] <= found <= COVERED[1]


def test_intervals_of_mean_per_class_accuracy_cover_the_true_one() -> None:
    def measured() -> Iterator[Interval]:
        generator = np.random.default_rng(1)
        for seed in range(CELLS):
            labels = generator.choice(len(CLASSES), 600, p=CLASSES)
            right = generator.random(600) < RECALLS[labels]
            predicted = np.where(right, labels, (labels + 1) % len(CLASSES))
            yield bootstrap_mean_per_class(predicted, labels, len(CLASSES), replicates=REPLICATES, seed=seed)

    found = coverage(measured(), 100 * float(RECALLS.mean()))
    assert COVERED[0] <= found <= COVERED[1]


def test_intervals_of_mean_average_precision_cover_the_true_one() -> None:
    """The percentiles of a bootstrap would do so in four of five cases only."""
    truth = mean_average_precision(*images(np.random.default_rng(2), 500_000, classes=3))

    def measured() -> Iterator[Interval]:
        generator = np.random.default_rng(3)
        for seed in range(CELLS):
            yield halves_mean_average_precision(*images(generator, 800, classes=3), replicates=96, seed=seed)

    found = coverage(measured(), truth)
    assert COVERED[0] <= found <= COVERED[1]


def test_mcnemar_sees_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(4)
    found = [paired.accuracy(*equals(generator, 600)).p_value < 0.05 for _ in range(2 * CELLS)]
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def test_the_paired_bootstrap_sees_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(5)
    found = []
    for seed in range(CELLS):
        labels = generator.choice(len(CLASSES), 600, p=CLASSES)
        test = paired.mean_per_class(*equals(generator, 600), labels, replicates=REPLICATES, seed=seed)
        found.append(test.p_value < 0.05)
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def test_paired_average_precision_sees_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(6)
    found = []
    for seed in range(CELLS):
        scores, positives = images(generator, 400)
        first, second = ((scores + 0.7 * generator.normal(size=scores.shape))[None] for _ in range(2))
        found.append(paired.average_precision(first, second, positives, replicates=100, seed=seed).p_value < 0.05)
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def test_paired_episodes_see_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(7)
    found = [paired.episodes(*generator.normal(60, 8, (2, 100))).p_value < 0.05 for _ in range(2 * CELLS)]
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def test_signed_ranks_see_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(8)
    found = [signed_rank(list(generator.normal(0, 1, 20))).p_value < 0.05 for _ in range(2 * CELLS)]
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def images(
    generator: np.random.Generator, count: int, classes: int = 1
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Scores and labels of classes of which each is shown by three images in ten."""
    positives = (generator.random((count, classes)) < 0.3).astype(np.int64)
    return positives + generator.normal(0, 0.8, positives.shape), positives


def equals(generator: np.random.Generator, count: int) -> tuple[paired.Right, paired.Right]:
    """Two classifiers of the same skill that find the same images hard."""
    hard = generator.normal(size=count)
    right = hard + 0.6 * generator.normal(size=(2, count)) < 0.8
    return right[:1], right[1:]
