"""Conjugate gradients in the leading coordinates, for Newton directions.

On a CPU an iteration is tested at once. On a GPU `CHECKED` iterations are one call of `replays`, which also computes
the decrement of the direction, so that the host reads two numbers for several iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tasks.solvers.logistic.device_matrix import DeviceMatrix
from tasks.solvers.logistic.objective import Likelihood
from tasks.solvers.logistic.replays import Replays, Tensors

ROUNDS = 100
CHECKED = 3
"""Iterations on a GPU from one test of convergence to the next: a test costs several operations and numbers for which
the host waits, as much as a third of an iteration."""
REDUCTION = 0.03
"""Factor by which the preconditioned residual is reduced."""
ESTIMATE = 0.1
"""Remaining decrease at which iterations end, as a fraction of the decrease that is sufficient; it is included in the
decrement of the direction."""

DISCERNED = 1e-4
"""Gains below this fraction of the decrease are rounding errors."""
MEASURED_FROM = 8
"""Iterations of a direction that measures the factor again."""


class Hindsight:
    """Factor by which conjugate gradients underestimate the decrease that remains, measured on earlier directions.

    The estimate assumes that it falls as the preconditioned residual does. Where directions in which the loss hardly
    bends remain, the residual falls faster: this shows when the iterations go on.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self._energies: list[float] = []
        self._estimates: list[float] = []

    def note(self, energy: float, estimate: float) -> None:
        """Record the decrease after an iteration, and the estimate, without the factor, of what remains."""
        self._energies.append(energy)
        self._estimates.append(estimate)

    def learn(self) -> None:
        """Compare the estimates of a direction with what its later iterations gained; short ones never lower the
        factor."""
        energies, estimates = np.asarray(self._energies), np.asarray(self._estimates)
        gained = energies[-1:] - energies
        seen = (gained > DISCERNED * energies[-1:]) & (estimates > 0)
        known = self.factor if len(energies) < MEASURED_FROM else 1.0
        self.factor = max([known, *(gained[seen] / estimates[seen]).tolist()])
        self._energies, self._estimates = [], []


@dataclass(frozen=True)
class Leading:
    """The penalised Hessian in the leading coordinates [n, k], with a preconditioner.

    `weight` [c, n] is that of `Likelihood.bent`, `scale` [c, k] the approximate diagonal.
    """

    coordinates: DeviceMatrix
    likelihood: Likelihood
    weight: Tensor
    scale: Tensor
    lam: float
    inverses: Tensor | None = None
    """Of each class's first diagonal block [c, s, s]."""
    lam_on_device: Tensor | None = None
    """The same [] where a graph replays products for several penalties."""

    def product(self, direction: Tensor) -> Tensor:
        """The Hessian times `direction` [c, k], computed from margins: logits of nearly certain samples would
        cancel."""
        rough = self.coordinates.values.dtype
        margins = self.coordinates.logits(direction.to(rough)).to(direction.dtype)
        change = self.likelihood.bent(self.weight, self.likelihood.margins(margins)).to(rough)
        product = self.coordinates.transpose_matmul(change).to(direction.dtype).div_(len(self.coordinates))
        if self.lam_on_device is None:
            product[:, 1:].add_(direction[:, 1:], alpha=self.lam)
        else:
            product[:, 1:].addcmul_(direction[:, 1:], self.lam_on_device)
        return product

    def precondition(self, residual: Tensor) -> Tensor:
        """`residual` [c, k] divided by the approximate diagonal, or multiplied by the inverse block of each class."""
        if self.inverses is None:
            return self.likelihood.centre(residual / self.scale)
        size = self.inverses.shape[1]
        scaled = residual / self.scale
        first = residual[:, None, :size].contiguous()
        scaled[:, :size] = torch.bmm(first, self.inverses).squeeze(1)  # symmetric; ten times as fast as by columns
        return self.likelihood.centre(scaled)


def conjugate_gradients(
    system: Leading, right: Tensor, sufficient: float = 0.0, hindsight: Hindsight | None = None
) -> tuple[Tensor, int, Tensor | float]:
    """Approximate solution for `right` [c, k], independently per group of rows, the number of iterations, and twice
    the estimated remaining decrease of the quadratic model.

    Ends when the preconditioned residual is reduced by `REDUCTION`, or earlier when the remaining decrease of the
    quadratic model is estimated as a small part of `sufficient`.
    """
    groups = system.likelihood.groups
    if groups == 1:
        return _conjugate_gradients_of_one_group(system, right, sufficient, hindsight or Hindsight())
    residual, solution = right.clone(), torch.zeros_like(right)
    direction = system.precondition(residual)
    strength = first = _inner(residual, direction, groups)
    reduced, energy = REDUCTION**2 * first, torch.zeros_like(first)
    enough = 2 * ESTIMATE / groups * sufficient * first
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        preconditioned = _advance(system, direction, solution, residual, energy, strength)
        strength, before = _inner(residual, preconditioned, groups), strength
        if bool(((strength <= reduced) | (strength * energy <= enough)).all()):
            break
        direction = _add(preconditioned, direction, _ratio(strength, before))
    return solution, rounds, (energy * _ratio(strength, first)).sum()


