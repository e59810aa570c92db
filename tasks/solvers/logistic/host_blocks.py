"""Preconditioners in NumPy: inverse blocks of the Hessian, or its factor, reused over directions.

A block holds the leading coordinates of one column. For independent columns the blocks are the Hessian itself. Columns
of a softmax are coupled: where few samples are uncertain, each between few classes, the loss bends far less along some
directions than the blocks do, so the whole Hessian is factorised where that costs little.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.solvers.logistic.conjugate_gradients import Hindsight
from tasks.solvers.logistic.device_matrix import MOST_LEADING
from tasks.solvers.logistic.eigenbasis import rough_precision
from tasks.solvers.logistic.host_loss import Floats, HostState, Short, in_precision
from tasks.solvers.logistic.newton_direction import LONG, PRICE

Places = npt.NDArray[np.int64]

MOST_WHOLE = 2048
"""Maximum number of leading coordinates that are one block, for independent columns; more are multiplied in half
precision, for which blocks are too exact."""
MOST_COUPLED = 3_000
"""Maximum number of leading coordinates of all columns whose Hessian is factorised: in 72 MB."""
COUPLED_PRICE = 64
"""Iterations that a factor of coupled columns may cost; blocks are made where it costs more."""
COLUMNS_AT_SPEED = 12
"""Columns from which a product with the leading coordinates is as fast, per operation, as one that makes a block."""
NEGLIGIBLE = 1e-6
"""Samples that bend the loss less than this fraction of the mean are left out of blocks where that pays. Along some
directions the loss is bent by such samples alone, and blocks without them are of no use there."""
SCREENED_SHARE = 0.7
"""Fraction of the samples that are left, for which it pays."""
LEAST = 4
"""Iterations that blocks have to save at least."""
RIDGE = 1e-12
"""Relative to the diagonal; regularises coordinates that are nearly parallel."""
STALE = 0.1
"""Ratio of the penalty to that of blocks, below which whole Hessians are made again and others dropped: they would hide
directions in which the loss hardly bends."""
SHORT = 3
"""As `newton_direction.LONG`, for independent columns."""
SMALL = 1 << 20
"""Multiply-adds of a product up to which NumPy's library takes less time, in single precision."""


class HostBlocks:
    """What preconditions the next directions, as `newton_direction.ClassBlocks`.

    For few columns a product of matrices is many times as fast as one with a vector, so blocks of all leading
    coordinates pay early. Too many coordinates for one are multiplied in half precision. `independent`: each column has
    its own Hessian.
    """

    def __init__(self, columns: int, *, independent: bool) -> None:
        self.inverses: Short | None = None
        """[c, k, k] of each column's first coordinates."""
        self.factor: Tensor | None = None
        """Cholesky factor [c k, c k] of the Hessian of coupled columns."""
        self.hindsight = Hindsight()
        self.rounds = 0
        """Iterations of the longer one of the last two directions."""
        self._columns, self._independent = columns, independent
        self._before, self._lam = 0, 0.0
        self._demanded = self._double = False
        self._speed = min(1.0, columns / COLUMNS_AT_SPEED)
        self._begin(0)

    def _begin(self, count: int) -> None:
        self.inverses, self.factor = None, None
        self._count, self._wasted, self._usual = count, 0.0, SHORT if self._independent else LONG

    @property
    def exist(self) -> bool:
        """Whether there is more than the diagonal."""
        return self.inverses is not None or self.factor is not None

    @property
    def bounding(self) -> bool:
        """Whether they are a whole Hessian, of the present point or an earlier one."""
        return self.factor is not None or (self._independent and self.inverses is not None)

    def update(
        self, rows: Floats, count: int, state: HostState, curvatures: Floats, lam: float, *, flat: bool
    ) -> torch.dtype:
        """Make blocks of `count` leading coordinates of `rows` [n, 1 + r] if due; return the precision of products for
        the next direction: double with whole Hessians, where the loss is so `flat` that single precision hides it."""
        if count != self._count:
            self._begin(count)
        if self.bounding and lam < STALE * self._lam:
            self._wasted = math.inf
        elif self.exist and lam < STALE * self._lam:
            self._begin(count)
        size, price = self._size_and_price(count, curvatures.shape[1])
        if size and (self._demanded or self._wasted > price):
            self._demanded = False
            self.inverses, self.factor = None, self._coupled(rows[:, :count], state, lam)
            if self.factor is None:
                self.inverses = inverses(in_precision(rows[:, :size], flat), curvatures, lam)
            self._lam, self._wasted, self._usual, self.hindsight = lam, 0.0, 0, Hindsight()
        if flat and (self.bounding or self._double):
            return torch.float64
        small = curvatures.size * count <= SMALL
        return torch.float32 if small or self.exist else rough_precision(torch.device("cpu"))

    def demand(self) -> None:
        """Make blocks with the next direction, and use double precision with all blocks where the loss is flat."""
        self._demanded = self._double = True

    def served(self, rounds: int) -> None:
        """Record the number of iterations of a direction."""
        self.rounds, self._before = max(rounds, self._before), rounds
        self._usual = self._usual or rounds
        self._wasted += max(0, rounds - self._usual)

    def precondition(self, residual: Short, inverse_scale: Short) -> Short:
        """`residual` [c, k] divided by the diagonal, or by the blocks."""
        if self.factor is not None:
            column = torch.from_numpy(residual.reshape(-1, 1)).double()
            solved: Floats = torch.cholesky_solve(column, self.factor).numpy()
            return in_precision(solved.reshape(residual.shape), residual.dtype == np.float64)
        found = residual * inverse_scale
        if self.inverses is not None:
            size = self.inverses.shape[1]
            found[:, :size] = (residual[:, None, :size] @ self.inverses)[:, 0]
        return found

    def _size_and_price(self, count: int, samples: int) -> tuple[int, float]:
        """Coordinates of a block, 0 for none, and the cost of blocks in iterations."""
        size = min(count, 1 + MOST_LEADING)
        if self._independent:
            size = count if count <= MOST_WHOLE else 0
        return size, LEAST + PRICE * self._speed * size * size / count * (1 + size / samples)

    def _coupled(self, first: Floats, state: HostState, lam: float) -> Tensor | None:
        """Factor of the Hessian of coupled columns; None where blocks cost less or are the same."""
        (samples, count), columns = first.shape, self._columns
        coordinates = columns * count
        if self._independent or coordinates > MOST_COUPLED:
            return None
        together = uncertain_pairs(state.chance)
        operations = count**2 * sum(map(len, together.values())) + coordinates**3 / 3
        if self._speed * operations / (4 * columns * samples * count) > COUPLED_PRICE:
            return None
        return coupled_factor(first, state.chance, together, lam)


