"""Matrix products; on a CPU by the fastest available library for each precision."""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.cpu.onednn import MOST_PACKED, linear, linear_packed, pack

PACK_AT = 8
"""Number of the product at which a matrix is packed; the previous ones cost as much as packing saves."""


def matmul_transposed(left: Tensor, right: Tensor) -> Tensor:
    """`left` [m, k] times the transpose of `right` [n, k], as [m, n]; float64 inputs are summed in float64, else
    float32.

    float64 products use NumPy's library: PyTorch's takes twice as long on processors of other vendors than its own.
    """
    if left.dtype == right.dtype == torch.float64 and left.device.type == right.device.type == "cpu":
        return torch.from_numpy(left.detach().numpy() @ right.detach().numpy().T)
    return linear(left, right)


class PackedMatrix:
    """A matrix [n, k] for repeated products, packed for the CPU after several of them.

    Packing doubles the memory use, so matrices above `MOST_PACKED` are not packed.
    """

    def __init__(self, matrix: Tensor, *, packable: bool = True) -> None:
        self._matrix = matrix
        self._packable = packable and matrix.nbytes <= MOST_PACKED
        self._packed: Tensor | None = None
        self._products = 0

    def left_multiply(self, left: Tensor) -> Tensor:
        """`left` [m, k] times the transpose, as [m, n]; fastest for a constant m."""
        self._products += 1
        if self._packable and self._products == PACK_AT:
            self._packed = pack(self._matrix, len(left))
        return matmul_transposed(left, self._matrix) if self._packed is None else linear_packed(left, self._packed)
