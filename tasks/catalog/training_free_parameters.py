"""Dense protocols without training: segmentation by nearest patches, and correspondence. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.dense_parameters import without_maps
from tasks.catalog.linear_dense_parameters import LayerName
from tasks.catalog.protocol import ProtocolSpec, require_above_zero, require_at_least

PatchDistance = Literal["cosine", "l2"]
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
    """Conversion of images to squares: padding with white on the right and below, or scaling both sides to the same
    length.
    """
    size: int = 800
    """Side of the square in pixels, rounded up to a multiple of the patch size."""
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


@dataclass(frozen=True)
class KnnSegmentationParameters:
    """A memory of labelled patches, and the mean label of each test patch's nearest ones."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    size: int = 512
    """Side of the square images in pixels, rounded up to a multiple of the patch size."""
    memory: int = 100_000
    """Maximum number of stored training patches."""
    neighbours: int = 30
    temperature: float = 0.02

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size, memory=self.memory, neighbours=self.neighbours)
        require_above_zero(temperature=self.temperature)


KNN_SEGMENTATION = ProtocolSpec(
    name="knn-segmentation",
    version=1,
    family="knn-segmentation",
    presets={
        "default": KnnSegmentationParameters(),
        "hummingbird": KnnSegmentationParameters(size=504, memory=10_240_000),
        "small": KnnSegmentationParameters(layers="quarters", size=64, memory=20_000),
    },
    module="tasks.protocols.knn_segmentation",
    summary="training-free segmentation: labels of the nearest training patches (Hummingbird), mean IoU",
    inputs="images",
    needs=("masks",),
    rescore="tasks.metrics.rescore:pixels",
    unsuitable=without_maps,
)


@dataclass(frozen=True)
class KnnSegmentationCapiParameters:
    """A memory of standardised patches, and a vote of the nearest ones at every pixel."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    size: int = 224
    """Side of the square images in pixels, rounded up to a multiple of the patch size."""
    memory: int = 100_000
    """Maximum number of stored training patches."""
    neighbours: tuple[int, ...] = (1, 3, 10, 30)
    distances: tuple[PatchDistance, ...] = ("cosine", "l2")
    """Distances, combined with `neighbours`, evaluated on validation images."""
    validation_share: float = 0.1
    """Fraction of the training images used for validation."""

    def __post_init__(self) -> None:
        require_at_least(1, size=self.size, memory=self.memory, neighbours=min(self.neighbours, default=0))
        require_above_zero(validation_share=self.validation_share)
        if self.validation_share >= 1:
            raise ValueError(f"validation_share is a share of the training images, not {self.validation_share}")
        if not self.distances or set(self.distances) - {"cosine", "l2"}:
            raise ValueError(f"distances are cosine and l2, not {', '.join(self.distances) or 'none'}")


KNN_SEGMENTATION_CAPI = ProtocolSpec(
    name="knn-segmentation-capi",
    version=1,
    family="knn-segmentation-capi",
    presets={
        "default": KnnSegmentationCapiParameters(),
        "published": KnnSegmentationCapiParameters(normalisation="imagenet", memory=8_000_000),
        "small": KnnSegmentationCapiParameters(layers="quarters", size=64, memory=20_000),
    },
    module="tasks.protocols.knn_segmentation_capi",
    summary="training-free segmentation: votes of the nearest training patches at every pixel (CAPI), mean IoU",
    inputs="images",
    needs=("masks",),
    rescore="tasks.metrics.rescore:pixels",
    unsuitable=without_maps,
)

TRAINING_FREE = (KNN_SEGMENTATION, KNN_SEGMENTATION_CAPI, CORRESPONDENCE)
