"""Request and reports of a feature export, passed between processes. Needs neither numpy nor torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

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


class LayerError(ValueError):
    """Blocks or poolings that a backbone lacks; the message lists the available ones."""


class FormatError(ValueError):
    """Unsupported output format; the message lists the supported ones."""


def check_format(path: Path) -> None:
    """Raises FormatError for an unsupported suffix, and for parquet without pyarrow."""
    if path.suffix not in FORMATS:
        raise FormatError(f"{path}: features are written as {', '.join(FORMATS)}; choose by the ending of the name")
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
    """Export of a backbone's features of the given images to a file."""

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
