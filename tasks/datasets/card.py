"""Dataset, task and suite cards, and the declaration of a dataset reader. Needs neither torch nor numpy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from backbones.catalog.card import Scalar
from backbones.io.card_files import CardModel

MetricName = Literal["accuracy", "mean-per-class", "map11"]


class DatasetCard(CardModel):
    """A dataset: its on-disk layout, its targets and its source. Named by its file."""

    name: str
    title: str
    reader: str
    """Name of a reader in `tasks.datasets.layouts`, e.g. `cifar10` or `imagefolder`."""
    reader_arguments: dict[str, Scalar] = Field(default_factory=dict)
    classes: int | None = Field(default=None, ge=2)
    """Number of classes; None for class folders, which are counted when read."""
    metric: MetricName = "accuracy"
    targets: tuple[str, ...] | None = None
    """Targets offered to protocols, a subset of the reader's (`Layout.targets`); None for all. A protocol runs on
    every dataset with the targets that it needs."""
    most_shots: int | None = Field(default=None, ge=1)
    """Maximum number of shots of few-shot episodes, if some classes have too few images for more."""
    protocols: tuple[str, ...] | None = None
    """Names and globs of the allowed protocols; None for all. A protocol named in full is offered even if targets,
    splits or sizes do not match."""
    folder: str | None = None
    """Folder below the data root; None for embedded or rendered data."""
    domain: str = "objects"
    splits: Literal["train-val-test", "train-test", "all"] = "train-test"
    images: dict[str, int] = Field(default_factory=dict)
    """Published number of images per split, verified by `data check`."""
    download: Literal["automatic", "manual", "none"] = "none"
    download_megabytes: float | None = None
    manifest: str | None = None
    """Digest of images, labels and splits when the dataset was added, verified by `data check`."""
    background: str = "white"
    """Background colour of transparent images: a name or #rrggbb."""
    orientation: Literal["upright", "stored"] = "upright"
    """Whether images are rotated by their EXIF orientation or read as stored."""
    shifts: tuple[DatasetCard, ...] = ()
    """Further test sets to read, set by the catalog from the parameters of a task; not in card files."""
    page: str | None = None
    instructions: str | None = None
    note: str | None = None

    @field_validator("folder")
    @classmethod
    def _stays_below(cls, folder: str | None) -> str | None:
        """Validate that the folder is below the data root: downloads are written into it, and cards are not trusted."""
        path = PurePosixPath(folder or "")
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise ValueError("It must be below the data root: create a link there to data stored elsewhere")
        return folder

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}|[a-z]+", background):
            raise ValueError(f"background = {background!r} is not a colour: use a name such as white, or #rrggbb")
        return background


class TaskCard(CardModel):
    """A user-defined task: a protocol on a dataset with its own parameters."""

    name: str
    title: str
    protocol: str
    dataset: str
    preset: str = "default"
    parameters: dict[str, Scalar] = Field(default_factory=dict)


class SuiteCard(CardModel):
    """A named list of tasks, optionally with backbones."""

    name: str
    title: str
    tasks: tuple[str, ...]
    """Task names or globs."""
    backbones: tuple[str, ...] = ()
    preset: str = "default"
    presets: dict[str, str] = Field(default_factory=dict)
    """Preset per protocol family that replaces `preset`: `[presets] finetune = "small"`."""
    parameters: dict[str, dict[str, Scalar]] = Field(default_factory=dict)
    """Parameters per protocol family that differ from the preset: `[parameters.few-shot] episodes = 100`."""


@dataclass(frozen=True)
class Layout:
    """A reader: its function, its targets, and its key files relative to the given folder."""

    required: tuple[tuple[str, ...], ...] = ()
    """Required files, each with alternatives. Empty for data without files."""
    optional: tuple[str, ...] = ()
    """Optional files that change the data."""
    bases: tuple[str, ...] = ("",)
    """Folder levels below the dataset's folder at which the required files may be."""
    class_folders: tuple[str, ...] = ()
    """Folders (or globs) whose subfolders are part of the signature: their times show added and removed images."""
    below_root: bool = True
    """Whether the layout is specific enough to be searched for in the data root itself."""
    arguments: Mapping[str, type] = field(default_factory=dict)
    """Names and types of the card's `reader_arguments`."""
    reader: str = ""
    """`module:function` (default `read`) of the reader, imported on use; a plug-in may name it in `READERS` instead."""
    targets: tuple[str, ...] = ("labels",)
    """Targets of every image: `labels`, or kinds of `SourceSplit.targets` such as `masks`."""
    dense_targets: tuple[str, ...] = ()
    """Further targets if the card's `reader_arguments` have `dense = true`."""

    @property
    def embedded(self) -> bool:
        """Whether the data are included in the package or rendered by it."""
        return not self.required

    def targets_for(self, arguments: Mapping[str, object]) -> tuple[str, ...]:
        """Targets of the reader with these `reader_arguments`."""
        return (*self.targets, *self.dense_targets) if arguments.get("dense") else self.targets
