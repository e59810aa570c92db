"""Segmentation by nearest patches, without training: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.dense_parameters import without_maps
from tasks.catalog.linear_dense_parameters import LayerName
from tasks.catalog.protocol import ProtocolSpec, require_above_zero, require_at_least


@dataclass(frozen=True)
class KnnSegmentationParameters:
    """A memory of labelled patches, and the mean label of each test patch's nearest ones."""

    preprocessing: Literal["paper"] = "paper"
    normalisation: Literal["card", "imagenet"] = "card"
    layers: LayerName = "last"
    size: int = 512
    """Sides of images in pixels, whatever their shape; brought up to a multiple of the patches."""
    memory: int = 100_000
    """Largest number of training patches that are kept."""
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
