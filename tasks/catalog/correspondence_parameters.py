"""Keypoint correspondence without training: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.dense_parameters import without_maps
from tasks.catalog.linear_dense_parameters import LayerName
from tasks.catalog.protocol import ProtocolSpec, require_above_zero, require_at_least

PairReading = Literal["pck-image", "pck-keypoint", "pck-class"]
"""Mean over pairs, over all keypoints, or over classes of their keypoints."""


@dataclass(frozen=True)
class CorrespondenceParameters:
    """The position of another image whose patch feature is most similar to that of a keypoint."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    final_norm: bool = True
    """Whether features are taken after the network's final norm."""
    canvas: Literal["padded", "squashed"] = "padded"
    """How images become square: white on the right and below, or both sides to the same length."""
    size: int = 800
    """Sides of the square in pixels; brought up to a multiple of the patches."""
    positions: Literal["cells", "pixels"] = "cells"
    """Candidates in the other image: its patches, or its pixels, to which features are enlarged (bilinear)."""
    threshold: float = 0.1
    """Largest error of a correct keypoint, as a fraction of the longer side of the object's box."""
    pairs_per_class: int = 0
    """Pairs drawn of every class; 0 for all."""
    reading: PairReading = "pck-class"
    """The ranked score; the others are stored too."""

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size)
        require_at_least(0, pairs_per_class=self.pairs_per_class)
        require_above_zero(threshold=self.threshold)


CORRESPONDENCE = ProtocolSpec(
    name="correspondence",
    version=1,
    family="correspondence",
    presets={
        "default": CorrespondenceParameters(),
        "published": CorrespondenceParameters(normalisation="imagenet", final_norm=False, pairs_per_class=200),
        "probe3d": CorrespondenceParameters(normalisation="imagenet", final_norm=False, pairs_per_class=200),
        "dift": CorrespondenceParameters(canvas="squashed", size=768, positions="pixels", reading="pck-image"),
        "small": CorrespondenceParameters(layers="quarters", size=64, positions="pixels", reading="pck-image"),
    },
    module="tasks.protocols.correspondence",
    summary="training-free correspondence: keypoints found by the most similar patch, PCK at 0.1 of the box (SPair)",
    inputs="images",
    needs=("keypoint-pairs",),
    separate_test=False,
    rescore="tasks.metrics.correspondence:rescorer",
    unsuitable=without_maps,
)
