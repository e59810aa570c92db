"""The promises of intervals and tests, kept or broken over simulated measurements: a thousand in `make faults`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.analysis.statistics import paired_tests
from ssl_console.analysis.statistics.across_tasks import signed_rank
from tasks.metrics import confidence_intervals
from tasks.metrics.classification import mean_average_precision
from tasks.metrics.confidence_intervals import halves, halves_mean_average_precision, wilson
from tasks.metrics.detection import Averaging, average_precision
from tasks.metrics.outcome import Interval
from tasks.metrics.pixels import Angles, PixelCounts
from tests.faults.scale import full

CELLS = 1000 if full() else 200
COVERED = (0.93, 0.97) if full() else (0.91, 0.985)
ALARMS = (0.03, 0.07) if full() else (0.015, 0.09)
"""Wide enough for the noise of so many simulated measurements, 1.5 % of 200, and for no other reason."""
TRUTH = 400_000 if full() else 80_000
"""Images from which a true score is computed."""
SCENE_CELLS = CELLS if full() else 100
SCENES_COVERED = COVERED if full() else (0.89, 0.995)
"""Of detection. Intervals that cover four in five are found in 98 of 100 such runs."""
HALVES = 96
"""Random halves for an average precision, of which only mean and deviation are used."""
IMAGES = 500
"""Of dense tasks."""
SCENES = 1000
"""Of detection."""
CLASSES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
"""Fractions of the classes."""

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Detected = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]
"""Image and correctness of every detection by descending score, and the number of objects per image."""

pytestmark = pytest.mark.slow


def coverage(intervals: Iterator[Interval], truth: float) -> float:
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_wilson_intervals_cover_the_true_accuracy(share: float) -> None:
    right = np.random.default_rng(0).binomial(500, share, CELLS)
    found = coverage((wilson(int(count), 500) for count in right), 100 * share)
    assert COVERED[0] <= found <= COVERED[1]


def test_intervals_of_mean_average_precision_cover_the_true_one() -> None:
    """The percentiles of a bootstrap would do so in only four of five cases."""
    truth = mean_average_precision(*images(np.random.default_rng(2), TRUTH, classes=3))

    def measured() -> Iterator[Interval]:
        generator = np.random.default_rng(3)
        for seed in range(CELLS):
            yield halves_mean_average_precision(*images(generator, 800, classes=3), replicates=HALVES, seed=seed)

    found = coverage(measured(), truth)
    assert COVERED[0] <= found <= COVERED[1]


@pytest.mark.parametrize("averaging", ["11-point", "area"])
def test_intervals_of_average_precision_of_detections_cover_the_true_one(averaging: Averaging) -> None:
    def measured(images: int, cells: int) -> Iterator[Callable[[Weights], Floats]]:
        generator = np.random.default_rng(9)
        for _ in range(cells):
            classes = [detected(generator, images) for _ in range(3)]
            yield partial(mean_over_classes, classes, averaging)

    (whole,) = measured(TRUTH, 1)
    truth = float(whole(np.ones((TRUTH, 1), np.float32))[0])
    method = confidence_intervals.EXTRAPOLATED if averaging == "11-point" else confidence_intervals.HALVES
    cells = enumerate(measured(SCENES, SCENE_CELLS))
    found = coverage((halves(one, SCENES, replicates=HALVES, seed=seed, method=method) for seed, one in cells), truth)
    assert SCENES_COVERED[0] <= found <= SCENES_COVERED[1]


def test_intervals_of_mean_iou_cover_the_true_one() -> None:
    truth, generator = segmented(np.random.default_rng(10), TRUTH).mean_iou, np.random.default_rng(11)
    cells = (segmented(generator, IMAGES).mean_ious for _ in range(CELLS))
    assert COVERED[0] <= coverage(map(resampled, cells), truth) <= COVERED[1]


def test_intervals_of_the_mean_angle_cover_the_true_one() -> None:
    truth = float(angled(np.random.default_rng(12), TRUTH).mean_angles(np.ones((1, TRUTH)))[0])
    generator = np.random.default_rng(13)
    cells = (angled(generator, IMAGES).mean_angles for _ in range(CELLS))
    assert COVERED[0] <= coverage(map(resampled, cells), truth) <= COVERED[1]


def resampled(score: Callable[[Floats], Floats]) -> Interval:
    """As `over_images`, with its draws repeated for every result."""
    low, high = np.quantile(score(draws()), [0.025, 0.975])
    return Interval(float(low), float(high))


@cache
def draws() -> Floats:
    return np.random.default_rng(0).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=1000).astype(np.float64)


def test_mcnemar_sees_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(4)
    found = [paired_tests.accuracy(*equals(generator, 600)).p_value < 0.05 for _ in range(2 * CELLS)]
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def test_sign_flips_within_classes_see_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(5)
    found = []
    for seed in range(CELLS):
        labels = generator.choice(len(CLASSES), 600, p=CLASSES)
        test = paired_tests.mean_per_class(*equals(generator, 600), labels, seed=seed)
        found.append(test.p_value < 0.05)
    assert ALARMS[0] <= np.mean(found) <= ALARMS[1]


def test_paired_average_precision_sees_a_difference_where_there_is_none_in_5_of_100_cases() -> None:
    generator = np.random.default_rng(6)
    found = []
    for seed in range(CELLS):
        scores, positives = images(generator, 400)
        first, second = ((scores + 0.7 * generator.normal(size=scores.shape))[None] for _ in range(2))
        found.append(paired_tests.average_precision(first, second, positives, replicates=100, seed=seed).p_value < 0.05)
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


def detected(generator: np.random.Generator, images: int) -> Detected:
    """One class: nineteen of twenty objects are found, among false detections; by falling score."""
    objects = generator.poisson(1.5, images)
    true = np.repeat(np.arange(images), objects)
    true = true[generator.random(len(true)) < 0.95]
    false = np.repeat(np.arange(images), generator.poisson(1.0, images))
    scores = np.concatenate([generator.normal(1, 0.8, len(true)), generator.normal(0, 0.8, len(false))])
    order = np.argsort(-scores)
    return np.concatenate([true, false])[order], (np.arange(len(order)) < len(true))[order], objects


def mean_over_classes(classes: list[Detected], averaging: Averaging, weights: Weights) -> Floats:
    found: Floats = np.mean([average_precision(*one, weights, averaging) for one in classes], axis=0)
    return found


def segmented(generator: np.random.Generator, images: int) -> PixelCounts:
    """Images that differ in their classes and in difficulty."""
    true = generator.multinomial(400, generator.dirichlet([0.4] * len(CLASSES), images))
    right = generator.binomial(true, np.clip(generator.normal(0.7, 0.15, (images, 1)), 0.05, 0.98))
    predicted = right + np.roll(true - right, 1, axis=1)
    return PixelCounts(np.stack([right, true, predicted], axis=1).astype(np.int32))


def angled(generator: np.random.Generator, images: int) -> Angles:
    """Images that differ in the number of known pixels and in difficulty."""
    pixels, degrees = generator.integers(50, 400, images), generator.gamma(4, 5, images)
    return Angles(np.zeros(1, np.int64), np.stack([pixels, pixels * degrees], axis=1).astype(np.float64))


def equals(generator: np.random.Generator, count: int) -> tuple[paired_tests.Right, paired_tests.Right]:
    """Two classifiers of equal skill for which the same images are hard."""
    hard = generator.normal(size=count)
    right = hard + 0.6 * generator.normal(size=(2, count)) < 0.8
    return right[:1], right[1:]
