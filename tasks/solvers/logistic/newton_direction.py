"""Newton directions: the Hessian is solved in the leading coordinates and approximated by its diagonal in the others.

In the eigenbasis of the features the Hessian is nearly diagonal: class k and coordinate j have about q_k s_j^2 + lam,
with q_k the mean of p (1 - p) and s_j^2 the second moment. Where q s^2 is small compared with lam, the diagonal is
sufficient. The leading coordinates, where it is not, are few for most of a path, so conjugate gradients on the true
Hessian are cheap there, especially as a direction may be approximate: their products use half precision on devices
where it is fast. The objective that is minimised along the direction is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backbones.cpu.matmul import matmul_transposed
from tasks.solvers.logistic import device_matrix
from tasks.solvers.logistic.device_matrix import CLASSES_AT_ONCE, MOST_LEADING, DeviceMatrix
from tasks.solvers.logistic.eigenbasis import Design, rough_precision
from tasks.solvers.logistic.objective import Likelihood, LossState

LONG = 20
"""Iterations of conjugate gradients per direction that are accepted with the diagonal preconditioner."""
PRICE = 0.5
"""Cost of creating blocks, in iterations per leading coordinate."""
RIDGE = 1e-5
"""Relative to the diagonal; regularises coordinates that are nearly parallel in float32."""


class ClassBlocks:
    """Inverses of the per-class diagonal blocks, reused over directions.

    They are created when the iterations that they would have saved exceed their cost: at first those beyond `LONG`,
    later those beyond the number needed with new blocks.
    """

    def __init__(self) -> None:
        self.inverses: Tensor | None = None
        """[c, k, k]; None while the diagonal is used."""
        self._begin(0)

    def _begin(self, count: int) -> None:
        self._count, self._usual, self._wasted = count, LONG, 0.0

    def prepare(self, design: Design, count: int, curvatures: Callable[[], Tensor], lam: float) -> DeviceMatrix:
        """The leading coordinates [n, count] for the next direction; updates the blocks if due.

        `curvatures` returns p (1 - p) [c, n]. Blocks are of the first coordinates, at most `MOST_LEADING` of them. With
        blocks the coordinates are exact: what remains is smaller than the rounding error of half precision.
        """
        if count != self._count:
            self.inverses = None
            self._begin(count)
        size = min(count, 1 + MOST_LEADING)
        if self._wasted > PRICE * size:
            columns = design.leading_columns(count, torch.float32).values[:, :size]
            self.inverses = inverses(columns, curvatures(), lam)
            self._wasted, self._usual = 0.0, 0
        return design.leading_columns(
            count, rough_precision(design.moments.device) if self.inverses is None else torch.float32
        )

    def served(self, rounds: int) -> None:
        """Record the number of iterations of a direction."""
        self._usual = self._usual or rounds
        self._wasted += max(0, rounds - self._usual)


def inverses(leading: Tensor, curvatures: Tensor, lam: float) -> Tensor | None:
    """[c, k, k] of the penalised blocks, float32; None where rounding makes one of them indefinite."""
    blocks = _weighted_moments(leading.T.contiguous(), curvatures).div_(len(leading))
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    diagonal[:, 1:].add_(lam)
    scale = diagonal.clamp_min(torch.finfo(blocks.dtype).tiny).rsqrt()
    blocks.mul_(scale[:, :, None]).mul_(scale[:, None, :])
    diagonal.add_(RIDGE)
    factors, failed = torch.linalg.cholesky_ex(blocks)
    if bool(failed.any()):
        return None
    return _inverse(factors).mul_(scale[:, :, None]).mul_(scale[:, None, :])


def _weighted_moments(columns: Tensor, curvatures: Tensor) -> Tensor:
    """[c, k, k] of `columns` [k, n], weighted by each class's curvatures [n]; on a GPU for several classes at once."""
    if not device_matrix.is_card(columns.device):
        return torch.stack([matmul_transposed(columns * weights, columns) for weights in curvatures])
    at_once = max(1, CLASSES_AT_ONCE // columns.numel())
    parts = [(columns * part[:, None, :]).flatten(0, 1) @ columns.T for part in torch.split(curvatures, at_once)]
    return torch.cat(parts).view(len(curvatures), len(columns), len(columns))


def _inverse(factors: Tensor) -> Tensor:
    """Inverses [c, k, k] of the matrices with these Cholesky factors; on a GPU by two operations for all classes."""
    if not device_matrix.is_card(factors.device):
        return torch.cholesky_inverse(factors)
    unit = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device).expand_as(factors)
    lower: Tensor = torch.linalg.solve_triangular(factors, unit, upper=False)
    return lower.mT @ lower


