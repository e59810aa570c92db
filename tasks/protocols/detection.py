"""Detection: train Faster R-CNN on the backbone, detect the objects in test images, score by the VOC rules.

Source: paper section 4.5 and appendix A.4; `detectron2` configurations of linusericsson/ssl-transfer. As there, the
final weights are evaluated and nothing is selected on validation data. Batches are not grouped by image orientation.

Faster R-CNN on a pyramid (Ren et al., NeurIPS 2015) is torchvision's with detectron2's defaults. Differences: regions
are pooled without the half-pixel shift of its second RoIAlign and from two samples per bin, and the box losses are
smooth up to 1/9 of a pixel's share; resizing is bilinear without antialiasing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import cast

import numpy as np
import torch
from timm.layers.norm import LayerNorm2d
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, autograd, nn, zeros
from torch.nn import functional
from torch.optim import Optimizer
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.transforms.v2 import functional as transform

from backbones.model.feature_maps import FeatureMaps
from backbones.model.precision import arithmetic
from tasks.catalog.dense_parameters import DetectionParameters
from tasks.datasets.dataset import Boxes, DataError, SourceSplit, Targets
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.detection import AveragePrecision, Detections, kept
from tasks.metrics.outcome import Json, Outcome
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, batch_of, loss_still_decreasing, torch_seeded, train

MOMENTUM = 0.9
WARMUP_FROM = 1e-3
CURVE_POINTS = 100
"""Maximum number of equal intervals of the training over which the loss is averaged."""
HEADLINE_OVERLAP = 0.5

Target = dict[str, Tensor]
PLAIN_SCALES = (4.0, 2.0, 1.0, 0.5)


def evaluate(inputs: ImageInputs, parameters: DetectionParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train and test. Raises DataError if the data have no boxes."""
    training_split, test_split = inputs.split("train"), inputs.split("test", "val")
    truths: Targets[Boxes] = inputs.targets(test_split, "boxes")
    with torch_seeded(inputs.device, seed, 1):
        detector = build_detector(inputs, parameters, len(truths.classes))
    batches = TrainingBatches(inputs, training_split, detector, parameters, seed)
    training = Training(
        model=detector,
        optimiser=optimiser_of(detector, parameters),
        steps=parameters.iterations,
        loss=batches.loss,
        rate=rate_of(parameters),
        seed=seed,
        device=inputs.device,
    )
    checkpoint = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "detector.pt", inputs.key)
    train(training, checkpoint, reporter, every_s=inputs.checkpoint_s)
    detections = detect(detector, test_split, parameters, inputs, reporter)
    return _outcome(
        detections, truths, parameters, training, {"train": batches.images, "test": len(detections)}, reporter
    )


class TrainingBatches:
    """Loss of each step, from a batch that is drawn, randomly mirrored and randomly scaled."""

    def __init__(
        self, inputs: ImageInputs, split: SourceSplit, detector: FasterRCNN, parameters: DetectionParameters, seed: int
    ) -> None:
        self._inputs, self._split, self._detector, self._seed = inputs, split, detector, seed
        self._batch = parameters.batch
        self._short_sides = parameters.short_sides
        self._boxes: Targets[Boxes] = inputs.targets(split, "boxes")
        self.images = len(split.images)

    def loss(self, step: int) -> Tensor:
        """Sum of the detector's four losses."""
        self._detector.transform.min_size = self._short_sides
        rows = batch_of(step, self.images, self._batch, self._seed)
        pairs = [self._sample(int(row)) for row in rows]
        with arithmetic(torch.device(self._inputs.device), self._inputs.precision):
            losses = self._detector([image for image, _ in pairs], [target for _, target in pairs])
        return torch.stack([one.float() for one in losses.values()]).sum()

    def _sample(self, row: int) -> tuple[Tensor, Target]:
        image = pixels(self._split, row)
        boxes = torch.from_numpy(self._boxes[row].corners)
        if torch.rand(()) < 0.5:
            width = image.shape[-1]
            image = transform.horizontal_flip(image)
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        labels = torch.from_numpy(self._boxes[row].labels) + 1
        device = self._inputs.device
        return image.to(device), {"boxes": boxes.to(device), "labels": labels.to(device)}


def pixels(split: SourceSplit, index: int) -> Tensor:
    """One image as float32 [3, h, w] in [0, 1]."""
    return torch.from_numpy(np.array(split.images[index])).permute(2, 0, 1).float().div_(255)


def optimiser_of(detector: FasterRCNN, parameters: DetectionParameters) -> Optimizer:
    """Optimiser of the parameters that require gradients, without weight decay of scales and shifts of norms
    (detectron2's WEIGHT_DECAY_NORM).
    """
    norms = {
        parameter
        for module in detector.modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm)
        for parameter in module.parameters(recurse=False)
    }
    wanted = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in wanted if one not in norms], "weight_decay": parameters.weight_decay},
        {"params": [one for one in wanted if one in norms], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if parameters.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=parameters.rate)
    return torch.optim.SGD(groups, lr=parameters.rate, momentum=MOMENTUM)


