"""Bases in which a regularisation path is solved: all are rotations, whatever they cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.solvers.logistic import Settings, solve_path
from tasks.solvers.logistic import device_matrix as device_matrix_module
from tasks.solvers.logistic.eigenbasis import (
    DEFLATED,
    Basis,
    eigenbasis,
    leading_basis,
    leading_directions_suffice,
)

SAMPLES, DIMENSIONS = 500, 300


def features(constant: int = 0) -> Tensor:
    """[n, d] with a power-law spectrum about a mean of 5; the first `constant` dimensions do not vary."""
    made = torch.Generator().manual_seed(4)
    scales = torch.arange(1, DIMENSIONS + 1) ** -0.8
    mixing = torch.randn(DIMENSIONS, DIMENSIONS, generator=made)
    found = 5 + (torch.randn(SAMPLES, DIMENSIONS, generator=made) * scales) @ mixing
    found[:, :constant] = 5.0
    return found


@pytest.mark.parametrize("constant", [0, 100, DIMENSIONS - 3])
def test_a_basis_of_leading_directions_is_a_rotation_and_its_coordinates_are_exact(constant: int) -> None:
    rows = features(constant)
    basis = leading_basis(rows)
    identity = torch.eye(DIMENSIONS, dtype=torch.float64)
    assert basis.complete
    assert float((basis.directions.T @ basis.directions - identity).abs().max()) < 1e-12
    expected = (rows.double() - rows.double().mean(dim=0)) @ basis.directions
    found = basis.coordinates(rows)
    assert found[:, 0].tolist() == [1.0] * SAMPLES
    torch.testing.assert_close(found[:, 1:].double(), expected, rtol=1e-6, atol=1e-6)


def test_its_first_directions_hold_nearly_as_much_variance_as_the_eigenvectors() -> None:
    rows = features()

    def variance(basis: Basis) -> Tensor:
        return basis.coordinates(rows)[:, 1 : 1 + DEFLATED].square().mean(dim=0)

    exact, near = variance(eigenbasis(rows, rows.device)), variance(leading_basis(rows))
    assert 0.97 * float(exact.sum()) < float(near.sum()) <= 1.0001 * float(exact.sum())
    torch.testing.assert_close(near[:5], exact[:5], rtol=0.02, atol=0.0)


def test_few_columns_over_many_dimensions_do_without_an_eigenbasis() -> None:
    assert leading_directions_suffice(8_413, 1_628, columns=1)
    assert leading_directions_suffice(50_000, 2_048, columns=10)
    assert not leading_directions_suffice(50_000, 2_048, columns=100)
    assert not leading_directions_suffice(2_413, 190, columns=2), "an eigenbasis of few dimensions costs nothing"
    assert not leading_directions_suffice(500, 2_048, columns=2), "the samples span fewer dimensions"


def test_a_card_which_limits_leading_coordinates_gets_an_eigenbasis(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, targets = features(), torch.arange(SAMPLES) % 3
    assert solve_path(rows, targets, [1.0]).solutions[0].basis.reflection is not None
    assert solve_path(rows, targets, [1.0], settings=Settings(memory=10**9)).solutions[0].basis.reflection is None
    monkeypatch.setattr(device_matrix_module, "is_card", lambda device: True)
    assert solve_path(rows, targets, [1.0]).solutions[0].basis.reflection is None


def test_the_optimum_is_the_same_in_both_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, targets = features(), torch.arange(SAMPLES) % 3
    strengths = np.logspace(-4, 4, 5).tolist()
    near = solve_path(rows, targets, strengths)
    exact = solve_path(rows, targets, strengths, settings=Settings(memory=10**9))
    assert near.converged
    assert exact.converged
    objectives = [[one.objective for one in path.solutions] for path in (near, exact)]
    assert objectives[0] == pytest.approx(objectives[1], rel=2e-6), "the second ones are of margins in single precision"
