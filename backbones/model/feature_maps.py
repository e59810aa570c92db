"""Feature maps of any timm backbone, finest first, through its own `forward_intermediates`; and the maps after the
final norm, the input of frozen dense heads.

A hierarchical network (ResNet, ConvNeXt, Swin, Hiera) gives the last map of every stride from 4. A plain transformer
has one stride; it gives four of its blocks, evenly spaced, including the last.

A plain transformer gives the requested blocks, each through its final norm. A hierarchical network gives its last map,
or the last map of every stride where several layers are requested.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

FINEST_STRIDE = 4
PLAIN_MAPS = 4
LayerChoice = Literal["last", "last-4", "quarters"]
PUBLISHED_QUARTERS = (4, 11, 17, 23)
"""Blocks of 24 that DINOv2 and DINOv3 use: the first is not the sixth block."""


class NoMaps(RuntimeError):  # noqa: N818 - a domain word, raised as such
    """The architecture has no feature maps; the message gives the reason."""


class FeatureMaps(nn.Module):
    """`model` as a function from images [b, 3, h, w] to maps [b, channels[i], h / strides[i], w / strides[i]].

    `strides` are pixels per position, measured with an image of `size` and rounded. Raises NoMaps.
    """

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        if not hasattr(model, "forward_intermediates"):
            raise NoMaps(f"{type(model).__name__} has no feature maps (timm's forward_intermediates)")
        self.model = model
        self._places: tuple[int, ...] = ()
        probed = self._probe(size)
        strides = [max(1, round(size / one.shape[-1])) for one in probed]
        self._places = tuple(_chosen(strides))
        self.strides = tuple(strides[place] for place in self._places)
        self.channels = tuple(probed[place].shape[1] for place in self._places)

    @property
    def places(self) -> tuple[int, ...]:
        """Indices of the maps among all intermediate outputs of the network."""
        return self._places

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, finest first."""
        places = list(self._places) if self._places else None
        maps = cast("Any", self.model).forward_intermediates(
            images, indices=places, output_fmt="NCHW", intermediates_only=True
        )
        return list(maps)

    @torch.no_grad()
    def _probe(self, size: int) -> list[Tensor]:
        """All maps of a blank image."""
        device = next(self.model.parameters()).device
        training = self.model.training
        self.model.eval()
        try:
            maps: list[Tensor] = self(torch.zeros(1, 3, size, size, device=device))
        except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
            raise NoMaps(f"{type(self.model).__name__} has no feature maps at {size} pixels: {error}") from error
        finally:
            self.model.train(training)
        if not maps or any(one.ndim != 4 for one in maps):
            raise NoMaps(f"{type(self.model).__name__} returns features that are not maps")
        return maps


def _chosen(strides: Sequence[int]) -> list[int]:
    """Indices of the maps in the pyramid."""
    if len(set(strides)) == 1:
        count = min(PLAIN_MAPS, len(strides))
        return [len(strides) * (number + 1) // count - 1 for number in range(count)]
    last = {stride: place for place, stride in enumerate(strides)}
    return sorted(place for stride, place in last.items() if stride >= FINEST_STRIDE)


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
