"""Selection of a strength on validation data, and the final fit on training and validation data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.cpu.threads import threads_for
from tasks.solvers.logistic.device_matrix import DeviceMatrix
from tasks.solvers.logistic.eigenbasis import Design, extended, size_of
from tasks.solvers.logistic.objective import Likelihood, Settings, StrengthGrid
from tasks.solvers.logistic.path_solver import PathSolver, design_of
from tasks.solvers.logistic.regularisation_path import (
    Array,
    as_tensor,
    checked_features,
    likelihood_of,
    solver_of,
    solver_over,
)
from tasks.solvers.logistic.solution import Solution

Logits = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Score = Callable[[Logits, npt.NDArray[np.generic]], float]
"""Score of logits [n, classes] against targets; larger is better."""
OnTrial = Callable[["Trial"], None]
TestScore = Callable[[Callable[[Array], Logits]], float]
"""Score on test data of a classifier, given as the function from features [n, d] to logits [n, classes]."""

EXTENSION_DECADES = 3
"""Maximum extension of the grid in decades, per end."""
LEAP = 3.0
"""Maximum relative increase of the objective by the validation data at the strength where the final path starts."""
STRIDE = 10.0
"""Maximum ratio of consecutive strengths of the final path."""
ON_THE_WAY = 1e-3
"""Tolerance of the intermediate fits of the final path."""
DEFAULTS = Settings()


@dataclass(frozen=True)
class Trial:
    """One point of the validation curve; `gap` is None if the solver has no certificate."""

    strength: float
    score: float
    objective: float
    gap: float | None
    converged: bool
    passes: int
    test_score: float | None = None
    """Score on test data of the same fit, if requested; never part of the selection."""


@dataclass(frozen=True)
class StrengthSelection:
    """The selected strength C, and the classifier fitted with it on training and validation data."""

    solver: Literal["exact", "published"]
    strength: float
    weights: npt.NDArray[np.float32]
    """[classes, d]"""
    intercept: npt.NDArray[np.float32]
    """[classes]"""
    trials: tuple[Trial, ...]
    """The validation curve by ascending strength, including extensions."""
    validation_logits: Logits
    """[n_val, classes] at the selected strength, fitted on training data alone, for temperature scaling."""
    on_edge: bool
    """Whether the selected strength is the first or last one tried, so that a better one may exist beyond it."""
    extended: bool
    refit_gap: float | None
    refit_converged: bool
    passes: int
    """Products with the whole feature matrix, in the search and the final fit."""

    def logits(self, features: Array) -> Logits:
        """Logits [n, classes] of `features` [n, d]."""
        rows = np.asarray(features, dtype=np.float32)
        return np.asarray(rows @ self.weights.T + self.intercept, dtype=np.float32)

    @property
    def score(self) -> float:
        """Validation score of the selected strength."""
        return next(trial.score for trial in self.trials if trial.strength == self.strength)

    @property
    def converged(self) -> bool:
        """Whether every fit met its tolerance."""
        return self.refit_converged and all(trial.converged for trial in self.trials)


@dataclass(frozen=True)
class _Candidate:
    trial: Trial
    solution: Solution
    logits: Logits
    surprise: float
    """Mean negative log-likelihood of the validation data."""


class _Search:
    """Validation curve under construction."""

    def __init__(
        self,
        walk: PathSolver,
        validation: tuple[DeviceMatrix, Array],
        score: Score,
        factor: float,
        test_score: TestScore | None,
    ) -> None:
        self.walk = walk
        self.validation = validation[0]
        self.targets = np.asarray(validation[1])
        self.score = score
        self.test_score = test_score
        self.factor = factor
        self.candidates: list[_Candidate] = []

    def visit(self, strengths: Sequence[float], on_trial: OnTrial | None) -> None:
        """Solve and score ascending `strengths`, continuing from the weakest regularisation so far or restarting."""
        if self.candidates and strengths[0] < self.candidates[-1].trial.strength:
            self.walk.restart()
        for strength in strengths:
            solution = self.walk.advance(self.factor * strength)
            logits = solution.classes.expand_logits(self.validation.logits(solution.rotated.float()))
            trial = Trial(
                strength=strength,
                score=self.score(logits, self.targets),
                objective=solution.objective,
                gap=solution.gap,
                converged=solution.converged,
                passes=solution.passes,
                test_score=None if self.test_score is None else self.test_score(_logits_function(solution)),
            )
            self.candidates.append(_Candidate(trial, solution, logits, surprise(logits, self.targets)))
            if on_trial is not None:
                on_trial(trial)
        self.candidates.sort(key=lambda candidate: candidate.trial.strength)

    def release(self) -> None:
        """Release the samples; only the candidates remain."""
        del self.walk, self.validation

    @property
    def best(self) -> _Candidate:
        """The highest score; on a tie the strongest regularisation."""
        return max(self.candidates, key=lambda candidate: (candidate.trial.score, -candidate.trial.strength))

    @property
    def edge(self) -> Literal["low", "high"] | None:
        """End of the curve at which the best candidate is."""
        if self.best is self.candidates[0]:
            return "low"
        return "high" if self.best is self.candidates[-1] else None


def _logits_function(solution: Solution) -> Callable[[Array], Logits]:
    """The classifier of a solution, for raw features; float32, as the final one."""
    weights, intercepts = (part.to(torch.float32) for part in solution.raw())

    def logits(features: Array) -> Logits:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # shared: the rows are only read
            rows = torch.as_tensor(np.asarray(features, dtype=np.float32)).to(weights.device)
        return np.asarray(torch.addmm(intercepts, rows, weights.T).cpu().numpy(), dtype=np.float32)

    return logits


def fit_selected(  # noqa: PLR0913 - the data, the selection, and two observers
    train: tuple[Array, Array],
    validation: tuple[Array, Array],
    grid: StrengthGrid,
    score: Score,
    *,
    classes: int | None = None,
    settings: Settings = DEFAULTS,
    on_trial: OnTrial | None = None,
    test_score: TestScore | None = None,
) -> StrengthSelection:
    """Select C by `score` on validation data, then fit training and validation data together with it.

    `train` and `validation` are features [n, d] with targets, int [n] or 0/1 [n, k]. For labels 0/1, C has the
    meaning of a two-class softmax per label, as in the paper: ordinary binary regression with 2 C. On a tie the
    strongest regularisation is selected. `test_score` scores every fit on test data for `Trial.test_score`. If the
    best strength is at an end of an extensible grid, the grid is extended with the same spacing, up to three decades
    beyond either end. Raises ValueError for NaN and for shapes that do not match.
    """
    rows, targets = _checked(train, settings.device)
    held, held_targets = _checked(validation, settings.device)
    if classes is None and targets.ndim == 1:
        classes = 1 + int(max(targets.max(), held_targets.max()))
    factor = 2.0 if targets.ndim == 2 else 1.0
    likelihood, present = likelihood_of(targets, classes)
    with threads_for(rows.numel() * likelihood.classes):
        walk = solver_over(rows, likelihood, present, settings, len(held))
        search = _Search(walk, (walk.design.transform(held), held_targets.cpu()), score, factor, test_score)
        del walk  # so that `_joined` can release its samples
        search.visit(grid.rising, on_trial)
        extended = grid.extensible and _extend(search, grid, on_trial)
        best = search.best
        final = _refit(search, (rows, targets), (held, held_targets), classes, settings)
    weights, intercept = (part.to(torch.float32).cpu().numpy() for part in final.raw())
    return StrengthSelection(
        solver="exact",
        strength=best.trial.strength,
        weights=weights,
        intercept=intercept,
        trials=tuple(candidate.trial for candidate in search.candidates),
        validation_logits=best.logits,
        on_edge=search.edge is not None,
        extended=extended,
        refit_gap=final.gap,
        refit_converged=final.converged,
        passes=final.passes + sum(candidate.trial.passes for candidate in search.candidates),
    )


class LabelledPool:
    """Labelled rows in one eigenbasis: parts of them select a strength, and all of them are fitted."""

    def __init__(
        self, labelled: tuple[Array, Array], grid: StrengthGrid, *, classes: int, settings: Settings = DEFAULTS
    ) -> None:
        rows, self._targets = _checked(labelled, settings.device)
        likelihood, present = likelihood_of(self._targets, classes)
        self._grid, self._classes, self._settings = grid, classes, settings
        self._size = rows.numel() * likelihood.classes
        with threads_for(self._size):
            self._design = design_of(rows, likelihood, settings)
            self._walk = solver_of(self._design, likelihood, present, settings)
        self._left = list(grid.rising)
        self._fitted: dict[float, tuple[Logits, Logits]] = {}

    def select(self, train: Indices, validation: Indices, score: Score) -> float:
        """The C of the grid that `fit_selected` selects for these rows, without the final fit."""
        fitted, held = torch.from_numpy(train), torch.from_numpy(validation)
        likelihood, present = likelihood_of(self._targets[fitted], self._classes)
        with threads_for(self._size):
            design, others = self._design.split(fitted, held)
            walk = solver_of(design, likelihood, present, self._settings)
            search = _Search(walk, (others, self._targets[held].cpu().numpy()), score, 1.0, None)
            search.visit(self._grid.rising, None)
        return search.best.trial.strength

    def logits(self, strength: float, features: Array) -> Logits:
        """Logits [m, classes] of `features` [m, d] by the classifier that all rows give at a strength of the grid."""
        with threads_for(self._size):
            while strength not in self._fitted:
                reached = self._left.pop(0)
                weights, intercept = (
                    part.to(torch.float32).cpu().numpy() for part in self._walk.advance(reached).raw()
                )
                self._fitted[reached] = (weights, intercept)
        weights, intercept = self._fitted[strength]
        return np.asarray(np.asarray(features, dtype=np.float32) @ weights.T + intercept, dtype=np.float32)


def surprise(logits: Logits, targets: npt.NDArray[np.generic]) -> float:
    """Mean negative log-likelihood of `logits` [n, c] for int `targets` [n], or summed over 0/1 labels [n, c]."""
    if targets.ndim == 2:
        return float(np.logaddexp(0.0, (1.0 - 2.0 * targets.astype(np.float32)) * logits).sum(axis=1).mean())
    relative = logits - logits[np.arange(len(targets)), targets.astype(np.int64)][:, None]
    return float(torch.from_numpy(relative).logsumexp(dim=1).mean())


def _extend(search: _Search, grid: StrengthGrid, on_trial: OnTrial | None) -> bool:
    """Extend the grid by a decade at a time beyond the end with the best score. Return whether it was extended."""
    if grid.ratio == 1.0:
        return False
    decade = max(1, round(math.log(10.0) / math.log(grid.ratio)))
    for _ in range(EXTENSION_DECADES):
        lowest, highest = search.candidates[0].trial.strength, search.candidates[-1].trial.strength
        if search.edge == "high":
            search.visit([highest * grid.ratio**step for step in range(1, decade + 1)], on_trial)
        elif search.edge == "low":
            search.visit([lowest / grid.ratio**step for step in range(decade, 0, -1)], on_trial)
    return len(search.candidates) > len(grid.strengths)


def _checked(labelled: tuple[Array, Array], device: str) -> tuple[Tensor, Tensor]:
    rows, targets = checked_features(labelled[0]), as_tensor(labelled[1]).to(device)
    if len(rows) != len(targets):
        raise ValueError(f"{len(targets)} targets for {len(rows)} rows of features")
    return rows, targets


def _refit(
    search: _Search, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], classes: int | None, settings: Settings
) -> Solution:
    """The optimum on all data at the selected strength.

    New data increase the objective of weakly regularised solutions most, from which convergence is slow. So the path on
    all data starts at the weakest regularisation whose solution changes little, and reaches the selected one in large
    steps.
    """
    chosen = search.best.trial.strength
    weaker = [candidate for candidate in search.candidates if candidate.trial.strength <= chosen]
    share = len(held[0]) / (len(train[0]) + len(held[0]))
    near = [one for one in weaker if share * one.surprise <= LEAP * one.trial.objective]
    nearest = (near or weaker[:1])[-1]
    search.walk.release()
    likelihood, present = likelihood_of(torch.cat([train[1], held[1]]), classes)
    design = _joined(search, train[0], held[0], likelihood, settings)
    walk = solver_of(design, likelihood, present, settings)
    begin = nearest.trial.strength
    if torch.equal(present.solved, nearest.solution.classes.solved):
        walk.start(design.basis.express(*nearest.solution.basis.restore(nearest.solution.rotated)))
    else:
        begin = search.candidates[0].trial.strength
    steps = max(1, math.ceil(math.log(chosen / begin) / math.log(STRIDE) - 1e-9))
    for step in range(steps):
        walk.advance(search.factor * begin * (chosen / begin) ** (step / steps), ON_THE_WAY)
    return walk.conclude(search.factor * chosen)


def _joined(search: _Search, features: Tensor, more: Tensor, likelihood: Likelihood, settings: Settings) -> Design:
    """Design of all samples, for which those of the search are released.

    With a basis of all dimensions, the coordinates of both parts are available from the search.
    """
    known = search.walk.design
    resident = size_of(features, likelihood, len(more)).fits(known.rows.device, settings.memory)
    if known.basis.complete and (resident or known.rows.streamed):
        joined = known.joined(search.validation)
        search.release()
        return joined
    basis = extended(known.basis, features, more)
    del known
    search.release()
    return Design.within(torch.cat([features, more]), lambda _: basis, likelihood, settings)
