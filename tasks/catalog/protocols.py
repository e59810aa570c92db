"""All protocols by name, the parameters of those on stored features, and the datasets that a protocol suits.
Torch-free, because a run's identity is computed from parameters before any worker starts. Every field affects the
score; settings that do not (device, batch size, number of workers) must not be added.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from backbones.io.card_files import match
from tasks.catalog.analysis_parameters import ANALYSES, PATCH_PCA, SCORES_OF_FEATURES
from tasks.catalog.dense_parameters import DETECTION, NORMALS_PROTOCOLS, SEGMENTATION_PROTOCOLS
from tasks.catalog.finetune_parameters import FINETUNE, FINETUNE_VIT
from tasks.catalog.frozen_dense_parameters import LINEAR_DENSE, TRAINING_FREE
from tasks.catalog.head_parameters import ATTENTIVE, HEADS
from tasks.catalog.protocol import (
    POINT,
    Margin,
    Parameters,
    ProtocolSpec,
    outside_protocols,
    require_above_zero,
    require_at_least,
)
from tasks.catalog.retrieval_parameters import RETRIEVAL, ROBUSTNESS
from tasks.datasets.card import DatasetCard
from tasks.datasets.layouts import targets_of

PreprocessingName = Literal["paper", "own", "squash", "resize-256"]
"""`paper`: shorter side to the input size (bicubic), centre crop. `own`: the model's own resize and crop.
`squash`: 1.15 x the input size ignoring the aspect ratio (bilinear), centre crop: the published few-shot code."""


@dataclass(frozen=True)
class LinearParameters:
    """Logistic regression on frozen features (paper appendix A.2)."""

    preprocessing: PreprocessingName = "paper"
    strengths: int = 45
    """Number of weight decays on the logarithmic grid."""
    strength_low: float = -6.0
    strength_high: float = 5.0
    solver: Literal["exact", "published"] = "exact"
    """`exact` solves every point to convergence; `published` reproduces the paper's unconverged warm-started sweep."""
    max_iter: int = 1000
    tolerance: float = 5e-7
    validation_share: float = 0.2
    extend_grid: bool = True
    temperature: Literal["validation", "published"] = "validation"
    """Data on which the temperature of the calibrated ECE is fitted; `published` uses folds of the test set."""

    def __post_init__(self) -> None:
        require_at_least(1, strengths=self.strengths, max_iter=self.max_iter)
        require_above_zero(tolerance=self.tolerance, validation_share=self.validation_share)
        if self.validation_share >= 1:
            raise ValueError(f"validation_share is a share of the training images, not {self.validation_share}")
        if self.strength_low > self.strength_high:
            raise ValueError(f"strength_low {self.strength_low} is above strength_high {self.strength_high}")


@dataclass(frozen=True)
class KnnParameters:
    """Weighted cosine nearest neighbours (the DINO evaluation)."""

    preprocessing: PreprocessingName = "paper"
    neighbours: tuple[int, ...] = (10, 20, 100, 200)
    headline: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        require_at_least(1, headline=self.headline, neighbours=min(self.neighbours, default=0))
        require_above_zero(temperature=self.temperature)


@dataclass(frozen=True)
class FewShotParameters:
    """Nearest-centroid episodes (paper appendix A.3)."""

    preprocessing: PreprocessingName = "paper"
    ways: int = 5
    shots: int = 5
    queries: int = 15
    episodes: int = 600

    def __post_init__(self) -> None:
        require_at_least(2, ways=self.ways)
        require_at_least(1, shots=self.shots, queries=self.queries, episodes=self.episodes)


@dataclass(frozen=True)
class ColourParameters:
    """Ridge regression of an image's colours on frozen features."""

    preprocessing: PreprocessingName = "paper"
    penalties: int = 19
    """Number of penalties on the logarithmic grid, each relative to the number of training images."""
    low: float = -7.0
    high: float = 2.0

    def __post_init__(self) -> None:
        require_at_least(1, penalties=self.penalties)
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


FeatureParameters = LinearParameters | KnnParameters | FewShotParameters | ColourParameters
"""Parameters of protocols on stored features, whose `preprocessing` is used by `tasks.evaluation.features`."""
MOST_IMAGES = 1_000_000
"""Largest episode pool, whose features are all in memory at once."""


def _few_shot_limits(card: DatasetCard, parameters: Parameters) -> str | None:
    """Reason why episodes cannot be drawn from a dataset; None if they can."""
    assert isinstance(parameters, FewShotParameters)
    if card.classes is not None and card.classes < parameters.ways:
        return f"it has {card.classes} classes, and an episode has {parameters.ways}"
    if card.most_shots is not None and parameters.shots > card.most_shots:
        return f"its classes have enough images for {card.most_shots} shots at most"
    return None


