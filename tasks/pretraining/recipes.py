"""Pre-training methods of the demo backbones, and their speed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
