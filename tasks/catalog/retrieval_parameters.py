"""Retrieval and clustering of frozen features, as the console lists them: parameters and presets. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.catalog.card import PreprocessingName
from tasks.catalog.protocol import ProtocolSpec, require_at_least


@dataclass(frozen=True)
class RetrievalParameters:
    """Ranking of images of the same class."""

    preprocessing: PreprocessingName = "paper"
    gallery: Literal["test", "train"] = "test"
    """`test`: all other test images; `train`: the training and validation images."""
    recalls: tuple[int, ...] = (1, 2, 4, 8, 10, 100)

    def __post_init__(self) -> None:
        require_at_least(1, recalls=min(self.recalls, default=1))


@dataclass(frozen=True)
class ClusteringParameters:
    """k-means on the test images."""

    preprocessing: PreprocessingName = "paper"
    restarts: int = 10

    def __post_init__(self) -> None:
        require_at_least(1, restarts=self.restarts)


@dataclass(frozen=True)
class InstanceRetrievalParameters:
    """Retrieval of the queries' buildings from a database of photographs."""

    preprocessing: PreprocessingName = "whole"


RETRIEVAL = (
    ProtocolSpec(
        name="retrieval",
        version=1,
        family="retrieval",
        presets={
            "default": RetrievalParameters(),
            "paper": RetrievalParameters(),
            "published": RetrievalParameters(preprocessing="resize-256", recalls=(1, 2, 4, 8, 10, 100, 1000)),
        },
        module="tasks.protocols.retrieval",
        summary="retrieval among test images by cosine similarity: mAP, Recall@k and MAP@R",
        inputs="bank",
        rescore="tasks.metrics.rescore:rankings",
        averaged=True,
    ),
    ProtocolSpec(
        name="clustering",
        version=1,
        family="clustering",
        presets={
            "default": ClusteringParameters(),
            "paper": ClusteringParameters(),
            "published": ClusteringParameters(preprocessing="resize-256"),
        },
        module="tasks.protocols.clustering",
        summary="k-means on test images, as many clusters as classes: NMI and adjusted Rand index",
        inputs="bank",
        rescore="tasks.metrics.rescore:clusters",
        averaged=True,
    ),
    ProtocolSpec(
        name="instance-retrieval",
        version=1,
        family="instance-retrieval",
        presets={"default": InstanceRetrievalParameters()},
        module="tasks.protocols.instance_retrieval",
        summary="rOxford and rParis by their rule: mAP of the easy, medium and hard setup",
        inputs="bank",
        needs=("relevance",),
        rescore="tasks.metrics.rescore:instances",
        averaged=True,
    ),
)
