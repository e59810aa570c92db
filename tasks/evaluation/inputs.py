"""Protocol inputs: features and labels by role, layer-wise features, or images and a trainable backbone. Needs no
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backbones.catalog.card import Precision, PreprocessingSpec
from backbones.catalog.layer_info import LayerColumn, LayerPooling
from tasks.datasets.card import MetricName
from tasks.datasets.dataset import DataError, Dataset, Kind, Labels, SourceSplit, Targets
from tasks.datasets.splits import ManyShotSplit, Selection
from tasks.features.feature_checks import shared_rows
from tasks.features.shards import ColumnRows, StoredRows

if TYPE_CHECKING:
    from backbones.model.loading import TrainableBackbone
    from tasks.features.decoded_images import DecodedImages, DecodedRows

AnyFloats = npt.NDArray[np.floating]
Place = tuple[int, LayerPooling]
"""Block number, from 1, and pooling of its tokens or feature map."""
Features = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RoleLayers:
    """Layer-wise features of the images in one role, read from disk on access."""

    parts: tuple[tuple[AnyFloats, npt.NDArray[np.int64]], ...]
    """Arrays [*, d], each with its selected rows."""
    columns: tuple[LayerColumn, ...]

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    def select(self, places: Sequence[Place]) -> ColumnRows:
        """Features [n, sum of widths] of the given blocks and poolings, concatenated in the given order."""
        return ColumnRows(tuple(self._column(place) for place in places))

    def _column(self, place: Place) -> StoredRows:
        ends = np.cumsum([column.width for column in self.columns])
        number = [(column.block, column.pooling) for column in self.columns].index(place)
        chosen = slice(int(ends[number]) - self.columns[number].width, int(ends[number]))
        return StoredRows(tuple((values[:, chosen], rows) for values, rows in self.parts))


@dataclass(frozen=True)
class LayerInputs:
    """Layer-wise features of a train, validation and test role."""

    train: RoleLayers
    val: RoleLayers
    test: RoleLayers

    @classmethod
    def of(cls, split: ManyShotSplit, arrays: Mapping[str, AnyFloats], columns: tuple[LayerColumn, ...]) -> LayerInputs:
        """Layer-wise features by role, from one array per source split."""

        def role(selection: Selection) -> RoleLayers:
            return RoleLayers(tuple((arrays[name], rows) for name, rows in selection), columns)

        return cls(role(split.train), role(split.val), role(split.test))

    @property
    def columns(self) -> tuple[LayerColumn, ...]:
        """Columns of every array."""
        return self.train.columns

    @property
    def blocks(self) -> tuple[int, ...]:
        """Stored block numbers, from 1, in ascending order."""
        return tuple(sorted({column.block for column in self.columns}))

    def last(self, count: int) -> tuple[int, ...] | None:
        """The last `count` blocks; None if the backbone has fewer or not all of them are stored."""
        depth = self.blocks[-1]
        wanted = tuple(range(depth - count + 1, depth + 1))
        return wanted if set(wanted) <= set(self.blocks) else None

    def has(self, pooling: LayerPooling) -> bool:
        """Whether this pooling of the blocks is stored."""
        return any(column.pooling == pooling for column in self.columns)


@dataclass(frozen=True)
class Samples:
    """Images in one role, in dataset order."""

    features: Features
    """[n, d], possibly memory-mapped."""
    labels: Labels
    """[n] class indices, or [n, classes] of 0 and 1."""
    index: npt.NDArray[np.int64]
    """[n] index of each image in its source split."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class PixelTargets:
    """Targets [n, k] computed from the images' pixels (`ProtocolSpec.pixel_targets`), by role."""

    train: Floats
    val: Floats
    test: Floats


