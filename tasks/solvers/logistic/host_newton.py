"""Newton directions as in `newton_direction`, in NumPy: products in single or half precision, the rest in double.

For few columns a product of matrices is many times as fast as one with a vector, so blocks of all leading coordinates
pay early, and samples that hardly bend the loss of a single column are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.solvers.logistic.conjugate_gradients import ESTIMATE, REDUCTION, ROUNDS, Hindsight
from tasks.solvers.logistic.device_matrix import DeviceMatrix
from tasks.solvers.logistic.eigenbasis import Design
from tasks.solvers.logistic.host_blocks import SCREENED_SHARE, SMALL, HostBlocks
from tasks.solvers.logistic.host_loss import Floats, HostLoss, HostState, Short, Single, dot, in_precision
from tasks.solvers.logistic.newton_direction import RELEVANT

NEGLIGIBLE = 0.01
"""Samples whose p (1 - p) is less than this fraction of the mean are left out of a Hessian where that pays."""
COVERED = 0.99
"""Fraction of the samples that bend the loss for which the picked samples are used again."""
SCREENED_FROM, SCREENED_SIZE = 4, 1 << 20
"""Iterations of the last direction and elements of the leading coordinates from which it pays to leave out samples."""
STEP = 8
"""The number of leading coordinates is a multiple of this."""
FLAT = 1e-5
"""Ratio of the penalty to the largest curvature below which products in single precision hide the directions in which
the loss hardly bends."""
HARD = 8
"""Iterations of a direction from which a gradient in double precision costs little in comparison."""
CHEAP = 1 << 23
"""Multiply-adds of a gradient up to which it is in double precision, in which weak penalties keep their digits."""
DOUBT = 2.0
"""Factor of the estimated decrease that remains, where it is a large part of what a certificate rests on."""
Inner = float | Floats
"""An inner product, or those of independent rows [c, 1]."""


class HostMatrix:
    """Products with the rows of `matrix` [n, k] in its precision, for `columns` columns of weights.

    For few columns by NumPy's library, whose calls cost less, from a copy of the matrix for each direction.
    """

    def __init__(self, matrix: DeviceMatrix, columns: int) -> None:
        self.matrix, self.columns = matrix, columns
        self.width, self.precision = matrix.values.shape[1], matrix.values.dtype
        few = columns * matrix.values.numel() <= SMALL or columns == 1
        self.narrow = self.precision == torch.float64 or (few and self.precision == torch.float32)

    def __len__(self) -> int:
        return len(self.matrix)

    def exact_logits(self, weights: Floats) -> Floats:
        """[c, n] of `weights` [c, k] in double precision, from another copy of the matrix."""
        return weights @ self.exact.T

    def exact_transpose_matmul(self, residual: Floats, *, hard: bool) -> Floats:
        """Sum [c, k] of the rows, weighted by `residual` [c, n]; in double precision where that costs little, and for
        `hard` problems."""
        if self.matrix.values.numel() * self.columns > CHEAP and not hard:
            return self.transpose_matmul(residual).astype(np.float64)
        return residual @ self.exact

    @cached_property
    def _samples(self) -> Short:
        if self.double:
            return self.exact.T
        return self.matrix.values.T.contiguous().numpy()

    @cached_property
    def exact(self) -> Floats:
        """The rows in double precision."""
        return self.matrix.values.double().numpy()

    def picked(self, places: npt.NDArray[np.int64]) -> HostMatrix:
        """Some of the rows."""
        return HostMatrix(replace(self.matrix, values=self.matrix.values[torch.from_numpy(places)]), self.columns)

    @property
    def double(self) -> bool:
        """Whether products are in double precision."""
        return self.precision == torch.float64

    def logits(self, weights: Short) -> Short:
        """[c, n] of `weights` [c, k]."""
        short = in_precision(weights, self.double)
        return short @ self._samples if self.narrow else self._product(self.matrix.logits, short)

    def transpose_matmul(self, residual: Short) -> Short:
        """Sum [c, k] of the rows, weighted by `residual` [c, n]."""
        short = in_precision(residual, self.double)
        return short @ self.matrix.values.numpy() if self.narrow else self._product(self.matrix.transpose_matmul, short)

    def _product(self, multiply: Callable[[Tensor], Tensor], values: Short) -> Single:
        found: Single = multiply(torch.from_numpy(values).to(self.precision)).float().numpy()
        return found


class HostNewton:
    """Newton directions for the coordinates of `design`, and what is kept from one to the next."""

    def __init__(self, design: Design, loss: HostLoss, columns: int) -> None:
        self.design, self.loss, self.columns = design, loss, columns
        self.rows = HostMatrix(design.rows, columns)
        self.moments: Floats = design.moments.double().numpy()
        self.blocks = HostBlocks(columns, independent=loss.groups == columns)
        self.leading: HostMatrix | None = None
        self.screened: HostMatrix | None = None
        self.bending = np.empty(0, dtype=np.int64)

    def direction(
        self, state: HostState, gradient: Floats, ridge: Floats, sufficient: float, certified: float = 0.0
    ) -> tuple[Floats, float]:
        """A descent direction for `gradient` [c, 1 + r] of the objective with the penalties `ridge` [1 + r], and half
        of the decrease predicted by its quadratic model; no more exact than shows that it is at most `certified`."""
        curvatures = self.loss.curvatures(state)
        curvature = np.maximum(np.add.reduce(curvatures, axis=1), np.finfo(np.float64).tiny)
        scale = curvature[:, None] * self.moments
        scale += ridge
        direction = gradient / scale
        self.loss.centre(direction)
        remaining, lam = 0.0, float(ridge[-1])
        count = self._leading_count(float(curvature.max()), lam)
        if count > 1:
            flat = lam < FLAT * float(scale[:, 1:].max())
            precision = self.blocks.update(self.rows.exact, count, state, curvatures, lam, flat=flat)
            rows, bend = self._screened(self._leading(count, precision), state, curvatures)
            inverse_scale, short = (
                in_precision(1.0 / scale[:, :count], rows.double),
                in_precision(ridge[:count], rows.double),
            )
            hessian = HostHessian(rows, self.loss, bend, inverse_scale, short, self.blocks)
            right = in_precision(gradient[:, :count], rows.double)
            spent = dot(direction[:, count:], gradient[:, count:])
            direction[:, :count], rounds, remaining = conjugate_gradients(
                hessian, right, sufficient, self.blocks.hindsight, 2 * certified - spent
            )
            self.blocks.served(rounds)
        decrement = 0.5 * (dot(direction, gradient) + remaining)
        np.negative(direction, out=direction)
        return direction, decrement

    def _leading(self, count: int, precision: torch.dtype) -> HostMatrix:
        """The first `count` coordinates."""
        if self.leading is None or (self.leading.width, self.leading.precision) != (count, precision):
            if precision == torch.float64:
                values = torch.from_numpy(self.rows.exact[:, :count])
                self.leading = HostMatrix(replace(self.design.rows, values=values), self.columns)
            else:
                self.leading = HostMatrix(self.design.leading_columns(count, precision), self.columns)
        return self.leading

    def _screened(
        self, rows: HostMatrix, state: HostState, curvatures: Floats
    ) -> tuple[HostMatrix, Callable[[Short], Short]]:
        """The rows that bend the loss of a single column, and its Hessian product, where many rows hardly do.

        The Hessian without the others is smaller, so the decrement of the direction is an upper bound.
        """
        hard = self.blocks.rounds >= SCREENED_FROM and rows.width * len(rows) > SCREENED_SIZE
        if len(curvatures) > 1 or not hard:
            return rows, self.loss.bend(state, double=rows.double)
        bending = np.flatnonzero(curvatures[0] > NEGLIGIBLE * float(np.mean(curvatures)))
        if len(bending) > SCREENED_SHARE * len(rows):
            return rows, self.loss.bend(state, double=rows.double)
        if self.screened is None or not self._covered(bending, rows):
            self.bending, self.screened = bending, rows.picked(bending)
        weights = in_precision(curvatures[:, self.bending], rows.double)
        return self.screened, lambda change: change * weights

    def _covered(self, bending: npt.NDArray[np.int64], rows: HostMatrix) -> bool:
        """Whether the last picked rows are of this width and precision, and nearly all of these and not many more."""
        assert self.screened is not None
        common = len(np.intersect1d(bending, self.bending, assume_unique=True))
        fitting = common >= COVERED * len(bending) and len(bending) >= SCREENED_SHARE * len(self.bending)
        return fitting and (self.screened.width, self.screened.precision) == (rows.width, rows.precision)

    def _leading_count(self, curvature: float, lam: float) -> int:
        """Number of coordinates, including the intercept, where the loss bends more than a fraction of the penalty."""
        relevant = np.flatnonzero(curvature * self.moments[1:] > RELEVANT * lam)
        if not len(relevant):
            return 1
        step = max(STEP, 1 << max(0, int(relevant[-1] + 1).bit_length() - 3))
        return 1 + min(-(-int(relevant[-1] + 1) // step) * step, len(self.moments) - 1)


@dataclass(frozen=True)
class HostHessian:
    """The penalised Hessian in the leading coordinates of `rows` [n, k], with a preconditioner."""

    rows: HostMatrix
    loss: HostLoss
    bend: Callable[[Short], Short]
    inverse_scale: Short
    ridge: Short
    blocks: HostBlocks

    def product(self, direction: Short) -> Short:
        """The Hessian times `direction` [c, k]."""
        product = self.rows.transpose_matmul(self.bend(self.rows.logits(direction)))
        product += direction * self.ridge
        return product

    def precondition(self, residual: Short) -> Short:
        """`residual` [c, k] divided by the diagonal, or by the blocks."""
        found = self.blocks.precondition(residual, self.inverse_scale)
        self.loss.centre(found)
        return found

    def inner(self, first: Short, second: Short) -> Inner:
        """Inner product, of each row [c, 1] if they are independent."""
        return dot(first, second) if self.loss.groups == 1 else np.einsum("ck,ck->c", first, second)[:, None]


def conjugate_gradients(
    system: HostHessian, right: Short, sufficient: float, hindsight: Hindsight, certified: float = 0.0
) -> tuple[Short, int, float]:
    """Approximate solution for `right` [c, k], the number of iterations, and twice the estimated remaining decrease;
    it ends as `newton_direction.conjugate_gradients` does, or once that and twice the decrease so far are together at
    most `certified`.

    The estimate is a bound where the preconditioner is a Hessian of some of the samples, which is smaller than that of
    all of them.
    """
    residual, solution, bounded = right.copy(), np.zeros_like(right), system.blocks.bounding
    direction = system.precondition(residual)
    strength = first = system.inner(residual, direction)
    enough = 2 * ESTIMATE / system.loss.groups * sufficient
    energy, remaining, rounds, doubt = 0.0 * first, first, 0, 1.0
    while rounds < ROUNDS and np.any(strength > 0):
        rounds += 1
        image = system.product(direction)
        length = _ratio(strength, system.inner(direction, image))
        energy = energy + length * strength
        solution += direction * length
        image *= length
        residual -= image
        preconditioned = system.precondition(residual)
        strength, before = system.inner(residual, preconditioned), strength
        remaining = strength if bounded else energy * _ratio(strength, first)
        hindsight.note(float(np.sum(energy)), float(np.sum(remaining)))
        reduced = strength <= REDUCTION**2 * (energy if bounded else first)
        if np.all(reduced | (hindsight.factor * remaining <= enough)):
            break
        if float(np.sum(energy + DOUBT * hindsight.factor * remaining)) <= certified:
            doubt = DOUBT
            break
        direction *= _ratio(strength, before)
        direction += preconditioned
    bound = doubt * hindsight.factor * float(np.sum(remaining))
    hindsight.learn()
    return solution, rounds, bound


def _ratio(numerator: Inner, denominator: Inner) -> Inner:
    if isinstance(denominator, float):
        return numerator / denominator if denominator > 0 else 0.0
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)
