"""Linear segmentation: batch norm and a 1 x 1 convolution on the patches of a frozen backbone's last layer.

Sources: `dinov3` is config-ade20k-linear-training.yaml and eval/segmentation of facebookresearch/dinov3 (6876159): the
backbone's final norm, dropout of channels 0.1, AdamW 1e-3, 40,000 steps of 16 crops, short sides 512 times 0.5 to 2,
sliding windows of 512 every 341 pixels at a short side of 512, logits resized to the label. `dinov2` is the
mmsegmentation configuration of DINOv2 as in Jiawei-Yang/Denoising-ViT (2d08bd8): no dropout, weight decay 1e-4, a line
to 0; `dinov2-ms` four blocks and three test scales, each with mirror images.

Differences: batches and crops are drawn by generators of the step, so that a training resumes bit for bit; the last
weights are used, whereas DINOv3 keeps the best on the reported images; images whose sides are not multiples of the
patch size are padded on all sides, as there for patches of 14. The default is the same with a tenth of the steps. The
best step on the reported images is the diagnostic `chosen_on_test`, where scoring several costs little.

Sliding windows: `slide_inference` of facebookresearch/dinov3 (eval/segmentation/inference.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tasks.catalog.frozen_dense_parameters import LinearSegmentationParameters
from tasks.datasets.dataset import IGNORED
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Outcome
from tasks.metrics.pixels import Confusion
from tasks.protocols.dense.frozen_maps import FrozenMaps, LinearMapHead, check_tokens, linear_head
from tasks.protocols.dense.image_batches import DenseImages, Pixels
from tasks.protocols.dense.network import curve, resized
from tasks.protocols.dense.views import shorter_side, training_crop
from tasks.protocols.segmentation import class_ious
from tasks.reporter import Reporter, SilentReporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import (
    Training,
    batch_of,
    generator_of,
    loss_still_decreasing,
    prefetched,
    segmentation_rate,
)
from tasks.training.test_readings import TestReadings, affordable, best_step

Window = tuple[slice, slice]


def evaluate(inputs: ImageInputs, parameters: LinearSegmentationParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train the head on `train`, score the other split with the last weights; nothing is selected.

    Raises `DataError`, `NotFiniteError`.
    """
    pixels = Pixels.of(parameters.normalisation, inputs.spec)
    learning, judged = DenseImages.of_roles(inputs, "masks", pixels)
    classes = learning.targets.classes
    maps = FrozenMaps(inputs, parameters.layers)
    head = linear_head(maps, len(classes), seed, dropout=parameters.dropout)
    tokens = check_tokens(maps, judged, reporter)
    test = SegmentationTest(maps, head, parameters, pixels)

    def measure() -> float:
        found = _test(test, judged, len(classes), SilentReporter()).counts.mean_iou
        head.train()
        return found

    most = affordable(parameters.steps * parameters.batch_size, len(judged) * test.passes(judged.pair(0)[0]))
    training = _train(maps, head, learning, parameters, seed, reporter, TestReadings(measure, most))
    confusion = _test(test, judged, len(classes), reporter)
    counts, losses = confusion.counts, training.losses
    return Outcome(
        headline="miou",
        metrics=counts.scores,
        interval=over_images(counts.mean_ious, len(counts.images)),
        samples={"train": len(learning), "test": len(judged)},
        diagnostics={
            "loss_curve": curve(losses),
            "loss_falling": loss_still_decreasing(losses),
            "chance": counts.chance,
            "class_iou": class_ious(classes, counts),
            **best_step(training, counts.mean_iou),
            **tokens,
        },
        predictions=confusion.arrays,
    )


