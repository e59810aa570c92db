"""Training a dense network: batches of one orientation and one size, a polynomial fall of the rate, nothing chosen."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tasks.dense.images import DenseImages, Sampled, orientations, rows_of
from tasks.dense.network import DenseNetwork, optimiser_of
from tasks.dense.parameters import DenseParameters
from tasks.image_inputs import ImageInputs
from tasks.outcome import Json
from tasks.reporter import Reporter
from tasks.training.arithmetic import arithmetic
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, train
from tasks.training.prefetch import prefetched

Loss = Callable[[Tensor, Tensor], Tensor]
"""Predictions float32 [b, outputs, h', w'] and targets to one number."""


def train_dense(  # noqa: PLR0913 - a training has this many parts
    network: DenseNetwork,
    images: DenseImages,
    parameters: DenseParameters,
    inputs: ImageInputs,
    *,
    learnt: Sampled,
    criterion: Loss,
    seed: int,
    reporter: Reporter,
) -> Training:
    """Take all steps, from the run's checkpoint where there is one; the last weights count."""
    reporter.phase("looking at the training images", len(images), "images")
    groups = orientations(images)

    def make(step: int) -> tuple[Tensor, Tensor]:
        rows = rows_of(step, groups, parameters.batch_size, seed)
        return images.batch(rows, parameters, learnt, seed, 3, step)

    with prefetched(make, parameters.steps) as batches:

        def loss(step: int) -> Tensor:
            pixels, targets = (part.to(inputs.device, non_blocking=True) for part in batches(step))
            with arithmetic(inputs.device, inputs.precision):
                predictions = network(pixels)
            return criterion(predictions.float(), targets)

        training = Training(
            network.to(inputs.device).train(),
            optimiser_of(network, parameters),
            parameters.steps,
            loss,
            rate=lambda step: (1 - step / parameters.steps) ** parameters.power,
            seed=seed,
            device=inputs.device,
            precision=inputs.precision,
        )
        checkpoint = Checkpoint(inputs.checkpoint / "dense.pt", inputs.key) if inputs.checkpoint else None
        train(training, checkpoint, reporter, every_s=inputs.checkpoint_s)
    return training


def curve(losses: list[float], points: int = 100) -> list[Json]:
    """Step and mean loss of at most `points` stretches of equal length."""
    size = max(1, -(-len(losses) // points))
    stretches = [losses[start : start + size] for start in range(0, len(losses), size)]
    ends = [min(len(losses), size * (number + 1)) for number in range(len(stretches))]
    return [[end, sum(part) / len(part)] for end, part in zip(ends, stretches, strict=True)]
