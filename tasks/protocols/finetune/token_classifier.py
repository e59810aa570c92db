"""A backbone and a linear head whose parts are trained: all, low-rank additions, biases or the head alone.

Low-rank additions (LoRA, Hu et al. 2021): y = W x + (scale / rank) B A x, with B = 0 at first.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.catalog.card import ArchitectureValue
from backbones.io.errors import WeightsError
from backbones.model.encoder import pool
from tasks.catalog.finetune_parameters import FinetuneVitParameters
from tasks.datasets.dataset import DataError
from tasks.evaluation.inputs import ImageInputs
from tasks.training.loop import torch_seeded

NORM_EPSILON = 1e-6
WARM_AVERAGE = 10
"""Averaged weights decay faster at first: the decay is at most (1 + step) / (10 + step)."""
FUSED = {"q": 0, "k": 1, "v": 2}
"""Thirds of a fused layer of queries, keys and values."""
SINGLE = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "proj": "proj", "fc1": "fc1", "fc2": "fc2"}


class TokenClassifier(nn.Module):
    """Normalised images [b, 3, h, w] to logits [b, classes]."""

    def __init__(self, inputs: ImageInputs, parameters: FinetuneVitParameters, seed: int) -> None:
        super().__init__()
        self.backbone = _backbone(inputs, parameters)
        self._pooling = inputs.backbone.card.pooling
        self._mean = parameters.pooling == "mean"
        if self._mean:
            cast("Any", self.backbone).norm = nn.Identity()
            cast("Any", self.backbone).fc_norm = nn.Identity()
        width = self._width(inputs.spec.crop)
        with torch_seeded("cpu", seed, 1):
            self.norm = nn.LayerNorm(width, eps=NORM_EPSILON) if self._mean else nn.Identity()
            self.head = nn.Linear(width, len(inputs.dataset.classes))
            nn.init.trunc_normal_(self.head.weight, std=parameters.head_deviation)
            nn.init.zeros_(self.head.bias)
            self._choose(parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return cast("Tensor", self.head(self.norm(self.pooled(images))))

    def pooled(self, images: Tensor) -> Tensor:
        """Features [b, d] before the head and its norm."""
        features = cast("Any", self.backbone).forward_features(images)
        if self._mean:
            first = cast("int", getattr(self.backbone, "num_prefix_tokens", 0))
            return cast("Tensor", features[:, first:].mean(dim=1))
        return pool(self.backbone, features, self._pooling).flatten(1)

    @torch.no_grad()
    def _width(self, size: int) -> int:
        self.backbone.eval()
        width = self.pooled(torch.zeros(1, 3, size, size)).shape[1]
        self.backbone.train()
        return width

    def _choose(self, parameters: FinetuneVitParameters) -> None:
        """Enable gradients for the trained parts only."""
        if parameters.trained == "lora":
            add_low_rank(self.backbone, parameters.targets, parameters.rank, parameters.scale)
        elif parameters.trained in ("bias", "head"):
            for name, parameter in self.backbone.named_parameters():
                parameter.requires_grad_(parameters.trained == "bias" and name.endswith("bias"))


def _backbone(inputs: ImageInputs, parameters: FinetuneVitParameters) -> nn.Module:
    """New backbone with stochastic depth. Raises WeightsError if the architecture does not support it."""
    dropped: dict[str, ArchitectureValue] = {"drop_path_rate": parameters.drop_path} if parameters.drop_path else {}
    try:
        return inputs.backbone.fresh(**dropped)
    except WeightsError as error:
        raise WeightsError(f"{error}; without dropped branches: finetune-vit.drop_path=0") from error


class AveragedClassifier(nn.Module):
    """A classifier and the exponential moving average of its weights, which is used in evaluation mode."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.model, self.decay = model, decay
        self.average = copy.deepcopy(model).requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the trained weights in training mode, of the averaged ones in evaluation mode."""
        chosen = self.model if self.training else self.average
        return cast("Tensor", chosen(images))

    def train(self, mode: bool = True) -> AveragedClassifier:
        """Set the mode; the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after a step; statistics of batch norms are copied."""
        kept = min(self.decay, (1 + step) / (WARM_AVERAGE + step))
        for mean, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)
        for statistic, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            statistic.copy_(value)


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
    """Replace the targeted linear layers of attention and MLP blocks in place; returns the names of the replaced
    layers. Everything else is frozen. Raises `DataError` if no layer has such a name.
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
