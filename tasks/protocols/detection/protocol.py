"""Detection: train Faster R-CNN on the backbone, detect the objects in test images, score by the VOC rules.

Source: paper section 4.5 and appendix A.4; `detectron2` configurations of linusericsson/ssl-transfer. As there, the
final weights are evaluated and nothing is selected on validation data. Batches are not grouped by image orientation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchvision.models.detection import FasterRCNN
from torchvision.transforms.v2 import functional as transform

from backbones.model.precision import arithmetic
from tasks.catalog.dense_parameters import DetectionParameters
from tasks.datasets.dataset import Boxes, DataError, SourceSplit, Targets
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.detection import AveragePrecision, Detections, kept
from tasks.metrics.outcome import Json, Outcome
from tasks.protocols.detection.network import build_detector
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, batch_of, loss_still_decreasing, torch_seeded, train

MOMENTUM = 0.9
WARMUP_FROM = 1e-3
CURVE_POINTS = 100
HEADLINE_OVERLAP = 0.5

Target = dict[str, Tensor]


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
    train(training, _checkpoint(inputs), reporter, every_s=inputs.checkpoint_s)
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


def _checkpoint(inputs: ImageInputs) -> Checkpoint | None:
    return None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "detector.pt", inputs.key)


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
        reporter.warn("nothing was found in any image: the detector has not learnt enough")
    by_class: dict[str, Json] = {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(truths.classes, measured.per_class(HEADLINE_OVERLAP), strict=True)
    }
    return Outcome(
        headline="ap50",
        metrics=measured.scores,
        interval=measured.interval(HEADLINE_OVERLAP),
        samples=samples,
        diagnostics={
            "ap50 by class": by_class,
            "loss": _curve(training.losses),
            "loss_falling": loss_still_decreasing(training.losses),
            "chance": 0.0,
        },
        predictions=kept(detections, wanted, parameters.averaging),
    )


def _curve(losses: Sequence[float]) -> list[Json]:
    """The training loss, as means over at most a hundred equal intervals."""
    parts = np.array_split(np.asarray(losses), min(CURVE_POINTS, len(losses)))
    return [float(part.mean()) for part in parts]
