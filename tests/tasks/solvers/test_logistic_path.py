"""The exact path: optimal at every strength, streamed or resident."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tasks.solvers.logistic import Settings, Solution, StrengthGrid, fit_selected, solve_path
from tasks.solvers.logistic import device_matrix as rows_module
from tasks.solvers.logistic.device_matrix import ProblemSize
from tasks.solvers.logistic.solution import ABSENT

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

STRENGTHS = np.logspace(-5, 4, 10).tolist()
LITTLE = Settings(memory=100_000)
"""Less memory than the samples take, so that they are streamed."""


def samples(count: int = 700, dimensions: int = 40, classes: int = 6) -> tuple[Floats, Integers]:
    generator = np.random.default_rng(1)
    targets = np.arange(count) % classes
    means = generator.standard_normal((classes, dimensions))
    features = means[targets] + 3 * generator.standard_normal((count, dimensions)) * np.geomspace(2, 0.05, dimensions)
    return np.maximum(features, 0).astype(np.float32), targets.astype(np.int64)


def in_float64(solution: Solution, features: Floats, targets: Integers) -> float:
    """Objective of a solution, from its raw weights."""
    weights, intercept = solution.weights.double().numpy(), solution.intercept.double().numpy()
    return objective(weights, intercept, features, targets, solution.strength)


def objective(
    weights: npt.NDArray[np.float64],
    intercept: npt.NDArray[np.float64],
    features: Floats,
    targets: Integers,
    strength: float,
) -> float:
    logits = features.astype(np.float64) @ weights.T + intercept
    logs = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
    return float(-logs[np.arange(len(targets)), targets].mean() + np.sum(weights**2) / (2 * strength * len(targets)))


def accuracy(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> float:
    return 100 * float(np.mean(logits.argmax(axis=1) == targets))


def test_every_objective_is_a_float64_references_to_a_hundred_thousandth() -> None:
    features, targets = samples()
    path = solve_path(features, targets, STRENGTHS)
    for solution in path.solutions:
        model = LogisticRegression(C=solution.strength, solver="newton-cholesky", tol=1e-12, max_iter=500)
        model.fit(features.astype(np.float64), targets)
        reference = objective(model.coef_, model.intercept_, features, targets, solution.strength)
        assert in_float64(solution, features, targets) == pytest.approx(reference, rel=1e-5)
        assert solution.objective == pytest.approx(reference, rel=1e-5)
        assert solution.gap <= Settings().tolerance


def test_streamed_samples_give_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", 64)
    features, targets = samples()
    whole, streamed = (solve_path(features, targets, STRENGTHS, settings=one) for one in (Settings(), LITTLE))
    for ours, theirs in zip(whole.solutions, streamed.solutions, strict=True):
        assert theirs.objective == pytest.approx(ours.objective, rel=1e-6)
        assert theirs.converged


def test_streamed_samples_give_the_same_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", 100)
    features, targets = samples()
    parts = ((features[:500], targets[:500]), (features[500:], targets[500:]))
    grid = StrengthGrid(tuple(STRENGTHS))
    whole, streamed = (fit_selected(*parts, grid, accuracy, settings=one) for one in (Settings(), LITTLE))
    assert streamed.strength == whole.strength
    assert [trial.score for trial in streamed.trials] == [trial.score for trial in whole.trials]
    assert np.allclose(streamed.weights, whole.weights, atol=1e-3 * np.abs(whole.weights).max())


@pytest.mark.parametrize("dimensions", [40, 900])
@pytest.mark.parametrize("settings", [Settings(), LITTLE])
def test_final_fit_is_the_optimum_on_all_samples(dimensions: int, settings: Settings) -> None:
    features, targets = samples(dimensions=dimensions)
    parts = ((features[:500], targets[:500]), (features[500:], targets[500:]))
    chosen = fit_selected(*parts, StrengthGrid(tuple(STRENGTHS)), accuracy, settings=settings)
    reached = objective(
        chosen.weights.astype(np.float64), chosen.intercept.astype(np.float64), features, targets, chosen.strength
    )
    [optimum] = solve_path(features, targets, [chosen.strength]).solutions
    assert reached == pytest.approx(optimum.objective, rel=1e-5)


def test_fewer_samples_than_dimensions_are_streamed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", 7)
    features, targets = samples(60, 200)
    tiny = Settings(memory=1000)
    whole, streamed = (solve_path(features, targets, STRENGTHS, settings=one) for one in (Settings(), tiny))
    for ours, theirs in zip(whole.solutions, streamed.solutions, strict=True):
        assert theirs.objective == pytest.approx(ours.objective, rel=1e-6)


def test_fifty_thousand_by_two_thousand_of_a_hundred_classes_fit_one_and_a_half_gigabytes() -> None:
    cpu, hundred, images = torch.device("cpu"), ProblemSize(50_000, 2048, 100), ProblemSize(1_281_167, 2048, 1000)
    assert hundred.fits(cpu, memory=15 * 10**8)
    assert not images.fits(cpu, memory=10**10)
    assert images.fits(cpu, memory=None)


@pytest.mark.parametrize("layout", ["as it is", "read-only", "backwards", "by columns"])
def test_features_may_lie_in_memory_as_they_like_and_stay_as_they_are(layout: str) -> None:
    features, targets = samples(count=120, dimensions=10, classes=3)
    given = {"backwards": np.ascontiguousarray(features[::-1])[::-1], "by columns": np.asfortranarray(features)}
    rows = given.get(layout, features.copy())
    rows.flags.writeable = layout != "read-only"
    found, expected = (solve_path(one, targets, [1.0]).solutions[0] for one in (rows, features.copy()))
    assert found.objective == expected.objective
    assert np.array_equal(rows, features)


def test_two_classes_are_solved_as_one_column_whose_halves_are_the_softmaxs_optimum() -> None:
    features, targets = samples(300, 20, 2)
    path = solve_path(features, 2 * targets, STRENGTHS, classes=4)
    assert path.converged
    for solution in path.solutions:
        weights, intercept = solution.raw()
        assert solution.rotated.shape[0] == 1
        assert torch.equal(weights[0], -weights[2])
        assert torch.equal(intercept[0], -intercept[2])
        assert intercept[[1, 3]].tolist() == [ABSENT, ABSENT]
        model = LogisticRegression(C=2 * solution.strength, solver="newton-cholesky", tol=1e-12, max_iter=500)
        model.fit(features.astype(np.float64), targets)
        halves, intercepts = (np.concatenate([-0.5 * part, 0.5 * part]) for part in (model.coef_, model.intercept_))
        reference = objective(halves, intercepts, features, targets, solution.strength)
        assert solution.objective == pytest.approx(reference, rel=1e-6)
        assert in_float64(solution, features, 2 * targets) == pytest.approx(reference, rel=1e-6)


def test_a_selection_over_two_classes_gives_logits_of_both() -> None:
    features, targets = samples(300, 20, 2)
    grid = StrengthGrid((0.01, 1.0), extensible=False)
    found = fit_selected((features[:200], targets[:200]), (features[200:], targets[200:]), grid, accuracy)
    assert found.validation_logits.shape == (100, 2)
    np.testing.assert_array_equal(found.validation_logits[:, 0], -found.validation_logits[:, 1])
    np.testing.assert_array_equal(found.weights[0], -found.weights[1])
    assert accuracy(found.validation_logits, targets[200:]) == found.score