RELEVANT = 0.1
"""A coordinate is leading if q s^2 exceeds this fraction of lam."""
STEP = 32
"""The number of leading coordinates is a multiple of this, or of a power of two that is a quarter of it or more."""
ROUNDS = 100
CHECKED = 3
"""Iterations of conjugate gradients on a GPU from one test of convergence to the next: a test costs several operations
and a number for which the host waits, as much as a third of an iteration."""
REDUCTION = 0.03
"""Factor by which conjugate gradients reduce the preconditioned residual."""
ESTIMATE = 0.1
"""Remaining decrease at which conjugate gradients end, as a fraction of the decrease that is sufficient; it is
included in the decrement of the direction."""


@dataclass(frozen=True)
class Direction:
    """A descent direction [c, 1 + r] and half of the decrease predicted by its quadratic model."""

    weights: Tensor
    decrement: float


def newton_direction(
    design: Design,
    likelihood: Likelihood,
    state: LossState,
    gradient: Tensor,
    lam: float,
    blocks: ClassBlocks,
    sufficient: float = 0.0,
) -> Direction:
    """The approximate Newton direction for `gradient` [c, 1 + r] of the penalised objective.

    It need not be more exact than a distance to the optimum of `sufficient` requires.
    """
    curvature = state.curvature().clamp_min_(torch.finfo(gradient.dtype).tiny)
    scale = curvature[:, None] * design.moments
    scale[:, 1:].add_(lam)
    weights = likelihood.centre(gradient / scale)
    remaining: Tensor | float = 0.0
    most = curvature.max() if state.most_curved is None else state.most_curved
    count = leading_count(design, most, lam)
    if count > 1:
        coordinates = blocks.prepare(design, count, state.curvatures, lam)
        leading = Leading(coordinates, likelihood, state, scale[:, :count], lam, blocks.inverses)
        weights[:, :count], rounds, remaining = conjugate_gradients(leading, gradient[:, :count], sufficient)
        blocks.served(rounds)
    decrement = 0.5 * float(torch.dot(weights.flatten(), gradient.flatten()) + remaining)
    return Direction(weights.neg_(), decrement)


