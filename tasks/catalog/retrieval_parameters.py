"""Retrieval, clustering and robustness on frozen features, in the catalogue: parameters and presets. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.catalog.card import PreprocessingName
from tasks.catalog.protocol import ProtocolSpec, require_above_zero, require_at_least

KINDS = ("noise", "blur", "pixelate", "jpeg", "brightness", "contrast", "colour", "occlusion")
"""Corruptions of `tasks.datasets.shifts`."""
IMAGENET_SHIFTS = ("imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch")


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
    """Retrieval of the buildings of queries from a database of photographs."""

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


@dataclass(frozen=True)
class RobustnessParameters:
    """Logistic regression on frozen features, tested on the test images, on corruptions of them and on other sets."""

    preprocessing: Literal["paper", "own", "squash", "resize-256"] = "paper"
    corruptions: tuple[str, ...] = KINDS
    severities: tuple[int, ...] = (1, 3, 5)
    also: tuple[str, ...] = ()
    """Names of datasets with classes of the same names, each with its own column (`--test-also`)."""
    strengths: int = 45
    """Number of weight decays evaluated on validation images."""
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        require_at_least(1, strengths=self.strengths, severities=min(self.severities, default=1))
        require_above_zero(validation_share=self.validation_share)
        if set(self.corruptions) - set(KINDS):
            raise ValueError(f"corruptions are some of {', '.join(KINDS)}, not {', '.join(self.corruptions)}")
        if max(self.severities, default=1) > 5 or self.validation_share >= 1:
            raise ValueError("severities are 1 to 5, and validation_share is a share of the training images")
        if not (self.corruptions and self.severities) and not self.also:
            raise ValueError("corruptions with severities, or other sets (also), are required")


ROBUSTNESS = ProtocolSpec(
    name="robustness",
    version=1,
    family="robustness",
    presets={
        "default": RobustnessParameters(),
        "every-severity": RobustnessParameters(severities=(1, 2, 3, 4, 5)),
        "imagenet-shifts": RobustnessParameters(preprocessing="resize-256", corruptions=(), also=IMAGENET_SHIFTS),
        "small": RobustnessParameters(severities=(3,), strengths=9),
    },
    module="tasks.protocols.robustness",
    summary="logistic regression trained once, tested on corruptions and on other sets of the same classes",
    further_splits="tasks.evaluation.splits:corrupted_splits",
    rescore="tasks.metrics.robustness:rescorer",
    averaged=True,
)
