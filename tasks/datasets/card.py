"""Dataset, task and suite cards. Needs neither torch nor numpy."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from backbones.catalog.card import Scalar
from backbones.io.card_files import CardModel

MetricName = Literal["accuracy", "mean-per-class", "map11"]


class DatasetCard(CardModel):
    """One dataset: how it is laid out on disk, what it measures and how to get it. Named by its file."""

    name: str
    title: str
    reader: str
    """Name of a reader in `tasks.datasets.layouts`, e.g. `cifar10` or `imagefolder`."""
    reader_arguments: dict[str, Scalar] = Field(default_factory=dict)
    classes: int | None = Field(default=None, ge=2)
    """None for a folder of class folders: they are counted when it is read."""
    metric: MetricName = "accuracy"
    targets: tuple[str, ...] | None = None
    """Targets that it offers to protocols, among those that its reader has (`Layout.targets`); None for all of them. A
    protocol runs on every dataset that has the targets it needs."""
    most_shots: int | None = Field(default=None, ge=1)
    """Largest number of shots of few-shot episodes, where some classes have too few images for more."""
    protocols: tuple[str, ...] | None = None
    """Restricts the protocols to these names and globs; None for no restriction. A protocol named in full is offered
    even if targets, splits or sizes do not suit it."""
    folder: str | None = None
    """Folder below the data root; None for data that is embedded or rendered."""
    domain: str = "objects"
    splits: Literal["train-val-test", "train-test", "all"] = "train-test"
    images: dict[str, int] = Field(default_factory=dict)
    """Published number of images per split; `data check` compares."""
    download: Literal["automatic", "manual", "none"] = "none"
    download_megabytes: float | None = None
    manifest: str | None = None
    """Digest of images, labels and splits when the dataset was added; `data check` compares."""
    background: str = "white"
    """The colour on which transparent images are composited: a name or #rrggbb."""
    orientation: Literal["upright", "stored"] = "upright"
    """Whether images are turned as their EXIF data say, or read as they are stored."""
    shifts: tuple[DatasetCard, ...] = ()
    """Further test sets that are read along with it, by a catalog from the parameters of a task; not in card files."""
    page: str | None = None
    instructions: str | None = None
    note: str | None = None

    @field_validator("folder")
    @classmethod
    def _stays_below(cls, folder: str | None) -> str | None:
        """Data are fetched into it: whoever wrote the card does not choose a place outside of the data root."""
        path = PurePosixPath(folder or "")
        if path.is_absolute() or ".." in path.parts or "\0" in str(path):
            raise ValueError("It must lie below the data root: put a link there to data that lie elsewhere")
        return folder

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}|[a-z]+", background):
            raise ValueError(f"background = {background!r} is no colour: write a name such as white, or #rrggbb")
        return background


class TaskCard(CardModel):
    """A task of the user's own: a protocol on a dataset with parameters that differ from every preset."""

    name: str
    title: str
    protocol: str
    dataset: str
    preset: str = "default"
    parameters: dict[str, Scalar] = Field(default_factory=dict)


class SuiteCard(CardModel):
    """A named list of tasks, and of backbones where the suite is about particular ones."""

    name: str
    title: str
    tasks: tuple[str, ...]
    """Task names or globs."""
    backbones: tuple[str, ...] = ()
    preset: str = "default"
    presets: dict[str, str] = Field(default_factory=dict)
    """Per protocol family, another preset than `preset`: `[presets] finetune = "small"`."""
    parameters: dict[str, dict[str, Scalar]] = Field(default_factory=dict)
    """Per protocol family, what differs from the preset: `[parameters.few-shot] episodes = 100`."""
