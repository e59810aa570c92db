"""Pre-training methods of the demo backbones and their speed, and the random views of whole batches that they train on,
each drawn from a given generator.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Colouring:
    """Strengths of random colour changes, after SimCLR (Chen et al. 2020, appendix A): factors of 1 +- strength."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.6
    hue: float = 0.25
    """Maximum hue rotation, in turns of the colour circle."""
    gray: float = 0.2
    """Probability of conversion to grey."""
    probability: float = 0.9


@dataclass(frozen=True)
class Views:
    """Parameters of random views."""

    size: int
    """Pixels per side of the view."""
    area: tuple[float, float] = (0.3, 1.0)
    """Fraction of the image's area that a view covers."""
    aspect: float = 4 / 3
    """Maximum aspect ratio of the window."""
    flip: bool = True
    colouring: Colouring | None = None


def to_tensor(images: Tensor) -> Tensor:
    """Convert uint8 [n, h, w, 3] to float32 [n, 3, h, w] in 0..1."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def normalise(images: Tensor) -> Tensor:
    """Apply the demo backbones' pixel mean and deviation to images in 0..1."""
    return (images - PIXEL_MEAN) / PIXEL_STD


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _windows(count: int, views: Views, generator: torch.Generator, flippable: Tensor | None) -> Tensor:
    """Affine maps [n, 2, 3] from view to image coordinates (both -1..1): a random window, mirrored or not."""
    area = _uniform(count, *views.area, generator)
    aspect = torch.exp(_uniform(count, -math.log(views.aspect), math.log(views.aspect), generator))
    wide, high = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    mirrored = torch.rand(count, generator=generator) < 0.5 * views.flip
    if flippable is not None:
        mirrored &= flippable
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0] = torch.where(mirrored, -wide, wide)
    maps[:, 1, 1] = high
    maps[:, 0, 2] = _uniform(count, -1, 1, generator) * (1 - wide)
    maps[:, 1, 2] = _uniform(count, -1, 1, generator) * (1 - high)
    return maps


_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


def _colour_maps(count: int, c: Colouring, generator: torch.Generator) -> Tensor:
    """Linear maps of RGB [n, 3, 3] that combine brightness, saturation and hue rotation."""
    changed = (torch.rand(count, generator=generator) < c.probability).float()
    brightness = 1 + changed * _uniform(count, -c.brightness, c.brightness, generator)
    saturation = 1 + changed * _uniform(count, -c.saturation, c.saturation, generator)
    saturation *= (torch.rand(count, generator=generator) >= c.gray).float()
    angle = changed * 2 * math.pi * _uniform(count, -c.hue, c.hue, generator)
    yiq = torch.zeros(count, 3, 3)
    yiq[:, 0, 0] = 1
    yiq[:, 1, 1] = yiq[:, 2, 2] = saturation * angle.cos()
    yiq[:, 2, 1] = saturation * angle.sin()
    yiq[:, 1, 2] = -yiq[:, 2, 1]
    maps: Tensor = brightness[:, None, None] * (_FROM_YIQ @ yiq @ _TO_YIQ)
    return maps


def recolour(images: Tensor, colouring: Colouring, generator: torch.Generator) -> Tensor:
    """Change the colours of images [n, 3, h, w] in 0..1, independently per image."""
    count = len(images)
    coloured = torch.bmm(_colour_maps(count, colouring, generator), images.flatten(2)).view_as(images)
    contrast = 1 + _uniform(count, -colouring.contrast, colouring.contrast, generator)[:, None, None, None]
    mean = coloured.mean(dim=(1, 2, 3), keepdim=True)
    return ((coloured - mean) * contrast + mean).clamp_(0, 1)


def random_views(images: Tensor, views: Views, generator: torch.Generator, flippable: Tensor | None = None) -> Tensor:
    """Take one random view of each image.

    Args:
        images: [n, 3, h, w] in 0..1.
        views: parameters of the views.
        generator: source of all randomness.
        flippable: bool [n], False where mirroring would change what the image shows; None: all may be mirrored.

    Returns:
        [n, 3, size, size], normalised.
    """
    maps = _windows(len(images), views, generator, flippable)
    grid = functional.affine_grid(maps, [len(images), 3, views.size, views.size], align_corners=False)
    crops = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if views.colouring is not None:
        crops = recolour(crops, views.colouring, generator)
    return normalise(crops)


class Method(StrEnum):
    """Pre-training method of a demo backbone; also its file name."""

    SUPERVISED = "supervised"
    SIMCLR = "simclr"
    SIMCLR_NO_COLOUR = "simclr-nocolour"
    ROTATION = "rotation"
    MAE = "mae"
    RANDOM = "random"


INPUT_SIZE = 64
"""Side of the demo backbones' input in pixels."""
PIXEL_MEAN = PIXEL_STD = 0.5
"""Inputs are (x - mean) / std with x in 0..1, for every channel, as for timm's test architectures."""


@dataclass(frozen=True)
class Architecture:
    """A timm architecture. `patch_size` and a fixed input size apply to transformers only."""

    name: str
    patch_size: int | None = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `timm.create_model`, besides the name."""
        sized = {} if self.patch_size is None else {"img_size": INPUT_SIZE, "patch_size": self.patch_size}
        return {"num_classes": 0, **sized}


RESNET = Architecture("test_resnet")
VIT = Architecture("test_vit", patch_size=8)


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a method: AdamW with a linear warm-up and a cosine, on square crops of `crop` pixels.

    `steps_per_minute` was measured once on a busy, shared machine; it only converts minutes into a number of steps that
    is the same on every machine, so that a rerun reproduces the run.
    """

    architecture: Architecture
    steps_per_minute: int
    minutes: int = 25
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    batch_size: int = 256
    crop: int = 48

    def steps(self, minutes: float | None = None) -> int:
        """Optimiser steps of a run of nominal `minutes`."""
        return round(self.steps_per_minute * (self.minutes if minutes is None else minutes))


RECIPES = {
    Method.SUPERVISED: Recipe(RESNET, 130),
    Method.SIMCLR: Recipe(RESNET, 65, minutes=32),
    Method.SIMCLR_NO_COLOUR: Recipe(RESNET, 65),
    Method.ROTATION: Recipe(RESNET, 130, minutes=10),
    Method.MAE: Recipe(VIT, 92, minutes=15, learning_rate=1.5e-3, crop=INPUT_SIZE),
    Method.RANDOM: Recipe(RESNET, 0, minutes=0),
}
