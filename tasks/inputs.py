"""What protocols on frozen features are given: features and labels by the role that they play."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tasks.card import MetricName
from tasks.datasets.dataset import Labels

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
    """The same three roles with what their images look like: `tasks.colour_targets.colours`, [n, colours] each."""

    train_colours: npt.NDArray[np.float64] = field(kw_only=True)
    val_colours: npt.NDArray[np.float64] = field(kw_only=True)
    test_colours: npt.NDArray[np.float64] = field(kw_only=True)


@dataclass(frozen=True)
class PoolInputs:
    """All images of a dataset together, from which episodes are drawn."""

    pool: Samples
    classes: tuple[str, ...]
    device: str = "cpu"


def joined(first: Samples, second: Samples) -> Samples:
    """Both, one after the other, in memory."""
    return Samples(
        features=np.concatenate([first.features, second.features]),
        labels=np.concatenate([first.labels, second.labels]),
        index=np.concatenate([first.index, second.index]),
    )
