"""Learning rates that fall from the head to the first layer: scale d^(depth + 1 - i) of layer i.

Source: util/lr_decay.py of facebookresearch/mae: layer 0 is the stem with its tokens, block j is layer j + 1, norm and
head are the last. Layers of other architectures are those of timm's `group_matcher`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from timm.models import group_parameters
from torch import nn

CLOSING = ("norm.", "fc_norm.", "head.", "attn_pool.", "head_norm.")
"""Parts of a backbone behind its last block."""


def layer_of(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Layer by the name of every parameter, and the number of the last layer, that of the head.

    An architecture without `group_matcher` is one layer.
    """
    names = [name for name, _ in backbone.named_parameters()]
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return dict.fromkeys(names, 0), 1
    layers: Mapping[str, int] = cast("Any", group_parameters)(backbone, matcher(coarse=False), reverse=True)
    last = 1 + max((layers[name] for name in names if name in layers and not name.startswith(CLOSING)), default=0)
    return {name: last if name.startswith(CLOSING) else layers.get(name, last) for name in names}, last


def parameter_groups(
    model: nn.Module, backbone: nn.Module, rate: float, decay: float, weight_decay: float, head_factor: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser, one for every learning rate and weight decay; of what is trained."""
    layers, last = layer_of(backbone)
    within = {id(parameter): name for name, parameter in backbone.named_parameters()}
    without = cast("Any", backbone).no_weight_decay() if hasattr(backbone, "no_weight_decay") else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in _trained(model):
        name = within.get(id(parameter))
        scale = head_factor if name is None else decay ** (last - layers[name])
        decays = 0.0 if parameter.ndim <= 1 or name in without else weight_decay
        groups.setdefault((rate * scale, decays), []).append(parameter)
    return [{"params": each, "lr": lr, "weight_decay": decays} for (lr, decays), each in groups.items()]


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)