def _train(
    maps: FrozenMaps,
    head: LinearMapHead,
    images: DenseImages,
    parameters: LinearSegmentationParameters,
    seed: int,
    reporter: Reporter,
    readings: TestReadings,
) -> Training:
    inputs = maps.inputs

    def make(step: int) -> tuple[Tensor, Tensor]:
        random = generator_of(seed, 3, step)
        rows = batch_of(step, len(images), parameters.batch_size, seed)
        views = [training_crop(*images.pair(int(row)), parameters, images.pixels, random) for row in rows]
        return torch.stack([view for view, _ in views]), torch.stack([mask for _, mask in views])

    with prefetched(make, parameters.steps) as batches:

        def loss(step: int) -> Tensor:
            views, targets = batches(step)
            logits = resized(head(maps(views)), targets.shape[-2:])
            # unknown pixels add 0 but are included in the mean, as published
            losses = functional.cross_entropy(logits, targets.to(inputs.device), ignore_index=IGNORED, reduction="none")
            return losses.mean()

        training = Training(
            head.train(),
            torch.optim.AdamW(head.parameters(), lr=parameters.rate, weight_decay=parameters.weight_decay),
            parameters.steps,
            loss,
            rate=lambda step: segmentation_rate(step, parameters.steps, parameters.warmup, parameters.decay),
            seed=seed,
            device=inputs.device,
            label="training the linear head",
        )
        checkpoint = Checkpoint(inputs.checkpoint / "head.pt", inputs.key) if inputs.checkpoint else None
        readings.train(training, checkpoint, reporter, every_s=inputs.checkpoint_s)
    return training


@dataclass(frozen=True)
class SegmentationTest:
    """A trained head and the windows and scales of its test."""

    maps: FrozenMaps
    head: LinearMapHead
    parameters: LinearSegmentationParameters
    pixels: Pixels

    def passes(self, image: Image.Image) -> int:
        """Forward passes of a window that the prediction of an image costs."""
        sizes = (view.shape[-2:] for view, _ in self._views(image))
        return sum(len(list(windows(h, w, self.parameters.crop, self.parameters.stride))) for h, w in sizes)

    @torch.inference_mode()
    def predict(self, image: Image.Image, size: tuple[int, ...], classes: int) -> Tensor:
        """Class indices [h, w] of one image at the size of its mask, from sliding windows at every test scale."""
        total = torch.zeros(1, classes, *size, device=self.maps.inputs.device)
        for view, mirrored in self._views(image):
            logits = slide(
                lambda window: resized(self.head(self.maps(window)), window.shape[-2:]),
                view,
                classes,
                self.parameters.crop,
                self.parameters.stride,
            )
            logits = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            total += functional.softmax(logits.flip(3) if mirrored else logits, dim=1)
        return total[0].argmax(dim=0).cpu()

    def _views(self, image: Image.Image) -> Iterator[tuple[Tensor, bool]]:
        """Normalised images [1, 3, h, w] on the device, and whether each is a mirror image."""
        scales = self.parameters.test_scales
        for mirrored in (False, True) if len(scales) > 1 else (False,):
            for scale in scales:
                scaled = shorter_side(image, int(self.parameters.shorter * scale))
                view = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)
                normalised = self.pixels.normalised(view.flip(2) if mirrored else view)[None]
                yield normalised.to(self.maps.inputs.device), mirrored


def _test(test: SegmentationTest, images: DenseImages, classes: int, reporter: Reporter) -> Confusion:
    """The pixels of all images by true and predicted class. One image is in memory at a time."""
    confusion = Confusion(classes)
    test.head.eval()
    reporter.phase("test", len(images), "images")
    for index in range(len(images)):
        image, mask = images.pair(index)
        confusion.add(test.predict(image, mask.shape, classes).numpy(), mask)
        reporter.advance()
    return confusion


def windows(height: int, width: int, side: int, stride: int) -> Iterator[Window]:
    """Rows and columns of windows of `side` pixels; the last of a row or column ends at the image's edge.

    An image that is smaller in both directions has windows of its own shorter side.
    """
    if side > height and side > width:
        side = min(height, width)
    for top in _starts(height, side, stride):
        for left in _starts(width, side, stride):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


def slide(predict: Callable[[Tensor], Tensor], image: Tensor, outputs: int, side: int, stride: int) -> Tensor:
    """Mean predictions float32 [1, outputs, h, w] of an image [1, 3, h, w], on its device.

    `predict` returns the predictions of a window at the window's size.
    """
    height, width = image.shape[-2:]
    total = torch.zeros(1, outputs, height, width, device=image.device)
    count = torch.zeros(1, 1, height, width, device=image.device)
    for rows, columns in windows(height, width, side, stride):
        total[:, :, rows, columns] += predict(image[:, :, rows, columns])
        count[:, :, rows, columns] += 1
    return total / count


def _starts(length: int, side: int, stride: int) -> list[int]:
    count = max(length - side + stride - 1, 0) // stride + 1
    return [max(min(number * stride + side, length) - side, 0) for number in range(count)]
