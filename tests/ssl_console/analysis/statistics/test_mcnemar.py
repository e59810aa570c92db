from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from ssl_console.analysis.statistics.paired_tests import FEW, mcnemar_interval, mcnemar_p_value


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (3, 3), (2, 9), (0, 24), (20, 4)])
def test_few_disagreements_are_tested_by_the_exact_binomial(ours: int, theirs: int) -> None:
    expected = scipy.stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert mcnemar_p_value(ours, theirs) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("ours", "theirs"), [(5, 20), (40, 12), (300, 360), (0, 2000), (3000, 2800)])
def test_many_disagreements_are_tested_by_mid_p(ours: int, theirs: int) -> None:
    total = ours + theirs
    assert total >= FEW
    half = scipy.stats.binom.pmf(min(ours, theirs), total, 0.5) / 2
    expected = 2 * (scipy.stats.binom.cdf(min(ours, theirs), total, 0.5) - half)
    assert mcnemar_p_value(ours, theirs) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_equal_disagreements_have_p_1() -> None:
    assert mcnemar_p_value(50, 50) == pytest.approx(1.0)


def test_it_does_not_matter_who_is_first() -> None:
    assert mcnemar_p_value(7, 30) == mcnemar_p_value(30, 7)


def test_the_interval_of_no_disagreement_is_not_a_point() -> None:
    low, high = mcnemar_interval(0, 0, 100)
    assert low < 0 < high


def test_the_interval_covers_the_true_difference_in_95_of_100_cases() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(400, [0.1, 0.05, 0.85], size=4000)
    intervals = np.array([mcnemar_interval(int(a), int(b), 400) for a, b, _ in drawn])
    covered = np.mean((intervals[:, 0] <= 0.05) & (intervals[:, 1] >= 0.05))
    assert 0.94 < covered < 0.97
