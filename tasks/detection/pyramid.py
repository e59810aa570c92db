"""From a backbone's feature maps to a pyramid with equal channels, finest level first.

Maps of several strides go through a feature pyramid network (Lin et al., CVPR 2017); the one of a plain transformer
through a simple feature pyramid (Li et al., Exploring Plain Vision Transformer Backbones, ECCV 2022). A coarser level
is added on top for the largest anchors, as in detectron2.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from timm.layers.norm import LayerNorm2d
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, autograd, nn, zeros
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from backbones.pyramid import FeatureMaps

PLAIN_SCALES = (4.0, 2.0, 1.0, 0.5)


class Pyramid(nn.Module):
    """Images [b, 3, h, w] to levels `0`, `1`, ... and `pool`, each [b, out_channels, h / stride, w / stride].

    `strides` are those of all levels; image sides have to be multiples of `divisor`. The strides are powers of two: of
    a patch that is none (14), the image is first scaled so that one patch takes the next one (16).
    """

    def __init__(self, maps: FeatureMaps, width: int) -> None:
        super().__init__()
        self.maps = maps
        self.out_channels = width
        self.neck: nn.Module
        finest = maps.strides[0]
        if len(set(maps.strides)) > 1:
            self.scale, kept = 1.0, maps.strides
            self.neck = FeaturePyramidNetwork(list(maps.channels), width, extra_blocks=LastLevelMaxPool())
        else:
            nominal = 2 ** round(math.log2(finest))
            self.scale, kept = finest / nominal, tuple(round(nominal / scale) for scale in PLAIN_SCALES)
            self.neck = SimpleFeaturePyramid(maps.channels[-1], width)
        self.strides = (*kept, 2 * kept[-1])
        self.divisor = kept[-1]

    @property
    def levels(self) -> list[str]:
        """Names of the levels that regions are cut from: all but the added one."""
        return [str(number) for number in range(len(self.strides) - 1)]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The levels by name."""
        if self.scale != 1:
            images = functional.interpolate(images, scale_factor=self.scale, mode="bilinear", antialias=True)
        maps = self.maps(images)
        levels: OrderedDict[str, Tensor] = self.neck(OrderedDict((str(place), one) for place, one in enumerate(maps)))
        return levels


class SimpleFeaturePyramid(nn.Module):
    """The last map of a plain transformer at four scales."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        scales: tuple[list[nn.Module], ...] = (
            [
                nn.ConvTranspose2d(channels, half, 2, 2),
                LayerNorm2d(half),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, 2),
            ],
            [nn.ConvTranspose2d(channels, half, 2, 2)],
            [],
            [nn.MaxPool2d(2, 2)],
        )
        sizes = (quarter, half, channels, channels)
        self.branches = nn.ModuleList(
            nn.Sequential(*scale, *_merging(size, width)) for scale, size in zip(scales, sizes, strict=True)
        )
        self.top = LastLevelMaxPool()

    def forward(self, maps: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """The levels by name."""
        last = next(reversed(maps.values()))
        levels = [branch(last) for branch in self.branches]
        names = [str(number) for number in range(len(levels))]
        levels, names = self.top(levels, [last], names)
        return OrderedDict(zip(names, levels, strict=True))


def _merging(channels: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 1, bias=False),
        LayerNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width),
    ]


def freeze_statistics(maps: FeatureMaps) -> FeatureMaps:
    """Batch norms become fixed scales and shifts, as detectron2's FrozenBN: the statistics are the pretraining's."""
    freeze_batch_norm_2d(maps.model)  # type: ignore[no-untyped-call]
    return maps


def freeze_all_but_the_last_stage(maps: FeatureMaps, size: int) -> None:
    """No gradient for whatever the second to last map is made with.

    Of a ResNet, layer4 remains; of a plain transformer, its last quarter. `size` is a side that the backbone takes.
    """
    parameters = [one for one in maps.parameters() if one.requires_grad]
    device = parameters[0].device
    before_last = maps(zeros(1, 3, size, size, device=device))[-2]
    reached = autograd.grad(before_last.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, reached, strict=True):
        parameter.requires_grad_(gradient is None)
