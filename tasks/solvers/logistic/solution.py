"""Solutions of a regularisation path, one per strength, with their certificates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.solvers.logistic.eigenbasis import Basis

ABSENT = -1e4
"""Intercept of a class without training samples, whose optimum is minus infinity."""


@dataclass(frozen=True)
class Classes:
    """Which of the `total` classes were `solved`; the others have the constant logits `fixed` [total].

    `paired`: two were solved as a single column, the difference of their logits; at the optimum of a softmax they are
    minus and plus half of it.
    """

    total: int
    solved: Tensor
    fixed: Tensor
    paired: bool = False

    def expand(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [total, d] and intercepts [total] from those of the solved columns."""
        if self.paired:
            weights, intercepts = _halves(weights), _halves(intercepts)
        if len(self.solved) == self.total:
            return weights, intercepts
        every = weights.new_zeros(self.total, weights.shape[1])
        every[self.solved] = weights
        constant = self.fixed.to(intercepts.dtype, copy=True)
        constant[self.solved] = intercepts
        return every, constant

    def expand_logits(self, logits: Tensor) -> npt.NDArray[np.float32]:
        """Logits [n, total] from class-major logits [c, n] of the solved columns."""
        found = (_halves(logits) if self.paired else logits).T.to(torch.float32).cpu().numpy()
        if len(self.solved) == self.total:
            return np.ascontiguousarray(found)
        every = np.tile(self.fixed.cpu().numpy().astype(np.float32), (len(found), 1))
        every[:, self.solved.cpu().numpy()] = found
        return every


def _halves(column: Tensor) -> Tensor:
    """Minus and plus half of `column` [1, ...], as [2, ...]."""
    return torch.cat([-0.5 * column, 0.5 * column])


@dataclass(frozen=True)
class Solution:
    """The optimum at one strength C.

    `objective` is the mean negative log-likelihood plus |W|^2 / (2 C n), in float64; `gap` is the estimated distance to
    the optimum, relative to the objective. `passes` counts the products with the whole feature matrix.
    """

    strength: float
    objective: float
    gap: float
    converged: bool
    passes: int
    rotated: Tensor
    """Weights [c, 1 + r] of the solved columns in the path's basis, intercept first."""
    basis: Basis
    classes: Classes

    def raw(self) -> tuple[Tensor, Tensor]:
        """Weights [classes, d] and intercepts [classes] for raw features."""
        return self.classes.expand(*self.basis.restore(self.rotated))

    @property
    def weights(self) -> Tensor:
        """Weights [classes, d] for raw features."""
        return self.raw()[0]

    @property
    def intercept(self) -> Tensor:
        """Intercepts [classes] for raw features."""
        return self.raw()[1]

    def logits(self, features: Tensor) -> npt.NDArray[np.float32]:
        """Logits [n, classes] of raw `features` [n, d]."""
        weights, intercepts = self.raw()
        rows = features.to(device=weights.device, dtype=weights.dtype)
        return np.asarray(torch.addmm(intercepts, rows, weights.T).cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Path:
    """Solutions in the order of the given strengths."""

    solutions: tuple[Solution, ...]

    @property
    def converged(self) -> bool:
        """Whether every solution met the tolerance."""
        return all(solution.converged for solution in self.solutions)

    @property
    def passes(self) -> int:
        """Products with the feature matrix, over the whole path."""
        return sum(solution.passes for solution in self.solutions)

    @property
    def gap(self) -> float:
        """The largest relative gap."""
        return max(solution.gap for solution in self.solutions)
