"""The regularisation path on drawn problems: its distance to the optimum, computed independently in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from tasks.solvers.logistic import Settings, StrengthGrid, fit_selected, path_solver, regularisation_path, solve_path
from tasks.solvers.logistic.eigenbasis import Design
from tasks.solvers.logistic.objective import Likelihood
from tasks.solvers.logistic.subspace_newton import L2Penalty
from tests.benchmarks._drawn import DrawnProblem, drawn
from tests.benchmarks._gap import Reference

SIZES = ((120, 24, 2), (90, 130, 4), (260, 40, 3), (320, 270, 3))
"""Two classes; fewer samples than dimensions; an eigenbasis; a basis of which only leading directions are."""
STRENGTHS = np.logspace(-5, 6, 12)


def small(seed: int) -> list[DrawnProblem]:
    """Drawn properties on four sizes that take a fraction of a second."""
    problems = drawn(seed, len(SIZES), 1e6)
    return [
        replace(problem, samples=n, dimensions=d, classes=k) for problem, (n, d, k) in zip(problems, SIZES, strict=True)
    ]


@pytest.mark.parametrize("in_numpy", [True, False], ids=["NumPy", "PyTorch"])
@pytest.mark.parametrize("problem", small(7), ids=lambda problem: problem.name)
def test_every_solution_of_a_drawn_problem_is_within_the_promised_gap(
    problem: DrawnProblem, in_numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regularisation_path, "suited", lambda *_: in_numpy)
    rows, targets = problem.data().train
    reference = Reference.of(rows, targets)
    for solution in solve_path(rows, targets, STRENGTHS.tolist()).solutions:
        gap = reference.gap(solution.weights.double().numpy(), solution.intercept.double().numpy(), solution.strength)
        assert gap <= Settings().tolerance, f"C = {solution.strength:.1e}, estimated {solution.gap:.1e}"
        assert solution.converged


NEARLY_SEPARABLE = replace(drawn(7, 3, 5e7)[2], samples=1_500, dimensions=60, classes=6)
"""Rectified features scaled by 121: at weak regularisation few samples bend the loss, each between two classes."""
WEAK = (1e4, 1e5, 1e6)


def weak_gaps(scale: float = 1.0) -> list[tuple[float, bool]]:
    """The true gap at the weakest regularisation, and whether the solution is called converged."""
    rows, targets = NEARLY_SEPARABLE.data().train
    rows = scale * rows
    reference = Reference.of(rows, targets)
    solutions = solve_path(rows, targets, STRENGTHS.tolist()).solutions
    return [
        (reference.gap(one.weights.double().numpy(), one.intercept.double().numpy(), one.strength), one.converged)
        for one in solutions
        if one.strength > 0.9 * WEAK[0]
    ]


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
@pytest.mark.parametrize("in_numpy", [True, False], ids=["NumPy", "PyTorch, continued in NumPy"])
def test_nearly_separable_classes_are_within_the_promised_gap_where_single_precision_is_not_enough(
    in_numpy: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regularisation_path, "suited", lambda *_: in_numpy)
    for gap, converged in weak_gaps(scale):
        assert converged
        assert gap <= Settings().tolerance


def test_a_solution_that_double_precision_does_not_certify_is_not_converged_without_memory_to_continue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(regularisation_path, "suited", lambda *_: False)
    monkeypatch.setattr(regularisation_path, "representable", lambda *_: False)
    monkeypatch.setattr(path_solver, "SOLVED", 1e3)  # how large a gap is depends on the processor's rounding
    marked = weak_gaps()
    assert not any(converged for _, converged in marked)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_no_solution_without_memory_to_continue_is_called_converged_at_more_than_twice_the_promised_gap(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regularisation_path, "suited", lambda *_: False)
    monkeypatch.setattr(regularisation_path, "representable", lambda *_: False)
    assert all(gap <= 2 * Settings().tolerance or not converged for gap, converged in weak_gaps(scale))


@pytest.mark.parametrize("error", [1.0, 1e3], ids=["confirmed", "refuted"])
def test_the_final_fit_is_converged_if_double_precision_confirms_it(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regularisation_path, "suited", lambda *_: False)
    monkeypatch.setattr(regularisation_path, "representable", lambda *_: False)
    monkeypatch.setattr(path_solver, "CHECKED", 10**9)
    exact_gradient, checks = path_solver.exact_gradient, list[Tensor]()

    def gradient(design: Design, likelihood: Likelihood, weights: Tensor, ridge: L2Penalty) -> Tensor:
        checks.append(error * exact_gradient(design, likelihood, weights, ridge))
        return checks[-1]

    monkeypatch.setattr(path_solver, "exact_gradient", gradient)
    data = small(7)[2].data()
    selection = fit_selected(data.train, data.validation, StrengthGrid((1e-3, 1e-2), extensible=False), accuracy)
    assert len(checks) == 1
    assert all(trial.converged for trial in selection.trials)
    assert selection.refit_converged == (error == 1.0)


def accuracy(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> float:
    return float((logits.argmax(axis=1) == targets).mean())


def test_the_reference_measures_a_known_distance_to_the_optimum() -> None:
    problem = small(7)[2]
    rows, targets = problem.data().train
    reference = Reference.of(rows, targets)
    solution = solve_path(rows, targets, [1.0 / problem.samples]).solutions[0]
    shrunk = 0.9 * solution.weights.double().numpy()
    gap = reference.gap(shrunk, solution.intercept.double().numpy(), solution.strength)
    assert gap > 1e-5
    point = np.column_stack(
        [solution.intercept.double().numpy() + shrunk @ reference.mean, shrunk @ reference.directions]
    )
    excess = reference.objective(point, 1.0) / solution.objective - 1
    assert gap == pytest.approx(excess, rel=0.02)


def test_a_small_path_computes_on_one_core_and_restores_the_number_of_threads() -> None:
    rows, targets = small(7)[0].data().train
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        solve_path(rows, targets, [1.0], on_step=lambda _place, _solution: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
