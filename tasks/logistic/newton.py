"""Newton directions. The Hessian is solved in the few coordinates where it matters, approximated in the others.

In the eigenbasis of the features the Hessian is nearly diagonal: class k and coordinate j have about q_k s_j^2 + lam,
with q_k the mean of p (1 - p) and s_j^2 the second moment. Where q s^2 is small against lam that is all there is to
know. The leading coordinates, where it is not, are few for most of a path, so that conjugate gradients on the true
Hessian cost little there, the less so as a direction may be rough: their products are made in half precision where that
is fast. What is minimised over along the direction is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.logistic.blocks import Blocks
from tasks.logistic.design import Design
from tasks.logistic.likelihood import Likelihood, State
from tasks.logistic.rows import MOST_LEADING, Rows

RELEVANT = 0.1
"""A coordinate leads if q s^2 exceeds this share of lam."""
STEP = 32
"""Leading coordinates are counted in steps of so many."""
ROUNDS = 100
REDUCTION = 0.03
"""By what factor conjugate gradients shrink the preconditioned residual."""


@dataclass(frozen=True)
class Direction:
    """A descent direction [c, 1 + r] and half of what its own model promises to gain."""

    weights: Tensor
    decrement: float


def newton_direction(
    design: Design, likelihood: Likelihood, state: State, gradient: Tensor, lam: float, blocks: Blocks
) -> Direction:
    """The approximate Newton direction for `gradient` [c, 1 + r] of the penalised objective."""
    curvature = state.curvature().clamp_min_(torch.finfo(gradient.dtype).tiny)
    scale = curvature[:, None] * design.moments
    scale[:, 1:].add_(lam)
    weights = likelihood.centre(gradient / scale)
    count = leading_count(design, float(curvature.max()), lam)
    if count > 1:
        coordinates = blocks.prepare(design, count, state.curvatures, lam)
        leading = Leading(coordinates, likelihood, state, scale[:, :count], lam, blocks.inverses)
        weights[:, :count], rounds = conjugate_gradients(leading, gradient[:, :count])
        blocks.served(rounds)
    decrement = 0.5 * float(torch.dot(weights.flatten(), gradient.flatten()))
    return Direction(weights.neg_(), decrement)


def leading_count(design: Design, curvature: float, lam: float) -> int:
    """How many coordinates, the intercept included, have a curvature that the penalty does not drown."""
    relevant = int((curvature * design.moments[1:] > RELEVANT * lam).sum())
    rounded = min(-(-relevant // STEP) * STEP, MOST_LEADING)
    return 1 + min(rounded, design.width - 1)


class Leading:
    """The penalised Hessian in the leading coordinates, and its approximate inverse."""

    def __init__(
        self,
        coordinates: Rows,
        likelihood: Likelihood,
        state: State,
        scale: Tensor,
        lam: float,
        inverses: Tensor | None,
    ) -> None:
        self.likelihood = likelihood
        self.coordinates = coordinates
        self.change = likelihood.bend(state)
        self.scale = scale
        self.lam = lam
        self.inverses = inverses

    def product(self, direction: Tensor) -> Tensor:
        """The Hessian times `direction` [c, k], by margins: where the truth is nearly certain, logits would cancel."""
        rough = self.coordinates.values.dtype
        margins = self.coordinates.logits(direction.to(rough)).to(direction.dtype)
        change = self.change(self.likelihood.margins(margins)).to(rough)
        product = self.coordinates.gathered(change).to(direction.dtype).div_(len(self.coordinates))
        product[:, 1:].add_(direction[:, 1:], alpha=self.lam)
        return product

    def precondition(self, residual: Tensor) -> Tensor:
        """`residual` [c, k] over the approximate diagonal, or each class's by its own block."""
        if self.inverses is None:
            return self.likelihood.centre(residual / self.scale)
        rows = torch.bmm(residual[:, None, :], self.inverses)  # they are symmetric; ten times as fast as by columns
        return self.likelihood.centre(rows.squeeze(1))


def conjugate_gradients(system: Leading, right: Tensor) -> tuple[Tensor, int]:
    """Solve the system for `right` [c, k] approximately, each group of rows by itself; and in how many rounds."""
    groups = system.likelihood.groups
    residual, solution = right.clone(), torch.zeros_like(right)
    direction = system.precondition(residual)
    strength = first = _inner(residual, direction, groups)
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        image = system.product(direction)
        length = _ratio(strength, _inner(direction, image, groups))
        _add(solution, direction, length)
        _add(residual, image, -length)
        preconditioned = system.precondition(residual)
        strength, before = _inner(residual, preconditioned, groups), strength
        if bool((strength <= REDUCTION**2 * first).all()):
            break
        direction = _add(preconditioned, direction, _ratio(strength, before))
    return solution, rounds


def _inner(first: Tensor, second: Tensor, groups: int) -> Tensor:
    return (first.reshape(groups, -1) * second.reshape(groups, -1)).sum(dim=1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator, 0.0)


def _add(target: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """Add `direction` times each group's `length` to `target`, both [c, k]."""
    groups = length.shape[0]
    if groups == 1:
        return target.add_(direction, alpha=float(length))
    return target.view(groups, -1).addcmul_(direction.view(groups, -1), length[:, None]).view_as(target)
