"""Newton's method in the span of a few directions, whose steps need no product with the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.solvers.logistic.objective import Likelihood, LossState

Coefficients = npt.NDArray[np.float64]

SHORTEST_STEP = 1e-4
ROUNDING = 3e-8
"""Relative rounding error of a sum of float32 losses."""
QUADRATIC = 1e-4
"""Relative decrease by a Newton step, after which the next one would decrease the objective by about its square."""
RIDGE = 1e-10
"""Relative to the diagonal; regularises directions that are nearly parallel in float32."""


@dataclass(frozen=True)
class Iterate:
    """Weights [c, r] in the rotated basis (the first coordinate is the intercept), their margins [c, n] and state."""

    weights: Tensor
    margins: Tensor
    state: LossState
    objective: float


@dataclass(frozen=True)
class L2Penalty:
    """The penalty lam / 2 |w|^2 on all coordinates but the first."""

    lam: float

    def value(self, weights: Tensor) -> float:
        """The penalty of `weights` [c, r]."""
        return 0.5 * self.lam * float(torch.linalg.vector_norm(weights[:, 1:], dtype=torch.float64)) ** 2

    def products(self, weights: Tensor, span: Tensor, groups: int) -> tuple[Coefficients, Coefficients]:
        """lam times the inner products of `span` [m, c, r] with `weights` [groups, m] and itself [groups, m, m]."""
        packed = self.packed_products(weights, span, groups).cpu().numpy()
        return packed[:, :, 0], packed[:, :, 1:]

    def packed_products(self, weights: Tensor, span: Tensor, groups: int) -> Tensor:
        """Both [groups, m, 1 + m] in float64, on the device of `span`."""
        directions = span[:, :, 1:].reshape(len(span), groups, -1).transpose(0, 1)
        penalised = weights[:, 1:].reshape(groups, -1)
        both = torch.cat([directions @ penalised[:, :, None], directions @ directions.transpose(1, 2)], dim=2)
        return both.double() * self.lam


@dataclass(frozen=True)
class NewtonStep:
    """Difference of two iterates: weights [c, r] and the corresponding margins [c, n]."""

    weights: Tensor
    margins: Tensor


def minimise(
    likelihood: Likelihood,
    ridge: L2Penalty,
    start: Iterate,
    directions: Tensor,
    images: Tensor,
    *,
    rounds: int,
) -> tuple[Iterate, NewtonStep]:
    """Minimise over `start` plus the span of `directions` [m, c, r] with margins `images` [m, c, n].

    Stops after `rounds` Newton steps, or after one that decreases the objective by at most the fraction
    `QUADRATIC`. The step is the linear combination itself; the difference of the iterates would be dominated by
    rounding for small steps.
    """
    line = _Line(likelihood, start, images, *ridge.products(start.weights, directions, likelihood.groups))
    best = line.origin()
    for _ in range(rounds):
        step, gain = line.newton(best)
        trial = line.search(best, step, gain)
        if trial is None:
            break
        best = trial
        if gain <= QUADRATIC * best.objective:
            break
    moved = NewtonStep(combine(best.coefficients, directions), best.moved)
    margins = start.margins + best.moved
    return Iterate(start.weights + moved.weights, margins, best.state, best.objective), moved


def extrapolate(
    likelihood: Likelihood, ridge: L2Penalty, start: Iterate, directions: Tensor, images: Tensor, *, rounds: int
) -> Tensor:
    """The weights [c, r] that `minimise` finds; the last step is not evaluated, as the caller evaluates them."""
    line = _Line(likelihood, start, images, *ridge.products(start.weights, directions, likelihood.groups))
    best, step = line.origin(), np.zeros_like(line.linear)
    for _ in range(rounds):
        step, gain = line.newton(best)
        if 0 < gain <= QUADRATIC * best.objective:
            break
        trial, step = line.search(best, step, gain), np.zeros_like(step)
        if trial is None:
            break
        best = trial
    return start.weights + combine(best.coefficients + step, directions)


@dataclass(frozen=True)
class _Trial:
    """One combination: coefficients [groups, m], added margins, and objective."""

    coefficients: Coefficients
    moved: Tensor
    state: LossState
    objective: float


@dataclass(frozen=True)
class _Line:
    """The objective restricted to the span, as a function of the coefficients."""

    likelihood: Likelihood
    start: Iterate
    images: Tensor
    linear: Coefficients
    quadratic: Coefficients

    def origin(self) -> _Trial:
        moved = torch.zeros_like(self.start.margins)
        return _Trial(np.zeros_like(self.linear), moved, self.start.state, self.start.objective)

    def at(self, coefficients: Coefficients) -> _Trial:
        """Evaluate one combination."""
        moved = combine(coefficients, self.images)
        state = self.likelihood.state(self.start.margins + moved)
        bent = self.linear + 0.5 * self._quadratic_term(coefficients)
        penalty = self.start.objective - self.start.state.loss + float(np.sum(coefficients * bent))
        return _Trial(coefficients, moved, state, state.loss + penalty)

    def newton(self, trial: _Trial) -> tuple[Coefficients, float]:
        """The Newton step from `trial` [groups, m] and the decrease predicted by the quadratic model."""
        slope, hessian = self.likelihood.curve(trial.state, self.images)
        gradient = slope + self.linear + self._quadratic_term(trial.coefficients)
        step = -_solve(hessian + self.quadratic, gradient)
        return step, -0.5 * float(np.sum(gradient * step))

    def search(self, best: _Trial, step: Coefficients, gain: float) -> _Trial | None:
        """The first backtracked step that does not increase the objective, up to rounding; None if there is none."""
        length = 1.0
        while length > SHORTEST_STEP and gain > 0:
            trial = self.at(best.coefficients + length * step)
            if trial.objective <= best.objective * (1 + ROUNDING):
                return trial
            length *= 0.3
        return None

    def _quadratic_term(self, coefficients: Coefficients) -> Coefficients:
        bent: Coefficients = np.einsum("gab,gb->ga", self.quadratic, coefficients)
        return bent


def combine(coefficients: Coefficients | Tensor, span: Tensor) -> Tensor:
    """The sum of `span` [m, c, k] under `coefficients` [groups, m], as [c, k]."""
    factors = torch.as_tensor(coefficients, dtype=span.dtype, device=span.device)
    if len(factors) == 1:
        return (factors @ span.flatten(1)).view(span.shape[1:])
    return torch.einsum("ca,ack->ck", factors, span)


def _solve(hessian: Coefficients, gradient: Coefficients) -> Coefficients:
    """Solve each group's system, scaled to a unit diagonal and regularised."""
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(hessian, axis1=1, axis2=2), 1e-300))
    scaled = hessian * scale[:, :, None] * scale[:, None, :] + RIDGE * np.eye(hessian.shape[1])
    solved: Coefficients = np.linalg.solve(scaled, (gradient * scale)[:, :, None])[:, :, 0] * scale
    return solved
