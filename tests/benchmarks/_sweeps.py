"""Other ways through the same 45 values of C, written from their descriptions: what the exact path is compared with.

All of them visit C from weak to strong regularisation, start every fit from the last one, score each on validation data
and fit everything once more with the best C, as the published script does (paper appendix A.2).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.linalg import LinAlgWarning
from scipy.special import expit, logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, _logistic

from tests.benchmarks._features import Integers, Labelled

Rows = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Score = Callable[[npt.NDArray[np.float32], Integers], float]

ITERATIONS = 100
OLD_TOLERANCE = 1e-4


@dataclass
class Sweep:
    """Weights [c, 1 + d], intercept first, by C; and the selected one."""

    weights: dict[float, Floats] = field(default_factory=dict)
    strength: float = 0.0
    stopped: bool = False
    """Whether the time limit was reached."""


@dataclass(frozen=True)
class Problem:
    """One fit: binary for two classes, else softmax."""

    rows: Rows
    targets: Integers
    strength: float
    start: Floats | None
    """Weights [c, 1 + d] of the last fit."""
    label: int | None = None
    """Index of the label for multi-label data."""


Fit = Callable[[Problem], Floats]


def sweep(data: Labelled, strengths: Sequence[float], score: Score, fit: Fit) -> Sweep:
    """The whole selection with one fitting method. Several labels are fitted one by one, each with 2 C."""
    found = Sweep()
    best, state = -np.inf, None
    for strength in sorted(strengths, reverse=True):
        state = _fit_all(data.train, strength, state, fit)
        found.weights[strength] = state
        value = score(_logits(state, data.validation[0]), data.validation[1])
        if value > best:
            best, found.strength = value, strength
    rows = np.concatenate([data.train[0], data.validation[0]])
    targets = np.concatenate([data.train[1], data.validation[1]])
    _fit_all((rows, targets), found.strength, state, fit)
    return found


def scikit_learn(problem: Problem) -> Floats:
    """scikit-learn's defaults: L-BFGS, stopped after 100 iterations."""
    return _by_scikit_learn(problem, ITERATIONS, OLD_TOLERANCE)


def paper_scaling(problem: Problem) -> Floats:
    """The release that the paper used minimised the sum of the losses, not their mean, with L-BFGS at scipy's defaults.

    It therefore stops later: its tolerance of 1e-4 is on the gradient of a sum.
    """
    many = len(np.unique(problem.targets)) > 2
    loss = _softmax_loss if many else _binary_loss
    start = _start(problem, int(problem.targets.max()) + 1 if many else 1)
    rows = problem.rows.astype(np.float64)
    arguments = (rows, _targets(problem.targets, many), 1.0 / problem.strength, start.shape)
    options = {"gtol": OLD_TOLERANCE, "maxiter": ITERATIONS}
    minimise: Any = optimize.minimize
    solved = minimise(loss, start.ravel(), arguments, method="L-BFGS-B", jac=True, options=options)
    return np.asarray(solved.x).reshape(start.shape)


@dataclass
class ToTheGap:
    """scikit-learn without its limit of iterations, stopped as soon as its objective is `goal(problem)` or lower."""

    goal: Callable[[Problem], float]
    limit_s: float
    stopped: bool = False
    _until: float | None = None

    def __call__(self, problem: Problem) -> Floats:
        """One fit; after the time limit nothing is computed."""
        self._until = self._until or time.process_time() + self.limit_s
        goal = self.goal(problem)

        def heard(intermediate_result: Any) -> None:
            self.stopped = self.stopped or time.process_time() > (self._until or 0.0)
            if self.stopped or intermediate_result.fun <= goal:
                raise StopIteration

        minimize: Any = optimize.minimize

        def minimise(*arguments: Any, options: dict[str, Any], **others: Any) -> Any:
            exact = {**options, "ftol": 0.0, "gtol": 0.0}
            return minimize(*arguments, **{**others, "options": exact, "callback": heard})

        if self.stopped:
            return _start(problem, 1 if problem.label is not None else int(problem.targets.max()) + 1)
        with patch.object(_logistic.optimize, "minimize", minimise):
            return _by_scikit_learn(problem, 100_000, 1e-15)


@dataclass
class Limited:
    """A fit that is skipped once `limit_s` of processor time have passed since the first one."""

    fit: Fit
    limit_s: float
    stopped: bool = False
    _until: float | None = None

    def __call__(self, problem: Problem) -> Floats:
        """One fit, or the start."""
        self._until = self._until or time.process_time() + self.limit_s
        self.stopped = self.stopped or time.process_time() > self._until
        if self.stopped:
            return _start(problem, 1 if problem.label is not None else int(problem.targets.max()) + 1)
        return self.fit(problem)


