"""Requests and reports of feature exports and multiverses, passed between processes. Needs neither numpy nor torch.

A protocol of the multiverse is one combination of pooling, blocks, classifier and seed (Steegen et al. 2016; the curve
of all of them is a specification curve, Simonsohn et al. 2020). Classifiers choose their strength on validation images
and are fitted again on training and validation images.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, field_validator

from backbones.catalog.card import BackboneCard, Precision, PreprocessingName
from backbones.catalog.layer_info import LayerPooling
from backbones.io.card_files import CardModel
from tasks.datasets.card import DatasetCard

EXPORT = "tasks.evaluation.export_features"
"""Module that executes a request: `python -P -m MODULE < request`, JSON lines on standard output."""
FORMATS = (".npy", ".npz", ".safetensors", ".parquet")
LAST, ALL = "last", "all"
"""`last`: the features of the tasks, pooled as the card specifies. Other layers are block numbers, or all blocks."""
Problem = Literal["weights", "data", "request", "failure"]
MULTIVERSE = "tasks.evaluation.multiverse"
"""Module that executes a request: `python -P -m MODULE < request`, JSON lines on standard output."""

Tokens = Literal["cls", "mean", "cls+mean"]
"""Class token, mean of patches, or both; a backbone without class token is given the mean."""
Depth = Literal["last", "last-2", "last-4", "three-quarters", "half"]
"""Consecutive blocks, or the block at this fraction of the depth; stages of a ConvNet."""
Head = Literal["knn", "centroid", "ridge", "logistic"]
CHOICES = ("resolution", "pooling", "blocks", "head", "seed")
"""Names of the choices of a protocol, in the order of its fields."""


class LayerError(ValueError):
    """Blocks or poolings that a backbone lacks; the message lists the available ones."""


class FormatError(ValueError):
    """Unsupported output format; the message lists the supported ones."""


def check_format(path: Path) -> None:
    """Raises FormatError for an unsupported suffix, and for parquet without pyarrow."""
    if path.suffix not in FORMATS:
        raise FormatError(f"{path}: features are written as {', '.join(FORMATS)}; the suffix of the name selects one")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise FormatError(f"{path}: parquet needs pyarrow (`pip install pyarrow`); or write .npz or .safetensors")


def names_file(path: Path) -> Path:
    """The JSON file next to an npy file, which stores an array without names."""
    return path.with_suffix(".names.json")


class ImageFiles(CardModel):
    """Image files with their names."""

    kind: Literal["files"] = "files"
    files: tuple[str, ...]
    names: tuple[str, ...]


class DatasetSplits(CardModel):
    """Source splits of a dataset; all if none is given."""

    kind: Literal["dataset"] = "dataset"
    card: DatasetCard
    splits: tuple[str, ...] = ()


class LayerChoice(CardModel):
    """Blocks of a backbone and the poolings of their tokens; empty: all."""

    blocks: tuple[int, ...] = ()
    poolings: tuple[LayerPooling, ...] = ()


Source = Annotated[ImageFiles | DatasetSplits, Field(discriminator="kind")]


class ExportRequest(CardModel):
    """Export of the features of images by a backbone to a file."""

    backbone: BackboneCard
    sources: tuple[Source, ...]
    output: str
    preprocessing: PreprocessingName = "paper"
    layers: LayerChoice | None = None
    """None for the pooled features of the tasks."""
    device: str = "cpu"
    precision: Precision = "float32"
    batch_size: int = 64
    weights: str
    data: str
    features: str
    """Folder of the feature store; features of datasets are read from it and added to it."""
    cache: str | None = None
    decoded: str | None = None
    decoded_bytes: int = 0


class Phase(CardModel):
    """Start of a phase."""

    kind: Literal["phase"] = "phase"
    name: str
    total: int | None = None


class Advance(CardModel):
    """Progress within the phase, in its units."""

    kind: Literal["advance"] = "advance"
    count: int


class ExportWarning(CardModel):
    """A warning about the features."""

    kind: Literal["warned"] = "warned"
    words: str


class Failed(CardModel):
    """The export failed and wrote no file."""

    kind: Literal["failed"] = "failed"
    problem: Problem
    words: str


class Exported(CardModel):
    """Summary of the written file."""

    kind: Literal["exported"] = "exported"
    images: int
    dimension: int
    weights_digest: str
    encoded: int
    """Number of images encoded by this export; features of the others were stored."""


Report = Annotated[Phase | Advance | ExportWarning | Failed | Exported, Field(discriminator="kind")]
REPORT: TypeAdapter[Phase | Advance | ExportWarning | Failed | Exported] = TypeAdapter(Report)


class MultiverseCard(CardModel):
    """Choices that are combined. Reasonable ones are listed; a choice without alternatives has one entry."""

    name: str = "default"
    title: str = "pooling x blocks x head x seed"
    poolings: tuple[Tokens, ...] = ("cls", "mean", "cls+mean")
    blocks: tuple[Depth, ...] = ("last", "last-4", "three-quarters", "half")
    heads: tuple[Head, ...] = ("knn", "centroid", "ridge", "logistic")
    resolutions: tuple[int, ...] = (0,)
    """Sides of the input in pixels, of which features are stored; 0: that of each backbone's card."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the validation images; they change nothing where a dataset has a published validation split."""
    preprocessing: PreprocessingName = "paper"

    @field_validator("poolings", "blocks", "heads", "resolutions", "seeds")
    @classmethod
    def _several_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{values}: at least one entry, each once")
        return values

    @property
    def protocols(self) -> tuple[EvaluationChoice, ...]:
        """Every combination."""
        combinations = product(self.resolutions, self.poolings, self.blocks, self.heads, self.seeds)
        return tuple(
            EvaluationChoice(pooling=p, blocks=b, head=h, seed=s, resolution=r) for r, p, b, h, s in combinations
        )

    def with_seeds(self, seeds: tuple[int, ...]) -> MultiverseCard:
        return self.model_copy(update={"seeds": seeds})


class EvaluationChoice(CardModel):
    """One protocol of the multiverse."""

    pooling: Tokens
    blocks: Depth
    head: Head
    seed: int
    resolution: int = 0
    """Side of the input in pixels; 0: that of each backbone's card."""

    @property
    def values(self) -> Mapping[str, str]:
        """Value of every choice by its name."""
        resolution = f"{self.resolution} px" if self.resolution else "own"
        return {
            "resolution": resolution,
            "pooling": self.pooling,
            "blocks": self.blocks,
            "head": self.head,
            "seed": str(self.seed),
        }


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
    """Fraction of protocols under which the first backbone scores higher; a tie counts half."""

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