def uncertain_pairs(chance: Floats) -> dict[tuple[int, int], Places]:
    """Samples by pair of classes: those that may be of either, for probabilities `chance` [c, n]."""
    classes, samples = chance.shape
    least = NEGLIGIBLE * float(1.0 - np.sum(chance * chance) / samples) / classes
    pairs = ((a, b) for a in range(classes) for b in range(a + 1, classes))
    return {(a, b): np.flatnonzero(chance[a] * chance[b] > least) for a, b in pairs}


def coupled_factor(first: Floats, chance: Floats, together: dict[tuple[int, int], Places], lam: float) -> Tensor | None:
    """Cholesky factor [c k, c k] of the penalised softmax Hessian in the coordinates `first` [n, k]; None
    where rounding makes it indefinite.

    A sum over pairs of classes, which is positive semidefinite whichever samples are left out. Intercepts have no
    effect in common: their mean is penalised, as directions are centred.
    """
    (classes, samples), size = chance.shape, first.shape[1]
    hessian = np.zeros((classes, size, classes, size))
    for (a, b), picked in together.items():
        rows = first[picked] * np.sqrt(chance[a, picked] * chance[b, picked] / samples)[:, None]
        pair = rows.T @ rows
        hessian[a, :, a] += pair
        hessian[b, :, b] += pair
        hessian[a, :, b] -= pair
        hessian[b, :, a] -= pair
    places = np.arange(1, size)
    for a in range(classes):
        hessian[a, places, a, places] += lam
    hessian[:, 0, :, 0] += float(np.einsum("ckck->ck", hessian)[:, 0].mean())
    flat = hessian.reshape(classes * size, -1)
    flat[np.diag_indices(len(flat))] *= 1.0 + RIDGE
    factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(flat))
    return None if bool(failed) else factor


def inverses(first: Short, curvatures: Floats, lam: float) -> Short:
    """[c, k, k] of the penalised blocks of the coordinates `first` [n, k], weighted by `curvatures` [c, n].

    In the precision of `first`, but factorised in double precision. Where the loss is flat, single precision would hide
    the directions in which it hardly bends, and conjugate gradients would end before they have seen these.
    """
    weights = in_precision(curvatures, first.dtype == np.float64)
    blocks = np.stack([_weighted_moments(first, one) for one in weights]).astype(np.float64, copy=False)
    diagonal = np.einsum("ckk->ck", blocks)
    diagonal[:, 1:] += lam
    diagonal *= 1.0 + RIDGE
    factors, failed = torch.linalg.cholesky_ex(torch.from_numpy(blocks))
    whole = np.linalg.inv(blocks) if bool(failed.any()) else torch.cholesky_inverse(factors).numpy()
    return in_precision(whole, first.dtype == np.float64)


def _weighted_moments(first: Short, weights: Short) -> Short:
    """[k, k], without the samples that hardly bend the loss, where these are many; a product of a matrix with itself
    has half of the operations of another one."""
    bending = np.flatnonzero(weights > NEGLIGIBLE * np.mean(weights))
    if len(bending) <= SCREENED_SHARE * len(weights):
        first, weights = first[bending], weights[bending]
    scaled = first * np.sqrt(weights)[:, None]
    return scaled.T @ scaled
