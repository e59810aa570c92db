"""The parameters that segmentation and normals share. Needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.anatomy import Anatomy
from backbones.card import BackboneCard
from tasks.limits import require_above_zero, require_at_least
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
        require_at_least(
            1,
            steps=self.steps,
            sizes=min(self.sizes, default=0),
            test_sizes=min(self.test_sizes, default=0),
            longest=self.longest,
            label_stride=self.label_stride,
            channels=self.channels,
        )
        require_at_least(2, batch_size=self.batch_size)  # batch norm learns nothing from one image
        require_above_zero(rate=self.rate)


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
