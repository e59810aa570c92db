"""Backbone and decoder as one network, trained entirely or with a frozen backbone, one prediction per position.

Sources: UPerNet (Xiao et al. 2018) and PSPNet's pyramid pooling (Zhao et al. 2017) as in the MIT scene parsing code;
the linear layer on dense features as in DINOv2's segmentation evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.catalog.layer_info import FeatureMapInfo, FeatureMapQuery
from backbones.model.feature_maps import FeatureMaps, dissect
from backbones.model.precision import training_arithmetic
from tasks.catalog.dense_parameters import DenseParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Json
from tasks.protocols.dense.image_batches import DenseImages, Sampled, orientations, rows_of
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint
from tasks.training.loop import Training, prefetched, torch_seeded, train

POOLS = (1, 2, 3, 6)
DROPOUT = 0.1
Decoder = Literal["upernet", "ppm", "linear"]
DILATED_STRIDE = 8


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, [b, c, h, w] to [b, c, *size]."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _convolved(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm and ReLU; preserves the spatial size."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


class PyramidPooling(nn.Module):
    """The map concatenated with its averages over 1, 4, 9 and 36 regions: [b, c, h, w] to [b, c + 4 width, h, w].

    Training requires more than one image per batch: otherwise its batch norm has a single value per channel.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(count), *_convolved(channels, width, 1)) for count in POOLS
        )
        self.channels = channels + len(POOLS) * width

    def forward(self, last: Tensor) -> Tensor:
        """The map concatenated with its regional averages."""
        return torch.cat([last, *(resized(branch(last), last.shape[-2:]) for branch in self.branches)], dim=1)


class PyramidPoolingDecoder(nn.Module):
    """PSPNet's head on the last map alone."""

    def __init__(self, channels: Sequence[int], width: int, outputs: int) -> None:
        super().__init__()
        self.pooling = PyramidPooling(channels[-1], width)
        self.head = nn.Sequential(
            _convolved(self.pooling.channels, width, 3), nn.Dropout2d(DROPOUT), nn.Conv2d(width, outputs, 1)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the last map's size."""
        found: Tensor = self.head(self.pooling(maps[-1]))
        return found


class UperNet(nn.Module):
    """Pyramid pooling on the last map and a feature pyramid over the others, fused at the finest resolution. Maps of
    a plain transformer have one size; they are first resized to 4, 2, 1 and 1/2 times that, as in BEiT and MAE.
    """

    def __init__(self, channels: Sequence[int], width: int, outputs: int, *, plain: bool) -> None:
        super().__init__()
        count = len(channels)  # the scales of four plain maps are 4, 2, 1 and 1/2
        self.scales = [2.0 ** (count - 2 - place) if plain else 1.0 for place in range(count)]
        self.pooling = PyramidPooling(channels[-1], width)
        self.top = _convolved(self.pooling.channels, width, 3)
        self.laterals = nn.ModuleList(_convolved(each, width, 1) for each in channels[:-1])
        self.smoothers = nn.ModuleList(_convolved(width, width, 3) for _ in channels[:-1])
        self.fusion = _convolved(count * width, width, 3)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the finest map's size."""
        maps = [
            resized(one, [max(1, round(side * scale)) for side in one.shape[-2:]])
            for one, scale in zip(maps, self.scales, strict=True)
        ]
        above = self.top(self.pooling(maps[-1]))
        levels = [above]
        for lateral, smoother, one in reversed(list(zip(self.laterals, self.smoothers, maps[:-1], strict=True))):
            above = lateral(one) + resized(above, one.shape[-2:])
            levels.insert(0, smoother(above))
        finest = levels[0].shape[-2:]
        fused = self.fusion(torch.cat([resized(level, finest) for level in levels], dim=1))
        found: Tensor = self.head(fused)
        return found


class LinearDecoder(nn.Module):
    """All maps concatenated at the size of the finest, each layer-normalised; then batch norm and a linear layer."""

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(sum(channels))
        self.head = nn.Conv2d(sum(channels), outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[b, outputs, h, w] at the finest map's size."""
        finest = maps[0].shape[-2:]
        columns = [resized(functional.layer_norm(one.permute(0, 2, 3, 1), one.shape[1:2]).permute(0, 3, 1, 2), finest)
                   for one in maps]  # fmt: skip
        found: Tensor = self.head(self.norm(torch.cat(columns, dim=1)))
        return found


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
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": parameters.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if parameters.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=parameters.rate)
    return torch.optim.SGD(groups, lr=parameters.rate, momentum=parameters.momentum)


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
