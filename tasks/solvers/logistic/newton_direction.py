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
from tasks.solvers.logistic.conjugate_gradients import (
    Hindsight,
    Leading,
    conjugate_gradients,
    conjugate_gradients_on_card,
)
from tasks.solvers.logistic.device_matrix import DeviceMatrix
from tasks.solvers.logistic.eigenbasis import Design, rough_precision
from tasks.solvers.logistic.objective import Likelihood, LossState
from tasks.solvers.logistic.replays import Replays

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

    def __init__(self, replays: Replays | None = None) -> None:
        self.replays = replays
        """Of a GPU's iterations."""
        self.inverses: Tensor | None = None
        """[c, k, k]; None while the diagonal is used."""
        self.rounds = 0
        """Iterations of the last direction."""
        self._iterations = 0
        self.hindsight = Hindsight()
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
        size = min(count, 1 + device_matrix.MOST_LEADING)
        if self._wasted > PRICE * size:
            self.inverses = None
            columns = design.leading_columns(count, torch.float32).values[:, :size]
            self.inverses = inverses(columns, curvatures(), lam)
            self._wasted, self._usual, self.hindsight = 0.0, 0, Hindsight()
        return design.leading_columns(
            count, rough_precision(design.moments.device) if self.inverses is None else torch.float32
        )

    def served(self, rounds: int) -> None:
        """Record the number of iterations of a direction."""
        self.rounds = rounds
        self._usual = self._usual or rounds
        self._wasted += max(0, rounds - self._usual)
        self._iterations += rounds

    def products(self) -> int:
        """Number of products with the leading coordinates since the last call."""
        since, self._iterations = 2 * self._iterations, 0
        return since


def inverses(leading: Tensor, curvatures: Tensor, lam: float) -> Tensor | None:
    """[c, k, k] of the penalised blocks, float32; None where rounding makes one of them indefinite."""
    columns = leading.T.contiguous()
    if not device_matrix.is_card(columns.device):
        return _inverses(columns, curvatures, lam)
    at_once = max(1, device_matrix.BLOCKS_AT_ONCE // len(columns) ** 2)
    found = curvatures.new_empty(len(curvatures), len(columns), len(columns))
    for part in range(0, len(curvatures), at_once):
        some = _inverses(columns, curvatures[part : part + at_once], lam)
        if some is None:
            return None
        found[part : part + at_once] = some
    return found


def _inverses(columns: Tensor, curvatures: Tensor, lam: float) -> Tensor | None:
    blocks = _weighted_moments(columns, curvatures).div_(columns.shape[1])
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
    at_once = max(1, device_matrix.CLASSES_AT_ONCE // columns.numel())
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
        leading = Leading(coordinates, likelihood, likelihood.weight(state), scale[:, :count], lam, blocks.inverses)
        if blocks.replays is not None:
            return _direction_on_card(leading, weights, gradient, sufficient, blocks, blocks.replays)
        right = gradient[:, :count]
        weights[:, :count], rounds, remaining = conjugate_gradients(leading, right, sufficient, blocks.hindsight)
        blocks.served(rounds)
    decrement = 0.5 * float(torch.dot(weights.flatten(), gradient.flatten()) + remaining)
    return Direction(weights.neg_(), decrement)


def _direction_on_card(
    leading: Leading, weights: Tensor, gradient: Tensor, sufficient: float, blocks: ClassBlocks, replays: Replays
) -> Direction:
    """The direction whose `weights` [c, 1 + r] are known in all but the leading coordinates, overwritten."""
    first = slice(0, leading.scale.shape[1])
    weights[:, first] = 0.0
    rest = torch.dot(weights.flatten(), gradient.flatten())
    weights[:, first], rounds, decrement = conjugate_gradients_on_card(
        leading, gradient[:, first], rest, sufficient, replays, blocks.rounds
    )
    blocks.served(rounds)
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
    limit = design.width - 1 if design.spacious else device_matrix.MOST_LEADING
    return 1 + min(rounded, limit, design.width - 1)


def _last(marks: Tensor) -> int:
    """Number of marks up to the last true one; moments do not descend in a basis that is not an eigenbasis."""
    places = torch.arange(1, 1 + len(marks), device=marks.device)
    return int((marks * places).max()) if len(marks) else 0
