from __future__ import annotations

import pytest
import scipy.stats

from ssl_console.analysis.statistics import distributions as ours


@pytest.mark.parametrize("degrees", [1, 2, 5, 30, 200])
@pytest.mark.parametrize("value", [0.01, 0.7, 4.0, 25.0, 180.0])
def test_chi_squared_tail_is_that_of_scipy(value: float, degrees: int) -> None:
    expected = scipy.stats.chi2.sf(value, degrees)
    assert ours.chi2_tail(value, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("numerator", "denominator"), [(1, 1), (1, 599), (4, 40), (49, 2891)])
@pytest.mark.parametrize("value", [0.02, 0.9, 1.1, 3.0, 60.0])
def test_f_tail_is_that_of_scipy(value: float, numerator: int, denominator: int) -> None:
    expected = scipy.stats.f.sf(value, numerator, denominator)
    assert ours.f_tail(value, numerator, denominator) == pytest.approx(expected, rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("degrees", [1, 9, 599])
@pytest.mark.parametrize("value", [-3.1, 0.2, 1.96, 8.0])
def test_student_t_is_that_of_scipy(value: float, degrees: int) -> None:
    assert ours.t_two_sided(value, degrees) == pytest.approx(2 * scipy.stats.t.sf(abs(value), degrees), rel=1e-8)


def test_normal_tails_are_those_of_scipy() -> None:
    for z in (-2.5, 0.0, 1.0, 6.0):
        assert ours.normal_two_sided(z) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-12)


def test_tails_of_nothing_are_everything() -> None:
    assert ours.chi2_tail(0, 3) == ours.f_tail(0, 2, 3) == ours.normal_two_sided(0) == 1.0


@pytest.mark.parametrize("groups", [2, 5, 14, 50])
def test_the_studentized_range_is_that_of_scipy(groups: int) -> None:
    expected = scipy.stats.studentized_range.ppf(0.95, groups, 1e6)
    assert ours.studentized_range_quantile(0.95, groups) == pytest.approx(expected, rel=1e-4)
