"""A backbone that a protocol trains, in whole or in part: loaded as strictly as a frozen one, then let go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from backbones.card import BackboneCard, Scalar
from backbones.loading import load_model
from backbones.weights import WeightsFolder


@dataclass(frozen=True)
class TrainableBackbone:
    """A card and its verified weights, from which any number of equal models can be made, one after the other."""

    card: BackboneCard
    weights: WeightsFolder
    digest: str

    @classmethod
    def verified(cls, card: BackboneCard, weights: WeightsFolder) -> TrainableBackbone:
        """Reads the whole file once and compares its digest. Raises WeightsError when it is missing or damaged."""
        return cls(card, weights, cast("str", weights.verified(card).digest))

    def fresh(self, **arguments: Scalar) -> nn.Module:
        """A new model on the CPU with the card's weights, all of them trainable, in training mode.

        `arguments` are added to the architecture's, `output_stride=8` say; they must not change any tensor's shape,
        because loading stays strict. Raises WeightsError.
        """
        card = self.card.model_copy(
            update={"architecture_arguments": {**self.card.architecture_arguments, **arguments}}
        )
        return load_model(card, self.weights.state(self.card).path).train().requires_grad_(requires_grad=True)
