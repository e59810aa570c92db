"""Detection in the catalogue: parameters, presets, and suitable backbones. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapInfo
from tasks.catalog.protocol import Parameters, ProtocolSpec, require_above_zero, require_at_least


@dataclass(frozen=True)
class DetectionParameters:
    """Faster R-CNN with a feature pyramid (paper appendix A.4); the defaults are the paper's."""

    frozen: bool = True
    """Whether everything before the backbone's last stage (ResNet's layer4, a transformer's last quarter) is frozen."""
    iterations: int = 144_000
    batch: int = 2
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.0025
    weight_decay: float = 1e-4
    warmup: int = 100
    """Steps over which the learning rate increases linearly from a thousandth."""
    drops: tuple[int, ...] = (96_000, 128_000)
    """Steps at which the learning rate is divided by ten."""
    short_sides: tuple[int, ...] = tuple(range(480, 801, 32))
    """Lengths of the shorter side of training images, in pixels."""
    test_side: int = 800
    longest_side: int = 1333
    anchor: float = 8.0
    """Side of a level's anchors, as a multiple of the stride."""
    width: int = 256
    """Number of channels of the pyramid."""
    head: int = 1024
    """Number of units of the box head's layers."""
    proposals: int = 1000
    """Number of regions kept from the proposal network, per image."""
    sampled: int = 512
    """Number of regions for training the box head, per image."""
    averaging: Literal["11-point", "area"] = "11-point"

    def __post_init__(self) -> None:
        require_at_least(1, iterations=self.iterations, batch=self.batch, test_side=self.test_side, width=self.width)
        require_at_least(1, head=self.head, proposals=self.proposals, sampled=self.sampled)
        require_at_least(0, warmup=self.warmup)
        require_at_least(16, short_sides=min(self.short_sides, default=0))
        require_at_least(max(*self.short_sides, self.test_side), longest_side=self.longest_side)
        require_above_zero(rate=self.rate, anchor=self.anchor)


SMALL = DetectionParameters(
    iterations=60,
    batch=8,
    optimiser="adamw",
    rate=2e-3,
    warmup=5,
    drops=(50,),
    short_sides=(96,),
    test_side=96,
    longest_side=160,
    anchor=4.0,
    width=48,
    head=128,
    proposals=50,
    sampled=32,
)
"""Preset for machines without a GPU: seconds on small scenes."""


def unsuitable(card: BackboneCard, anatomy: FeatureMapInfo, parameters: Parameters) -> str | None:
    """Reason why a detector cannot be built on the backbone; None if it can."""
    del parameters
    if anatomy.problem is not None:
        return anatomy.problem
    if not anatomy.any_size:
        side = card.input.size
        return f"{card.architecture} takes images of {side} x {side} pixels alone, and detection looks at whole images"
    strides = [one.stride for one in anatomy.maps]
    if len(strides) < 2:
        return f"{card.architecture} gives one feature map alone, and a feature pyramid needs several"
    if not anatomy.plain and any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        return f"the feature maps of {card.architecture} have the strides {strides}, and a pyramid needs 4, 8, 16, ..."
    return None


def _detection(name: str, summary: str, *, frozen: bool) -> ProtocolSpec:
    whole = DetectionParameters(frozen=frozen)
    return ProtocolSpec(
        name=name,
        version=1,
        family="detection",
        presets={"default": whole, "paper": whole, "small": replace(SMALL, frozen=frozen)},
        module="tasks.protocols.detection.protocol",
        summary=summary,
        inputs="images",
        needs=("boxes",),
        rescore="tasks.metrics.rescore:detections",
        unsuitable=unsuitable,
        trains=True,
    )


DETECTION = (
    _detection(
        "detection-frozen", "Faster R-CNN with a feature pyramid; the last stage and the detector train", frozen=True
    ),
    _detection("detection-finetune", "Faster R-CNN with a feature pyramid; the whole backbone trains", frozen=False),
)
