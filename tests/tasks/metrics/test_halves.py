"""Intervals from random halves stay in the range of the score and have positive width."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.datasets.dataset import Boxes
from tasks.metrics.confidence_intervals import (
    EXTRAPOLATED,
    HALVES,
    LOG_ODDS,
    NONE_VARIES,
    halves_mean_average_precision,
    over_images,
)
from tasks.metrics.detection import AveragePrecision, Detections
from tasks.metrics.outcome import Interval


def found(skill: float, images: int, method: str = LOG_ODDS) -> Interval:
    generator = np.random.default_rng(3)
    positives = (generator.random((images, 3)) < 0.3).astype(np.int64)
    scores = skill * positives + generator.standard_normal(positives.shape)
    return halves_mean_average_precision(scores, positives, replicates=128, method=method)


@pytest.mark.parametrize("images", [20, 40, 400])
def test_a_perfect_ranking_of_few_images_is_no_certainty(images: int) -> None:
    interval = found(50.0, images)
    assert interval.high == 100
    assert interval.low < 100 - 100 / images


@pytest.mark.parametrize("skill", [0.0, 1.2, 2.5])
def test_bounds_lie_within_0_and_100_and_reach_further_down(skill: float) -> None:
    interval = found(skill, 40)
    assert 0 <= interval.low < interval.high <= 100


def test_the_methods_of_earlier_versions_are_kept_under_their_names() -> None:
    assert {found(1.2, 40, method).method for method in (HALVES, EXTRAPOLATED)} == {"halves", "halves, extrapolated"}
    assert found(1.2, 40, HALVES) != found(1.2, 40, EXTRAPOLATED)


@pytest.mark.parametrize("images", [1, 5, 50])
def test_images_without_an_error_are_no_certainty(images: int) -> None:
    perfect = over_images(lambda weights: np.full(len(weights), 100.0), images)
    assert (perfect.high, perfect.method) == (100.0, NONE_VARIES)
    assert perfect.low <= 100 - 100 / (images + 1)
    assert over_images(lambda weights: np.zeros(len(weights)), images).high > 0


def test_a_detector_that_finds_everything_in_few_images_is_no_certainty() -> None:
    corners = np.array([[0, 0, 50, 50]], np.float32)
    truth = Boxes(corners=corners, labels=np.zeros(1, np.int64), difficult=np.zeros(1, bool))
    found = Detections(corners=corners, labels=np.zeros(1, np.int64), scores=np.ones(1, np.float32))
    interval = AveragePrecision.of([found] * 10, [truth] * 10, 1, "area").interval(0.5, replicates=32)
    assert (interval.high, interval.method) == (100.0, NONE_VARIES)
    assert interval.low < 80
