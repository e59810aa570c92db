"""Monocular depth: a 1 x 1 convolution to 256 bins of depth on the maps of a frozen backbone.

Sources: `dinov3` is config-nyu.yaml and eval/depth of facebookresearch/dinov3 (6876159): last layer's patches after the
final norm, batch norm, uniform bins from 0.001 to 10 metres whose weights are the positive logits plus 0.1,
scale-invariant loss, AdamW 3e-4 with the first decay 0 during the warm-up and then 0.85 to 0.95, clipped at 35, 38,400
steps of 16 crops of 416 x 544; tested on the whole image and its mirror image, averaged, within the Eigen box. `dinov2`
is DINOv2's head as in Jiawei-Yang/Denoising-ViT (2d08bd8): class token next to the patches, no batch norm, maps
enlarged four times, half the gradient loss, AdamW 5e-3 (the official rate was not published); `dinov2-lin4` four
blocks. Scores are means over images.

Differences: batches and views are drawn by generators of the step, so that a training resumes bit for bit; the last
weights are used, whereas DINOv3 keeps the best on the reported images: that step is the diagnostic `chosen_on_test`,
where scoring several costs little. The default uses a tenth of the steps.

Losses: eval/depth/models/__init__.py and loss.py of facebookresearch/dinov3, which are those of AdaBins and MegaDepth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tasks.catalog.frozen_dense_parameters import DepthParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.dense import DEPTH_SCORES, depth_arrays, depth_errors, depth_interval, depth_means
from tasks.metrics.outcome import Outcome
from tasks.protocols.dense.frozen_maps import FrozenMaps, LinearMapHead, check_tokens, linear_head
from tasks.protocols.dense.image_batches import Array, DenseImages, Pixels
from tasks.protocols.dense.network import curve, resized
from tasks.protocols.dense.views import EIGEN_BOX, box_of, depth_view, normalised_view
from tasks.reporter import Reporter, SilentReporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import (
    Training,
    batch_of,
    depth_beta1,
    depth_rate,
    generator_of,
    loss_still_decreasing,
    prefetched,
)
from tasks.training.test_readings import TestReadings, affordable, best_step

SOME_IMAGES = 100
"""Training images from which the depth of a constant prediction is computed."""
Floats = npt.NDArray[np.float64]
EPSILON = 1e-3
"""Added to depths before their logarithm."""
MEAN_WEIGHT = 0.15
WITHOUT_VARIANCE = 100
"""Number of initial steps without the variance term of the loss."""
FLOOR = 0.1
"""Added to the positive part of every logit."""


def evaluate(inputs: ImageInputs, parameters: DepthParameters, seed: int, reporter: Reporter) -> Outcome:
    """Train the head on `train`, score the other split with the last weights; nothing is selected. Raises
    `DataError`, `NotFiniteError`.
    """
    learning, judged = DenseImages.of_roles(inputs, "depth", Pixels.of(parameters.normalisation, inputs.spec))
    maps = FrozenMaps(inputs, parameters.layers, class_token=parameters.class_token)
    head = linear_head(maps, parameters.bins, seed, norm=parameters.norm, upsampling=parameters.upsampling)
    tokens = check_tokens(maps, judged, reporter)
    guess = _mean_depth(learning, parameters)

    def measure() -> float:
        found = depth_means(depth_arrays(_test(maps, head, judged, parameters, guess, SilentReporter())[0]))["rmse"]
        head.train()
        return found

    most = affordable(parameters.steps * parameters.batch_size, _test_passes(judged, parameters))
    training = _train(maps, head, learning, parameters, seed, reporter, TestReadings(measure, most))
    errors, guesses = _test(maps, head, judged, parameters, guess, reporter)
    arrays, losses = depth_arrays(errors), training.losses
    return Outcome(
        headline="rmse",
        metrics=depth_means(arrays),
        interval=depth_interval(arrays, "rmse"),
        samples={"train": len(learning), "test": len(judged)},
        diagnostics={
            "loss_curve": curve(losses),
            "loss_falling": loss_still_decreasing(losses),
            "chance": float(np.nanmean(guesses[:, 0])),
            **best_step(training, depth_means(arrays)["rmse"], higher_is_better=False),
            **tokens,
            "images_without_depth": len(errors) - len(arrays["rmse"]),
        },
        predictions={"index": np.flatnonzero(~np.isnan(errors).any(axis=1)), **arrays},
        higher_is_better=False,
    )


def _train(
    maps: FrozenMaps,
    head: LinearMapHead,
    images: DenseImages,
    parameters: DepthParameters,
    seed: int,
    reporter: Reporter,
    readings: TestReadings,
) -> Training:
    inputs, steps, warmup = maps.inputs, parameters.steps, parameters.warmup

    def make(step: int) -> tuple[Tensor, Tensor]:
        random = generator_of(seed, 3, step)
        rows = batch_of(step, len(images), parameters.batch_size, seed)
        mean, std = images.pixels.mean, images.pixels.std
        views = [depth_view(*images.pair(int(row)), parameters, mean, std, random) for row in rows]
        return torch.stack([view for view, _ in views]), torch.stack([truth for _, truth in views])

    with prefetched(make, steps) as batches:

        def loss(step: int) -> Tensor:
            views, truth = (part.to(inputs.device, non_blocking=True) for part in batches(step))
            return _loss(head(maps(views)), truth, parameters, step)

        betas = (0.9, parameters.beta2)
        training = Training(
            head.train(),
            torch.optim.AdamW(head.parameters(), parameters.rate, betas, weight_decay=parameters.weight_decay),
            steps,
            loss,
            rate=lambda step: depth_rate(step, steps, warmup, parameters.schedule),
            seed=seed,
            device=inputs.device,
            label="training the linear head",
            beta1=(lambda step: depth_beta1(step, steps, warmup)) if parameters.schedule == "dinov3" else None,
            clip=parameters.clip,
        )
        checkpoint = Checkpoint(inputs.checkpoint / "head.pt", inputs.key) if inputs.checkpoint else None
        readings.train(training, checkpoint, reporter, every_s=inputs.checkpoint_s)
    return training


def _test_passes(images: DenseImages, parameters: DepthParameters) -> float:
    """Forward passes of a training crop that scoring all images and their mirror images costs, by area."""
    width, height = images.pair(0)[0].size
    return 2 * len(images) * width * height / (parameters.crop[0] * parameters.crop[1])


def _loss(logits: Tensor, truth: Tensor, parameters: DepthParameters, step: int) -> Tensor:
    """Loss of logits [b, bins, h', w'], whose depth is resized to the true one [b, 1, h, w]."""
    predicted = resized(depth_of_bins(logits, parameters.nearest, parameters.deepest), truth.shape[-2:])
    known = (truth > parameters.nearest) & (truth < parameters.deepest)
    found = scale_invariant_loss(predicted, truth, known, step)
    if parameters.gradient:
        found = found + parameters.gradient * gradient_loss(predicted, truth * known, known)
    return found


def _test(
    maps: FrozenMaps,
    head: LinearMapHead,
    images: DenseImages,
    parameters: DepthParameters,
    guess: float,
    reporter: Reporter,
) -> tuple[Floats, Floats]:
    """Errors [images, scores] of the head and of a constant depth. One image is in memory at a time."""
    errors, guesses = (np.empty((len(images), len(DEPTH_SCORES))) for _ in range(2))
    head.eval()
    reporter.phase("test", len(images), "images")
    for index in range(len(images)):
        image, truth = images.pair(index)
        view = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        predicted = predicted_depth(
            maps, head, normalised_view(view, images.pixels.mean, images.pixels.std), parameters
        )
        known = scored_pixels(truth, parameters)
        depth = predicted.numpy().clip(parameters.nearest, parameters.deepest)[known].astype(np.float64)
        errors[index] = depth_errors(depth, truth[known].astype(np.float64))
        guesses[index] = depth_errors(np.full(depth.shape, guess), truth[known].astype(np.float64))
        reporter.advance()
    return errors, guesses


@torch.inference_mode()
def predicted_depth(maps: FrozenMaps, head: LinearMapHead, view: Tensor, parameters: DepthParameters) -> Tensor:
    """Depth [h, w] on the CPU of a normalised view [3, h, w], averaged over the view and its mirror image."""
    both = torch.stack([view, view.flip(2)])
    depth = depth_of_bins(head(maps(both)), parameters.nearest, parameters.deepest)
    averaged = (depth[:1] + depth[1:].flip(3)) / 2
    full = functional.interpolate(averaged, size=view.shape[1:], mode="bilinear", align_corners=False)
    return full[0, 0].cpu()


def scored_pixels(truth: Array, parameters: DepthParameters) -> npt.NDArray[np.bool_]:
    """[h, w] pixels of known true depth within the evaluated box."""
    known = (truth > parameters.nearest) & (truth < parameters.deepest)
    if parameters.box == "none":
        return known
    inside = np.zeros(known.shape, np.bool_)
    inside[box_of(EIGEN_BOX, *known.shape)] = True
    return known & inside


def _mean_depth(images: DenseImages, parameters: DepthParameters) -> float:
    """Mean depth of the known pixels of some training images: a constant baseline."""
    chosen = np.linspace(0, len(images) - 1, min(SOME_IMAGES, len(images))).astype(np.int64)
    depths = [images.pair(int(index))[1] for index in chosen]
    means = [one[(one > parameters.nearest) & (one < parameters.deepest)] for one in depths]
    return float(np.concatenate([np.ravel(one) for one in means]).mean())


def depth_of_bins(logits: Tensor, nearest: float, deepest: float) -> Tensor:
    """Depth [b, 1, h, w]: the mean of uniform bins under positive, normalised logits [b, bins, h, w]."""
    bins = torch.linspace(nearest, deepest, logits.shape[1], device=logits.device)
    weights = logits.relu() + FLOOR
    weights = weights / weights.sum(dim=1, keepdim=True)
    return torch.einsum("bkhw,k->bhw", weights, bins)[:, None]


def scale_invariant_loss(predicted: Tensor, truth: Tensor, known: Tensor, step: int) -> Tensor:
    """Root of the variance and 0.15 times the squared mean of the log errors of known pixels.

    The first steps omit the variance; without known pixels the loss is 0.
    """
    error = torch.log(predicted[known] + EPSILON) - torch.log(truth[known] + EPSILON)
    if error.numel() < 2:
        return predicted.sum() * 0
    squared = MEAN_WEIGHT * error.mean() ** 2
    if step >= WITHOUT_VARIANCE:
        squared = squared + error.var()
    return torch.sqrt(squared) if squared > 0 else squared.abs()


def gradient_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Absolute differences of log errors between pixels two apart, at the full size and at every second, fourth and
    sixth pixel.
    """
    total = predicted.sum() * 0
    for stride in (1, 2, 4, 6):
        one, other, mask = (part[..., ::stride, ::stride] for part in (predicted, truth, known))
        error = (torch.log(one + EPSILON) - torch.log(other + EPSILON)) * mask
        down = (error[..., :-2, :] - error[..., 2:, :]).abs() * (mask[..., :-2, :] & mask[..., 2:, :])
        across = (error[..., :-2] - error[..., 2:]).abs() * (mask[..., :-2] & mask[..., 2:])
        total = total + (down.sum() + across.sum()) / mask.sum().clamp(1)
    return total
