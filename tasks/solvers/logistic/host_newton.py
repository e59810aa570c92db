"""Newton directions as in `newton_direction`, in NumPy: products in single or half precision, the rest in double.

For few columns a product of matrices is many times as fast as one with a vector, so blocks of all leading coordinates
pay early, and samples that hardly bend the loss of a single column are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.solvers.logistic.conjugate_gradients import ESTIMATE, REDUCTION, ROUNDS
from tasks.solvers.logistic.device_matrix import MOST_LEADING, DeviceMatrix
from tasks.solvers.logistic.eigenbasis import Design, rough_precision
from tasks.solvers.logistic.host_loss import Floats, HostLoss, HostState, Single, dot
from tasks.solvers.logistic.newton_direction import LONG, PRICE, RELEVANT

MOST_WHOLE = 512
"""Maximum number of leading coordinates that are one block, for a single column; more are multiplied in half precision,
for which blocks are too exact."""
COLUMNS_AT_SPEED = 12
"""Columns from which a product with the leading coordinates is as fast, per operation, as one that makes a block."""
NEGLIGIBLE = 0.01
"""Samples whose p (1 - p) is less than this fraction of the mean are left out of a Hessian where that pays."""
COVERED = 0.99
"""Fraction of the samples that bend the loss for which the picked samples are used again."""
SCREENED_FROM, SCREENED_SIZE, SCREENED_SHARE = 4, 1 << 20, 0.7
"""Iterations of the last direction, elements of the leading coordinates, and fraction of the samples that are left,
for which it pays."""
LEAST = 4
"""Iterations that blocks have to save at least."""
RIDGE = 1e-12
"""Relative to the diagonal; regularises coordinates that are nearly parallel."""
STALE = 0.1
"""Ratio of the penalty to that of blocks, below which they are dropped."""
SHORT = 3
"""As `newton_direction.LONG`, for a single column."""
STEP = 8
"""The number of leading coordinates is a multiple of this."""
CHEAP = 1 << 23
"""Multiply-adds of a gradient up to which it is in double precision, in which weak penalties keep their digits."""
SMALL = 1 << 20
"""Multiply-adds of a product up to which NumPy's library takes less time, in single precision."""
Inner = float | Floats
"""An inner product, or those of independent rows [c, 1]."""


class HostMatrix:
    """Products with the rows of `matrix` [n, k] in its precision, for `columns` columns of weights.

    For few columns by NumPy's library, whose calls cost less, from a copy of the matrix for each direction.
    """

    def __init__(self, matrix: DeviceMatrix, columns: int) -> None:
        self.matrix, self.columns = matrix, columns
        self.width, self.precision = matrix.values.shape[1], matrix.values.dtype
        self.narrow = columns * matrix.values.numel() <= SMALL or columns == 1
        self.narrow = self.narrow and self.precision == torch.float32

    def __len__(self) -> int:
        return len(self.matrix)

    def exact_logits(self, weights: Floats) -> Floats:
        """[c, n] of `weights` [c, k] in double precision, from another copy of the matrix."""
        return weights @ self.exact.T

    def exact_transpose_matmul(self, residual: Floats) -> Floats:
        """Sum [c, k] of the rows, weighted by `residual` [c, n]; in double precision where that costs little."""
        if self.matrix.values.numel() * self.columns > CHEAP:
            return self.transpose_matmul(residual).astype(np.float64)
        return residual @ self.exact

    @cached_property
    def _samples(self) -> Single:
        return self.matrix.values.T.contiguous().numpy()

    @cached_property
    def exact(self) -> Floats:
        """The rows in double precision."""
        return self.matrix.values.double().numpy()

    def picked(self, places: npt.NDArray[np.int64]) -> HostMatrix:
        """Some of the rows."""
        return HostMatrix(replace(self.matrix, values=self.matrix.values[torch.from_numpy(places)]), self.columns)

    def logits(self, weights: Floats | Single) -> Single:
        """[c, n] of `weights` [c, k]."""
        short = weights.astype(np.float32, copy=False)
        return short @ self._samples if self.narrow else self._product(self.matrix.logits, short)

    def transpose_matmul(self, residual: Floats | Single) -> Single:
        """Sum [c, k] of the rows, weighted by `residual` [c, n]."""
        short = residual.astype(np.float32, copy=False)
        return short @ self.matrix.values.numpy() if self.narrow else self._product(self.matrix.transpose_matmul, short)

    def _product(self, multiply: Callable[[Tensor], Tensor], values: Single) -> Single:
        found: Single = multiply(torch.from_numpy(values).to(self.precision)).float().numpy()
        return found