def _few_shot(shots: int) -> ProtocolSpec:
    return ProtocolSpec(
        name=f"few-shot-{shots}",
        version=1,
        family="few-shot",
        presets={
            "default": FewShotParameters(shots=shots),
            "paper": FewShotParameters(shots=shots),
            "published": FewShotParameters(shots=shots, preprocessing="squash"),
        },
        module="tasks.protocols.few_shot",
        summary=f"5-way {shots}-shot nearest centroid, 600 episodes",
        inputs="pool",
        separate_test=False,
        most_images=MOST_IMAGES,
        limits=_few_shot_limits,
        rescore="tasks.metrics.rescore:episodes",
        averaged=True,
    )


_BUILT_IN: Mapping[str, ProtocolSpec] = {
    spec.name: spec
    for spec in (
        ProtocolSpec(
            name="linear",
            version=1,
            family="linear",
            presets={
                "default": LinearParameters(),
                "paper": LinearParameters(solver="published", max_iter=100, extend_grid=False, temperature="published"),
            },
            module="tasks.protocols.linear",
            summary="logistic regression on frozen features, 45 weight decays chosen on validation",
            multi_label=True,
            rescore="tasks.metrics.rescore:classification",
            predictor="tasks.protocols.linear:predictor",
            averaged=True,
        ),
        ProtocolSpec(
            name="knn",
            version=1,
            family="knn",
            presets={
                "default": KnnParameters(),
                "paper": KnnParameters(),
                "published": KnnParameters(preprocessing="resize-256"),
            },
            module="tasks.protocols.knn",
            summary="weighted cosine nearest neighbours, k = 20",
            inputs="bank",
            multi_label=True,
            rescore="tasks.metrics.rescore:classification",
            predictor="tasks.protocols.knn:predictor",
            averaged=True,
        ),
        *(_few_shot(shots) for shots in (5, 20, 50)),
        ProtocolSpec(
            name="colour",
            version=1,
            family="colour",
            presets={"default": ColourParameters(), "paper": ColourParameters()},
            module="tasks.protocols.colour",
            summary="ridge regression of mean colour and hue histogram from frozen features",
            multi_label=True,
            pixel_targets="tasks.evaluation.splits:colour",
            rescore="tasks.metrics.rescore:colours",
            descriptive=True,
        ),
        *DETECTION,
        *FINETUNE,
        *SEGMENTATION_PROTOCOLS,
        *NORMALS_PROTOCOLS,
        *ANALYSES,
        PATCH_PCA,
        *HEADS,
        ROBUSTNESS,
        *SCORES_OF_FEATURES,
        ATTENTIVE,
        *LINEAR_DENSE,
        *TRAINING_FREE,
        FINETUNE_VIT,
        *RETRIEVAL,
    )
}

PROTOCOLS: Mapping[str, ProtocolSpec] = {
    **_BUILT_IN,
    **{spec.name: spec for spec in outside_protocols(_BUILT_IN.keys())},
}


def is_descriptive(protocol: str) -> bool:
    """Whether the protocol of this name is descriptive, so that its scores are not ranked."""
    return protocol in PROTOCOLS and PROTOCOLS[protocol].descriptive


def is_trained(protocol: str) -> bool:
    """Whether scores of the protocol of this name depend on the seed of a training."""
    return protocol in PROTOCOLS and PROTOCOLS[protocol].trains


def margin_of(protocol: str, metric: str, sizes: Mapping[str, float]) -> Margin:
    """The margin of a protocol's metric; `sizes` are the user's, by metric, in its own unit."""
    found = PROTOCOLS[protocol].margin(metric) if protocol in PROTOCOLS else POINT
    return replace(found, size=sizes.get(metric, found.size))


def suitable_protocols(card: DatasetCard) -> tuple[str, ...]:
    """Names of the protocols that suit a dataset, in the order of `PROTOCOLS`.

    Raises:
        UnknownName: the card restricts them to a name or glob without a match.
    """
    if card.protocols is not None:
        match(card.protocols, PROTOCOLS, "protocol")
    return tuple(name for name, spec in PROTOCOLS.items() if misfit(spec, card, spec.presets["default"]) is None)


def misfit(spec: ProtocolSpec, card: DatasetCard, parameters: Parameters) -> str | None:
    """Reason why a protocol with these parameters does not suit a dataset; None if it does."""
    if card.protocols is not None:
        if spec.name in card.protocols:
            return None
        if not any(fnmatch.fnmatch(spec.name, pattern) for pattern in card.protocols):
            return "its card names other protocols"
    return _unsuitable_data(spec, card) or (spec.limits(card, parameters) if spec.limits else None)


def _unsuitable_data(spec: ProtocolSpec, card: DatasetCard) -> str | None:
    """Reason why no parameters of a protocol suit a dataset: its targets, labels, splits or size."""
    targets, images = targets_of(card), sum(card.images.values())
    missing = [target for target in spec.needs if target not in targets]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    if card.metric == "map11" and not spec.multi_label:
        return "its images have several labels"
    if card.splits == "all" and spec.separate_test:
        return "it has no test images of its own"
    if spec.most_images is not None and images > spec.most_images:
        return f"it has {images:,} images, and at most {spec.most_images:,} are offered"
    return None
