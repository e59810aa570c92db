"""Products of float32 matrices on a CPU. oneDNN makes them: it uses the widest instructions of any vendor's processor.

PyTorch's own go to MKL, which on processors of another vendor than its own is two to three times slower. The sums are
float32 either way, in another order: values agree to rounding, about 1e-6 of a feature vector's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.overrides import TorchFunctionMode

MOST_PACKED = 2**30
"""Bytes that may be held twice, as they are and packed; ViT-B's weights are a third of that."""


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows` [..., k] times `weight` [n, k] transposed, plus `bias` [n], as [..., n]."""
    return linear_packed(rows, weight, bias) if ONEDNN and takes(rows, weight, bias) else F.linear(rows, weight, bias)


def pack(weight: Tensor, rows: int | None = None) -> Tensor | None:
    """`weight` [n, k] in the layout that oneDNN multiplies `rows` rows with fastest, for `linear_packed` alone.

    A copy, which takes `weight.nbytes`. None where oneDNN does not take it.
    """
    plain = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16) and weight.numel() > 0
    if not (ONEDNN and plain):
        return None
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    return made


def linear_packed(rows: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: str | None = None) -> Tensor:
    """`linear` of what oneDNN takes, for a `weight` as it is or from `pack`; with `gelu`, such a GELU after it."""
    activation = ("none", "") if gelu is None else ("gelu", gelu)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, activation[0], [], activation[1])
    return product


class LinearByOneDNN(TorchFunctionMode):
    """Within it every linear layer of this thread is computed by `linear`, wherever the network's code calls it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        del types
        if func is F.linear:
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 - torch's name
    return linear(input, weight, bias)


def takes(rows: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the shorter way takes these: plain float32 matrices with something in them, no gradient wanted."""
    given = (rows, weight) if bias is None else (rows, weight, bias)
    if torch.is_grad_enabled() and any(one.requires_grad for one in given):
        return False
    plain = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in given)
    return plain and rows.ndim > 1 and rows.numel() > 0 and weight.numel() > 0


def _has_onednn() -> bool:
    """Whether this build of PyTorch lends oneDNN's product, which is no public function, and it is right."""
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
