"""Path solver of problems so small that most of a call is its overhead: NumPy, double precision.

The method is that of `path_solver`: an extrapolation in the span of past solutions, Newton directions by conjugate
gradients in the leading coordinates, minimisation over each direction and the steps before it. Products along
directions are in single or half precision, but margins are in double precision, so they may be added up over the path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks.solvers.logistic.eigenbasis import Design
from tasks.solvers.logistic.host_loss import Coefficients, Floats, HostLoss, HostState, dot, host_loss
from tasks.solvers.logistic.host_newton import HARD, HostNewton
from tasks.solvers.logistic.objective import Likelihood
from tasks.solvers.logistic.path_solver import (
    CAUTION,
    CORRECTOR_ROUNDS,
    MEMORY,
    PREDICTOR_ROUNDS,
    SECANTS,
    ConvergenceTrace,
    PathSolver,
)
from tasks.solvers.logistic.solution import Solution
from tasks.solvers.logistic.subspace_newton import QUADRATIC, SHORTEST_STEP

MOST_DOUBLE = 1 << 25
"""Elements of the coordinates up to which they are also stored in double precision, in 256 MB."""
FEW = 150_000
"""Classes times samples up to which exact blocks and fewer calls save more than double precision costs."""
EARLY = 0.5
"""Factor of `path_solver.CAUTION`: blocks in double precision hide less from conjugate gradients."""
COMPARED, DRIFT = 16, 1e-9
"""Number of samples whose margins are compared, and the largest difference, relative to the margins."""
RIDGE = 1e-13
"""Relative to the diagonal; regularises directions that are nearly parallel."""
ROUNDING = 1e-14
"""Relative rounding error of an objective."""


@dataclass(frozen=True)
class HostPoint:
    """Weights [c, 1 + r] in the basis, their margins [c, n], the loss there, and the penalised objective."""

    weights: Floats
    margins: Floats
    state: HostState
    objective: float


Pair = tuple[Floats, Floats]
"""Weights [c, 1 + r] of a direction, and their margins [c, n]."""


class HostPathSolver(PathSolver):
    """`PathSolver` for products that are cheaper than calls."""

    def start(self, weights: Tensor) -> None:
        """Start at `weights` [c, 1 + r] in the basis, discarding the path so far."""
        self.loss = host_loss(self.likelihood)
        self.newton = HostNewton(self.design, self.loss, self.likelihood.classes)
        self.past: list[Pair] = []
        self.at = self._point_at(weights.double().numpy(), self._ridge(0.0))

    def resume(self, weights: Tensor) -> None:
        """Start at `weights` [c, 1 + r], with blocks at once: without them products are in single precision."""
        self.start(weights)
        self.newton.blocks.demand()

    def release(self) -> None:
        """Let go of everything but the design."""
        del self.at, self.newton
        self.past = []
        self.design.forget_leading()

    def advance(self, strength: float, tolerance: float | None = None) -> Solution:
        """The solution at `strength`, which should be near the previous one; `tolerance` defaults to the setting."""
        tolerance = self.settings.tolerance if tolerance is None else tolerance
        before, start = self.design.passes, self.at
        ridge = self._ridge(self.likelihood.penalised / (strength * len(self.design)))
        trace = self._minimised(self._extrapolated(ridge), ridge, tolerance)
        step = self.at.weights - start.weights, self.at.margins - start.margins
        self.past = [step, *self.past][:SECANTS]
        return Solution(
            strength=strength,
            objective=self.at.objective,
            gap=trace.gap,
            converged=trace.gap <= tolerance,
            passes=self.design.passes - before,
            rotated=torch.from_numpy(self.at.weights),
            basis=self.design.basis,
            classes=self.classes,
        )

    def _ridge(self, lam: float) -> Floats:
        """The penalty of each coordinate [1 + r], which the intercept has not."""
        ridge = np.full(self.design.width, lam)
        ridge[0] = 0.0
        return ridge

    def _point_at(self, weights: Floats, ridge: Floats) -> HostPoint:
        """The point at `weights` [c, 1 + r], which are centred in place, with margins computed from them."""
        self.loss.centre(weights)
        margins = self._margins_of(weights)
        state = self.loss.state(margins)
        return HostPoint(weights, margins, state, state.loss + 0.5 * dot(weights * ridge, weights))

    def _consistent(self, point: HostPoint, ridge: Floats) -> HostPoint:
        """`point`, with margins computed again if those of a few samples are not what its weights have.

        Steps that are nearly parallel, as where solutions hardly differ, may be combined with coefficients that make
        their rounding large.
        """
        sample = slice(0, None, max(1, len(self.design) // COMPARED))
        logits = point.weights @ self.newton.rows.exact[sample].T
        drift = np.max(np.abs(self.loss.margins(logits, sample) - point.margins[:, sample]))
        if drift <= DRIFT * (1.0 + float(np.max(np.abs(point.margins[:, sample])))):
            return point
        self.past = []
        return self._point_at(point.weights.copy(), ridge)

    def _margins_of(self, weights: Floats) -> Floats:
        """Margins [c, n] of a direction."""
        self.design.passes += 1
        return self.loss.margins(self.newton.rows.exact_logits(weights))

    def _extrapolated(self, ridge: Floats) -> HostPoint:
        """The best point in the span of the current solution and the last secants."""
        at = self.at
        start = HostPoint(at.weights, at.margins, at.state, at.state.loss + 0.5 * dot(at.weights * ridge, at.weights))
        return HostSubspace(self.loss, [(at.weights, at.margins), *self.past], ridge, start).minimise(PREDICTOR_ROUNDS)[
            0
        ]

    def _minimised(self, point: HostPoint, ridge: Floats, tolerance: float) -> ConvergenceTrace:
        """Minimise over Newton directions and past steps until the certificate meets the tolerance."""
        trace, steps = ConvergenceTrace(), list[Pair]()
        for _ in range(self.settings.max_iterations):
            point = self._consistent(point, ridge)
            gradient = self._gradient(point, ridge)
            sufficient = tolerance * point.objective / (CAUTION * EARLY)
            certified = trace.certified(tolerance) * point.objective / EARLY
            direction, decrement = self.newton.direction(point.state, gradient, ridge, sufficient, certified)
            trace.note(EARLY * decrement / point.objective)
            if trace.gap <= tolerance or not math.isfinite(decrement):
                break
            pairs = [(direction, self._margins_of(direction)), *steps]
            point, moved = HostSubspace(self.loss, pairs, ridge, point).minimise(CORRECTOR_ROUNDS)
            steps = [moved, *steps][:MEMORY]
            trace.steps += 1
        self.at = point
        return trace

    def _gradient(self, point: HostPoint, ridge: Floats) -> Floats:
        """Of the penalised objective [c, 1 + r]."""
        self.design.passes += 1
        hard = self.newton.blocks.rounds >= HARD
        return self.newton.rows.exact_transpose_matmul(point.state.residual, hard=hard) + point.weights * ridge


def suited(design: Design, likelihood: Likelihood) -> bool:
    """Whether `HostPathSolver` takes less time: for few classes times samples, and for a single column."""
    return representable(design) and (likelihood.classes == 1 or likelihood.classes * len(design) <= FEW)


def representable(design: Design) -> bool:
    """Whether there is memory for the coordinates in double precision."""
    return design.spacious and design.rows.values.numel() <= MOST_DOUBLE


class HostSubspace:
    """The objective over a point plus the span of a few directions, whose steps need no product with the features."""

    def __init__(self, loss: HostLoss, pairs: list[Pair], ridge: Floats, start: HostPoint) -> None:
        self.loss, self.start = loss, start
        self.weights = np.stack([weights for weights, _ in pairs])
        self.margins = np.stack([margins for _, margins in pairs])
        groups, count = loss.groups, len(pairs)
        scaled = (self.weights * ridge).reshape(count, groups, -1).transpose(1, 0, 2)
        flat = self.weights.reshape(count, groups, -1).transpose(1, 2, 0)
        self.linear: Coefficients = (scaled @ start.weights.reshape(groups, -1, 1))[:, :, 0]
        self.quadratic: Coefficients = scaled @ flat

    def minimise(self, rounds: int) -> tuple[HostPoint, Pair]:
        """At most `rounds` Newton steps, ended by one that decreases the objective by the fraction `QUADRATIC` or
        less; the point, and the step to it."""
        start, coefficients = self.start, np.zeros_like(self.linear)
        point, moved = start, self._combined(coefficients)
        for _ in range(rounds):
            step, gain = self._newton(point.state, coefficients)
            found = self._search(point, coefficients, step, gain)
            if found is None:
                break
            point, coefficients, moved = found
            if gain <= QUADRATIC * point.objective:
                break
        return point, moved

    def _newton(self, state: HostState, coefficients: Coefficients) -> tuple[Coefficients, float]:
        """The Newton step [groups, m], and the decrease predicted by the quadratic model."""
        slope, hessian = self.loss.curve(state, self.margins)
        gradient = slope + self.linear + (self.quadratic @ coefficients[:, :, None])[:, :, 0]
        step = -_solve(hessian + self.quadratic, gradient)
        return step, -0.5 * dot(gradient, step)

    def _search(
        self, best: HostPoint, before: Coefficients, step: Coefficients, gain: float
    ) -> tuple[HostPoint, Coefficients, Pair] | None:
        """The first backtracked step that does not increase the objective, up to rounding; None if there is none."""
        length = 1.0
        while length > SHORTEST_STEP and gain > 0:
            coefficients = before + length * step
            weights, margins = self._combined(coefficients)
            state = self.loss.state(self.start.margins + margins)
            bent = self.linear + 0.5 * (self.quadratic @ coefficients[:, :, None])[:, :, 0]
            objective = state.loss + self.start.objective - self.start.state.loss + dot(coefficients, bent)
            if objective <= best.objective * (1 + ROUNDING):
                point = HostPoint(self.start.weights + weights, self.start.margins + margins, state, objective)
                return point, coefficients, (weights, margins)
            length *= 0.3
        return None

    def _combined(self, coefficients: Coefficients) -> Pair:
        """The sum of the directions under `coefficients` [groups, m]."""
        return _combine(coefficients, self.weights), _combine(coefficients, self.margins)


def _combine(coefficients: Coefficients, span: Floats) -> Floats:
    """The sum of `span` [m, c, k] under `coefficients` [groups, m], as [c, k]."""
    if len(coefficients) == 1:
        combined: Floats = coefficients[0] @ span.reshape(len(span), -1)
        return combined.reshape(span.shape[1:])
    return np.asarray(np.einsum("ca,ack->ck", coefficients, span))


def _solve(hessian: Coefficients, gradient: Coefficients) -> Coefficients:
    """Solve each group's system, scaled to a unit diagonal and regularised."""
    diagonal = np.einsum("gaa->ga", hessian)
    scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-300))
    scaled = hessian * scale[:, :, None] * scale[:, None, :] + RIDGE * np.eye(hessian.shape[1])
    solved: Coefficients = np.linalg.solve(scaled, (gradient * scale)[:, :, None])[:, :, 0] * scale
    return solved
