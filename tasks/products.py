"""Products of float32 matrices, on a CPU by oneDNN."""

from __future__ import annotations

from torch import Tensor

from backbones.onednn import linear


def times_transposed(left: Tensor, right: Tensor) -> Tensor:
    """`left` [m, k] times `right` [n, k] transposed, as [m, n], with sums in float32."""
    return linear(left, right)
