"""Attentive heads on patch tokens, many of one kind trained at once: CAPI's, AIM's, V-JEPA's, the efficient probe's.

All but V-JEPA's pool tokens by one learnt query per attention head and classify the result. A key is only ever
multiplied by its query, and a value only ever averaged, so both products commute with the attention: scores are tokens
times (query times key weights), and values are taken of the pooled token. The numbers are those of the published
modules to rounding; keys and values of single tokens, which need most of the memory there, are never computed. A key's
bias adds the same to every token and drops out of the softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

CAPI_HEAD_WIDTH = 64
EFFICIENT_QUERIES = 32
VJEPA_HEADS = 16
VJEPA_BLOCKS = 3
"""Self-attention blocks before the cross-attention, the fourth block of its probe."""
DEVIATION = 0.02
"""Standard deviation of initial weights."""
HeadKind = Literal["capi", "efficient", "aim", "vjepa"]


class CapiHead(nn.Module):
    """Cross-attention of one query vector, then a linear classifier (eval_classification.py of facebookresearch/capi).

    Keys and values are linear with bias; width / 64 attention heads, scale 1 / 8; no projection of the query or of the
    output, no norm, no residual.
    """

    def __init__(self, width: int, classes: int, _heads: int = 0) -> None:
        super().__init__()
        self.heads = divisor(width, max(1, width // CAPI_HEAD_WIDTH))
        self.query = nn.Parameter(torch.empty(width))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.classifier = nn.Linear(width, classes)
        for weight in (self.query, self.key.weight, self.value.weight, self.classifier.weight):
            nn.init.trunc_normal_(weight, std=DEVIATION)
        for layer in (self.key, self.value, self.classifier):
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [b, n, width] to logits [b, classes]."""
        pooled = _pooled(tokens, _scorers(self.query, self.key.weight, self.heads), self.value.weight) + self.value.bias
        logits: Tensor = self.classifier(pooled)
        return logits


class EfficientHead(nn.Module):
    """32 queries on raw tokens as keys (poolings/ep.py of billpsomas/efficient-probing), then BN and a classifier.

    Query i pools slice i of the values, which are linear without bias; the scale is the root of the whole width.
    """

    def __init__(self, width: int, classes: int, _heads: int = 0) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(divisor(width, EFFICIENT_QUERIES), width) * DEVIATION)
        self.value = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.classifier = nn.Linear(width, classes)
        for layer in (self.value, self.classifier):
            nn.init.trunc_normal_(layer.weight, std=DEVIATION)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [b, n, width] to logits [b, classes]."""
        pooled = _pooled(tokens, self.queries / math.sqrt(tokens.shape[2]), self.value.weight)
        logits: Tensor = self.classifier(self.norm(pooled))
        return logits


class AimHead(nn.Module):
    """Cross-attention of one query on normalised tokens (`AttentionPoolingClassifier` of apple/ml-aim).

    Tokens pass a batch norm without parameters; keys, values and classifier have no bias; as many attention heads as
    the backbone has. Linear layers keep torch's own initial weights, as published.
    """

    def __init__(self, width: int, classes: int, heads: int = 0) -> None:
        super().__init__()
        self.heads = divisor(width, heads or max(1, width // CAPI_HEAD_WIDTH))
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.query = nn.Parameter(torch.randn(width) * DEVIATION)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.classifier = nn.Linear(width, classes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [b, n, width] to logits [b, classes]."""
        normed = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        pooled = _pooled(normed, _scorers(self.query, self.key.weight, self.heads), self.value.weight)
        logits: Tensor = self.classifier(pooled)
        return logits