def rate_of(parameters: DetectionParameters) -> Callable[[int], float]:
    """The factor on the learning rate at a step: a linear warm-up, then a tenth after each drop."""

    def factor(step: int) -> float:
        rising = 1.0
        if step < parameters.warmup:
            rising = WARMUP_FROM + (1 - WARMUP_FROM) * step / parameters.warmup
        return float(rising * 0.1 ** bisect_right(parameters.drops, step))

    return factor


@torch.no_grad()
def detect(
    detector: FasterRCNN, split: SourceSplit, parameters: DetectionParameters, inputs: ImageInputs, reporter: Reporter
) -> list[Detections]:
    """Detections in every image of the split, with corners in pixels of the original image."""
    detector.eval()
    detector.transform.min_size = (parameters.test_side,)
    reporter.phase("detecting", len(split.images), "images")
    found: list[Detections] = []
    for images in _batches(split, inputs.batch_size):
        with arithmetic(torch.device(inputs.device), inputs.precision):
            answers = detector([image.to(inputs.device) for image in images])
        found.extend(_detections(answer) for answer in answers)
        reporter.advance(len(images))
    return found


def _batches(split: SourceSplit, batch_size: int) -> Iterator[list[Tensor]]:
    """Batches of images of equal shape, so that none is padded and batching does not affect the results."""
    read = (pixels(split, index) for index in range(len(split.images)))
    for _, alike in groupby(read, key=lambda image: image.shape):
        batch: list[Tensor] = []
        for image in alike:
            batch.append(image)
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch


def _detections(answer: Target) -> Detections:
    return Detections(
        corners=answer["boxes"].float().cpu().numpy(),
        labels=answer["labels"].cpu().numpy() - 1,
        scores=answer["scores"].float().cpu().numpy(),
    )


def _outcome(
    detections: Sequence[Detections],
    truths: Targets[Boxes],
    parameters: DetectionParameters,
    training: Training,
    samples: dict[str, int],
    reporter: Reporter,
) -> Outcome:
    reporter.phase("scoring")
    wanted = [truths[index] for index in range(len(truths))]
    try:
        measured = AveragePrecision.of(detections, wanted, len(truths.classes), parameters.averaging)
    except ValueError as error:
        raise DataError(f"the test images: {error}") from error
    if not any(map(len, detections)):
        reporter.warn("no object was detected in any image: the detector needs more training")
    by_class: dict[str, Json] = {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(truths.classes, measured.per_class(HEADLINE_OVERLAP), strict=True)
    }
    parts = np.array_split(np.asarray(training.losses), min(CURVE_POINTS, len(training.losses)))
    return Outcome(
        headline="ap50",
        metrics=measured.scores,
        interval=measured.interval(HEADLINE_OVERLAP),
        samples=samples,
        diagnostics={
            "ap50 by class": by_class,
            "loss": [float(part.mean()) for part in parts],
            "loss_falling": loss_still_decreasing(training.losses),
            "chance": 0.0,
        },
        predictions=kept(detections, wanted, parameters.averaging),
    )


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
            nn.Sequential(
                *scale,
                nn.Conv2d(size, width, 1, bias=False),
                LayerNorm2d(width),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                LayerNorm2d(width),
            )
            for scale, size in zip(scales, sizes, strict=True)
        )
        self.top = LastLevelMaxPool()

    def forward(self, maps: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        last = next(reversed(maps.values()))
        levels = [branch(last) for branch in self.branches]
        names = [str(number) for number in range(len(levels))]
        levels, names = self.top(levels, [last], names)
        return OrderedDict(zip(names, levels, strict=True))


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
    maps = FeatureMaps(inputs.backbone.fresh(), size)
    # scales, shifts and statistics of batch norms are those of the pretraining, as in detectron2's FrozenBN
    freeze_batch_norm_2d(maps.model)  # type: ignore[no-untyped-call]
    if parameters.frozen:
        freeze_all_but_the_last_stage(maps, size)
    pyramid = Pyramid(maps, parameters.width)
    anchors = tuple((round(parameters.anchor * stride),) for stride in pyramid.strides)
    detector = FasterRCNN(
        pyramid,
        min_size=parameters.test_side,
        max_size=parameters.longest_side,
        image_mean=inputs.spec.mean,
        image_std=inputs.spec.std,
        size_divisible=pyramid.divisor,
        rpn_anchor_generator=AnchorGenerator(anchors, (RATIOS,) * len(anchors)),
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
