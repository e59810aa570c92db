"""Intervals from random halves stay where scores can be, and never claim certainty."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.metrics.confidence_intervals import EXTRAPOLATED, HALVES, LOG_ODDS, halves_mean_average_precision
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
