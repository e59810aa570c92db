"""The path as a card computes it, emulated on the CPU: the same optimum, few waits for the host, the stated memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tasks.solvers.logistic import (
    Settings,
    Solution,
    StrengthGrid,
    fit_selected,
    path_solver,
    regularisation_path,
    solve_path,
)
from tasks.solvers.logistic import device_matrix as device_matrix_module
from tasks.solvers.logistic import newton_direction as newton_direction_module
from tasks.solvers.logistic.device_matrix import ProblemSize
from tasks.solvers.logistic.eigenbasis import Design
from tasks.solvers.logistic.path_solver import PathSolver
from tasks.solvers.logistic.regularisation_path import checked_features, likelihood_of
from tasks.solvers.logistic.replays import Replays
from tasks.solvers.logistic.subspace_newton import Iterate, L2Penalty, NewtonStep, extrapolate, minimise
from tasks.solvers.logistic.subspace_on_card import extrapolate_on_card, minimise_on_card
from tests.benchmarks._features import Labelled, made_up, made_up_labels
from tests.tasks.dispatch_counts import DispatchCounts, counted, emulated_card

STRENGTHS = np.logspace(-6, 4, 11).tolist()
OPTIMUM = 1.1e-6
"""Relative: each of two solutions is within 5e-7 of the optimum by its certificate, and an objective's sum over float32
losses is off by 3e-8 (`subspace_newton.ROUNDING`)."""


@pytest.fixture(scope="module")
def data() -> Labelled:
    return made_up(600, 96, 24, signal=0.3)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
def test_a_card_finds_the_optimum_that_a_cpu_finds(labels: bool, graphs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_up_labels(500, 96, 6, signal=0.3) if labels else made_up(600, 96, 24, signal=0.3)
    on_cpu = solve_path(*data.train, STRENGTHS)
    monkeypatch.setattr(device_matrix_module, "MOST_REPLAYED", 1 << 23 if graphs else 0)
    with emulated_card() as counts:
        on_card = solve_path(*data.train, STRENGTHS)
    assert on_card.converged
    assert (counts.operations["graph"] > 0) == graphs
    found, expected = ([one.objective for one in path.solutions] for path in (on_card, on_cpu))
    assert found == pytest.approx(expected, rel=OPTIMUM)


def per_strength(data: Labelled, counts: DispatchCounts) -> tuple[float, float]:
    """Numbers that the host waits for, and kernels, per C."""
    likelihood, present = likelihood_of(torch.from_numpy(data.train[1]), None)
    walk = PathSolver.over(checked_features(data.train[0]), likelihood, present, Settings())
    reads, launches = counts.host_reads, counts.launches
    for strength in STRENGTHS:
        walk.advance(strength)
    return (counts.host_reads - reads) / len(STRENGTHS), (counts.launches - launches) / len(STRENGTHS)


def test_iterations_and_line_searches_are_replayed_as_one_launch_each(data: Labelled) -> None:
    with counted() as counts:
        on_cpu, operations = per_strength(data, counts)
    with emulated_card() as counts:
        on_card, launches = per_strength(data, counts)
    assert counts.operations["graph"] > 10 * len(STRENGTHS)
    assert on_card < 17
    assert on_card < 0.3 * on_cpu
    assert launches < 350
    assert launches < 0.35 * operations


@pytest.mark.parametrize("labels", [False, True])
def test_a_line_search_on_the_device_takes_the_hosts_steps_and_reads_once_per_trial(labels: bool) -> None:
    made = made_up_labels(300, 48, 5, signal=0.3) if labels else made_up(300, 48, 8, signal=0.3)
    likelihood, present = likelihood_of(torch.from_numpy(made.train[1]), None)
    walk = PathSolver.over(checked_features(made.train[0]), likelihood, present, Settings())
    walk.advance(1e-4)
    ridge = L2Penalty(likelihood.penalised / (1e-2 * len(walk.design)))
    start = walk._under(walk.point, ridge)
    directions = torch.stack([walk._direction(ridge, 0.0).weights, start.weights])
    images = torch.stack([walk._margins(one) for one in directions])
    arguments = likelihood, ridge, start, directions, images
    on_host, step = minimise(*arguments, rounds=3)
    with counted() as counts:
        on_device, moved = minimise_on_card(*arguments, rounds=3, replays=Replays())
    assert on_device.objective < start.objective
    assert on_device.objective == pytest.approx(on_host.objective, rel=1e-9)
    assert torch.allclose(moved.weights, step.weights, rtol=1e-4, atol=1e-6)
    assert on_device.state.loss == pytest.approx(on_host.state.loss, rel=1e-7)
    assert on_device.state.most_curved == pytest.approx(float(on_host.state.curvature().max()), rel=1e-5)
    assert counts.host_reads <= 3
    ours, theirs = extrapolate_on_card(*arguments, rounds=8, replays=Replays()), extrapolate(*arguments, rounds=8)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_direction_that_leads_nowhere_is_not_taken_on_the_device() -> None:
    made = made_up(200, 32, 4, signal=0.3)
    likelihood, present = likelihood_of(torch.from_numpy(made.train[1]), None)
    walk = PathSolver.over(checked_features(made.train[0]), likelihood, present, Settings())
    walk.advance(1e-3)
    nowhere = torch.zeros(1, *walk.point.weights.shape)
    images = torch.zeros(1, *walk.point.margins.shape)
    arguments = likelihood, L2Penalty(1e-3), walk.point, nowhere, images
    found, moved = minimise_on_card(*arguments, rounds=3, replays=Replays())
    assert found.objective == walk.point.objective
    assert not moved.weights.any()


@dataclass(frozen=True)
class Shape:
    """A problem, with limits of `device_matrix` scaled to it."""

    size: tuple[int, int, int]
    graphs: bool
    labels: bool = False


SHAPES = {
    "dimensions": Shape((1250, 128, 4), graphs=True),
    "classes": Shape((900, 32, 40), graphs=False),
    "classes, graphs": Shape((900, 32, 40), graphs=True),
    "labels": Shape((900, 24, 40), graphs=False, labels=True),
    "labels, graphs": Shape((900, 24, 40), graphs=True, labels=True),
}
"""The first two have the proportions of 50,000 x 2,048 with 100 and 1,000 classes."""


@pytest.mark.parametrize("name", SHAPES)
def test_a_selection_takes_what_is_stated_of_the_device_and_at_most_a_twentieth_less(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, grid = SHAPES[name], StrengthGrid(tuple(np.logspace(-4, 3, 3)), extensible=False)
    limits = {"BLOCK": 512, "MOST_LEADING": 12, "CLASSES_AT_ONCE": 1 << 15, "BLOCKS_AT_ONCE": 1 << 13}
    limits |= {"AT_ONCE": 1 << 13, "TRIALS_HELD": 3, "MOST_REPLAYED": 1 << 30 if shape.graphs else 0}
    for limit, value in limits.items():
        monkeypatch.setattr(device_matrix_module, limit, value)
    monkeypatch.setattr(newton_direction_module, "rough_precision", lambda device: torch.bfloat16)
    data = (made_up_labels if shape.labels else made_up)(*shape.size, signal=0.2)
    with emulated_card() as counts:
        found = fit_selected(data.train, data.validation, grid, first_right, settings=Settings(memory=10**12))
    samples, dimensions, classes = shape.size
    size = ProblemSize(samples, dimensions, classes, len(data.validation[0]), shape.labels)
    assert found.converged
    assert counts.peak <= size.bytes() <= 1.05 * counts.peak


def first_right(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> float:
    known = (
        targets[np.arange(len(targets)), logits.argmax(axis=1)] if targets.ndim == 2 else logits.argmax(1) == targets
    )
    return 100 * float(np.mean(known))


def test_fifty_thousand_samples_of_two_thousand_dimensions_take_less_than_was_promised() -> None:
    """2.20 and 6.70 GB."""
    hundred, thousand = (ProblemSize(50_000, 2048, classes, held=12_500).bytes() for classes in (100, 1000))
    assert hundred <= 1.6e9
    assert thousand <= 5.0e9


def test_the_final_fit_begins_when_the_search_has_let_its_margins_go(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_up(600, 32, 30, signal=0.2)
    grid = StrengthGrid(tuple(np.logspace(-4, 2, 4)), extensible=False)
    live = []
    joined = Design.joined

    def watched(self: Design, *arguments: object) -> Design:
        live.append(counts.live)
        return joined(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Design, "joined", watched)
    with counted() as counts:
        fit_selected(data.train, data.validation, grid, accuracy)
    samples = len(data.train[0]) + len(data.validation[0])
    assert live
    assert live[0] <= 4 * (3 * 33 * samples + 8 * 30 * 33 + 4 * samples)


def accuracy(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> float:
    return 100 * float(np.mean(logits.argmax(axis=1) == targets))


def test_margins_that_drifted_from_their_weights_are_found_and_the_descent_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As near C = 1e3 of separable labels, where nearly parallel steps leave rounding: 2e-2 of the objective."""
    data = made_up_labels(400, 64, 6, signal=0.0)
    drifts: list[int] = []
    minimise = PathSolver._minimise

    def drifting(self: PathSolver, *arguments: object) -> tuple[Iterate, NewtonStep]:
        point, moved = minimise(self, *arguments)  # type: ignore[arg-type]
        drifts.append(len(drifts))
        return (replace(point, objective=0.97 * point.objective) if len(drifts) % 7 == 0 else point), moved

    monkeypatch.setattr(regularisation_path, "suited", lambda *_: False)
    monkeypatch.setattr(path_solver, "DRIFT_FROM", 1)
    monkeypatch.setattr(PathSolver, "_minimise", drifting)
    path = solve_path(*data.train, STRENGTHS)
    assert len(drifts) >= 7
    for solution in path.solutions:
        assert not solution.converged or exact_objective(solution, *data.train) == pytest.approx(
            solution.objective, rel=1e-6
        )
    assert path.converged


def exact_objective(solution: Solution, rows: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """Of binary labels, in float64 from the raw weights."""
    weights, known = solution.weights.double(), torch.from_numpy(targets).double()
    logits = torch.from_numpy(rows).double() @ weights.T + solution.intercept.double()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, known, reduction="none")
    penalty = weights.square().sum() / (2 * solution.strength * len(known))
    return float(losses.sum(dim=1).mean() + penalty)