class HostNewton:
    """Newton directions for the coordinates of `design`, and what is kept from one to the next."""

    def __init__(self, design: Design, loss: HostLoss, columns: int) -> None:
        self.design, self.loss, self.columns = design, loss, columns
        self.rows = HostMatrix(design.rows, columns)
        self.moments: Floats = design.moments.double().numpy()
        self.blocks = HostBlocks(columns)
        self.leading: HostMatrix | None = None
        self.screened: HostMatrix | None = None
        self.bending = np.empty(0, dtype=np.int64)

    def direction(self, state: HostState, gradient: Floats, ridge: Floats, sufficient: float) -> tuple[Floats, float]:
        """A descent direction for `gradient` [c, 1 + r] of the objective with the penalties `ridge` [1 + r], and half
        of the decrease predicted by its quadratic model."""
        curvatures = self.loss.curvatures(state)
        curvature = np.maximum(np.add.reduce(curvatures, axis=1), np.finfo(np.float64).tiny)
        scale = curvature[:, None] * self.moments
        scale += ridge
        direction = gradient / scale
        self.loss.centre(direction)
        remaining, lam = 0.0, float(ridge[-1])
        count = self._leading_count(float(curvature.max()), lam)
        if count > 1:
            rows = self.blocks.prepare(partial(self._leading, count), count, curvatures, lam)
            rows, bend = self._screened(rows, state, curvatures)
            inverse_scale, short = (1.0 / scale[:, :count]).astype(np.float32), ridge[:count].astype(np.float32)
            hessian = HostHessian(rows, self.loss, bend, inverse_scale, short, self.blocks.inverses)
            right = gradient[:, :count].astype(np.float32)
            direction[:, :count], rounds, remaining = conjugate_gradients(hessian, right, sufficient)
            self.blocks.served(rounds)
        decrement = 0.5 * (dot(direction, gradient) + remaining)
        np.negative(direction, out=direction)
        return direction, decrement

    def _leading(self, count: int, precision: torch.dtype) -> HostMatrix:
        """The first `count` coordinates."""
        if self.leading is None or (self.leading.width, self.leading.precision) != (count, precision):
            self.leading = HostMatrix(self.design.leading_columns(count, precision), self.columns)
        return self.leading

    def _screened(
        self, rows: HostMatrix, state: HostState, curvatures: Floats
    ) -> tuple[HostMatrix, Callable[[Single], Single]]:
        """The rows that bend the loss of a single column, and its Hessian product, where many rows hardly do.

        The Hessian without the others is smaller, so the decrement of the direction is an upper bound.
        """
        hard = self.blocks.rounds >= SCREENED_FROM and rows.width * len(rows) > SCREENED_SIZE
        if len(curvatures) > 1 or not hard:
            return rows, self.loss.bend(state)
        bending = np.flatnonzero(curvatures[0] > NEGLIGIBLE * float(np.mean(curvatures)))
        if len(bending) > SCREENED_SHARE * len(rows):
            return rows, self.loss.bend(state)
        if self.screened is None or not self._covered(bending, rows.width):
            self.bending, self.screened = bending, rows.picked(bending)
        weights = curvatures[:, self.bending].astype(np.float32)
        return self.screened, lambda change: change * weights

    def _covered(self, bending: npt.NDArray[np.int64], width: int) -> bool:
        """Whether the last picked rows are of this width, and nearly all of these and not many more."""
        assert self.screened is not None
        common = len(np.intersect1d(bending, self.bending, assume_unique=True))
        fitting = common >= COVERED * len(bending) and len(bending) >= SCREENED_SHARE * len(self.bending)
        return fitting and self.screened.width == width

    def _leading_count(self, curvature: float, lam: float) -> int:
        """Number of coordinates, including the intercept, where the loss bends more than a fraction of the penalty."""
        relevant = np.flatnonzero(curvature * self.moments[1:] > RELEVANT * lam)
        if not len(relevant):
            return 1
        step = max(STEP, 1 << max(0, int(relevant[-1] + 1).bit_length() - 3))
        return 1 + min(-(-int(relevant[-1] + 1) // step) * step, len(self.moments) - 1)


class HostBlocks:
    """Inverse diagonal blocks of the Hessian, as `newton_direction.ClassBlocks`.

    For few columns a product of matrices is many times as fast as one with a vector, so blocks of all leading
    coordinates pay early. For a single column they are the Hessian itself; too many coordinates for one are multiplied
    in half precision.
    """

    def __init__(self, classes: int) -> None:
        self.inverses: Single | None = None
        self.rounds = 0
        """Iterations of the longer one of the last two directions."""
        self._classes, self._before, self._lam = classes, 0, 0.0
        self._speed = min(1.0, classes / COLUMNS_AT_SPEED)
        self._begin(0)

    def _begin(self, count: int) -> None:
        self.inverses, self._count, self._wasted = None, count, 0
        self._usual = LONG if self._classes > 1 else SHORT

    def prepare(
        self, leading: Callable[[torch.dtype], HostMatrix], count: int, curvatures: Floats, lam: float
    ) -> HostMatrix:
        """The leading coordinates [n, count] for the next direction; updates the blocks if due."""
        if count != self._count:
            self._begin(count)
        samples, size = curvatures.shape[1], count
        if count > MOST_WHOLE or self._classes > 1:
            size = min(count, 1 + MOST_LEADING) if self._classes > 1 else 0
        if self.inverses is not None and lam < STALE * self._lam:
            self._begin(count)
        price = LEAST + PRICE * self._speed * size * size / count * (1 + size / samples)
        if size and self._wasted > price:
            first = leading(torch.float32).exact[:, :size]
            self.inverses, self._wasted, self._usual = inverses(first, curvatures, lam), 0, 0
            self._lam = lam
        small = curvatures.size * count <= SMALL
        return leading(torch.float32 if small or self.inverses is not None else rough_precision(torch.device("cpu")))

    def served(self, rounds: int) -> None:
        """Record the number of iterations of a direction."""
        self.rounds, self._before = max(rounds, self._before), rounds
        self._usual = self._usual or rounds
        self._wasted += max(0, rounds - self._usual)


def inverses(first: Floats, curvatures: Floats, lam: float) -> Single:
    """[c, k, k] of the penalised blocks of the coordinates `first` [n, k], weighted by `curvatures` [c, n].

    In double precision: in single precision what regularises them would hide the directions in which the loss hardly
    bends, and conjugate gradients would end before they have seen these.
    """
    blocks = np.stack([(first.T * weights) @ first for weights in curvatures])
    diagonal = np.einsum("ckk->ck", blocks)
    diagonal[:, 1:] += lam
    diagonal *= 1.0 + RIDGE
    return np.linalg.inv(blocks).astype(np.float32)


@dataclass(frozen=True)
class HostHessian:
    """The penalised Hessian in the leading coordinates of `rows` [n, k], with a preconditioner."""

    rows: HostMatrix
    loss: HostLoss
    bend: Callable[[Single], Single]
    inverse_scale: Single
    ridge: Single
    inverses: Single | None

    def product(self, direction: Single) -> Single:
        """The Hessian times `direction` [c, k]."""
        product = self.rows.transpose_matmul(self.bend(self.rows.logits(direction)))
        product += direction * self.ridge
        return product

    def precondition(self, residual: Single) -> Single:
        """`residual` [c, k] divided by the diagonal, or multiplied by the inverse block of each class."""
        found = residual * self.inverse_scale
        if self.inverses is not None:
            size = self.inverses.shape[1]
            found[:, :size] = (residual[:, None, :size] @ self.inverses)[:, 0]
        self.loss.centre(found)
        return found

    def inner(self, first: Single, second: Single) -> Inner:
        """Inner product, of each row [c, 1] if they are independent."""
        return dot(first, second) if self.loss.groups == 1 else np.einsum("ck,ck->c", first, second)[:, None]


def conjugate_gradients(system: HostHessian, right: Single, sufficient: float) -> tuple[Single, int, float]:
    """Approximate solution for `right` [c, k], the number of iterations, and twice the estimated remaining decrease;
    it ends as `newton_direction.conjugate_gradients` does."""
    residual, solution = right.copy(), np.zeros_like(right)
    direction = system.precondition(residual)
    strength = first = system.inner(residual, direction)
    enough = (2 * ESTIMATE / system.loss.groups * sufficient) * first
    energy, rounds = 0.0 * first, 0
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
        if np.all((strength <= REDUCTION**2 * first) | (strength * energy <= enough)):
            break
        direction *= _ratio(strength, before)
        direction += preconditioned
    return solution, rounds, float(np.sum(energy * _ratio(strength, first)))


def _ratio(numerator: Inner, denominator: Inner) -> Inner:
    if isinstance(denominator, float):
        return numerator / denominator if denominator > 0 else 0.0
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)
