"""`subspace_newton` on a device that runs asynchronously: its small systems are solved there, in float64.

Newton steps, line search and stopping rules are the same. A Newton step and the trial of its full length are one call
of `replays`, after which the host reads four numbers at once. Shorter steps are rare, and computed operation by
operation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from tasks.solvers.logistic.objective import Likelihood, LossState
from tasks.solvers.logistic.replays import Replays, Tensors
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


def iterate_at(likelihood: Likelihood, ridge: L2Penalty, weights: Tensor, margins: Tensor, replays: Replays) -> Iterate:
    """The iterate at `weights` [c, r] with these margins."""
    norm = torch.linalg.vector_norm(weights[:, 1:], dtype=torch.float64)
    call = replays.call("state", partial(_evaluated, likelihood), margins, norm)
    numbers, *arrays = call.replay()
    state, (length,) = _state(numbers, *call.kept(*arrays))
    return Iterate(weights, margins, state, state.loss + 0.5 * ridge.lam * length**2)


def _evaluated(likelihood: Likelihood, margins: Tensor, *further: Tensor) -> Tensors:
    """Mean loss, largest curvature and `further` numbers of the device [2 + f]; `wrong`, `residual` and `curvature`."""
    total, wrong, residual = likelihood.evaluate(margins)
    curvature = LossState(0.0, wrong, residual).curvature()
    loss = total / margins.shape[1]
    numbers = torch.stack([loss, curvature.max().double(), *(one.double() for one in further)])
    return numbers, wrong, residual, curvature


def _state(numbers: Tensor, wrong: Tensor, residual: Tensor, curvature: Tensor) -> tuple[LossState, list[float]]:
    """The state and the further numbers of `_evaluated`, by one read."""
    loss, most, *others = map(float, numbers.cpu().numpy())
    return LossState(loss, wrong, residual, known_curvature=curvature, most_curved=most), others


def minimise_on_card(
    likelihood: Likelihood,
    ridge: L2Penalty,
    start: Iterate,
    directions: Tensor,
    images: Tensor,
    *,
    rounds: int,
    replays: Replays,
) -> tuple[Iterate, NewtonStep]:
    """As `subspace_newton.minimise`."""
    line = _DeviceLine.of(likelihood, ridge, start, directions, images, replays)
    best = line.origin()
    for _ in range(rounds):
        trial = line.search(best, line.newton(best))
        if trial is None:
            break
        best = trial
        if trial.gain <= QUADRATIC * best.objective:
            break
    moved = NewtonStep(combine(best.coefficients, directions), combine(best.coefficients, images))
    return Iterate(start.weights + moved.weights, start.margins + moved.margins, best.state, best.objective), moved


def extrapolate_on_card(
    likelihood: Likelihood,
    ridge: L2Penalty,
    start: Iterate,
    directions: Tensor,
    images: Tensor,
    *,
    rounds: int,
    replays: Replays,
) -> Tensor:
    """As `subspace_newton.extrapolate`. The last step's decrease is known only once it has been evaluated."""
    line = _DeviceLine.of(likelihood, ridge, start, directions, images, replays)
    best = line.origin()
    for _ in range(rounds):
        full = line.newton(best)
        if 0 < full.gain <= QUADRATIC * best.objective:
            best = full
            break
        trial = line.search(best, full)
        if trial is None:
            break
        best = trial
    return start.weights + combine(best.coefficients, directions)


@dataclass(frozen=True)
class _DeviceTrial:
    """One combination: coefficients [groups, m] in float64 on the device, and objective.

    `gain` is the decrease that the quadratic model predicted for the Newton step to it.
    """

    coefficients: Tensor
    state: LossState
    objective: float
    gain: float = 0.0


