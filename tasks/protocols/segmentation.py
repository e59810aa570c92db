"""Semantic segmentation: a decoder on the backbone's maps, trained for a fixed number of steps, mean IoU at the end.

Source: paper section 4.5 and appendix A.6; semantic-segmentation in linusericsson/ssl-transfer, which is the MIT scene
parsing code. UPerNet, all weights trained, SGD 0.02; images at one of five random sizes, targets at a quarter of it; in
the test, softmax averaged over the five sizes at the image's own size; one confusion matrix over the whole split. Where
paper and code disagree, the code is followed: batches of 4 (paper: two; the scripts use two GPUs with two each), and a
learning rate that decays polynomially with every step (paper: by a factor every 500 steps). The published code cannot
load the published checkpoints (its ResNet has a different stem), so the standard stem is used, and the published scores
cannot be reproduced exactly. The preset `linear` is DINOv2's linear evaluation instead: backbone frozen, one linear
layer on its maps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from backbones.model.precision import training_arithmetic
from tasks.catalog.dense_parameters import SegmentationParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Json, Outcome
from tasks.metrics.pixels import Confusion, PixelCounts
from tasks.protocols.dense.frozen_maps import check_outliers
from tasks.protocols.dense.image_batches import Array, DenseImages, Pixels, some_views
from tasks.protocols.dense.network import DenseNetwork, curve, resized, train_dense
from tasks.reporter import Reporter
from tasks.training.loop import loss_still_decreasing


def evaluate(inputs: ImageInputs, parameters: SegmentationParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train on `train`, score the other split with the last weights; nothing is selected. The seed determines the
    decoder's initial weights, the batches and their sizes. Raises `DataError`, `NotFiniteError`.
    """
    classes = inputs.targets(inputs.split("train"), "masks").classes
    network = DenseNetwork(
        inputs, parameters.decoder, parameters.channels, len(classes), frozen=parameters.frozen, seed=seed
    )
    pixels, unit = Pixels.of(parameters.normalisation, inputs.spec), max(network.strides)
    learning, judged = DenseImages.of_roles(inputs, "masks", pixels, unit)
    tokens = check_outliers(network.maps.model, some_views(judged, parameters), reporter)
    training = train_dense(
        network,
        learning,
        parameters,
        inputs,
        learnt=lambda mask: torch.from_numpy(mask.astype(np.int64)),
        criterion=criterion,
        seed=seed,
        reporter=reporter,
    )
    confusion = judge(network, judged, parameters, inputs, len(classes), reporter)
    counts = confusion.counts
    return Outcome(
        headline="miou",
        metrics=counts.scores,
        interval=over_images(counts.mean_ious, len(counts.images)),
        samples={"train": len(learning), "test": len(judged)},
        diagnostics={
            "loss_curve": curve(training.losses),
            "loss_falling": loss_still_decreasing(training.losses),
            "chance": counts.chance,
            "strides": list(network.strides),
            **tokens,
            "class_iou": class_ious(classes, counts),
        },
        predictions=confusion.arrays,
    )


def criterion(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits [b, classes, h', w'], resized to targets [b, h, w]; -1 is ignored."""
    logits = resized(logits, targets.shape[-2:])
    return functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum") / (targets >= 0).sum().clamp(1)


def judge(
    network: DenseNetwork,
    images: DenseImages,
    parameters: SegmentationParameters,
    inputs: ImageInputs,
    classes: int,
    reporter: Reporter,
) -> Confusion:
    """Confusion matrix of all pixels by true and predicted class. One image is in memory at a time."""
    network.eval()
    confusion = Confusion(classes)
    reporter.phase("test", len(images), "images")
    for index in range(len(images)):
        image, mask = images.pair(index)
        probabilities = torch.zeros(1, classes, *mask.shape, device=inputs.device)
        for shorter in parameters.test_sizes:
            pixels = images.inputs(image, shorter, parameters.longest).to(inputs.device)
            probabilities += _probabilities(network, pixels, mask, inputs)
        confusion.add(probabilities[0].argmax(dim=0).cpu().numpy(), mask)
        reporter.advance()
    return confusion


@torch.inference_mode()
def _probabilities(network: DenseNetwork, pixels: Tensor, mask: Array, inputs: ImageInputs) -> Tensor:
    with training_arithmetic(inputs.device, inputs.precision):
        logits = network(pixels)
    return functional.softmax(resized(logits.float(), mask.shape), dim=1)


def class_ious(classes: tuple[str, ...], counts: PixelCounts) -> dict[str, Json]:
    """IoU in percent by class name; None for a class that is neither present nor predicted."""
    ious: npt.NDArray[np.float64] = counts.ious
    return {name: None if np.isnan(iou) else float(iou) for name, iou in zip(classes, ious, strict=True)}
