"""Anytime-valid bounds: looking after every image makes no false statements, on made-up and on recorded answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest

from ssl_console.analysis.statistics.paired_tests import accuracy, means
from ssl_console.analysis.statistics.sequential import (
    ERROR,
    MOST_VALUES,
    Bettor,
    Floats,
    anytime_test,
    mean_over_datasets,
    mixture_quantile,
    mixture_test,
    share_of_error,
)
from tests.verdicts.rates import both_right
from tests.verdicts.recorded import recorded, resampled

REPETITIONS = 400
TOLERANCE = 2 * (ERROR * (1 - ERROR) / REPETITIONS) ** 0.5


@dataclass(frozen=True)
class Rates:
    """Of repetitions: how often the truth was outside of the bounds at any time, and at the end of a fixed sample."""

    ever_wrong: float
    wrong_at_the_end: float


def rates(draw: list[Floats], truth: float) -> Rates:
    ever = [_ever_refuted(values, truth) for values in draw]
    ends = [means(values[None], np.zeros_like(values)[None]) for values in draw]
    return Rates(float(np.mean(ever)), float(np.mean([not one.low <= truth <= one.high for one in ends])))


def _ever_refuted(values: Floats, truth: float) -> bool:
    bettors = (Bettor.of(side * values, ERROR, 100.0, len(values)) for side in (1, -1))
    return any(
        bool((bettor.log_capital(side * truth) >= bettor.target).any())
        for side, bettor in zip((1, -1), bettors, strict=True)
    )


@pytest.mark.parametrize("chance", [0.5, 0.9])
def test_continuous_looking_at_equal_backbones_finds_a_winner_in_five_percent_at_most(chance: float) -> None:
    generator, found = np.random.default_rng(1), []
    for _ in range(REPETITIONS):
        first, second = both_right(generator, np.full(300, chance))
        found.append(anytime_test(100.0 * first - 100.0 * second).needed is not None)
    assert np.mean(found) <= ERROR + TOLERANCE


@pytest.mark.parametrize("dataset", ["digits", "shapes"])
def test_bounds_cover_the_truth_at_all_times_on_recorded_answers(dataset: str) -> None:
    """The recorded images are the population; every repetition draws others."""
    scores, generator, outside, ends = recorded(dataset), np.random.default_rng(2), [], []
    for first, second in list(combinations(range(6), 2))[::3]:
        differences = scores[first, 1] - scores[second, 1]
        drawn = [resampled(differences, 300, generator) for _ in range(80)]
        found = rates(drawn, float(differences.mean()))
        outside.append(found.ever_wrong)
        ends.append(found.wrong_at_the_end)
    assert np.mean(outside) <= ERROR + TOLERANCE
    assert 0.03 - TOLERANCE <= np.mean(ends) <= 0.07 + TOLERANCE


@pytest.mark.parametrize("dataset", ["digits", "shapes"])
def test_exchanged_recorded_answers_give_no_false_winner_under_continuous_looking(dataset: str) -> None:
    """Two backbones whose answers change places at random on every image are equally good."""
    scores, generator, found = recorded(dataset), np.random.default_rng(3), []
    for repetition in range(REPETITIONS):
        differences = scores[3, repetition % 3] - scores[2, repetition % 3]
        signs = generator.choice([-1.0, 1.0], len(differences))
        found.append(anytime_test(signs * differences).needed is not None)
    assert np.mean(found) <= ERROR + TOLERANCE


def test_a_real_difference_is_found_with_a_part_of_the_images() -> None:
    digits = recorded("digits")
    found = anytime_test(digits[5, 0] - digits[1, 0])
    assert found.low > 0
    assert found.needed is not None
    assert found.needed < digits.shape[-1] / 2
    assert found.evidence > 2 / ERROR
    assert found.counter_evidence < 1


@pytest.mark.parametrize("samples", [300, 900, 10_000])
def test_bounds_are_at_most_half_as_wide_again_as_those_of_one_look(samples: int) -> None:
    first, second = both_right(np.random.default_rng(4), np.full(samples, 0.8))
    found, once = anytime_test(100.0 * first - 100.0 * second), accuracy(first[None], second[None])
    assert 1.0 < (found.high - found.low) / (once.high - once.low) < 1.5


def test_exchanging_the_backbones_mirrors_the_test() -> None:
    differences = recorded("digits")[3, 0] - recorded("digits")[2, 0]
    one, other = anytime_test(differences), anytime_test(-differences)
    assert (one.low, one.high) == pytest.approx((other.reversed.low, other.reversed.high))
    assert one.evidence == pytest.approx(other.counter_evidence)


def test_many_images_are_grouped_without_moving_the_mean() -> None:
    differences = np.random.default_rng(5).choice([-100.0, 0.0, 100.0], p=[0.05, 0.85, 0.1], size=5 * MOST_VALUES + 7)
    found = anytime_test(differences)
    assert found.difference == pytest.approx(differences.mean())
    assert found.low < differences.mean() < found.high
    assert found.n == len(differences)


def test_differences_beyond_the_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 100 points"):
        anytime_test(np.array([120.0, 0.0]))
    with pytest.raises(ValueError, match="0 differences"):
        anytime_test(np.array([]))


def test_equal_answers_are_equal_within_a_margin_once_there_are_enough_images() -> None:
    assert anytime_test(np.zeros(5_000)).within(0.5)
    assert not anytime_test(np.zeros(100)).within(0.5)


def test_the_normal_mixture_is_wider_than_one_look_and_wider_for_less_error() -> None:
    once = accuracy(*(one[None] for one in both_right(np.random.default_rng(6), np.full(900, 0.8))))
    found = mixture_test(once)
    assert (found.high - found.low) / (once.high - once.low) == pytest.approx(mixture_quantile(ERROR) / 1.96, abs=1e-3)
    assert 2.5 < mixture_quantile(0.05) < mixture_quantile(0.01) < 4.0


def test_the_normal_mixture_holds_at_all_times() -> None:
    """Bounds tuned to 500 steps of a random walk, looked at after every step from the tenth on."""
    generator, steps = np.random.default_rng(7), np.arange(1, 501)
    quantile = mixture_quantile(ERROR)
    ratio = _ratio_of(quantile)
    bound = np.sqrt((steps + 500 * ratio) * np.log((steps + 500 * ratio) / (500 * ratio * ERROR**2)))
    walks = np.abs(generator.standard_normal((REPETITIONS, 500)).cumsum(axis=1))
    assert bound[-1] == pytest.approx(quantile * 500**0.5)
    assert (walks > bound)[:, 9:].any(axis=1).mean() <= ERROR + TOLERANCE


def _ratio_of(quantile: float) -> float:
    ratios = np.linspace(0.01, 0.5, 4_000)
    widths = np.sqrt((1 + ratios) * np.log((1 + ratios) / (ratios * ERROR**2)))
    assert widths.min() == pytest.approx(quantile, abs=1e-4)
    return float(ratios[widths.argmin()])


def test_the_mean_over_datasets_weights_tasks_and_not_images() -> None:
    small, large = np.full(50, 10.0), np.random.default_rng(8).normal(-2.0, 1.0, 5_000)
    found = mean_over_datasets([small, large], [1, 3], [50, 5_000])
    assert len(found) == 50
    assert found.mean() == pytest.approx((10.0 + 3 * large.mean()) / 4)


def test_errors_of_all_looks_and_comparisons_add_up_to_five_percent() -> None:
    assert share_of_error(5, 3) * 5 * 3 == pytest.approx(ERROR)
    assert share_of_error(0) == ERROR
