"""Conversion of integer weights to floating point, where the format states their scales.

bitsandbytes (LLM.int8: `SCB`), compressed-tensors (`weight_scale`, int8 or float8), optimum-quanto (`_data`, `_scale`).
Packed 4-bit formats and integers without scales of a known format are left unchanged, and refused later.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BITSANDBYTES_RANGE = 127.0
"""`SCB` contains the largest magnitude of each row."""
_SMALL = (torch.int8, torch.float8_e4m3fn, torch.float8_e5m2)
_BESIDE = ("SCB", "weight_format", "weight_scale", "weight_zero_point", "input_scale", "output_scale")


def dequantised(tensors: Mapping[str, object]) -> tuple[dict[str, object], str]:
    """Dictionary with floating-point weights, and the format; unchanged, and no format, if there is none."""
    result, found = dict(tensors), ""
    for key in tensors:
        layer, _, kind = key.rpartition(".")
        if kind == "SCB" and _is_plain(tensors, layer):
            done, name = _replace(result, layer, "weight", tensors[key], BITSANDBYTES_RANGE), "bitsandbytes"
        elif kind == "weight_scale":
            done, name = _replace(result, layer, "weight", tensors[key], 1.0), "compressed-tensors"
        elif kind == "_scale" and f"{layer}._data" in tensors and f"{layer}._shift" not in tensors:
            done, name = _replace(result, layer, "_data", tensors[key], 1.0), "optimum-quanto"
        else:
            continue
        found = name if done else found
    return result, found


def _is_plain(tensors: Mapping[str, object], layer: str) -> bool:
    """Whether bitsandbytes stored the matrix row by row."""
    order = tensors.get(f"{layer}.weight_format")
    return order is None or (isinstance(order, Tensor) and order.numel() == 1 and int(order) == 0)


def _replace(result: dict[str, object], layer: str, part: str, scale: object, divisor: float) -> bool:
    """Replace a weight's parts by the weight; False where they do not match."""
    whole = result.get(f"{layer}.{part}")
    if not isinstance(whole, Tensor) or not isinstance(scale, Tensor) or whole.dtype not in _SMALL or whole.ndim < 2:
        return False
    if scale.numel() not in (1, len(whole)) or not is_stored(whole):
        return False
    shift = result.get(f"{layer}.weight_zero_point")
    numbers = whole.float()
    if isinstance(shift, Tensor):
        if shift.numel() not in (1, len(whole)):
            return False
        numbers = numbers - _rows(shift, whole)
    name = layer if part == "_data" else f"{layer}.weight"
    inner = layer.rpartition(".")[0] if part == "_data" else layer
    for neighbour in (f"{layer}.{part}", f"{layer}._scale", *(f"{inner}.{kind}" for kind in _BESIDE)):
        result.pop(neighbour, None)
    result[name] = numbers * _rows(scale, whole) / divisor
    return True


def is_stored(tensor: Tensor) -> bool:
    """Whether every number is in memory: a view may repeat one number, and its copy would exhaust the memory."""
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """One number, or one per row, broadcast along the first axis."""
    return values.float().reshape(-1, *([1] * (like.ndim - 1)))
