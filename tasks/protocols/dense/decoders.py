"""Decoders from a pyramid of maps to one prediction per position: UPerNet, pyramid pooling, and a linear layer.

Sources: UPerNet (Xiao et al. 2018) and PSPNet's pyramid pooling (Zhao et al. 2017) as in the MIT scene parsing code;
the linear layer on dense features as in DINOv2's segmentation evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

POOLS = (1, 2, 3, 6)
DROPOUT = 0.1


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, [b, c, h, w] to [b, c, *size]."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _convolved(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm and ReLU; preserves the spatial size."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


class PyramidPooling(nn.Module):
    """The map concatenated with its averages over 1, 4, 9 and 36 regions: [b, c, h, w] to [b, c + 4 width, h, w].

    Training requires more than one image per batch: otherwise its batch norm has a single value per channel.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(count), *_convolved(channels, width, 1)) for count in POOLS
        )
        self.channels = channels + len(POOLS) * width

    def forward(self, last: Tensor) -> Tensor:
        """The map concatenated with its regional averages."""
        return torch.cat([last, *(resized(branch(last), last.shape[-2:]) for branch in self.branches)], dim=1)


class PyramidPoolingDecoder(nn.Module):
    """PSPNet's head on the last map alone."""

    def __init__(self, channels: Sequence[int], width: int, outputs: int) -> None:
        super().__init__()
        self.pooling = PyramidPooling(channels[-1], width)
        self.head = nn.Sequential(
            _convolved(self.pooling.channels, width, 3), nn.Dropout2d(DROPOUT), nn.Conv2d(width, outputs, 1)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the last map's size."""
        found: Tensor = self.head(self.pooling(maps[-1]))
        return found


class UperNet(nn.Module):
    """Pyramid pooling on the last map and a feature pyramid over the others, fused at the finest resolution. Maps of
    a plain transformer have one size; they are first resized to 4, 2, 1 and 1/2 times that, as in BEiT and MAE.
    """

    def __init__(self, channels: Sequence[int], width: int, outputs: int, *, plain: bool) -> None:
        super().__init__()
        self.scales = _plain_scales(len(channels)) if plain else [1.0] * len(channels)
        self.pooling = PyramidPooling(channels[-1], width)
        self.top = _convolved(self.pooling.channels, width, 3)
        self.laterals = nn.ModuleList(_convolved(count, width, 1) for count in channels[:-1])
        self.smoothers = nn.ModuleList(_convolved(width, width, 3) for _ in channels[:-1])
        self.fusion = _convolved(len(channels) * width, width, 3)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the finest map's size."""
        maps = [_rescaled(one, scale) for one, scale in zip(maps, self.scales, strict=True)]
        above = self.top(self.pooling(maps[-1]))
        levels = [above]
        for lateral, smoother, one in reversed(list(zip(self.laterals, self.smoothers, maps[:-1], strict=True))):
            above = lateral(one) + resized(above, one.shape[-2:])
            levels.insert(0, smoother(above))
        finest = levels[0].shape[-2:]
        fused = self.fusion(torch.cat([resized(level, finest) for level in levels], dim=1))
        found: Tensor = self.head(fused)
        return found


class LinearDecoder(nn.Module):
    """All maps concatenated at the size of the finest, each layer-normalised; then batch norm and a linear layer."""

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(sum(channels))
        self.head = nn.Conv2d(sum(channels), outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the finest map's size."""
        finest = maps[0].shape[-2:]
        columns = [resized(functional.layer_norm(one.permute(0, 2, 3, 1), one.shape[1:2]).permute(0, 3, 1, 2), finest)
                   for one in maps]  # fmt: skip
        found: Tensor = self.head(self.norm(torch.cat(columns, dim=1)))
        return found


def _plain_scales(count: int) -> list[float]:
    """4, 2, 1, 1/2 for four maps."""
    return [2.0 ** (count - 2 - place) for place in range(count)]


def _rescaled(one: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return one
    return resized(one, [max(1, round(side * scale)) for side in one.shape[-2:]])