def leading_count(design: Design, curvature: Tensor | float, lam: float) -> int:
    """Number of leading coordinates, including the intercept.

    As many as are relevant where memory is not limited, on a GPU and for streamed samples at most `MOST_LEADING`. In
    steps, as a change copies the coordinates.
    """
    if isinstance(curvature, Tensor):
        relevant = _last(curvature * design.moments[1:] > RELEVANT * lam)
    else:
        relevant = int(np.flatnonzero(np.r_[True, curvature * design.moments_on_host[1:] > RELEVANT * lam])[-1])
    step = max(STEP, 1 << max(0, relevant.bit_length() - 2))
    rounded = -(-relevant // step) * step
    limit = design.width - 1 if design.spacious else MOST_LEADING
    return 1 + min(rounded, limit, design.width - 1)


def _last(marks: Tensor) -> int:
    """Number of marks up to the last true one; moments do not descend in a basis that is not an eigenbasis."""
    places = torch.arange(1, 1 + len(marks), device=marks.device)
    return int((marks * places).max()) if len(marks) else 0


class Leading:
    """The penalised Hessian in the leading coordinates, with a preconditioner."""

    def __init__(
        self,
        coordinates: DeviceMatrix,
        likelihood: Likelihood,
        state: LossState,
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
        """The Hessian times `direction` [c, k], computed from margins: logits of nearly certain samples would
        cancel."""
        rough = self.coordinates.values.dtype
        margins = self.coordinates.logits(direction.to(rough)).to(direction.dtype)
        change = self.change(self.likelihood.margins(margins)).to(rough)
        product = self.coordinates.transpose_matmul(change).to(direction.dtype).div_(len(self.coordinates))
        product[:, 1:].add_(direction[:, 1:], alpha=self.lam)
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


def conjugate_gradients(system: Leading, right: Tensor, sufficient: float = 0.0) -> tuple[Tensor, int, Tensor | float]:
    """Approximate solution for `right` [c, k], independently per group of rows, the number of iterations, and twice
    the estimated remaining decrease of the quadratic model.

    Ends when the preconditioned residual is reduced by `REDUCTION`, or earlier when the remaining decrease of the
    quadratic model is estimated as a small part of `sufficient`. On a GPU this is tested every `CHECKED` iterations,
    and another iteration is started before the result arrives, so that the device does not wait for the host.
    """
    groups, lagging = system.likelihood.groups, device_matrix.is_card(right.device)
    if groups == 1 and not lagging:
        return _conjugate_gradients_on_host(system, right, sufficient)
    residual, solution = right.clone(), torch.zeros_like(right)
    direction = system.precondition(residual)
    strength = first = _inner(residual, direction, groups)
    reduced, energy = REDUCTION**2 * first, torch.zeros_like(first)
    enough = 2 * ESTIMATE / groups * sufficient * first
    rounds, solved, every = 0, _Flag(), CHECKED if lagging else 1
    while rounds < ROUNDS:
        rounds += 1
        image = system.product(direction)
        length = _ratio(strength, _inner(direction, image, groups))
        energy.addcmul_(length, strength)
        _add(solution, direction, length)
        _add(residual, image, length, sign=-1)
        preconditioned = system.precondition(residual)
        strength, before = _inner(residual, preconditioned, groups), strength
        if lagging and solved.read():
            break
        solved = _Flag()
        if rounds % every == 0:
            solved = _Flag.of(((strength <= reduced) | (strength * energy <= enough)).all())
            if not lagging and solved.read():
                break
        direction = _add(preconditioned, direction, _ratio(strength, before))
    return solution, rounds - lagging, (energy * _ratio(strength, first)).sum()


def _conjugate_gradients_on_host(system: Leading, right: Tensor, sufficient: float) -> tuple[Tensor, int, float]:
    """The same for a single group, with numbers on the host: operations on tensors of one element are slow."""
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
        if strength <= REDUCTION**2 * first or strength * energy <= 2 * ESTIMATE * sufficient * first:
            break
        direction = preconditioned.add_(direction, alpha=strength / before)
    return solution, rounds, energy * strength / first if first > 0 else 0.0


@dataclass(frozen=True)
class _Flag:
    """A boolean computed by a device, being copied to the host."""

    value: Tensor | None = None
    """None means false."""
    there: torch.cuda.Event | None = None

    @classmethod
    def of(cls, value: Tensor) -> _Flag:
        """Start the copy, in order after earlier operations of the device."""
        if value.device.type != "cuda":
            return cls(value)
        host = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(value, non_blocking=True)
        there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        there.record(torch.cuda.current_stream(value.device))
        return cls(host, there)

    def read(self) -> bool:
        """The value, after waiting for the copy."""
        if self.there is not None:
            self.there.synchronize()
        return self.value is not None and bool(self.value)


def _dot(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first.view(-1), second.view(-1)))


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
    if groups == 1 and not device_matrix.is_card(target.device):
        return target.add_(direction, alpha=sign * float(length))
    flat = target.view(groups, -1)
    return flat.addcmul_(direction.view(groups, -1), length[:, None], value=sign).view_as(target)
