"""What protocols over images are given: the data, a backbone that can be trained, and where to keep their state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.encoder import Precision
from backbones.preprocessing_spec import PreprocessingSpec
from backbones.trainable import TrainableBackbone
from tasks.card import MetricName
from tasks.datasets.dataset import DataError, Dataset, SourceSplit
from tasks.datasets.targets import Kind, Targets


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