def _conjugate_gradients_of_one_group(
    system: Leading, right: Tensor, sufficient: float, hindsight: Hindsight
) -> tuple[Tensor, int, float]:
    """The same with numbers on the host: operations on tensors of one element are slow."""
    residual, solution = right.clone(), torch.zeros_like(right)
    direction = system.precondition(residual)
    strength = first = _dot(residual, direction)
    energy, rounds = 0.0, 0
    while rounds < ROUNDS and strength > 0:
        rounds += 1
        image = system.product(direction)
        length = strength / _dot(direction, image)
        energy += length * strength
        solution.add_(direction, alpha=length)
        residual.sub_(image, alpha=length)
        preconditioned = system.precondition(residual)
        strength, before = _dot(residual, preconditioned), strength
        remaining = energy * strength / first
        hindsight.note(energy, remaining)
        if strength <= REDUCTION**2 * first or hindsight.factor * remaining <= 2 * ESTIMATE * sufficient:
            break
        direction = preconditioned.add_(direction, alpha=strength / before)
    remaining = hindsight.factor * energy * strength / first if first > 0 else 0.0
    hindsight.learn()
    return solution, rounds, remaining


def conjugate_gradients_on_card(
    system: Leading, right: Tensor, rest: Tensor, sufficient: float, replays: Replays, expected: int
) -> tuple[Tensor, int, float]:
    """As `conjugate_gradients`, but with the decrement of the direction instead of its remaining decrease.

    `rest` [] is the product of gradient and direction in the other coordinates. The host reads nothing before the call
    that is likely to be the last but one, given the number of iterations that is `expected`.
    """
    groups = system.likelihood.groups
    residual = right.clone()
    direction = system.precondition(residual)
    strength = _inner(residual, direction, groups)
    enough = strength * (2 * ESTIMATE / groups * sufficient)
    state = residual, torch.zeros_like(right), direction, strength, torch.zeros_like(strength)
    lam = torch.full_like(rest, system.lam)
    fixed = strength.clone(), enough, right, rest, system.weight, system.scale, lam
    blocks = () if system.inverses is None else (system.inverses,)

    rows = system.coordinates.values
    key = "conjugate gradients", rows.data_ptr(), rows.shape, rows.dtype
    iterations = partial(_iterations, system.coordinates, system.likelihood)
    call = replays.call(key, iterations, *state, *fixed, *blocks)
    rounds, unread, solved, decrement = 0, max(1, expected // CHECKED - 1), 0.0, 0.0
    while rounds < ROUNDS and not solved:
        for _ in range(unread):
            (numbers,) = call.replay()
            rounds += CHECKED
        unread = 1
        solved, decrement = numbers.cpu().tolist()
    return call.arguments[1], rounds, decrement


def _iterations(  # noqa: PLR0913, PLR0917 - the state of the iterations, which is overwritten, and what is fixed
    coordinates: DeviceMatrix,
    likelihood: Likelihood,
    residual: Tensor,
    solution: Tensor,
    direction: Tensor,
    strength: Tensor,
    energy: Tensor,
    first: Tensor,
    enough: Tensor,
    right: Tensor,
    rest: Tensor,
    weight: Tensor,
    scale: Tensor,
    lam: Tensor,
    inverses: Tensor | None = None,
) -> Tensors:
    """`CHECKED` iterations, in place; whether all groups are solved, and the decrement [2]."""
    system, groups = Leading(coordinates, likelihood, weight, scale, 0.0, inverses, lam), likelihood.groups
    for _ in range(CHECKED):
        preconditioned = _advance(system, direction, solution, residual, energy, strength)
        after = _inner(residual, preconditioned, groups)
        direction.copy_(_add(preconditioned, direction, _ratio(after, strength)))
        strength.copy_(after)
    solved = ((strength <= REDUCTION**2 * first) | (strength * energy <= enough)).all()
    remaining = (energy * _ratio(strength, first)).sum()
    decrement = 0.5 * (rest + torch.dot(solution.flatten(), right.flatten()) + remaining)
    return (torch.stack([solved.double(), decrement.double()]),)


def _dot(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first.view(-1), second.view(-1)))


def _advance(
    system: Leading, direction: Tensor, solution: Tensor, residual: Tensor, energy: Tensor, strength: Tensor
) -> Tensor:
    """One step along `direction`, in place; the preconditioned residual after it."""
    image = system.product(direction)
    length = _ratio(strength, _inner(direction, image, system.likelihood.groups))
    energy.addcmul_(length, strength)
    _add(solution, direction, length)
    _add(residual, image, length, sign=-1)
    return system.precondition(residual)


def _inner(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """Inner products [groups] of rows [c, k], by one operation for a single group."""
    if groups == 1:
        return torch.dot(first.reshape(-1), second.reshape(-1))[None]
    return (first.reshape(groups, -1) * second.reshape(groups, -1)).sum(dim=1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator, 0.0)


def _add(target: Tensor, direction: Tensor, length: Tensor, sign: int = 1) -> Tensor:
    """Add `direction` times each group's `length` to `target`, both [c, k], or subtract it."""
    groups = length.shape[0]
    flat = target.view(groups, -1)
    return flat.addcmul_(direction.view(groups, -1), length[:, None], value=sign).view_as(target)
