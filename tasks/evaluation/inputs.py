"""What protocols on frozen features are given: features and labels by the role that they play."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones.catalog.card import Precision, PreprocessingSpec
from backbones.model.loading import TrainableBackbone
from tasks.datasets.card import MetricName
from tasks.datasets.dataset import DataError, Dataset, Labels, SourceSplit
from tasks.datasets.dense_targets import Kind, Targets
from tasks.features.shards import StoredRows

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Images in one role, in dataset order."""

    features: Features
    """[n, d], possibly memory-mapped."""
    labels: Labels
    """[n] class indices, or [n, classes] of 0 and 1."""
    index: npt.NDArray[np.int64]
    """[n] the image's place in its source split."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class ManyShotInputs:
    """A train, validation and test role: what linear and nearest-neighbour classification need."""

    train: Samples
    val: Samples
    test: Samples
    classes: tuple[str, ...]
    metric: MetricName
    device: str = "cpu"
    """Where to compute; never changes which number comes out, beyond rounding."""

    @property
    def multi_label(self) -> bool:
        """Whether an image may carry several classes."""
        return self.test.labels.ndim == 2


@dataclass(frozen=True)
class ColourInputs(ManyShotInputs):
    """The same three roles with the colours of their images (`splits_to_inputs.colours`), [n, colours] each."""

    train_colours: npt.NDArray[np.float64] = field(kw_only=True)
    val_colours: npt.NDArray[np.float64] = field(kw_only=True)
    test_colours: npt.NDArray[np.float64] = field(kw_only=True)


@dataclass(frozen=True)
class PoolInputs:
    """All images of a dataset together, from which episodes are drawn."""

    pool: Samples
    classes: tuple[str, ...]
    device: str = "cpu"


@dataclass(frozen=True)
class StoredSamples:
    """Images in one role whose features stay on the disk until they are asked for."""

    features: StoredRows
    """[n, d]."""
    labels: Labels
    """[n] class indices, or [n, classes] of 0 and 1."""
    index: npt.NDArray[np.int64]
    """[n] the image's place in its source split."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class BankInputs:
    """Labelled images that vote together, and those that they vote on."""

    bank: StoredSamples
    """Training and validation images, in the order of their source splits."""
    test: StoredSamples
    trained_on: tuple[int, int]
    """How many of the bank are training and how many validation images."""
    classes: tuple[str, ...]
    metric: MetricName
    device: str = "cpu"

    @classmethod
    def of(cls, inputs: ManyShotInputs) -> BankInputs:
        """The bank of roles that are there already."""
        bank, test = _together(inputs.train, inputs.val), _together(inputs.test)
        return cls(bank, test, (len(inputs.train), len(inputs.val)), inputs.classes, inputs.metric, inputs.device)


def _together(*roles: Samples) -> StoredSamples:
    return StoredSamples(
        features=StoredRows(tuple((role.features, np.arange(len(role))) for role in roles)),
        labels=np.concatenate([role.labels for role in roles]),
        index=np.concatenate([role.index for role in roles]),
    )


def joined(first: Samples, second: Samples) -> Samples:
    """Both, one after the other, in memory."""
    return Samples(
        features=np.concatenate([first.features, second.features]),
        labels=np.concatenate([first.labels, second.labels]),
        index=np.concatenate([first.index, second.index]),
    )


@dataclass(frozen=True)
class ImageInputs:
    """One dataset and one backbone."""

    dataset: Dataset
    metric: MetricName
    backbone: TrainableBackbone
    spec: PreprocessingSpec
    key: str
    """The result's key: names everything that decides the number, so that a checkpoint knows whose it is."""
    device: str = "cpu"
    precision: Precision = "float32"
    batch_size: int = 64
    """For evaluation only; never changes which number comes out, beyond rounding."""
    checkpoint: Path | None = None
    checkpoint_s: float = 60.0
    """Seconds of training after which its state is kept again."""
    pictures: Path | None = None

    def split(self, *names: str) -> SourceSplit:
        """The first of these source splits that the dataset has. Raises DataError."""
        for name in names:
            if name in self.dataset.splits:
                return self.dataset.splits[name]
        raise DataError(f"{self.dataset.name} has the splits {', '.join(self.dataset.splits)}: none is {names[0]}")

    def targets(self, split: SourceSplit, kind: Kind) -> Targets[Any]:
        """The split's targets of a kind. Raises DataError when it has none."""
        if kind not in split.targets:
            raise DataError(f"{self.dataset.name} has no {kind} for its images: correct the protocols on its card")
        return split.targets[kind]
