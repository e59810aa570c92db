"""Faster R-CNN on a pyramid (Ren et al., NeurIPS 2015), from torchvision, with detectron2's defaults as the paper
used.

Differences from detectron2: regions are pooled without the half-pixel shift of its second RoIAlign and from two samples
per bin, and the box losses are smooth up to 1/9 of a pixel's share; resizing is bilinear without antialiasing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import cast

from timm.layers.norm import LayerNorm2d
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, autograd, nn, zeros
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from backbones.model.feature_maps import FeatureMaps
from tasks.catalog.dense_parameters import DetectionParameters
from tasks.evaluation.inputs import ImageInputs

PLAIN_SCALES = (4.0, 2.0, 1.0, 0.5)


class Pyramid(nn.Module):
    """Images [b, 3, h, w] to levels `0`, `1`, ... and `pool`, each [b, out_channels, h / stride, w / stride].

    `strides` are those of all levels; image sides have to be multiples of `divisor`. Strides are powers of two: for a
    patch size that is not (14), the image is first scaled so that one patch covers the next power of two (16).
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
        """Names of the levels for region pooling: all but the added one."""
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
    """Replace batch norms by fixed scales and shifts with the statistics of the pretraining, as detectron2's
    FrozenBN.
    """
    freeze_batch_norm_2d(maps.model)  # type: ignore[no-untyped-call]
    return maps


def freeze_all_but_the_last_stage(maps: FeatureMaps, size: int) -> None:
    """Disable gradients for all layers up to the second to last map. For a ResNet, layer4 remains trainable; for a
    plain transformer, its last quarter. `size` is an input side that the backbone accepts.
    """
    parameters = [one for one in maps.parameters() if one.requires_grad]
    device = parameters[0].device
    before_last = maps(zeros(1, 3, size, size, device=device))[-2]
    reached = autograd.grad(before_last.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, reached, strict=True):
        parameter.requires_grad_(gradient is None)


REGION = 7
"""Positions per side of a region's features."""
RATIOS = (0.5, 1.0, 2.0)
PROPOSED_FROM = 2
"""Candidates per level before suppression in training, as a multiple of the regions kept after it."""


def build_detector(inputs: ImageInputs, parameters: DetectionParameters, classes: int) -> FasterRCNN:
    """Build the detector on the inputs' device, in training mode; frozen parameters require no gradient. New layers
    are initialised by torch's generator. Raises WeightsError, NoMaps.
    """
    size = inputs.backbone.card.input.size
    maps = freeze_statistics(FeatureMaps(inputs.backbone.fresh(), size))
    if parameters.frozen:
        freeze_all_but_the_last_stage(maps, size)
    pyramid = Pyramid(maps, parameters.width)
    detector = FasterRCNN(
        pyramid,
        min_size=parameters.test_side,
        max_size=parameters.longest_side,
        image_mean=inputs.spec.mean,
        image_std=inputs.spec.std,
        size_divisible=pyramid.divisor,
        rpn_anchor_generator=_anchors(pyramid, parameters.anchor),
        rpn_pre_nms_top_n_train=PROPOSED_FROM * parameters.proposals,
        rpn_pre_nms_top_n_test=parameters.proposals,
        rpn_post_nms_top_n_train=parameters.proposals,
        rpn_post_nms_top_n_test=parameters.proposals,
        box_roi_pool=MultiScaleRoIAlign(pyramid.levels, output_size=REGION, sampling_ratio=2),
        box_head=TwoMLPHead(parameters.width * REGION**2, parameters.head),
        box_predictor=FastRCNNPredictor(parameters.head, classes + 1),
        box_batch_size_per_image=parameters.sampled,
    )
    return cast("FasterRCNN", detector.to(inputs.device).train())


def _anchors(pyramid: Pyramid, scale: float) -> AnchorGenerator:
    sizes = tuple((round(scale * stride),) for stride in pyramid.strides)
    return AnchorGenerator(sizes, (RATIOS,) * len(sizes))
