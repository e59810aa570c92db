"""Matrix products; on a CPU by the fastest available library for each precision.

PyTorch's own products use MKL, which is two to three times slower on processors of other vendors. The sums are float32
in both, in another order: values agree to rounding, about 1e-6 of a feature vector's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.overrides import TorchFunctionMode

MOST_PACKED = 2**30
"""Bytes of weights that may exist twice, plain and packed; ViT-B's weights are a third of that."""
PACK_AT = 8
"""Number of the product at which a matrix is packed; the previous ones cost as much as packing saves."""


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows` [..., k] times `weight` [n, k] transposed, plus `bias` [n], as [..., n]."""
    return linear_packed(rows, weight, bias) if ONEDNN and takes(rows, weight, bias) else F.linear(rows, weight, bias)


def pack(weight: Tensor, rows: int | None = None) -> Tensor | None:
    """`weight` [n, k] in oneDNN's fastest layout for products with `rows` rows, for `linear_packed` only.

    A copy of `weight.nbytes` bytes. None where oneDNN does not support it.
    """
    plain = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16) and weight.numel() > 0
    if not (ONEDNN and plain and (weight.dtype == torch.float32 or _packs_bfloat16())):
        return None
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    return made


def linear_packed(rows: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: str | None = None) -> Tensor:
    """`linear` for supported inputs, with a plain `weight` or one from `pack`; with `gelu`, followed by that GELU."""
    activation = ("none", "") if gelu is None else ("gelu", gelu)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, activation[0], [], activation[1])
    return product


class LinearByOneDNN(TorchFunctionMode):
    """Context in which every linear layer of this thread is computed by `linear`, wherever the network's code
    calls it.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - any return value
        del types
        if func is F.linear:
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 - torch's name
    return linear(input, weight, bias)


def takes(rows: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN supports these: non-empty plain float32 matrices without gradients."""
    given = (rows, weight) if bias is None else (rows, weight, bias)
    if torch.is_grad_enabled() and any(one.requires_grad for one in given):
        return False
    plain = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in given)
    return plain and rows.ndim > 1 and rows.numel() > 0 and weight.numel() > 0


def _has_onednn() -> bool:
    """Whether this build of PyTorch exposes oneDNN's product, which is not a public function, and it is correct."""
    if not (hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")):
        return False
    left, right = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        laid_out = torch.ops.mkldnn._reorder_linear_weight(right, 2)
        products = [linear_packed(left, weight) for weight in (right, laid_out)]
    except RuntimeError:
        return False
    return all(torch.equal(product, left @ right.T) for product in products)


ONEDNN = _has_onednn()


@lru_cache(maxsize=1)
def _packs_bfloat16() -> bool:
    """Whether oneDNN packs bfloat16, for which processors without AVX-512 lack the instructions."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(4, 3, dtype=torch.bfloat16), 2)
    except RuntimeError:
        return False
    return True


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
