"""Distance to the optimum of logistic regression in float64, by Newton's method written apart from the solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp, softmax

Floats = npt.NDArray[np.float64]

NEWTON_STEPS = 8
ROUNDS = 400  # of conjugate gradients per Newton step
EXACT = 1e-9  # half the Newton decrement at which the reference is accepted, relative to the objective
REDUCTION = 1e-3  # of the residual per Newton step


@dataclass(frozen=True)
class Reference:
    """The problem in float64, in an eigenbasis of its centred features: all are exact transformations."""

    rows: Floats
    """[n, 1 + r], first column 1."""
    moments: Floats
    """[1 + r]"""
    mean: Floats
    directions: Floats
    targets: npt.NDArray[np.integer]

    @classmethod
    def of(cls, features: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> Reference:
        """The problem of `features` [n, d] and int [n] or 0/1 [n, k] targets."""
        exact = features.astype(np.float64)
        mean = exact.mean(axis=0)
        _, values, directions = np.linalg.svd(exact - mean, full_matrices=False)
        directions = directions[values > 1e-12 * values[0]].T
        rows = np.column_stack([np.ones(len(exact)), (exact - mean) @ directions])
        return cls(rows, np.mean(rows**2, axis=0), mean, directions, targets)

    def gap(self, weights: Floats, intercept: Floats, strength: float) -> float:
        """Relative distance of raw `weights` [k, d] and `intercept` [k] to the optimum at `strength`."""
        ridge = 1.0 / (strength * len(self.rows))
        point = np.column_stack([intercept + weights @ self.mean, weights @ self.directions])
        outside = float(np.sum(weights**2) - np.sum(point[:, 1:] ** 2))
        begin = self.objective(point, ridge) + 0.5 * ridge * outside
        for _ in range(NEWTON_STEPS):
            step, decrement = self._newton(point, ridge)
            if decrement <= EXACT * begin:
                break
            point = self._searched(point, step, ridge)
        optimum = self.objective(point, ridge) - decrement
        return float((begin - optimum) / optimum)

    def objective(self, point: Floats, ridge: float) -> float:
        """Mean loss plus ridge / 2 |w|^2."""
        logits = self.rows @ point.T
        if self.targets.ndim == 2:
            losses = np.logaddexp(0.0, np.where(self.targets > 0, -logits, logits)).sum(axis=1)
        else:
            picked = np.take_along_axis(logits, self.targets[:, None], axis=1)
            losses = logsumexp(logits - picked, axis=1)
        return float(losses.mean() + 0.5 * ridge * np.sum(point[:, 1:] ** 2))

    def _newton(self, point: Floats, ridge: float) -> tuple[Floats, float]:
        """The Newton step and half its decrement."""
        logits = self.rows @ point.T
        if self.targets.ndim == 2:
            chance = expit(logits)
            residual = chance - self.targets
        else:
            chance = softmax(logits, axis=1)
            residual = chance - np.eye(chance.shape[1])[self.targets]
        gradient = residual.T @ self.rows / len(self.rows)
        gradient[:, 1:] += ridge * point[:, 1:]
        spread = np.mean(chance * (1 - chance), axis=0).clip(1e-300)
        scale = spread[:, None] * self.moments + np.concatenate([[0.0], np.full(point.shape[1] - 1, ridge)])
        step = -_conjugate_gradients(lambda change: self._hessian(chance, change, ridge), gradient, scale)
        return step, -0.5 * float(np.sum(step * gradient))

    def _hessian(self, chance: Floats, change: Floats, ridge: float) -> Floats:
        moved = self.rows @ change.T
        if self.targets.ndim == 2:
            bent = chance * (1 - chance) * moved
        else:
            bent = chance * (moved - np.sum(chance * moved, axis=1, keepdims=True))
        product = bent.T @ self.rows / len(self.rows)
        product[:, 1:] += ridge * change[:, 1:]
        return product

    def _searched(self, point: Floats, step: Floats, ridge: float) -> Floats:
        start, length = self.objective(point, ridge), 1.0
        while self.objective(point + length * step, ridge) > start and length > 1e-6:
            length /= 2
        return point + length * step


def _conjugate_gradients(product: Callable[[Floats], Floats], right: Floats, scale: Floats) -> Floats:
    solution, residual = np.zeros_like(right), right.copy()
    direction = residual / scale
    strength = first = float(np.sum(residual * direction))
    for _ in range(ROUNDS):
        if strength <= REDUCTION**2 * first or strength <= 0:
            break
        image = product(direction)
        length = strength / float(np.sum(direction * image))
        solution += length * direction
        residual -= length * image
        scaled = residual / scale
        strength, before = float(np.sum(residual * scaled)), strength
        direction = scaled + (strength / before) * direction
    return solution
