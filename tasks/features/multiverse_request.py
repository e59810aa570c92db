"""Multiverse: reasonable ways of evaluating stored features, as specified by a card. Torch-free.

A protocol of the multiverse is one combination of pooling, blocks, classifier and seed (Steegen et al. 2016; the curve
of all of them is a specification curve, Simonsohn et al. 2020). Classifiers choose their strength on validation images
and are fitted again on training and validation images.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, field_validator

from backbones.catalog.card import BackboneCard, PreprocessingName
from backbones.io.card_files import CardModel
from tasks.datasets.card import DatasetCard
from tasks.features.export_request import Advance, ExportWarning, Failed, Phase

MULTIVERSE = "tasks.evaluation.multiverse"
"""Module that executes a request: `python -P -m MODULE < request`, JSON lines on standard output."""

Tokens = Literal["cls", "mean", "cls+mean"]
"""Class token, mean of patches, or both; a backbone without class token is given the mean."""
Depth = Literal["last", "last-2", "last-4", "three-quarters", "half"]
"""Blocks next to one another, or the one at this part of the depth; of a ConvNet its stages."""
Head = Literal["knn", "centroid", "ridge", "logistic"]
CHOICES = ("pooling", "blocks", "head", "seed")
"""Names of the choices of a protocol, in the order of its fields."""


class MultiverseCard(CardModel):
    """Choices that are combined. Reasonable ones are listed; a choice without alternatives has one entry."""

    name: str = "default"
    title: str = "pooling x blocks x head x seed"
    poolings: tuple[Tokens, ...] = ("cls", "mean", "cls+mean")
    blocks: tuple[Depth, ...] = ("last", "last-4", "three-quarters", "half")
    heads: tuple[Head, ...] = ("knn", "centroid", "ridge", "logistic")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the validation images; they change nothing where a dataset has a published validation split."""
    preprocessing: PreprocessingName = "paper"

    @field_validator("poolings", "blocks", "heads", "seeds")
    @classmethod
    def _several_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{values}: at least one entry, each once")
        return values

    @property
    def protocols(self) -> tuple[EvaluationChoice, ...]:
        """Every combination."""
        combinations = product(self.poolings, self.blocks, self.heads, self.seeds)
        return tuple(EvaluationChoice(pooling=p, blocks=b, head=h, seed=s) for p, b, h, s in combinations)

    def with_seeds(self, seeds: tuple[int, ...]) -> MultiverseCard:
        """The card with other seeds."""
        return self.model_copy(update={"seeds": seeds})


class EvaluationChoice(CardModel):
    """One protocol of the multiverse."""

    pooling: Tokens
    blocks: Depth
    head: Head
    seed: int

    @property
    def values(self) -> Mapping[str, str]:
        """Value of every choice by its name."""
        return {"pooling": self.pooling, "blocks": self.blocks, "head": self.head, "seed": str(self.seed)}


class MultiverseRequest(CardModel):
    """Evaluation of backbones under all protocols of a card, from features that are stored."""

    card: MultiverseCard
    backbones: tuple[BackboneCard, ...]
    dataset: DatasetCard
    weights: str
    data: str
    features: str
    cache: str | None = None


class BackboneScores(CardModel):
    """Scores of one backbone by protocol, in percent."""

    backbone: str
    weights_digest: str
    scores: tuple[float, ...]


class PairwiseWins(CardModel):
    """How often the first backbone scores higher, over all protocols; a tie counts half."""

    first: str
    second: str
    share: float
    """0 to 1."""
    low: float
    high: float
    """95 % interval of `share` over other test images, from the joint error of all protocols on these."""
    ties: int


class MultiverseResult(CardModel):
    """All protocols on all backbones."""

    kind: Literal["multiverse"] = "multiverse"
    dataset: str
    manifest_digest: str
    metric: str
    test_images: int
    protocols: tuple[EvaluationChoice, ...]
    backbones: tuple[BackboneScores, ...]
    pairs: tuple[PairwiseWins, ...]
    notes: tuple[str, ...] = ()


MultiverseReport = Annotated[Phase | Advance | ExportWarning | Failed | MultiverseResult, Field(discriminator="kind")]
MULTIVERSE_REPORT: TypeAdapter[Phase | Advance | ExportWarning | Failed | MultiverseResult] = TypeAdapter(
    MultiverseReport
)
