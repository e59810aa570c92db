"""Attentive heads on patch tokens, many of one kind trained at once: CAPI's and the efficient probe's.

Both pool tokens by one learnt query per attention head and classify the result. A key is only ever multiplied by its
query, and a value only ever averaged, so both products commute with the attention: scores are tokens times (query times
key weights), and values are taken of the pooled token. The numbers are those of the published modules to rounding; keys
and values of single tokens, which fill most of the memory there, never exist. A key's bias adds the same to every token
and drops out of the softmax.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

CAPI_HEAD_WIDTH = 64
EFFICIENT_QUERIES = 32
DEVIATION = 0.02
"""Standard deviation of initial weights."""
HeadKind = Literal["capi", "efficient"]


class CapiHead(nn.Module):
    """Cross-attention of one query vector, then a linear classifier (eval_classification.py of facebookresearch/capi).

    Keys and values are linear with bias; width / 64 attention heads, scale 1 / 8; no projection of the query or of the
    output, no norm, no residual.
    """

    def __init__(self, width: int, classes: int) -> None:
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
        each = tokens.shape[2] // self.heads
        by_head = torch.einsum("hw,hwd->hd", self.query.view(self.heads, each), _per_head(self.key.weight, self.heads))
        pooled = _pooled(tokens, by_head / math.sqrt(each), self.value.weight) + self.value.bias
        logits: Tensor = self.classifier(pooled)
        return logits


class EfficientHead(nn.Module):
    """32 queries on raw tokens as keys (poolings/ep.py of billpsomas/efficient-probing), then BN and a classifier.

    Query i pools slice i of the values, which are linear without bias; the scale is the root of the whole width.
    """

    def __init__(self, width: int, classes: int) -> None:
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


HEADS: dict[HeadKind, type[CapiHead] | type[EfficientHead]] = {"capi": CapiHead, "efficient": EfficientHead}


def divisor(width: int, wanted: int) -> int:
    """The largest divisor of `width` up to `wanted`."""
    return next(count for count in range(min(wanted, width), 0, -1) if width % count == 0)


def _per_head(weight: Tensor, heads: int) -> Tensor:
    """Rows of a [width, width] weight by attention head: [heads, width / heads, width]."""
    return weight.view(heads, -1, weight.shape[1])


def _pooled(tokens: Tensor, scorers: Tensor, values: Tensor) -> Tensor:
    """Values [b, width] of the tokens averaged by softmax(tokens x scorers), slice i by scorer i of [heads, width]."""
    attention = torch.softmax(tokens @ scorers.T, dim=1)
    averaged = torch.einsum("bnh,bnd->bhd", attention, tokens)
    return torch.einsum("bhd,hwd->bhw", averaged, _per_head(values, len(scorers))).flatten(1)
