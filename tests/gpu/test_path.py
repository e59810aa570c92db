"""The exact path on a GPU: the optimum of a CPU, within the stated memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tasks.solvers.logistic import Settings, Solution, StrengthGrid, fit_selected, solve_path
from tasks.solvers.logistic.device_matrix import ProblemSize
from tasks.solvers.logistic.path_solver import PathSolver
from tasks.solvers.logistic.regularisation_path import checked_features, likelihood_of
from tests.benchmarks._features import made_up, made_up_labels

STRENGTHS = np.logspace(-6, 4, 11).tolist()
OBJECTIVE = 2e-6
"""Relative distance of two objectives: each solution is within 5e-7 of the optimum by its certificate, its objective
within 5e-7 of what its weights have (`PathSolver._repaired`), so 2 x (5e-7 + 5e-7)."""
RAW = OBJECTIVE + 3e-6
"""The same of an objective from the raw weights: rotating them back rounds each to 6e-8, so that at the margins of 50
that C = 1e4 leads to, logits are off by 3e-6, and so is the loss, relative."""
SHAPES = {"many samples": (3000, 300, 10), "few samples": (200, 600, 7), "many classes": (2500, 128, 150)}


@pytest.mark.parametrize("shape", SHAPES)
def test_objectives_are_the_cpus(shape: str) -> None:
    data = made_up(*SHAPES[shape], signal=0.3)
    on_cpu, on_gpu = (solve_path(*data.train, STRENGTHS, settings=Settings(device=name)) for name in ("cpu", "cuda"))
    for ours, theirs in zip(on_gpu.solutions, on_cpu.solutions, strict=True):
        assert ours.converged
        assert ours.objective == pytest.approx(theirs.objective, rel=OBJECTIVE)
        assert exact_objective(ours, *data.train) == pytest.approx(theirs.objective, rel=RAW)


def test_objectives_of_several_labels_are_the_cpus() -> None:
    data = made_up_labels(1500, 256, 12, signal=0.3)
    on_cpu, on_gpu = (solve_path(*data.train, STRENGTHS, settings=Settings(device=name)) for name in ("cpu", "cuda"))
    for ours, theirs in zip(on_gpu.solutions, on_cpu.solutions, strict=True):
        assert ours.converged
        assert ours.objective == pytest.approx(theirs.objective, rel=OBJECTIVE)


def test_iterations_and_line_searches_are_replayed() -> None:
    data = made_up(3000, 300, 10, signal=0.3)
    likelihood, present = likelihood_of(torch.from_numpy(data.train[1]).cuda(), None)
    walk = PathSolver.over(checked_features(data.train[0]), likelihood, present, Settings(device="cuda"))
    assert all(walk.advance(strength).converged for strength in STRENGTHS)
    assert walk.replays.refused is None
    assert walk.replays.capture is not None


def test_streamed_samples_give_the_same_choice_within_their_memory(gpu: torch.device) -> None:
    data = made_up(60_000, 512, 20, signal=0.2)
    grid = StrengthGrid(tuple(np.logspace(-4, 2, 7)), extensible=False)
    whole = fit_selected(data.train, data.validation, grid, accuracy, settings=Settings(device="cuda"))
    held = torch.cuda.max_memory_allocated(gpu)
    torch.cuda.reset_peak_memory_stats()
    size = ProblemSize(60_000, 512, 20, held=15_000)
    memory = size.bytes(streamed=True)
    streamed = fit_selected(
        data.train, data.validation, grid, accuracy, settings=Settings(device="cuda", memory=memory)
    )
    assert streamed.strength == whole.strength
    assert [trial.objective for trial in streamed.trials] == pytest.approx(
        [trial.objective for trial in whole.trials], rel=OBJECTIVE
    )
    assert held <= size.bytes()
    assert torch.cuda.max_memory_allocated(gpu) <= memory


def accuracy(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]) -> float:
    return 100 * float(np.mean(logits.argmax(axis=1) == targets))


def exact_objective(solution: Solution, rows: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """In float64 from the raw weights, on the CPU."""
    weights, intercept = solution.weights.double().cpu(), solution.intercept.double().cpu()
    logits = torch.from_numpy(rows).double() @ weights.T + intercept
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets))
    return float(loss + weights.square().sum() / (2 * solution.strength * len(targets)))
