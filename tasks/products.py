"""Products of float32 matrices. On a CPU oneDNN makes them: it uses the widest instructions of any vendor's processor.

PyTorch's own go to MKL, which on processors of another vendor than its own is two to three times slower.
"""

from __future__ import annotations

import torch
from torch import Tensor


def times_transposed(left: Tensor, right: Tensor) -> Tensor:
    """`left` [m, k] times `right` [n, k] transposed, as [m, n], with sums in float32."""
    if ONEDNN and left.device.type == "cpu" and left.dtype == right.dtype == torch.float32 and left.numel():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
        return product
    return left @ right.T


def _has_onednn() -> bool:
    """Whether this build of PyTorch lends oneDNN's product, which is no public function, and it is right."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    left, right = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        product = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    except RuntimeError:
        return False
    return bool(torch.equal(product, left @ right.T))


ONEDNN = _has_onednn()
