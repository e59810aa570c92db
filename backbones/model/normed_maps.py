"""Maps of patch tokens after the final norm, the input of frozen dense heads, optionally with the class token.

A plain transformer gives the requested blocks, each through its final norm. A hierarchical network gives its last map,
or the last map of every stride where several layers are requested.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from backbones.model.feature_maps import FeatureMaps, NoMaps

LayerChoice = Literal["last", "last-4", "quarters"]
PUBLISHED_QUARTERS = (4, 11, 17, 23)
"""Blocks of 24 that DINOv2 and DINOv3 use: the first is not the sixth block."""


class NormedMaps(nn.Module):
    """`model` as a function from images [b, 3, h, w] to maps [b, channels[i], h', w'].

    Sides of an image must be multiples of `unit` pixels. With `class_token`, every position also
    has the class token of its block (the mean over positions where there is none) as further channels. Without `norm`,
    maps are the blocks' own outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        size: int,
        layers: LayerChoice = "last",
        *,
        class_token: bool = False,
        norm: bool = True,
    ) -> None:
        super().__init__()
        pyramid = FeatureMaps(model, size)
        self.model, self.class_token, self.norm = model, class_token, norm
        self._places = _places(pyramid, layers)
        self._takes = set(inspect.signature(cast("Any", model).forward_intermediates).parameters)
        self.unit = max(pyramid.strides)
        self.channels = tuple(one.shape[1] for one in self._probe(size))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps, in the order of the layers; coarser ones are not resized."""
        prefixed = {"norm", "return_prefix_tokens"} <= self._takes
        how = {"norm": self.norm} if "norm" in self._takes else {}
        if prefixed:
            how["return_prefix_tokens"] = True
        found = cast("Any", self.model).forward_intermediates(
            images, indices=list(self._places), output_fmt="NCHW", intermediates_only=True, **how
        )
        if not self.class_token:
            return [one[0] if isinstance(one, tuple) else one for one in found]
        return [with_class_token(*one) if isinstance(one, tuple) else with_class_token(one, None) for one in found]

    @torch.no_grad()
    def _probe(self, size: int) -> list[Tensor]:
        training, device = self.model.training, next(self.model.parameters()).device
        self.model.eval()
        try:
            maps: list[Tensor] = self(torch.zeros(1, 3, size, size, device=device))
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise NoMaps(f"{type(self.model).__name__} has no maps after its final norm: {error}") from error
        finally:
            self.model.train(training)
        return maps


def with_class_token(patches: Tensor, prefix: Tensor | None) -> Tensor:
    """[b, 2 d, h, w] from a map [b, d, h, w] and prefix tokens [b, n, d], the first of which is the class token."""
    has_class = prefix is not None and prefix.shape[1] > 0
    token = prefix[:, 0] if prefix is not None and has_class else patches.mean(dim=(2, 3))
    return torch.cat([patches, token[:, :, None, None].expand_as(patches)], dim=1)


def _places(pyramid: FeatureMaps, layers: LayerChoice) -> Sequence[int]:
    """Indices among the network's own list of intermediate outputs."""
    evenly = pyramid.places
    last = evenly[-1]
    if layers == "last":
        return (last,)
    plain = len(set(pyramid.strides)) == 1
    if layers == "last-4" and plain:
        return tuple(range(max(0, last - 3), last + 1))
    return PUBLISHED_QUARTERS if plain and last == PUBLISHED_QUARTERS[-1] else evenly
