"""Feature checks detect what would make a score misleading, and report nothing otherwise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tasks.features.feature_checks import check_features

Floats = npt.NDArray[np.float32]


@pytest.fixture
def healthy() -> Floats:
    return np.random.default_rng(0).standard_normal((600, 32)).astype(np.float32)


def test_healthy_features_cause_no_warning(healthy: Floats) -> None:
    assert check_features(healthy).warnings == ()


def test_nan_rows_are_counted_and_told(healthy: Floats) -> None:
    healthy[[3, 500], 7] = np.nan, np.inf
    checks = check_features(healthy)
    assert checks.not_finite_rows == 2
    assert "2 of 600 feature rows hold NaN" in checks.warnings[0]


def test_constant_features_cause_exactly_one_warning() -> None:
    checks = check_features(np.full((50, 8), 0.3, dtype=np.float32))
    assert checks.effective_rank == 0.0
    assert len(checks.warnings) == 1
    assert "every image has the same features" in checks.warnings[0]


def test_mostly_dead_dimensions_are_told_but_a_few_are_not(healthy: Floats) -> None:
    few = healthy.copy()
    few[:, :4] = 0.0
    assert check_features(few).warnings == ()
    healthy[:, :20] = 1.5
    checks = check_features(healthy)
    assert checks.dead_share == pytest.approx(20 / 32)
    assert "62% of the feature dimensions never change" in checks.warnings[0]


def test_repeated_rows_are_counted_even_far_apart(healthy: Floats) -> None:
    healthy[580:600] = healthy[0:20]
    checks = check_features(healthy)
    assert checks.duplicate_rows == 20
    assert "20 of 600 feature rows repeat" in checks.warnings[0]


def test_effective_rank_of_equal_variances_is_the_dimension() -> None:
    rows = np.tile(np.concatenate([np.eye(16), -np.eye(16)]), (4, 1)).astype(np.float32)
    assert check_features(rows).effective_rank == pytest.approx(16.0)


def test_collapsed_features_are_told() -> None:
    generator = np.random.default_rng(0)
    line = generator.standard_normal((300, 1)) @ generator.standard_normal((1, 64))
    collapsed = (line + 1e-4 * generator.standard_normal((300, 64))).astype(np.float32)
    checks = check_features(collapsed)
    assert checks.effective_rank == pytest.approx(1.0, abs=0.05)
    assert "effective rank of only 1.0" in checks.warnings[0]


def test_a_large_offset_does_not_hide_that_features_are_constant() -> None:
    assert check_features(np.full((50, 8), 12345.678, dtype=np.float32)).effective_rank == 0.0
