"""LPIPS: a learned perceptual distance between two images, if its weights are present.

Source: Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018, version 0.1; richzhang/PerceptualSimilarity. Maps of a
network trained on ImageNet, each position scaled to length 1; squared differences, weighted by channel; means over
positions, summed over the maps. Two files per network: torchvision's network, and the weights of the channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from backbones.checkpoints.read import read_checkpoint
from backbones.io.errors import WeightsError

FOLDER = "lpips"
"""Folder relative to that of the weights."""
CHANNEL_WEIGHTS_AT = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1"
NETWORKS_AT = "https://download.pytorch.org/models"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of pixels from -1 to 1."""
TINY = 1e-10


class NoWeights(RuntimeError):  # noqa: N818 - a domain word, raised as such
    """A distance cannot be computed; the message names the missing or invalid file."""


@dataclass(frozen=True)
class Variant:
    """One of the three published networks."""

    network: Callable[[], nn.Module]
    """Constructor in torchvision, without weights; maps are taken from its `features`."""
    file: str
    """torchvision's name of the weights."""
    ends: tuple[int, ...]
    """Layers of `features` before which maps are taken."""


VARIANTS: Mapping[str, Variant] = {
    "alex": Variant(torchvision.models.alexnet, "alexnet-owt-7be5be79.pth", (2, 5, 8, 10, 12)),
    "vgg": Variant(torchvision.models.vgg16, "vgg16-397923af.pth", (4, 9, 16, 23, 30)),
    "squeeze": Variant(torchvision.models.squeezenet1_1, "squeezenet1_1-b8a52dc0.pth", (2, 5, 8, 10, 11, 12, 13)),
}


class PerceptualDistance(nn.Module):
    """Distances [b] of two batches uint8 [b, 3, h, w]; 0 for equal images."""

    shift: Tensor
    scale: Tensor

    def __init__(self, features: nn.Sequential, ends: tuple[int, ...], weights: list[Tensor]) -> None:
        """`weights` are [1, channels, 1, 1] for every map."""
        super().__init__()
        starts = (0, *ends[:-1])
        self.slices = nn.ModuleList(features[start:end] for start, end in zip(starts, ends, strict=True))
        self.weights = nn.ParameterList(nn.Parameter(one, requires_grad=False) for one in weights)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1))

    @classmethod
    def load(cls, name: str, folder: Path) -> PerceptualDistance:
        """The variant of this name, from two files in the folder. Raises NoWeights."""
        variant, (network, channels) = VARIANTS[name], files(folder, name)
        state = _read(network, f"{NETWORKS_AT}/{network.name}")
        held = _read(channels, f"{CHANNEL_WEIGHTS_AT}/{channels.name}")
        names = [f"lin{number}.model.1.weight" for number in range(len(variant.ends))]
        if not held.keys() >= set(names):
            raise NoWeights(f"{channels} does not hold the weights of {len(variant.ends)} maps (lin0.model.1.weight)")
        with torch.device("meta"):
            features = cast("nn.Sequential", variant.network().features)
        kept = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
        try:
            features.load_state_dict(kept, strict=True, assign=True)
        except RuntimeError as error:
            raise NoWeights(f"{network} is not a checkpoint of {variant.network.__name__}: {error}") from error
        weights = [held[name] for name in names]
        return cls(features, variant.ends, weights).eval().requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Distances [b]."""
        total = torch.zeros(len(one), device=one.device)
        maps = [(batch.float() / 127.5 - 1 - self.shift) / self.scale for batch in (one, other)]
        for part, weight in zip(self.slices, self.weights, strict=True):
            maps = [part(each) for each in maps]
            first, second = (each / (each.square().sum(dim=1, keepdim=True).sqrt() + TINY) for each in maps)
            total += ((first - second).square() * weight).sum(dim=1).mean(dim=(1, 2))
        return total


def present(folder: Path) -> tuple[dict[str, PerceptualDistance], dict[str, str]]:
    """Available distances, and the reasons why others are not."""
    found, absent = {}, {}
    for name in VARIANTS:
        try:
            found[name] = PerceptualDistance.load(name, folder)
        except NoWeights as error:
            absent[name] = str(error)
    return found, absent


def files(folder: Path, name: str) -> tuple[Path, Path]:
    """Paths of the variant's network and of the channel weights."""
    return folder / VARIANTS[name].file, folder / f"{name}.pth"


def digests(folder: Path, name: str) -> list[str]:
    """Shortened SHA-256 digests of the variant's files."""
    return [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files(folder, name)]


def _read(path: Path, source: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise NoWeights(f"{path} is missing: {source}")
    try:
        return {name: value for name, value in read_checkpoint(path).items() if isinstance(value, Tensor)}
    except WeightsError as error:
        raise NoWeights(f"{error}; it comes from {source}") from error
