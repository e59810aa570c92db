"""Backbone and decoder as one network, trained entirely or with a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from backbones.catalog.layer_info import FeatureMapInfo, FeatureMapQuery
from backbones.model.feature_maps import FeatureMaps, dissect
from backbones.model.precision import training_arithmetic
from tasks.catalog.dense_parameters import DenseParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Json
from tasks.protocols.dense.decoders import LinearDecoder, PyramidPoolingDecoder, UperNet
from tasks.protocols.dense.image_batches import DenseImages, Sampled, orientations, rows_of
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, prefetched, torch_seeded, train

Decoder = Literal["upernet", "ppm", "linear"]
DILATED_STRIDE = 8


class DenseNetwork(nn.Module):
    """Images [b, 3, h, w] to predictions [b, outputs, h', w'].

    A frozen backbone stays in evaluation mode and has no gradient, including batch norm statistics and factors.
    `dilate` requests a last map of stride 8 if the architecture can be dilated; `strides` are the actual strides.
    """

    def __init__(self, inputs: ImageInputs, decoder: Decoder, width: int, outputs: int, **how: bool | int) -> None:
        super().__init__()
        self.frozen, dilate = bool(how["frozen"]), bool(how.get("dilate", False))
        anatomy = dissect(FeatureMapQuery.of(inputs.backbone.card))
        dilate = dilate and anatomy.dilates
        model = inputs.backbone.fresh(**({"output_stride": DILATED_STRIDE} if dilate else {}))
        if self.frozen:
            model.eval().requires_grad_(requires_grad=False)
        self.maps = FeatureMaps(model, inputs.spec.crop)
        with torch_seeded("cpu", int(how["seed"]), 1):
            self.decoder = _decoder(decoder, self.maps.channels, width, outputs, anatomy)

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the backbone's maps."""
        return self.maps.strides

    def train(self, mode: bool = True) -> DenseNetwork:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.maps.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Predictions at the decoder's size."""
        if self.frozen:
            with torch.no_grad():
                maps = self.maps(images)
        else:
            maps = self.maps(images)
        found: Tensor = self.decoder(maps)
        return found


def _decoder(name: Decoder, channels: tuple[int, ...], width: int, outputs: int, anatomy: FeatureMapInfo) -> nn.Module:
    if name == "upernet":
        return UperNet(channels, width, outputs, plain=anatomy.plain)
    if name == "ppm":
        return PyramidPoolingDecoder(channels, width, outputs)
    return LinearDecoder(channels, outputs)


def optimiser_of(network: DenseNetwork, parameters: DenseParameters) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over the trained parameters, without weight decay of biases and norms."""
    groups = list(_groups(network, parameters.weight_decay))
    if parameters.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=parameters.rate)
    return torch.optim.SGD(groups, lr=parameters.rate, momentum=parameters.momentum)


def _groups(network: nn.Module, weight_decay: float) -> Iterator[dict[str, object]]:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    yield {"params": [one for one in trained if one.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0}


Loss = Callable[[Tensor, Tensor], Tensor]
"""Predictions float32 [b, outputs, h', w'] and targets to a scalar."""


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
    """Run all training steps, resuming from the run's checkpoint if it exists; the last weights are used."""
    reporter.phase("looking at the training images", len(images), "images")
    groups = orientations(images)

    def make(step: int) -> tuple[Tensor, Tensor]:
        rows = rows_of(step, groups, parameters.batch_size, seed)
        return images.batch(rows, parameters, learnt, seed, 3, step)

    with prefetched(make, parameters.steps) as batches:

        def loss(step: int) -> Tensor:
            pixels, targets = (part.to(inputs.device, non_blocking=True) for part in batches(step))
            with training_arithmetic(inputs.device, inputs.precision):
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
