"""The parameters of segmentation, with their presets. Needs neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.dense.parameters import DenseParameters, without_maps
from tasks.protocol import IMAGE_EVALUATION, ProtocolFacts


@dataclass(frozen=True)
class SegmentationParameters(DenseParameters):
    """A decoder that gives every pixel a class (paper section 4.5, appendix A.6)."""

    decoder: Literal["upernet", "linear"] = "upernet"
    frozen: bool = False
    """Whether the decoder alone is trained."""


LINEAR = SegmentationParameters(
    decoder="linear",
    frozen=True,
    steps=40_000,
    batch_size=16,
    optimiser="adamw",
    rate=1e-3,
    power=1.0,
)
SMALL = SegmentationParameters(
    decoder="linear",
    frozen=True,
    steps=120,
    batch_size=16,
    optimiser="adamw",
    rate=1e-2,
    sizes=(64,),
    test_sizes=(64,),
    label_stride=2,
)

PROTOCOLS = (
    ProtocolFacts(
        name="segmentation",
        version=1,
        family="segmentation",
        presets={
            "default": SegmentationParameters(),
            "paper": SegmentationParameters(normalisation="imagenet"),
            "linear": LINEAR,
            "small": SMALL,
        },
        module="tasks.segmentation.protocol",
        summary="UPerNet on the whole backbone, 150k steps, mean IoU over five scales",
        evaluation=IMAGE_EVALUATION,
        unsuitable=without_maps,
    ),
)