@dataclass(frozen=True)
class _DeviceLine:
    """The objective restricted to the span; `linear` [groups, m] and `quadratic` [groups, m, m] are the penalty's."""

    likelihood: Likelihood
    start: Iterate
    images: Tensor
    linear: Tensor
    quadratic: Tensor
    replays: Replays

    @classmethod
    def of(
        cls,
        likelihood: Likelihood,
        ridge: L2Penalty,
        start: Iterate,
        directions: Tensor,
        images: Tensor,
        replays: Replays,
    ) -> _DeviceLine:
        """The span of `directions` [m, c, r] with margins `images` [m, c, n]."""
        function = partial(_products, directions, likelihood.groups)
        lam = torch.full((), ridge.lam, dtype=torch.float64, device=images.device)
        call = replays.call(("penalty", directions.data_ptr(), directions.shape), function, start.weights, lam)
        linear, quadratic = call.kept(*call.replay())
        return cls(likelihood, start, images, linear, quadratic, replays)

    def origin(self) -> _DeviceTrial:
        """The start."""
        return _DeviceTrial(torch.zeros_like(self.linear), self.start.state, self.start.objective)

    def newton(self, best: _DeviceTrial) -> _DeviceTrial:
        """The trial of the full Newton step from `best`."""
        penalty, where = (self.linear, self.quadratic), (self.start.margins, best.coefficients, best.state.wrong)
        function = partial(_newton, self.likelihood, self.images)
        call = self.replays.call(("newton", self.images.data_ptr(), self.images.shape), function, *penalty, *where)
        numbers, *results = call.replay()
        return self._trial(numbers, *call.kept(*results))

    def search(self, best: _DeviceTrial, full: _DeviceTrial) -> _DeviceTrial | None:
        """The first step from `best` towards `full` that does not increase the objective, up to rounding, or None."""
        length, trial = 1.0, full
        while full.gain > 0 and length > SHORTEST_STEP:
            if trial.objective <= best.objective * (1 + ROUNDING):
                return trial
            length *= 0.3
            coefficients = best.coefficients.lerp(full.coefficients, length)
            results = _at(self.likelihood, self.images, self.linear, self.quadratic, self.start.margins, coefficients)
            trial = replace(self._trial(*results), gain=full.gain)
        return None

    def _trial(self, numbers: Tensor, coefficients: Tensor, *arrays: Tensor) -> _DeviceTrial:
        state, (penalty, *gain) = _state(numbers, *arrays)
        objective = state.loss + self.start.objective - self.start.state.loss + penalty
        return _DeviceTrial(coefficients, state, objective, *gain)


def _products(directions: Tensor, groups: int, weights: Tensor, lam: Tensor) -> Tensors:
    """Both parts of `L2Penalty.packed_products`."""
    packed = L2Penalty(1.0).packed_products(weights, directions, groups) * lam
    return packed[:, :, 0], packed[:, :, 1:]


def _newton(
    likelihood: Likelihood,
    images: Tensor,
    linear: Tensor,
    quadratic: Tensor,
    margins: Tensor,
    before: Tensor,
    wrong: Tensor,
) -> Tensors:
    """Results of `_at` for the full Newton step from the coefficients `before`, with its gain."""
    packed = likelihood.packed_curve(LossState(0.0, wrong, wrong), images).div_(images.shape[2])
    gradient = packed[:, :, 0] + linear + _product(quadratic, before)
    step = _solve(packed[:, :, 1:] + quadratic, gradient).neg_()
    return _at(likelihood, images, linear, quadratic, margins, before + step, -0.5 * (gradient * step).sum())


def _at(
    likelihood: Likelihood,
    images: Tensor,
    linear: Tensor,
    quadratic: Tensor,
    margins: Tensor,
    coefficients: Tensor,
    *gain: Tensor,
) -> Tensors:
    """Numbers of a trial with its penalty, its coefficients, and the arrays of its state."""
    penalty = (coefficients * (linear + 0.5 * _product(quadratic, coefficients))).sum()
    numbers, *arrays = _evaluated(likelihood, combine(coefficients, images).add_(margins), penalty, *gain)
    return (numbers, coefficients, *arrays)


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    """[groups, m] of `matrix` [groups, m, m] and `vector` [groups, m]."""
    return (matrix @ vector[:, :, None]).squeeze(2)


def _solve(hessian: Tensor, gradient: Tensor) -> Tensor:
    """Solve each group's system, scaled to a unit diagonal and regularised; not finite for one that is singular.

    Elimination without pivots, as for a positive definite matrix: not every library's solver can be captured.
    """
    scale = hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-300).rsqrt()
    scaled = hessian * scale[:, :, None] * scale[:, None, :]
    scaled.diagonal(dim1=1, dim2=2).add_(RIDGE)
    system = torch.cat([scaled, (gradient * scale)[:, :, None]], dim=2)
    for pivot in range(system.shape[1]):
        row = system[:, pivot : pivot + 1] / system[:, pivot : pivot + 1, pivot : pivot + 1]
        system = torch.baddbmm(system, system[:, :, pivot : pivot + 1], row, alpha=-1)
        system[:, pivot : pivot + 1] = row
    return system[:, :, -1] * scale
