from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from ssl_console.analysis.statistics import paired_tests
from ssl_console.analysis.statistics.weighted_metrics import of_classes
from tasks.metrics.classification import mean_average_precision, mean_per_class_accuracy
from tasks.metrics.confidence_intervals import halves_mean_average_precision, wilson

SAMPLES = 600


def outcomes(seed: int, better_by: float = 0.0) -> tuple[paired_tests.Right, paired_tests.Right]:
    """Two classifiers for which the same images are hard."""
    generator = np.random.default_rng(seed)
    hard = generator.normal(size=SAMPLES)
    noise = 0.5 * generator.normal(size=(2, SAMPLES))
    right = 0.8 + np.array([[better_by], [0.0]]) > hard + noise
    return right[:1], right[1:]


def test_the_difference_of_accuracies_is_the_difference_of_the_scores() -> None:
    first, second = outcomes(0, 0.3)
    test = paired_tests.accuracy(first, second)
    assert test.difference == pytest.approx(100 * (first.mean() - second.mean()))
    assert test.low < test.difference < test.high
    assert test.method.startswith("McNemar")


def test_a_paired_test_sees_what_overlapping_intervals_hide() -> None:
    first, second = outcomes(1, 0.15)
    ours, theirs = (wilson(int(right.sum()), SAMPLES) for right in (first, second))
    assert ours.low < theirs.high
    assert paired_tests.accuracy(first, second).p_value < 0.01


def test_the_same_predictions_differ_by_nothing() -> None:
    first, _ = outcomes(2)
    test = paired_tests.accuracy(first, first)
    assert (test.difference, test.p_value) == (0.0, 1.0)
    assert test.smallest > 0


def test_several_seeds_are_averaged_before_they_are_paired() -> None:
    first, second = outcomes(3, 0.3)
    test = paired_tests.accuracy(np.concatenate([first, first]), np.concatenate([second, second]))
    expected = scipy.stats.ttest_rel(first[0].astype(float), second[0].astype(float))
    assert test.p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_samples_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="600 samples cannot be paired with 10"):
        paired_tests.accuracy(outcomes(0)[0], np.ones((1, 10), dtype=np.bool_))


def test_the_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(5)
    nothing = np.zeros((1, 600))
    planned = paired_tests.means(generator.normal(0, 8, (1, 600)), nothing).smallest
    found = [paired_tests.means(generator.normal(planned, 8, (1, 600)), nothing).p_value < 0.05 for _ in range(400)]
    assert 0.74 < np.mean(found) < 0.86


def test_means_are_tested_as_scipy_does() -> None:
    generator = np.random.default_rng(6)
    common = generator.normal(60, 8, 600)
    first, second = common + generator.normal(0.5, 3, 600), common + generator.normal(0, 3, 600)
    test = paired_tests.means(first[None], second[None])
    expected = scipy.stats.ttest_rel(first, second)
    assert test.p_value == pytest.approx(expected.pvalue, rel=1e-8)
    interval = scipy.stats.t.interval(0.95, 599, test.difference, test.standard_error)
    assert (test.low, test.high) == pytest.approx(interval)
    assert test.effect == pytest.approx(np.mean(first - second) / np.std(first - second, ddof=1))


def test_the_error_of_mean_per_class_accuracy_is_that_of_images_drawn_again() -> None:
    generator = np.random.default_rng(7)
    labels = generator.choice(5, SAMPLES, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    first, second = outcomes(7, 0.2)
    test = paired_tests.mean_per_class(first, second, labels)
    draws = generator.integers(0, SAMPLES, size=(1500, SAMPLES))
    values = [recall(first[0, one], labels[one]) - recall(second[0, one], labels[one]) for one in draws]
    assert test.difference == pytest.approx(recall(first[0], labels) - recall(second[0], labels))
    assert test.standard_error == pytest.approx(np.std(values, ddof=1), rel=0.08)


def test_exchanges_of_few_images_are_counted_exactly() -> None:
    """Six images differ, all in one direction, in classes of one size: 2 of 64 exchanges differ as much."""
    first = np.array([[True] * 6 + [True, False] * 7])
    second = np.array([[False] * 6 + [True, False] * 7])
    test = paired_tests.mean_per_class(first, second, np.arange(20) % 5)
    assert test.p_value == pytest.approx(2 / 64, abs=0.005)
    assert test.low > 0


def test_backbones_that_answer_alike_differ_by_an_interval_with_width() -> None:
    right = np.ones((1, 20), dtype=np.bool_)
    test = paired_tests.mean_per_class(right, right, np.arange(20) % 5)
    assert (test.difference, test.p_value) == (0, 1)
    assert test.high - test.low > 10


def test_an_image_in_a_class_of_its_own_makes_ranks_uncertain() -> None:
    """Its own class has no variance, which is no evidence of zero variance."""
    labels = np.r_[np.zeros(30, int), 1, 2, 3]
    right = np.r_[np.ones(15), np.zeros(15), 1, 0, 1][None]
    error = float(np.sqrt((of_classes(np.array([50.0]), right, labels).factor ** 2).sum()))
    assert error > 100 * np.sqrt(3 * 0.2) / 4


def test_average_precision_resamples_the_same_images_for_both() -> None:
    generator = np.random.default_rng(8)
    positives = (generator.random((300, 3)) < 0.3).astype(np.int64)
    signal = positives + generator.normal(0, 1, positives.shape)
    first = (signal + 0.2 * generator.normal(size=signal.shape))[None]
    second = (signal + 0.6 * generator.normal(size=signal.shape))[None]
    test = paired_tests.average_precision(first, second, positives, replicates=400)
    assert test.difference == pytest.approx(
        mean_average_precision(first[0], positives) - mean_average_precision(second[0], positives), abs=1e-9
    )
    alone = [halves_mean_average_precision(one[0], positives, replicates=400) for one in (first, second)]
    apart = math.hypot(*[(interval.high - interval.low) / 2 for interval in alone])
    assert test.high - test.difference < 0.8 * apart


def test_the_same_resamples_are_drawn_every_time() -> None:
    first, second = outcomes(9, 0.1)
    labels = np.arange(SAMPLES) % 7
    assert paired_tests.mean_per_class(first, second, labels) == paired_tests.mean_per_class(first, second, labels)


def recall(right: paired_tests.Right, labels: paired_tests.Labels) -> float:
    predicted = np.where(right, labels, (labels + 1) % 5)
    return mean_per_class_accuracy(predicted, labels, 5)
