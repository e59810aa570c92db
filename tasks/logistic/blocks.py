"""What conjugate gradients are preconditioned with: a diagonal as long as it serves, then a block for every class.

A class's own block of the Hessian is the second moments of the leading coordinates, weighted by p (1 - p) of the class.
It leaves out what classes have to do with each other, but knows which samples matter to it. Where features have low
rank, conjugate gradients need ten times fewer rounds with it; it costs half as many rounds as there are leading
coordinates, and serves many directions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tasks.logistic.design import Design, rough_precision
from tasks.logistic.rows import Rows
from tasks.products import times_transposed

LONG = 20
"""Rounds of conjugate gradients that the diagonal may take for a direction."""
PRICE = 0.5
"""What blocks cost to make, in rounds for each leading coordinate."""
RIDGE = 1e-5
"""Relative to the diagonal; what float32 leaves of nearly parallel coordinates."""


class Blocks:
    """Inverses of the classes' own blocks, kept from direction to direction for as long as they serve.

    They are made as soon as the rounds that they could have spared add up to what they cost: at first those beyond
    `LONG`, later those beyond what a direction took when the blocks were new.
    """

    def __init__(self) -> None:
        self.inverses: Tensor | None = None
        """[c, k, k], or None: the diagonal serves."""
        self._begin(0)

    def _begin(self, count: int) -> None:
        self._count, self._usual, self._wasted = count, LONG, 0.0

    def prepare(self, design: Design, count: int, curvatures: Callable[[], Tensor], lam: float) -> Rows:
        """The leading coordinates [n, count] to find a direction in; before that, the blocks if it is time.

        `curvatures` gives p (1 - p) [c, n]. With blocks the coordinates are exact: the directions that are left to
        conjugate gradients drown in the rounding of half precision.
        """
        if count != self._count:
            self.inverses = None
            self._begin(count)
        if self._wasted > PRICE * count:
            self.inverses = inverses(design.leading(count, torch.float32).values, curvatures(), lam)
            self._wasted, self._usual = 0.0, 0
        return design.leading(count, rough_precision(design.moments.device) if self.inverses is None else torch.float32)

    def served(self, rounds: int) -> None:
        """After a direction, which took so many rounds."""
        self._usual = self._usual or rounds
        self._wasted += max(0, rounds - self._usual)


def inverses(leading: Tensor, curvatures: Tensor, lam: float) -> Tensor | None:
    """[c, k, k] of the penalised blocks, float32; None where rounding makes one of them indefinite."""
    columns = leading.T.contiguous()
    blocks = torch.stack([times_transposed(columns * weights, columns) for weights in curvatures]).div_(len(leading))
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    diagonal[:, 1:].add_(lam)
    scale = diagonal.clamp_min(torch.finfo(blocks.dtype).tiny).rsqrt()
    blocks.mul_(scale[:, :, None]).mul_(scale[:, None, :])
    diagonal.add_(RIDGE)
    factors, failed = torch.linalg.cholesky_ex(blocks)
    if bool(failed.any()):
        return None
    return torch.cholesky_inverse(factors).mul_(scale[:, :, None]).mul_(scale[:, None, :])