class VjepaHead(nn.Module):
    """Three self-attention blocks, a cross-attention block, a classifier (attentive_pooler.py of V-JEPA 2).

    Blocks are those of a transformer (layer norm, attention, layer norm, MLP of four times the width) with 16
    attention heads. The cross-attention has one query, which is its residual, and no output projection. In training,
    the activations of one block at a time are held and the others recomputed, as published.
    """

    def __init__(self, width: int, classes: int, _heads: int = 0) -> None:
        super().__init__()
        self.heads = divisor(width, VJEPA_HEADS)
        self.blocks = nn.ModuleList([Block(width, self.heads, qkv_bias=True) for _ in range(VJEPA_BLOCKS)])
        self.query = nn.Parameter(torch.empty(width))
        self.norm_tokens, self.norm_query = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query, self.to_key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.classifier = nn.Linear(width, classes)
        self._initialise()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [b, n, width] to logits [b, classes]."""
        for block in (*self.blocks, self._cross_attention):
            recompute = self.training and torch.is_grad_enabled()
            tokens = checkpoint(block, tokens, use_reentrant=False) if recompute else block(tokens)
        logits: Tensor = self.classifier(tokens)
        return logits

    def _cross_attention(self, tokens: Tensor) -> Tensor:
        """[b, n, width] to [b, width]."""
        query = self.query.expand(len(tokens), 1, -1)
        keys, values = self.to_key_value(self.norm_tokens(tokens)).chunk(2, dim=-1)
        parts = [one.unflatten(2, (self.heads, -1)).transpose(1, 2) for one in (self.to_query(query), keys, values)]
        attended = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        pooled = query + attended
        return cast("Tensor", (pooled + self.mlp(self.norm_query(pooled))).squeeze(1))

    def _initialise(self) -> None:
        """Truncated normal weights; those that end a residual branch are divided by the root of 2 x depth."""
        nn.init.trunc_normal_(self.query, std=DEVIATION)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=DEVIATION)
                nn.init.zeros_(cast("Tensor", layer.bias))
        names = ("attn.proj", "mlp.fc2")
        ends = [(depth, block.get_submodule(name)) for depth, block in enumerate(self.blocks, 1) for name in names]
        for depth, layer in [*ends, (VJEPA_BLOCKS, self.mlp[2])]:
            cast("nn.Linear", layer).weight.data.div_(math.sqrt(2.0 * depth))


@dataclass(frozen=True)
class HeadRecipe:
    """A published head and the differences of its training."""

    make: Callable[[int, int, int], nn.Module]
    """Constructor: token width, number of classes, the backbone's number of attention heads."""
    beta2: float = 0.95
    """Second decay rate of AdamW."""
    biases_decay: bool = False
    averaged_blocks: int = 0
    """Number of last blocks whose outputs, not normalised, are averaged; 0: the last one, after the final norm."""
    policy: bool = False
    """Whether random views pass AutoAugment's policy, and boxes of a quarter of them are erased."""


RECIPES: Mapping[HeadKind, HeadRecipe] = MappingProxyType(
    {
        "capi": HeadRecipe(CapiHead),
        "efficient": HeadRecipe(EfficientHead),
        "aim": HeadRecipe(AimHead, averaged_blocks=6),
        "vjepa": HeadRecipe(VjepaHead, beta2=0.999, biases_decay=True, policy=True),
    }
)


def divisor(width: int, wanted: int) -> int:
    """The largest divisor of `width` up to `wanted`."""
    return next(count for count in range(min(wanted, width), 0, -1) if width % count == 0)


def _scorers(query: Tensor, keys: Tensor, heads: int) -> Tensor:
    """[heads, width]: vectors whose product with a token is its score, from a query [width] and key weights."""
    each = len(query) // heads
    return torch.einsum("hw,hwd->hd", query.view(heads, each), _per_head(keys, heads)) / math.sqrt(each)


def _per_head(weight: Tensor, heads: int) -> Tensor:
    """Rows of a [width, width] weight by attention head: [heads, width / heads, width]."""
    return weight.view(heads, -1, weight.shape[1])


def _pooled(tokens: Tensor, scorers: Tensor, values: Tensor) -> Tensor:
    """Values [b, width] of the tokens averaged by softmax(tokens x scorers), slice i by scorer i of [heads, width]."""
    attention = torch.softmax(tokens @ scorers.T, dim=1)
    averaged = torch.einsum("bnh,bnd->bhd", attention, tokens)
    return torch.einsum("bhd,hwd->bhw", averaged, _per_head(values, len(scorers))).flatten(1)
