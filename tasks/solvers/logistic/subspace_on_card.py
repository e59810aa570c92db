"""`subspace_newton` on a device that runs asynchronously: its small systems are solved there, in float64.

Newton steps, line search and stopping rules are the same. The host reads four numbers of a trial at once, so it waits
once per trial instead of once for each system and each loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tasks.solvers.logistic.objective import Likelihood, LossState
from tasks.solvers.logistic.subspace_newton import (
    QUADRATIC,
    RIDGE,
    ROUNDING,
    SHORTEST_STEP,
    Iterate,
    L2Penalty,
    NewtonStep,
    combine,
)


def evaluated(likelihood: Likelihood, margins: Tensor, *further: Tensor) -> tuple[LossState, list[float]]:
    """The state at `margins` [c, n] with its largest curvature, and `further` numbers of the device, by one read."""
    total, wrong, residual = likelihood.evaluate(margins)
    state = LossState(0.0, wrong, residual)
    curvature = state.curvature()
    numbers = torch.stack([total, curvature.max().double(), *(one.double() for one in further)]).cpu().numpy()
    loss, most, *others = map(float, numbers)
    return replace(state, loss=loss / margins.shape[1], known_curvature=curvature, most_curved=most), others


def iterate_at(likelihood: Likelihood, ridge: L2Penalty, weights: Tensor, margins: Tensor) -> Iterate:
    """The iterate at `weights` [c, r] with these margins."""
    norm = torch.linalg.vector_norm(weights[:, 1:], dtype=torch.float64)
    state, (length,) = evaluated(likelihood, margins, norm)
    return Iterate(weights, margins, state, state.loss + 0.5 * ridge.lam * length**2)


def minimise_on_card(
    likelihood: Likelihood,
    ridge: L2Penalty,
    start: Iterate,
    directions: Tensor,
    images: Tensor,
    *,
    rounds: int,
) -> tuple[Iterate, NewtonStep]:
    """As `subspace_newton.minimise`."""
    line = _DeviceLine.of(likelihood, ridge, start, directions, images)
    best = line.origin()
    for _ in range(rounds):
        step, gain = line.newton(best)
        trial, gained = line.search(best, step, gain)
        if trial is None:
            break
        best = trial
        if gained <= QUADRATIC * best.objective:
            break
    moved = NewtonStep(combine(best.coefficients, directions), best.moved)
    return Iterate(start.weights + moved.weights, start.margins + best.moved, best.state, best.objective), moved


def extrapolate_on_card(
    likelihood: Likelihood, ridge: L2Penalty, start: Iterate, directions: Tensor, images: Tensor, *, rounds: int
) -> Tensor:
    """As `subspace_newton.extrapolate`. The last step's decrease is known only once it has been evaluated."""
    line = _DeviceLine.of(likelihood, ridge, start, directions, images)
    best = line.origin()
    for _ in range(rounds):
        step, gain = line.newton(best)
        trial, gained = line.search(best, step, gain)
        if 0 < gained <= QUADRATIC * best.objective:
            return start.weights + combine(best.coefficients + step, directions)
        if trial is None:
            break
        best = trial
    return start.weights + combine(best.coefficients, directions)


@dataclass(frozen=True)
class _DeviceTrial:
    """One combination: coefficients [groups, m] in float64 on the device, added margins, and objective."""

    coefficients: Tensor
    moved: Tensor
    state: LossState
    objective: float


@dataclass(frozen=True)
class _DeviceLine:
    """The objective restricted to the span; `linear` [groups, m] and `quadratic` [groups, m, m] are the penalty's."""

    likelihood: Likelihood
    start: Iterate
    images: Tensor
    linear: Tensor
    quadratic: Tensor

    @classmethod
    def of(
        cls, likelihood: Likelihood, ridge: L2Penalty, start: Iterate, directions: Tensor, images: Tensor
    ) -> _DeviceLine:
        """The span of `directions` [m, c, r] with margins `images` [m, c, n]."""
        packed = ridge.packed_products(start.weights, directions, likelihood.groups)
        return cls(likelihood, start, images, packed[:, :, 0], packed[:, :, 1:])

    def origin(self) -> _DeviceTrial:
        """The start."""
        moved = torch.zeros_like(self.start.margins)
        return _DeviceTrial(torch.zeros_like(self.linear), moved, self.start.state, self.start.objective)

    def newton(self, trial: _DeviceTrial) -> tuple[Tensor, Tensor]:
        """The Newton step from `trial` [groups, m], and the decrease predicted by the quadratic model."""
        packed = self.likelihood.packed_curve(trial.state, self.images).div_(self.images.shape[2])
        gradient = packed[:, :, 0] + self.linear + self._bent(trial.coefficients)
        step = _solve(packed[:, :, 1:] + self.quadratic, gradient).neg_()
        return step, -0.5 * (gradient * step).sum()

    def at(self, coefficients: Tensor, gain: Tensor) -> tuple[_DeviceTrial, float]:
        """Evaluate one combination, and read `gain` along with it."""
        moved = combine(coefficients, self.images)
        penalty = (coefficients * (self.linear + 0.5 * self._bent(coefficients))).sum()
        state, (added, gained) = evaluated(self.likelihood, self.start.margins + moved, penalty, gain)
        objective = state.loss + self.start.objective - self.start.state.loss + added
        return _DeviceTrial(coefficients, moved, state, objective), gained

    def search(self, best: _DeviceTrial, step: Tensor, gain: Tensor) -> tuple[_DeviceTrial | None, float]:
        """The first backtracked step that does not increase the objective, up to rounding, or None; and the gain."""
        length = 1.0
        while length > SHORTEST_STEP:
            trial, gained = self.at(best.coefficients + length * step, gain)
            if not gained > 0:
                return None, gained
            if trial.objective <= best.objective * (1 + ROUNDING):
                return trial, gained
            length *= 0.3
        return None, gained

    def _bent(self, coefficients: Tensor) -> Tensor:
        return (self.quadratic @ coefficients[:, :, None]).squeeze(2)


def _solve(hessian: Tensor, gradient: Tensor) -> Tensor:
    """Solve each group's system, scaled to a unit diagonal and regularised; NaN for one that is singular."""
    scale = hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-300).rsqrt()
    scaled = hessian * scale[:, :, None] * scale[:, None, :]
    scaled.diagonal(dim1=1, dim2=2).add_(RIDGE)
    solved, _ = torch.linalg.solve_ex(scaled, (gradient * scale)[:, :, None])
    found: Tensor = solved[:, :, 0] * scale
    return found
