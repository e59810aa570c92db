"""The parameters that segmentation and normals share. Needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.anatomy import Anatomy
from backbones.card import BackboneCard
from tasks.protocol import Parameters


@dataclass(frozen=True)
class DenseParameters:
    """Images, optimiser and schedule."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    """Pixel mean and deviation: the backbone's own, or ImageNet's for all, as the published code has it."""
    steps: int = 150_000
    batch_size: int = 4
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    """Biases and norms do not decay."""
    power: float = 0.9
    """The rate falls as (1 - step / steps) to this power."""
    sizes: tuple[int, ...] = (300, 375, 450, 525, 600)
    """Shorter sides in training; each batch draws one."""
    longest: int = 1000
    test_sizes: tuple[int, ...] = (300, 375, 450, 525, 600)
    """Shorter sides over which probabilities are averaged."""
    flip: bool = True
    label_stride: int = 4
    """The loss sees every this many pixels of the target."""
    channels: int = 512
    """Width of the decoder."""

    def __post_init__(self) -> None:
        numbers = (self.steps, self.batch_size, self.longest, self.label_stride, self.channels)
        if min(*numbers, *self.sizes, *self.test_sizes) < 1 or not (self.sizes and self.test_sizes):
            raise ValueError("steps, batch_size, sizes, test_sizes, longest, label_stride and channels must be above 0")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2: batch norm learns nothing from one image")
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0, not {self.rate}")


def without_maps(card: BackboneCard, anatomy: Anatomy, _parameters: Parameters) -> str | None:
    """Why a backbone cannot be measured by a dense protocol, or None if it can."""
    if anatomy.problem is not None:
        return anatomy.problem
    if not anatomy.any_size:
        return (
            f"{card.architecture} takes images of its own size alone ({card.input.size} pixels), and a dense protocol "
            "shows it images of many sizes and shapes"
        )
    return None
