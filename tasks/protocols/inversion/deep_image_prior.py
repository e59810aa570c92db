"""The deep image prior: a network whose weights are optimised to produce one image from fixed noise.

An hourglass with skip connections. Source: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior (CVPR 2018), as implemented
in nanxuanzhao/Good_transfer, from which the paper takes it (appendix A.8): zero padding, average pooling after the
convolution, nearest upsampling, LeakyReLU, no sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

NOISE_CHANNELS = 32
NOISE_STRENGTH = 0.1
SHORTCUT_CHANNELS = 4
SLOPE = 0.2


class Prior(nn.Module):
    """Noise [1, 32, h, w] to an image [1, 3, h, w] about 0 to 1; h and w are multiples of `unit(channels)`."""

    def __init__(self, channels: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        self.scales = _Scale(NOISE_CHANNELS, list(zip(channels, kernels, strict=True)))
        self.paint = nn.Conv2d(channels[0], 3, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """The image."""
        return cast("Tensor", self.paint(self.scales(noise)))


class _Scale(nn.Module):
    """One scale, containing all coarser ones."""

    def __init__(self, given: int, scales: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        (width, kernel), coarser = scales[0], scales[1:]
        self.shortcut = _block(given, SHORTCUT_CHANNELS, 1)
        self.deeper = nn.Sequential(
            _block(given, width, kernel, halve=True),
            _block(width, width, kernel),
            _Scale(width, coarser) if coarser else nn.Identity(),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )
        joined = SHORTCUT_CHANNELS + (coarser[0][0] if coarser else width)
        self.join = nn.Sequential(nn.BatchNorm2d(joined), _block(joined, width, kernel), _block(width, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return cast("Tensor", self.join(torch.cat([self.shortcut(maps), self.deeper(maps)], dim=1)))


def _block(given: int, width: int, kernel: int, *, halve: bool = False) -> nn.Sequential:
    pooling = [nn.AvgPool2d(2)] if halve else []
    convolution = nn.Conv2d(given, width, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, *pooling, nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE, inplace=True))


def unit(channels: Sequence[int]) -> int:
    """Divisor of the sides of a canvas."""
    return int(2 ** len(channels))


def canvas(side: int, channels: Sequence[int]) -> int:
    """Side of the generated square, from which `side` is cropped: 256 for 224 and six scales.

    The coarsest map is at least 2 x 2, because a single position has no variance for normalisation.
    """
    return unit(channels) * max(2, -(-side // unit(channels)))


def noise(side: int) -> Tensor:
    """Uniform noise [1, 32, side, side]."""
    return NOISE_STRENGTH * torch.rand(1, NOISE_CHANNELS, side, side)