def newton_cholesky(problem: Problem) -> Floats:
    """scikit-learn's Newton method with the full Hessian."""
    return _by_scikit_learn(problem, ITERATIONS, OLD_TOLERANCE, "newton-cholesky")


def objective(weights: Floats, rows: Rows, targets: Integers, strength: float) -> float:
    """Mean loss plus |W|^2 / (2 C n) in float64, intercept first and free; for labels the sum over their columns."""
    exact = rows.astype(np.float64)
    if targets.ndim == 2:
        return sum(label_objectives(weights, exact, targets, strength))
    return _softmax_loss(weights.ravel(), exact, _targets(targets, True), 1.0 / strength, weights.shape)[0] / len(rows)


def label_objectives(weights: Floats, rows: Rows, targets: Integers, strength: float) -> list[float]:
    """The same for each label, fitted with 2 C."""
    exact = rows.astype(np.float64)
    pairs = zip(weights, targets.T, strict=True)
    return [_binary_mean(one[None], exact, labels, 2 * strength) for one, labels in pairs]


def _binary_mean(weights: Floats, rows: Floats, targets: Integers, strength: float) -> float:
    return _binary_loss(weights.ravel(), rows, _targets(targets, False), 1.0 / strength, weights.shape)[0] / len(rows)


def _fit_all(labelled: tuple[Rows, Integers], strength: float, state: Floats | None, fit: Fit) -> Floats:
    rows, targets = labelled
    if targets.ndim == 1:
        return fit(Problem(rows, targets, strength, state))
    starts = [None if state is None else state[label : label + 1] for label in range(targets.shape[1])]
    fits = [fit(Problem(rows, targets[:, label], 2 * strength, start, label)) for label, start in enumerate(starts)]
    return np.concatenate(fits)


def _by_scikit_learn(problem: Problem, iterations: int, tolerance: float, solver: str = "lbfgs") -> Floats:
    settings = {"warm_start": True, "max_iter": iterations, "tol": tolerance, "solver": solver}
    model = LogisticRegression(C=problem.strength, **settings)
    if problem.start is not None:
        model.coef_, model.intercept_ = problem.start[:, 1:], problem.start[:, 0]
        model.classes_ = np.unique(problem.targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        model.fit(problem.rows, problem.targets)
    return np.column_stack([model.intercept_, model.coef_]).astype(np.float64)


def _start(problem: Problem, classes: int) -> Floats:
    return np.zeros((classes, 1 + problem.rows.shape[1])) if problem.start is None else problem.start


def _targets(targets: Integers, many: bool) -> Floats:
    """One-hot [n, c], or [n, 1] of 0 and 1."""
    return np.eye(int(targets.max()) + 1)[targets] if many else targets[:, None].astype(np.float64)


def _softmax_loss(
    flat: Floats, rows: Floats, targets: Floats, penalty: float, shape: tuple[int, ...]
) -> tuple[float, Floats]:
    weights = flat.reshape(shape)
    logits = rows @ weights[:, 1:].T + weights[:, 0]
    logs = logits - logsumexp(logits, axis=1, keepdims=True)
    return _penalised(-float(np.sum(targets * logs)), np.exp(logs) - targets, weights, rows, penalty)


def _binary_loss(
    flat: Floats, rows: Floats, targets: Floats, penalty: float, shape: tuple[int, ...]
) -> tuple[float, Floats]:
    weights = flat.reshape(shape)
    logits = rows @ weights[:, 1:].T + weights[:, 0]
    loss = float(np.sum(np.logaddexp(0.0, logits) - targets * logits))
    return _penalised(loss, expit(logits) - targets, weights, rows, penalty)


def _penalised(loss: float, residual: Floats, weights: Floats, rows: Floats, penalty: float) -> tuple[float, Floats]:
    gradient = np.column_stack([residual.sum(axis=0), residual.T @ rows + penalty * weights[:, 1:]])
    return loss + 0.5 * penalty * float(np.sum(weights[:, 1:] ** 2)), gradient.ravel()


def _logits(weights: Floats, rows: Rows) -> npt.NDArray[np.float32]:
    return (rows @ weights[:, 1:].T.astype(np.float32) + weights[:, 0].astype(np.float32)).astype(np.float32)
