"""Feature maps of any timm backbone, finest first, through its own `forward_intermediates`.

A hierarchical network (ResNet, ConvNeXt, Swin, Hiera) gives the last map of every stride from 4. A plain transformer
has one stride; it gives four of its blocks, evenly spaced, including the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

FINEST_STRIDE = 4
PLAIN_MAPS = 4


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
