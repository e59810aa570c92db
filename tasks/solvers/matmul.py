"""Products of matrices, on a CPU by the library that is fastest there for each precision."""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.cpu.onednn import MOST_PACKED, linear, linear_packed, pack

PACK_AT = 8
"""The product at which a matrix is packed: about so many cost as much more as packing takes."""


def matmul_transposed(left: Tensor, right: Tensor) -> Tensor:
    """`left` [m, k] times `right` [n, k] transposed, as [m, n], with sums in float32, or in float64 if they are that.

    float64 by NumPy's library: PyTorch's takes twice as long on processors of another vendor than its own.
    """
    if left.dtype == right.dtype == torch.float64 and left.device.type == right.device.type == "cpu":
        return torch.from_numpy(left.detach().numpy() @ right.detach().numpy().T)
    return linear(left, right)


class PackedMatrix:
    """A matrix [n, k] that many are multiplied with, on a CPU laid out for it once they have proved to be many.

    That takes as much memory again, so it is not done above `MOST_PACKED`.
    """

    def __init__(self, matrix: Tensor, *, packable: bool = True) -> None:
        self._matrix = matrix
        self._packable = packable and matrix.nbytes <= MOST_PACKED
        self._packed: Tensor | None = None
        self._products = 0

    def left_multiply(self, left: Tensor) -> Tensor:
        """`left` [m, k] times this transposed, as [m, n]; fastest if m is always the same."""
        self._products += 1
        if self._packable and self._products == PACK_AT:
            self._packed = pack(self._matrix, len(left))
        return matmul_transposed(left, self._matrix) if self._packed is None else linear_packed(left, self._packed)
