"""The path solver in NumPy: losses, Newton directions, and its solutions compared with those of the PyTorch solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.solvers.logistic import (
    Settings,
    StrengthGrid,
    fit_selected,
    host_blocks,
    host_newton,
    regularisation_path,
    solve_path,
)
from tasks.solvers.logistic.conjugate_gradients import MEASURED_FROM, Hindsight
from tasks.solvers.logistic.host_loss import Floats, HostLoss, HostSoftmax, HostState, host_loss
from tasks.solvers.logistic.host_path import FEW, HostPathSolver, suited
from tasks.solvers.logistic.objective import Binary, Likelihood, Multinomial, TwoClasses
from tasks.solvers.logistic.path_solver import ConvergenceTrace, design_of
from tests.benchmarks._drawn import drawn
from tests.benchmarks._gap import Reference

SAMPLES, CLASSES = 50, 4
SEPARABLE = replace(
    drawn(3, 1, 1e6)[0],
    samples=400,
    dimensions=60,
    classes=2,
    signal=0.8,
    noise=0.01,
    multi_label=False,
    rectified=False,
    scale=1.0,
)
"""Two nearly separable classes, most of whose samples hardly bend the loss at weak regularisation."""


def likelihoods() -> list[Likelihood]:
    made = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (3, SAMPLES), generator=made)
    return [Multinomial(torch.arange(SAMPLES) % CLASSES, CLASSES), Binary(labels.float()), TwoClasses(labels[0])]


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("likelihood", likelihoods(), ids=lambda likelihood: type(likelihood).__name__)
def test_a_loss_in_numpy_is_that_in_pytorch_with_its_derivatives(likelihood: Likelihood) -> None:
    loss, logits, span = (
        host_loss(likelihood),
        random(likelihood.classes, SAMPLES),
        random(2, likelihood.classes, SAMPLES),
    )
    margins = loss.margins(logits.copy())
    theirs = likelihood.state(likelihood.margins(torch.from_numpy(logits).float()))
    state = loss.state(margins)
    assert state.loss == pytest.approx(theirs.loss, rel=1e-6)
    assert np.allclose(state.residual * SAMPLES, theirs.residual.numpy(), atol=1e-6)
    assert np.allclose(loss.curvatures(state) * SAMPLES, theirs.curvatures().numpy(), atol=1e-6)
    directions = np.stack([loss.margins(one.copy()) for one in span])
    slopes, bends = likelihood.curve(theirs, torch.from_numpy(directions).float())
    assert np.allclose(loss.curve(state, directions)[0], slopes, atol=1e-5)
    assert np.allclose(loss.curve(state, directions)[1], bends, atol=1e-5)
    short = loss.bend(state)(span[0].astype(np.float32))
    longer, shorter = (loss.state(margins + length * directions[0]).residual for length in (1e-4, -1e-4))
    assert np.allclose(short, (longer - shorter) / 2e-4, atol=1e-6)


def test_the_loss_of_certain_samples_keeps_its_digits() -> None:
    """Where 1 - p is smaller than the rounding of p."""
    loss: HostLoss = HostSoftmax(np.zeros(1, dtype=np.int64), 2)
    state = loss.state(np.array([[0.0], [-45.0]]))
    assert state.loss == pytest.approx(np.exp(-45.0), rel=1e-12)
    assert state.residual[:, 0] == pytest.approx([-np.exp(-45.0), np.exp(-45.0)], rel=1e-12)


def solver_of_two() -> HostPathSolver:
    rows, targets = (torch.from_numpy(part) for part in SEPARABLE.data().train)
    likelihood, classes = regularisation_path.likelihood_of(targets, None)
    solver = regularisation_path.solver_over(rows, likelihood, classes, Settings())
    assert isinstance(solver, HostPathSolver)
    return solver


def test_the_blocks_of_a_single_column_are_its_hessian() -> None:
    solver = solver_of_two()
    solver.advance(1e3)
    newton, state = solver.newton, solver.at.state
    gradient, ridge = random(1, newton.design.width), np.full(newton.design.width, 1e-4)
    ridge[0] = 0.0
    newton.blocks = host_blocks.HostBlocks(1, independent=True)
    rounds: list[int] = []
    while newton.blocks.inverses is None and len(rounds) < 20:
        newton.blocks._before = 0
        newton.direction(state, gradient, ridge, 0.0)
        rounds.append(newton.blocks.rounds)
    assert rounds[-1] <= 2 < rounds[0]


@pytest.mark.parametrize("labels", [1, 3])
def test_independent_labels_are_solved_by_their_blocks_in_two_iterations(labels: int) -> None:
    problem = replace(SEPARABLE, classes=labels, multi_label=True, noise=0.1)
    rows, targets = problem.data().train
    likelihood, classes = regularisation_path.likelihood_of(torch.from_numpy(targets), None)
    solver = regularisation_path.solver_over(torch.from_numpy(rows), likelihood, classes, Settings())
    assert isinstance(solver, HostPathSolver)
    for strength in (1.0, 10.0, 100.0):
        solver.advance(strength)
    blocks = solver.newton.blocks = host_blocks.HostBlocks(labels, independent=True)
    blocks._wasted, blocks._count = np.inf, solver.newton.design.width
    ridge = np.r_[0.0, np.full(solver.newton.design.width - 1, 1e-4)]
    solver.newton.direction(solver.at.state, random(labels, len(ridge)), ridge, 0.0)
    assert blocks.bounding
    assert blocks.rounds <= 2


def test_the_factor_of_coupled_classes_is_the_softmax_hessian_whose_common_intercept_is_penalised() -> None:
    rows, chance = np.column_stack([np.ones(40), random(40, 3)]), random(3, 40, seed=1)
    chance = np.exp(chance) / np.exp(chance).sum(axis=0)
    factor = host_blocks.coupled_factor(rows, chance, host_blocks.uncertain_pairs(chance), 0.1)
    assert factor is not None
    state, direction = host_loss(Multinomial(torch.zeros(40, dtype=torch.int64), 3)), random(3, 4, seed=2)
    direction -= direction.mean(axis=0)
    change = state.bend(host_loss_state(chance), double=True)((direction @ rows.T).copy())
    expected = change @ rows + direction * np.array([0.0, 0.1, 0.1, 0.1])
    found = (factor @ factor.T).numpy() @ direction.reshape(-1)
    assert np.allclose(found.reshape(3, 4), expected, atol=1e-9)


def host_loss_state(chance: Floats) -> HostState:
    return HostState(0.0, chance, chance)


def test_iterations_that_go_on_measure_by_how_much_earlier_estimates_were_too_small() -> None:
    hindsight = Hindsight()
    for energy, estimate in ((1.0, 0.5), (1.5, 0.1), (2.0, 0.05), (2.0, 0.0)):
        hindsight.note(energy, estimate)
    hindsight.learn()
    assert hindsight.factor == pytest.approx(5.0)
    hindsight.note(1.0, 0.1)
    hindsight.learn()
    assert hindsight.factor == pytest.approx(5.0), "a single iteration measures nothing"
    for _ in range(MEASURED_FROM):
        hindsight.note(1.0, 0.1)
    hindsight.learn()
    assert hindsight.factor == 1.0


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_certified_decrease_is_one_whose_gap_is_within_the_tolerance(steps: int) -> None:
    trace = ConvergenceTrace(first=1e-6, last=1e-6, steps=steps)
    certified = trace.certified(1e-6)
    assert replace(trace, last=certified).gap <= 1e-6
    assert (certified == 0) == (steps == 5), "after slow steps no decrease is certified"


def test_a_direction_ends_once_its_decrease_is_certified_and_not_before() -> None:
    rows, targets = replace(SEPARABLE, classes=4, noise=0.1).data().train
    likelihood = Multinomial(torch.from_numpy(targets), 4)
    design = design_of(torch.from_numpy(rows), likelihood, Settings())
    loss = host_loss(likelihood)
    margins = loss.margins(random(4, len(rows)))
    state, ridge = loss.state(margins), np.full(design.width, 1e-4)
    ridge[0] = 0.0

    def solved(certified: float) -> tuple[int, float]:
        newton = host_newton.HostNewton(design, loss, 4)
        gradient = newton.rows.exact_transpose_matmul(state.residual, hard=True)
        _, decrement = newton.direction(state, gradient, ridge, 1e-9, certified)
        return newton.blocks.rounds, decrement

    rounds, whole = solved(0.0)
    early, above = solved(1.2 * whole)
    assert early < rounds
    assert whole * (1 - 1e-3) <= above <= 1.2 * whole
    assert solved(0.9 * whole)[0] == rounds, "a decrease that is larger is not certified"


def test_blocks_in_single_precision_are_those_in_double_precision_where_the_loss_bends() -> None:
    rows, curvatures = random(60, 8), np.abs(random(3, 60, seed=1)) / 60
    exact = host_blocks.inverses(rows, curvatures, 1e-2)
    short = host_blocks.inverses(rows.astype(np.float32), curvatures, 1e-2)
    assert (exact.itemsize, short.itemsize) == (8, 4)
    assert np.allclose(short, exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize("whole", [True, False], ids=["blocks", "half precision"])
def test_two_nearly_separable_classes_are_within_the_promised_gap_with_samples_left_out(
    whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked: list[int] = []
    pick = host_newton.HostMatrix.picked

    def noted(self: host_newton.HostMatrix, places: np.ndarray) -> host_newton.HostMatrix:
        picked.append(len(places))
        return pick(self, places)

    monkeypatch.setattr(host_newton.HostMatrix, "picked", noted)
    monkeypatch.setattr(host_newton, "SCREENED_SIZE", 1)
    monkeypatch.setattr(host_blocks, "SMALL", 1)
    monkeypatch.setattr(host_blocks, "MOST_WHOLE", 512 if whole else 8)
    rows, targets = SEPARABLE.data().train
    reference = Reference.of(rows, targets)
    for solution in solve_path(rows, targets, np.logspace(-4, 5, 19).tolist()).solutions:
        gap = reference.gap(solution.weights.numpy(), solution.intercept.numpy(), solution.strength)
        assert gap <= Settings().tolerance, f"C = {solution.strength:.1e}"
    assert bool(picked) != whole or min(picked) < SEPARABLE.samples


def test_both_solvers_select_the_same_strength_and_score(monkeypatch: pytest.MonkeyPatch) -> None:
    data = replace(SEPARABLE, classes=5, noise=0.1).data()
    grid = StrengthGrid.of_weight_decays(-3, 3, 13)
    chosen = []
    for in_numpy in (True, False):
        monkeypatch.setattr(regularisation_path, "suited", lambda *_, in_numpy=in_numpy: in_numpy)
        chosen.append(fit_selected(data.train, data.validation, grid, accuracy))
    assert chosen[0].strength == chosen[1].strength
    assert [trial.score for trial in chosen[0].trials] == [trial.score for trial in chosen[1].trials]


def accuracy(logits: np.ndarray, targets: np.ndarray) -> float:
    return 100 * float(np.mean(logits.argmax(axis=1) == targets))


def test_large_problems_and_limited_memory_are_not_solved_in_numpy() -> None:
    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    two, many = TwoClasses(torch.arange(200) % 2), Multinomial(torch.arange(200) % 2, 2)
    assert suited(design_of(rows, two, Settings()), two)
    assert not suited(design_of(rows, two, Settings(memory=10_000)), two)
    many.classes = FEW
    assert not suited(design_of(rows, two, Settings()), many)
