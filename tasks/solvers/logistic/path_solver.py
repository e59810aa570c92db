"""Solver of a regularisation path: predictor, corrector, certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from backbones.cpu.matmul import matmul_transposed
from tasks.solvers.logistic import device_matrix
from tasks.solvers.logistic.device_matrix import device_blocks
from tasks.solvers.logistic.eigenbasis import Basis, Design, eigenbasis, leading_basis, leading_directions_suffice
from tasks.solvers.logistic.newton_direction import ClassBlocks, Direction, newton_direction
from tasks.solvers.logistic.objective import Likelihood, Settings
from tasks.solvers.logistic.replays import Replays
from tasks.solvers.logistic.solution import Classes, Solution
from tasks.solvers.logistic.subspace_newton import ROUNDING, Iterate, L2Penalty, NewtonStep, extrapolate, minimise
from tasks.solvers.logistic.subspace_on_card import extrapolate_on_card, iterate_at, minimise_on_card

SECANTS = 3
"""Number of differences of past solutions used by the predictor."""
MEMORY = 2
"""Number of past steps over which the corrector minimises, in addition to the new gradient."""
PREDICTOR_ROUNDS = 8
CORRECTOR_ROUNDS = 3
DRIFT_FROM = 8
"""Number of steps of a descent from which its margins are recomputed at the end; fewer steps are far from parallel."""
LABEL_WEIGHT = 4
"""Iterations that an eigenbasis saves are multiplied by the number of labels, all of which must converge."""
CAUTION = 4
"""The distance, measured in float64, is up to this many times the estimate, as conjugate gradients end early."""
SOLVED = 0.5
"""Factor of an estimate in a comparison, for which conjugate gradients do not end early."""
CHECKED = 200
"""Products in single precision after which a gradient is computed in double precision, which costs as much as six."""
RESOLVED = torch.finfo(torch.float32).eps
"""Ratio of the smallest to the largest curvature below which every certificate is compared: the gradient along the
least curved directions may be rounding errors of the others.
"""
SEPARATED = 1e-6
"""Objective below which samples are separated so far that single precision hides the Hessian, too."""
CONTINUED = 0.01
"""Fraction of the tolerance for the first solution in double precision, whose certificate rests on no earlier ones."""
REPAIRS = 6
"""Maximum number of descents at one strength, each from the recomputed margins of the previous one."""


class DirectionBuffer:
    """Ring buffer of directions [slots, c, r] and their margins [slots, c, n]."""

    def __init__(self, slots: int, weights: Tensor, margins: Tensor) -> None:
        self.weights = weights.new_empty(slots, *weights.shape)
        self.margins = margins.new_empty(slots, *margins.shape)
        self.filled = 0
        self.oldest = 1

    def put(self, slot: int, weights: Tensor, margins: Tensor) -> None:
        """Store a direction in `slot`."""
        self.weights[slot].copy_(weights)
        self.margins[slot].copy_(margins)
        self.filled = max(self.filled, slot + 1)

    def remember(self, weights: Tensor, margins: Tensor) -> None:
        """Store a step, replacing the oldest one when all slots but the first are in use."""
        self.put(self.oldest, weights, margins)
        self.oldest = self.oldest + 1 if self.oldest + 1 < len(self.weights) else 1

    def clear(self) -> None:
        self.filled, self.oldest = 0, 1

    @property
    def directions(self) -> tuple[Tensor, Tensor]:
        """Weights [m, c, r] and margins [m, c, n] of the stored directions."""
        return self.weights[: self.filled], self.margins[: self.filled]


@dataclass
class ConvergenceTrace:
    """Convergence of the minimisation at one strength, from which its certificate is computed."""

    first: float = 0.0
    last: float = 0.0
    steps: int = 0

    def note(self, decrement: float) -> None:
        """Record half the preconditioned Newton decrement, relative to the objective."""
        if not self.steps:
            self.first = decrement
        self.last = decrement

    @property
    def rate(self) -> float:
        """Mean factor by which a step reduced the decrement; 0.5 before the first step."""
        if not self.steps or self.first <= 0:
            return 0.5
        return float(min(0.98, max(self.last / self.first, 1e-12) ** (1.0 / self.steps)))

    def certified(self, tolerance: float) -> float:
        """A decrement with which the gap would be at most `tolerance`."""
        after = replace(self, last=tolerance / (2 * CAUTION))
        return after.last if after.gap <= tolerance else 0.0

    @property
    def gap(self) -> float:
        """Relative distance to the optimum, at most: `CAUTION` times the sum of future decreases at this rate."""
        return CAUTION * self.last / (1.0 - self.rate)


def design_of(features: Tensor, likelihood: Likelihood, settings: Settings, held: int = 0) -> Design:
    """`features` [n, d] float32 in their eigenbasis; they may be on another device. `held` more will be transformed."""
    device = torch.device(settings.device)
    spacious = settings.memory is None and not device_matrix.is_card(device)
    columns = likelihood.classes * (1 if likelihood.groups == 1 else LABEL_WEIGHT)

    def basis(rows: Tensor) -> Basis:
        few = spacious and leading_directions_suffice(len(rows), rows.shape[1], columns)
        return leading_basis(rows) if few else eigenbasis(rows, device)

    return Design.within(features, basis, likelihood, settings, held)


class PathSolver:
    """Solves strengths in sequence, each from the previous solutions.

    In single precision: a gradient may be rounding errors where the loss hardly bends. The more products a path needs,
    the more often its certificate is compared with one from a gradient in double precision; where that does not meet
    the tolerance, the solver `exact` continues, or, without one, the solution is not converged. Every certificate is
    compared where the penalty is less than rounding errors of the largest curvature. Samples that are separated far
    are left to `exact` in any case.
    """

    @classmethod
    def over(cls, features: Tensor, likelihood: Likelihood, classes: Classes, settings: Settings) -> PathSolver:
        """A solver for `features` [n, d] float32 in their eigenbasis; they may be on another device."""
        return cls(design_of(features, likelihood, settings), likelihood, classes, settings)

    def __init__(
        self,
        design: Design,
        likelihood: Likelihood,
        classes: Classes,
        settings: Settings,
        exact: type[PathSolver] | None = None,
    ) -> None:
        self.exact = exact
        self.design = design
        self.likelihood = likelihood
        self.classes = classes
        self.settings = settings
        self.restart()

    def restart(self) -> None:
        """Reset to infinite regularisation, where all weights but the intercepts are zero."""
        weights = self.design.moments.new_zeros(self.likelihood.classes, self.design.width)
        weights[:, 0] = self.likelihood.prior()
        self.start(weights)

    def start(self, weights: Tensor) -> None:
        """Start at `weights` [c, 1 + r] in the basis, discarding the path so far."""
        self._forget()
        self.replays = Replays.on(weights.device, self.likelihood.classes * len(self.design))
        self.successor: PathSolver | None = None
        self.unchecked = 0
        self.point = self._at(weights, L2Penalty(0.0))
        self.steps = DirectionBuffer(1 + MEMORY, self.point.weights, self.point.margins)
        self.secants = DirectionBuffer(1 + SECANTS, self.point.weights, self.point.margins)
        self.blocks = ClassBlocks(self.replays if self._on_card else None)

    def resume(self, weights: Tensor) -> None:
        """Start at `weights` [c, 1 + r], at which another solver found that the loss hardly bends."""
        self.start(weights)

    def release(self) -> None:
        """Release everything but the design: margins at the point, past steps, blocks, leading coordinates."""
        if self.successor is not None:
            self.successor.release()
        self._forget()
        self.design.forget_leading()

    def _forget(self) -> None:
        """Release the path, before the memory of another one is needed."""
        for name in ("point", "steps", "secants", "replays"):
            self.__dict__.pop(name, None)
        self.blocks = ClassBlocks()

    def advance(self, strength: float, tolerance: float | None = None) -> Solution:
        """The solution at `strength`, which should be near the previous one; `tolerance` defaults to the setting."""
        if self.successor is not None:
            return self.successor.advance(strength, tolerance)
        tolerance = self.settings.tolerance if tolerance is None else tolerance
        before = self.design.passes
        ridge = L2Penalty(self.likelihood.penalised / (strength * len(self.design)))
        self.point = self._predict(ridge)
        descent = self._descend(ridge, tolerance)
        failed = self._check_due(before, ridge) and self._recertified(descent, ridge) > tolerance
        if self.exact and (failed or self._is_separated()):
            return self._continued(self.exact, strength, tolerance, before)
        start = self.secants  # its first slot has the previous solution
        self.secants.remember(self.point.weights - start.weights[0], self.point.margins - start.margins[0])
        converged = descent.gap <= tolerance
        return Solution(
            strength=strength,
            objective=self.point.objective,
            gap=descent.gap,
            converged=converged,
            passes=self.design.passes - before,
            rotated=self.point.weights,
            basis=self.design.basis,
            classes=self.classes,
        )

    def conclude(self, strength: float) -> Solution:
        """As `advance`, with a certificate that is compared with one in double precision: for the final fit."""
        self.unchecked = CHECKED
        return self.advance(strength)

    def _check_due(self, before: int, ridge: L2Penalty) -> bool:
        """Whether the certificate is due for a comparison, after the passes since `before`."""
        self.unchecked += self.design.passes - before + self.blocks.products()
        if self._on_card:
            return False
        most_curved = float(self.point.state.curvature().max()) * float(
            self.design.moments_on_host[1:].max(initial=0.0)
        )
        return self.unchecked >= CHECKED or ridge.lam < RESOLVED * most_curved

    def _is_separated(self) -> bool:
        return self.point.objective < SEPARATED and not self._on_card

    def _recertified(self, descent: ConvergenceTrace, ridge: L2Penalty) -> float:
        """The gap of `descent`, which is raised to that of the gradient in double precision."""
        self.unchecked = 0
        gradient = exact_gradient(self.design, self.likelihood, self.point.weights, ridge)
        direction = self._along(gradient, ridge, 0.0)
        descent.last = max(descent.last, SOLVED * direction.decrement / self.point.objective)
        return descent.gap

    def _continued(self, exact: type[PathSolver], strength: float, tolerance: float, before: int) -> Solution:
        """The solution by the solver `exact`, which continues the path from here."""
        earlier, weights = self.design.passes - before, self.point.weights
        self.release()
        self.successor = exact(self.design, self.likelihood, self.classes, self.settings)
        self.successor.resume(weights)
        solution = self.successor.advance(strength, CONTINUED * tolerance)
        return replace(solution, passes=earlier + solution.passes, converged=solution.gap <= tolerance)

    def _predict(self, ridge: L2Penalty) -> Iterate:
        """The best point in the span of the current solution and the last secants, with recomputed margins.

        Where solutions hardly differ, the margins of a secant are rounding errors, and extrapolation is arbitrary: a
        point that is worse than the start is rejected.
        """
        start = self._under(self.point, ridge)
        self.secants.put(0, start.weights, start.margins)
        predict = partial(extrapolate_on_card, replays=self.replays) if self._on_card else extrapolate
        predicted = predict(self.likelihood, ridge, start, *self.secants.directions, rounds=PREDICTOR_ROUNDS)
        fresh = self._at(predicted, ridge)
        if fresh.objective <= start.objective * (1 + ROUNDING):
            return fresh
        self.secants.clear()
        return start

    def _descend(self, ridge: L2Penalty, tolerance: float) -> ConvergenceTrace:
        """Minimise until the certificate meets the tolerance at margins computed from the weights."""
        for _ in range(REPAIRS):
            descent = self._approach(ridge, tolerance)
            if descent.steps < DRIFT_FROM or not self._repaired(ridge, tolerance):
                return descent
        descent.last = math.inf
        return descent

    def _approach(self, ridge: L2Penalty, tolerance: float) -> ConvergenceTrace:
        """Minimise over Newton directions and past steps until the certificate meets the tolerance."""
        self.steps.clear()
        descent = ConvergenceTrace()
        for _ in range(self.settings.max_iterations):
            direction = self._direction(ridge, tolerance * self.point.objective / CAUTION)
            descent.note(direction.decrement / self.point.objective)
            if descent.gap <= tolerance or not math.isfinite(direction.decrement):
                break
            self.steps.put(0, direction.weights, self._margins(direction.weights))
            self.point, moved = self._minimise(ridge)
            self.steps.remember(moved.weights, moved.margins)
            descent.steps += 1
        return descent

    def _repaired(self, ridge: L2Penalty, tolerance: float) -> bool:
        """Replace margins that have drifted away from the weights; return whether they had.

        Margins are sums of all steps'. Past steps that are nearly parallel, as they become at weak regularisation, may
        be combined with large coefficients of opposite signs: the remaining margins are then rounding errors.
        """
        fresh = self._computed(self.point.weights, ridge)
        if abs(fresh.objective - self.point.objective) <= tolerance * self.point.objective:
            return False
        self.point = fresh
        return True

    def _minimise(self, ridge: L2Penalty) -> tuple[Iterate, NewtonStep]:
        search = partial(minimise_on_card, replays=self.replays) if self._on_card else minimise
        return search(self.likelihood, ridge, self.point, *self.steps.directions, rounds=CORRECTOR_ROUNDS)

    def _direction(self, ridge: L2Penalty, sufficient: float) -> Direction:
        gradient = self.design.gradient(self.point.state.residual)
        gradient[:, 1:].add_(self.point.weights[:, 1:], alpha=ridge.lam)
        return self._along(gradient, ridge, sufficient)

    def _along(self, gradient: Tensor, ridge: L2Penalty, sufficient: float) -> Direction:
        state = self.point.state
        return newton_direction(self.design, self.likelihood, state, gradient, ridge.lam, self.blocks, sufficient)

    @property
    def _on_card(self) -> bool:
        return device_matrix.is_card(self.design.moments.device)

    def _margins(self, weights: Tensor) -> Tensor:
        return self.likelihood.margins(self.design.logits(weights))

    def _at(self, weights: Tensor, ridge: L2Penalty) -> Iterate:
        """Iterate at `weights` [c, 1 + r], which are centred in place."""
        return self._computed(self.likelihood.centre(weights), ridge)

    def _computed(self, weights: Tensor, ridge: L2Penalty) -> Iterate:
        margins = self._margins(weights)
        if self._on_card:
            return iterate_at(self.likelihood, ridge, weights, margins, self.replays)
        state = self.likelihood.state(margins)
        return Iterate(weights, margins, state, state.loss + ridge.value(weights))

    def _under(self, point: Iterate, ridge: L2Penalty) -> Iterate:
        """The same iterate under another penalty."""
        return Iterate(point.weights, point.margins, point.state, point.state.loss + ridge.value(point.weights))


def exact_gradient(design: Design, likelihood: Likelihood, weights: Tensor, ridge: L2Penalty) -> Tensor:
    """Gradient [c, 1 + r] of the penalised objective at `weights`, computed in double precision; float32."""
    exact = weights.double()
    parts = [matmul_transposed(exact, block.double()) for _, block in device_blocks(design.rows.values, weights.device)]
    residual = likelihood.evaluate(likelihood.margins(torch.cat(parts, dim=1)))[2]
    design.passes += 2
    gradient = torch.zeros_like(exact)
    for place, block in device_blocks(design.rows.values, weights.device):
        gradient += matmul_transposed(residual[:, place], block.double().T)
    gradient /= len(design)
    gradient[:, 1:].add_(exact[:, 1:], alpha=ridge.lam)
    return gradient.float()
