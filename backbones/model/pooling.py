"""Pooling of a backbone's feature map or tokens to one vector per image."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.catalog.card import Pooling
from backbones.io.errors import WeightsError


def pool(model: nn.Module, features: Tensor, pooling: Pooling) -> Tensor:
    """Pool the output of `forward_features`: [b, d, h, w] or [b, h, w, d] maps, [b, n, d] tokens; returns [b, d].

    `default`: the model's own head without its classifier. `avg`: the mean over positions, then the head's norm.
    `cls`: the class token. `cls+avg`: both, concatenated. `map`: the model's attention pooling. Raises WeightsError
    when the model has no such pooling.
    """
    if pooling == "default":
        return _own(model, features)
    if pooling == "map":
        if not _pools_by_attention(model):
            raise WeightsError(f"{_name(model)} has no attention pooling: use pooling=default")
        return _own(model, features)
    if not isinstance(features, Tensor):
        raise WeightsError(f"{_name(model)} returns several maps: use pooling=default")
    if features.ndim == 4:
        return _pool_map(model, features, pooling)
    if features.ndim != 3:
        raise WeightsError(f"{_name(model)} returns features of {features.ndim} dimensions: use pooling=default")
    return _pool_tokens(model, features, pooling)


def _own(model: nn.Module, features: Tensor) -> Tensor:
    return cast("Tensor", cast("Any", model).forward_head(features))


def _pool_map(model: nn.Module, features: Tensor, pooling: Pooling) -> Tensor:
    """Pooled map; where the head averages anyway, its own average is used, including the norm."""
    if pooling != "avg":
        raise WeightsError(f"{_name(model)} has no class token: use pooling=avg")
    if _averages(model):
        return _own(model, features)
    last = getattr(model, "output_fmt", None) == "NHWC"
    return features.mean(dim=(1, 2) if last else (2, 3))


def _pool_tokens(model: nn.Module, tokens: Tensor, pooling: Pooling) -> Tensor:
    """Pooled tokens. Prefix tokens (class, registers) come first and are not positions; the class token is the
    first of them.
    """
    prefix = cast("int", getattr(model, "num_prefix_tokens", 0))
    has_class = prefix > 0 and getattr(model, "cls_token", None) is not None
    if "cls" in pooling and not has_class:
        raise WeightsError(f"{_name(model)} has no class token: use pooling=avg")
    parts = {"cls": tokens[:, :1], "avg": tokens[:, prefix:]}
    norm = cast("nn.Module", getattr(model, "fc_norm", None) or nn.Identity())
    return torch.cat([norm(parts[part].mean(dim=1)) for part in pooling.split("+")], dim=1)


def _pools_by_attention(model: nn.Module) -> bool:
    head = getattr(model, "head", None)
    return getattr(model, "attn_pool", None) is not None or "Attention" in type(head).__name__


def _averages(model: nn.Module) -> bool:
    """Whether the head's own pooling is the mean over positions."""
    for owner in (model, getattr(model, "head", None)):
        kind = getattr(owner, "global_pool", None)
        kind = kind if isinstance(kind, str) else getattr(kind, "pool_type", None)
        if kind is not None:
            return kind in ("avg", "fast", "fastavg")
    return False


def _name(model: nn.Module) -> str:
    return type(model).__name__
