"""Low-rank additions to linear layers (LoRA, Hu et al. 2021): y = W x + (scale / rank) B A x, with B = 0 at first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.datasets.dataset import DataError

FUSED = {"q": 0, "k": 1, "v": 2}
"""Thirds of a fused layer of queries, keys and values."""
SINGLE = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "proj": "proj", "fc1": "fc1", "fc2": "fc2"}


class LowRankLinear(nn.Module):
    """A frozen linear layer and an addition to `outputs` of its outputs for every one of `parts`.

    Weights of the addition are initialised as those of a linear layer (A) and with zeros (B), so that the layer is
    unchanged at first.
    """

    def __init__(self, linear: nn.Linear, parts: Sequence[int], of: int, rank: int, scale: float) -> None:
        super().__init__()
        self.linear, self.parts, self.of = linear, tuple(parts), of
        self.factor = scale / rank
        each = linear.out_features // of
        self.down = nn.ParameterList(torch.empty(rank, linear.in_features) for _ in parts)
        self.up = nn.ParameterList(torch.zeros(each, rank) for _ in parts)
        for one in self.down:
            nn.init.kaiming_uniform_(one, a=math.sqrt(5))
        linear.requires_grad_(requires_grad=False)

    def forward(self, given: Tensor) -> Tensor:
        """[..., out] of [..., in]."""
        found: Tensor = self.linear(given)
        chunks = list(found.chunk(self.of, dim=-1))
        for part, down, up in zip(self.parts, self.down, self.up, strict=True):
            chunks[part] = chunks[part] + self.factor * ((given @ down.T) @ up.T)
        return torch.cat(chunks, dim=-1) if self.of > 1 else chunks[0]


def add_low_rank(model: nn.Module, targets: Sequence[str], rank: int, scale: float) -> list[str]:
    """Replace the targeted linear layers of attention and MLP blocks in place; names of the replaced layers.

    Everything else is frozen. Raises `DataError` when no layer has such a name.
    """
    model.requires_grad_(requires_grad=False)
    replaced = []
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        if not isinstance(module, nn.Linear) or parent.rpartition(".")[2] not in ("attn", "mlp"):
            continue
        parts = [FUSED[one] for one in targets if one in FUSED] if last == "qkv" else []
        single = last in {SINGLE[one] for one in targets}
        if parts or single:
            made = LowRankLinear(module, parts or [0], len(FUSED) if parts else 1, rank, scale)
            setattr(model.get_submodule(parent), last, made)
            replaced.append(name)
    if not replaced:
        raise DataError(
            f"{type(model).__name__} has no layers named {', '.join(targets)} in blocks of attention: "
            "choose others (finetune-vit.targets)"
        )
    return replaced
