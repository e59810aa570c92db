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


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows` [..., k] times `weight` [n, k] transposed, plus `bias` [n], as [..., n]."""
    if ONEDNN and takes(rows, weight, bias):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return product
    return F.linear(rows, weight, bias)


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
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    left, right = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        product = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    except RuntimeError:
        return False
    return bool(torch.equal(product, left @ right.T))


ONEDNN = _has_onednn()
