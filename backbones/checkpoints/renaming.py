"""Common steps of key maps: renaming by rules, fusing query, key and value, numbering blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Rule = tuple[str, str]
"""Regular expression and replacement, as for `re.sub`."""


def renamed(tensors: Tensors, rules: Iterable[Rule]) -> dict[str, Tensor]:
    """Apply every rule to every key, in order."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    names: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = key
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        names[name] = value
    return names


def fused(tensors: Tensors, parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """`X.{parts[0]}.weight`, ... become `X.{whole}.weight`, concatenated; a single missing bias becomes zero.

    A layer without any bias gets none. Layers that lack a weight are left unchanged.
    """
    result = dict(tensors)
    for key in tensors:
        if not key.endswith(f"{parts[0]}.weight"):
            continue
        start = key.removesuffix(f"{parts[0]}.weight")
        weights = [result.get(f"{start}{part}.weight") for part in parts]
        if any(weight is None for weight in weights):
            continue
        present = [weight for weight in weights if weight is not None]
        result[f"{start}{whole}.weight"] = torch.cat(present)
        biases = [result.pop(f"{start}{part}.bias", None) for part in parts]
        if any(bias is not None for bias in biases):
            filled = [
                weight.new_zeros(len(weight)) if bias is None else bias
                for bias, weight in zip(biases, present, strict=True)
            ]
            result[f"{start}{whole}.bias"] = torch.cat(filled)
        for part in parts:
            del result[f"{start}{part}.weight"]
    return result


def without_chunks(tensors: Tensors) -> dict[str, Tensor]:
    """`blocks.2.7.attn` becomes `blocks.7.attn`: DINOv2 is trained with its blocks in chunks, numbered across all
    chunks.
    """
    return renamed(tensors, [(r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2.")])


def has(tensors: Iterable[str], pattern: str) -> bool:
    """Whether a key begins with the pattern."""
    compiled = re.compile(pattern)
    return any(compiled.match(key) for key in tensors)
