"""Backbone and decoder as one network, trained whole or frozen up to the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from backbones.anatomy import Anatomy, Specimen
from backbones.dissect import dissect
from backbones.pyramid import FeatureMaps
from tasks.dense.decoders import LinearDecoder, PyramidPoolingDecoder, UperNet
from tasks.dense.parameters import DenseParameters
from tasks.image_inputs import ImageInputs
from tasks.training.randomness import torch_seeded

Decoder = Literal["upernet", "ppm", "linear"]
DILATED_STRIDE = 8


class DenseNetwork(nn.Module):
    """Images [b, 3, h, w] to predictions [b, outputs, h', w'].

    Frozen, the backbone stays in evaluation mode and gets no gradient, batch norm statistics and factors included.
    `dilate` asks for a last map of stride 8 where the architecture can be dilated; `strides` says what came of it.
    """

    def __init__(self, inputs: ImageInputs, decoder: Decoder, width: int, outputs: int, **how: bool | int) -> None:
        super().__init__()
        self.frozen, dilate = bool(how["frozen"]), bool(how.get("dilate", False))
        anatomy = dissect(Specimen.of(inputs.backbone.card))
        dilate = dilate and anatomy.dilates
        model = inputs.backbone.fresh(**({"output_stride": DILATED_STRIDE} if dilate else {}))
        if self.frozen:
            model.eval().requires_grad_(requires_grad=False)
        self.maps = FeatureMaps(model, inputs.spec.crop)
        with torch_seeded("cpu", int(how["seed"]), 1):
            self.decoder = _decoder(decoder, self.maps.channels, width, outputs, anatomy)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the backbone's maps."""
        return self.maps.strides

    def train(self, mode: bool = True) -> DenseNetwork:
        """A frozen backbone never trains."""
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


def _decoder(name: Decoder, channels: tuple[int, ...], width: int, outputs: int, anatomy: Anatomy) -> nn.Module:
    if name == "upernet":
        return UperNet(channels, width, outputs, plain=anatomy.plain)
    if name == "ppm":
        return PyramidPoolingDecoder(channels, width, outputs)
    return LinearDecoder(channels, outputs)


def optimiser_of(network: DenseNetwork, parameters: DenseParameters) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over what is trained; biases and norms do not decay."""
    groups = list(_groups(network, parameters.weight_decay))
    if parameters.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=parameters.rate)
    return torch.optim.SGD(groups, lr=parameters.rate, momentum=parameters.momentum)


def _groups(network: nn.Module, weight_decay: float) -> Iterator[dict[str, object]]:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    yield {"params": [one for one in trained if one.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0}
