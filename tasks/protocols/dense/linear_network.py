"""Linear head on the frozen maps of a backbone, and the shared parts of the published linear heads."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.model.architecture import freeze
from backbones.model.feature_maps import LayerChoice, NormedMaps
from backbones.model.precision import arithmetic
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Json
from tasks.protocols.dense.decoders import resized
from tasks.protocols.dense.image_batches import DenseImages
from tasks.protocols.dense.outlier_tokens import SHOWN, check_outliers
from tasks.reporter import Reporter
from tasks.training.checkpoint import spread_over
from tasks.training.loop import torch_seeded

DEVIATION = 0.01
"""Standard deviation of the convolution's initial weights."""


class LinearMapHead(nn.Module):
    """Dropout of channels, batch norm and a 1 x 1 convolution on concatenated maps.

    Source: linear_head.py of facebookresearch/dinov3 (eval/segmentation, eval/depth). All maps are resized to that of
    the first, then enlarged `upsampling` times.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int, *, dropout: float, norm: bool, upsampling: int) -> None:
        super().__init__()
        width = sum(channels)
        self.upsampling = upsampling
        self.dropout = nn.Dropout2d(dropout)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.convolution = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.convolution.weight, std=DEVIATION)
        nn.init.zeros_(cast("Tensor", self.convolution.bias))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the first map's size times `upsampling`."""
        first = [side * self.upsampling for side in maps[0].shape[-2:]]
        joined = torch.cat([resized(one, first) for one in maps], dim=1)
        found: Tensor = self.convolution(self.norm(self.dropout(joined)))
        return found


class FrozenMaps:
    """Maps of a frozen backbone for images of any size, padded on all sides to multiples of its unit."""

    def __init__(
        self, inputs: ImageInputs, layers: LayerChoice, *, class_token: bool = False, norm: bool = True
    ) -> None:
        self.inputs = inputs
        model = freeze(inputs.backbone.fresh()).eval().to(inputs.device)
        self.maps = NormedMaps(model, inputs.spec.crop, layers, class_token=class_token, norm=norm)

    @property
    def channels(self) -> tuple[int, ...]:
        """Total number of channels of the maps."""
        return self.maps.channels

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps float32 of normalised images [b, 3, h, w] from any device."""
        device = torch.device(self.inputs.device)
        padded = padded_to(images.to(device, non_blocking=True), self.maps.unit)
        with arithmetic(device, self.inputs.precision):
            found = self.maps(padded)
        return [one.float() for one in found]


def check_tokens(maps: FrozenMaps, images: DenseImages, reporter: Reporter) -> dict[str, Json]:
    """Record the outlier tokens of some images at their own size as a diagnostic, and warn of many."""
    unit, device = maps.maps.unit, maps.inputs.device
    rows = spread_over(len(images), SHOWN)
    pictures = (torch.from_numpy(np.array(images.split.images[row])).permute(2, 0, 1) for row in rows)
    views = (padded_to(images.pixels.normalised(picture)[None], unit).to(device) for picture in pictures)
    return check_outliers(maps.maps.model, views, reporter)


def padded_to(images: Tensor, unit: int) -> Tensor:
    """Zeros on both sides until height and width are multiples of `unit` (`CenterPadding` of DINOv2 and DINOv3)."""
    sides = [-side % unit for side in images.shape[:-3:-1]]
    return functional.pad(images, [part for side in sides for part in (side // 2, side - side // 2)])


def linear_head(
    maps: FrozenMaps, outputs: int, seed: int, *, dropout: float = 0.0, norm: bool = True, upsampling: int = 1
) -> LinearMapHead:
    """A new head; the seed determines its weights."""
    with torch_seeded("cpu", seed, 1):
        head = LinearMapHead(maps.channels, outputs, dropout=dropout, norm=norm, upsampling=upsampling)
    return head.to(maps.inputs.device)
