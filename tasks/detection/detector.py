"""Faster R-CNN on a pyramid (Ren et al., NeurIPS 2015), from torchvision, with detectron2's defaults as the paper used.

What differs from detectron2: regions are cut without the half-pixel shift of its second RoIAlign and from two samples
per bin, and the box losses are smooth up to 1/9 of a pixel's share; resizing is bilinear without antialiasing.
"""

from __future__ import annotations

from typing import cast

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from backbones.pyramid import FeatureMaps
from tasks.detection.parameters import DetectionParameters
from tasks.detection.pyramid import Pyramid, freeze_all_but_the_last_stage, freeze_statistics
from tasks.image_inputs import ImageInputs

REGION = 7
"""Positions per side of a region's features."""
RATIOS = (0.5, 1.0, 2.0)
PROPOSED_FROM = 2
"""Times as many candidates go into a level's suppression in training as regions leave the proposal network."""


def build_detector(inputs: ImageInputs, parameters: DetectionParameters, classes: int) -> FasterRCNN:
    """The detector on the inputs' device, in training mode; what is frozen asks for no gradient.

    New layers are drawn from torch's generator. Raises WeightsError, NoMaps.
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