@dataclass(frozen=True)
class ManyShotInputs:
    """A train, validation and test role."""

    train: Samples
    val: Samples
    test: Samples
    classes: tuple[str, ...]
    metric: MetricName
    device: str = "cpu"
    """Compute device; changes the result by rounding only."""
    pixel_targets: PixelTargets | None = None
    """Pixel targets, if the protocol declares them."""
    layers: LayerInputs | None = None
    """Layer-wise features, if the protocol declares them."""
    shifts: Mapping[str, Samples] = field(default_factory=dict)
    """Further splits and test sets by name; empty unless the protocol declares them."""
    key: str = ""
    """Result key: a digest of everything that determines the result, so that a checkpoint belongs to one measurement.
    """
    checkpoint: Path | None = None
    """Folder for checkpoints of long training; None: no checkpoints."""
    checkpoint_s: float = 60.0
    """Interval between checkpoints in seconds."""

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes."""
        return self.test.labels.ndim == 2

    @property
    def duplicate_test_images(self) -> int | None:
        """Number of test images whose features equal those of a training or validation image."""
        return sum(shared_rows(role.features, self.test.features) for role in (self.train, self.val))


@dataclass(frozen=True)
class PoolInputs:
    """All images of a dataset together, from which episodes are drawn."""

    pool: Samples
    classes: tuple[str, ...]
    device: str = "cpu"

    @property
    def duplicate_test_images(self) -> int | None:
        """None: every episode draws its own training and test images."""
        return None


@dataclass(frozen=True)
class StoredSamples:
    """Images in one role whose features are read from disk on access."""

    features: StoredRows
    """[n, d]."""
    labels: Labels
    """[n] class indices, or [n, classes] of 0 and 1."""
    index: npt.NDArray[np.int64]
    """[n] index of each image in its source split."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class BankInputs:
    """Labelled bank of kNN, and the test images."""

    bank: StoredSamples
    """Training and validation images, in the order of their source splits."""
    test: StoredSamples
    trained_on: tuple[int, int]
    """Number of training and of validation images in the bank."""
    classes: tuple[str, ...]
    metric: MetricName
    device: str = "cpu"
    test_targets: Mapping[Kind, Targets[Any]] = field(default_factory=dict)
    """Targets of the test images by kind, if the test images are one whole source split."""

    @property
    def duplicate_test_images(self) -> int | None:
        """Number of test images whose features equal those of an image in the bank."""
        return shared_rows(self.bank.features, self.test.features)

    @classmethod
    def of(cls, inputs: ManyShotInputs) -> BankInputs:
        """The bank of the given roles."""
        bank, test = _together(inputs.train, inputs.val), _together(inputs.test)
        return cls(bank, test, (len(inputs.train), len(inputs.val)), inputs.classes, inputs.metric, inputs.device)


Predictor = Callable[[AnyFloats], npt.NDArray[np.int64]]
"""Predicted classes [n] of features [n, d]."""
FeatureInputs = ManyShotInputs | BankInputs | PoolInputs


def _together(*roles: Samples) -> StoredSamples:
    return StoredSamples(
        features=StoredRows(tuple((role.features, np.arange(len(role))) for role in roles)),
        labels=np.concatenate([role.labels for role in roles]),
        index=np.concatenate([role.index for role in roles]),
    )


def joined(first: Samples, second: Samples) -> Samples:
    """Concatenation of two samples in memory."""
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
    """Result key: a digest of everything that determines the result, which identifies its checkpoint."""
    device: str = "cpu"
    precision: Precision = "float32"
    batch_size: int = 64
    """Batch size of inference; changes the result by rounding only."""
    checkpoint: Path | None = None
    checkpoint_s: float = 60.0
    """Interval between checkpoints in seconds."""
    pictures: Path | None = None
    decoded: DecodedImages | None = None
    """Centre crops that were decoded for other backbones; None where the user has set no room for them."""
    part: Path | None = None
    """File for predictions of the first test images while the others are being scored; None: it is not written."""

    def split(self, *names: str) -> SourceSplit:
        """The first of these source splits that the dataset has. Raises DataError if there is none."""
        for name in names:
            if name in self.dataset.splits:
                return self.dataset.splits[name]
        raise DataError(f"{self.dataset.name} has the splits {', '.join(self.dataset.splits)}: none is {names[0]}")

    @contextmanager
    def shared_images(self) -> Iterator[Mapping[str, DecodedRows]]:
        """Centre crops of the dataset's source splits that backbones of the same preprocessing share, by split."""
        with ExitStack() as stack:
            found = {}
            for name, split in self.dataset.splits.items() if self.decoded is not None else ():
                title = f"{self.dataset.name}/{name}"
                assert self.decoded is not None
                rows = self.decoded.rows(split.images_digest, len(split.images), self.spec, title)
                if (opened := stack.enter_context(rows)) is not None:
                    found[name] = opened
            yield found

    def targets(self, split: SourceSplit, kind: Kind) -> Targets[Any]:
        """Targets of a split by kind. Raises DataError if there are none."""
        if kind not in split.targets:
            raise DataError(f"{self.dataset.name} has no {kind} for its images: correct the targets on its card")
        return split.targets[kind]
