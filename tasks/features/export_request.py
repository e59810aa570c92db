"""What an export of features is given and reports, as data that travels between processes. Needs no numpy, no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from backbones.catalog.card import BackboneCard, Precision, PreprocessingName
from backbones.catalog.layer_columns import LayerPooling
from backbones.io.card_files import CardModel
from tasks.datasets.card import DatasetCard

EXPORT = "tasks.evaluation.export_features"
"""Module that carries a request out: `python -P -m MODULE < request`, JSON lines out."""
FORMATS = (".npy", ".npz", ".safetensors", ".parquet")
LAST, ALL = "last", "all"
"""`last`: the features of the tasks, pooled as the card says. Other layers are numbers of blocks, or all of them."""
Problem = Literal["weights", "data", "request", "failure"]


class LayerError(ValueError):
    """Blocks or poolings that a backbone does not have; the message lists those that it has."""


class FormatError(ValueError):
    """A format that is not written; the message lists those that are."""


def check_format(path: Path) -> None:
    """Raises FormatError for an ending of no format, and for parquet without pyarrow."""
    if path.suffix not in FORMATS:
        raise FormatError(f"{path}: features are written as {', '.join(FORMATS)}; choose by the ending of the name")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise FormatError(f"{path}: parquet needs pyarrow (`pip install pyarrow`); or write .npz or .safetensors")


def names_file(path: Path) -> Path:
    """The JSON file beside an npy file, which holds one array and no names."""
    return path.with_suffix(".names.json")


class ImageFiles(CardModel):
    """Image files, with a name for each."""

    kind: Literal["files"] = "files"
    files: tuple[str, ...]
    names: tuple[str, ...]


class DatasetSplits(CardModel):
    """Source splits of a dataset; none means all."""

    kind: Literal["dataset"] = "dataset"
    card: DatasetCard
    splits: tuple[str, ...] = ()


class LayerChoice(CardModel):
    """Blocks of a backbone, and the poolings of their tokens; both empty for all that there are."""

    blocks: tuple[int, ...] = ()
    poolings: tuple[LayerPooling, ...] = ()


Source = Annotated[ImageFiles | DatasetSplits, Field(discriminator="kind")]


class ExportRequest(CardModel):
    """Features of these images, by this backbone, to this file."""

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
    """Folder of the feature store: features of datasets are read there, and kept there for the tasks."""
    cache: str | None = None
    decoded: str | None = None
    decoded_bytes: int = 0


class Phase(CardModel):
    """A new phase begins."""

    kind: Literal["phase"] = "phase"
    name: str
    total: int | None = None


class Advance(CardModel):
    """More units of the phase are done."""

    kind: Literal["advance"] = "advance"
    count: int


class ExportWarning(CardModel):
    """Something that a user of the features has to know."""

    kind: Literal["warned"] = "warned"
    words: str


class Failed(CardModel):
    """The export ended without a file."""

    kind: Literal["failed"] = "failed"
    problem: Problem
    words: str


class Exported(CardModel):
    """What was written."""

    kind: Literal["exported"] = "exported"
    images: int
    dimension: int
    weights_digest: str
    encoded: int
    """Images that were encoded now; the others' features were stored already."""


Report = Annotated[Phase | Advance | ExportWarning | Failed | Exported, Field(discriminator="kind")]
REPORT: TypeAdapter[Phase | Advance | ExportWarning | Failed | Exported] = TypeAdapter(Report)
