"""Source splits as protocols declare them: samples, corrupted copies, and the inputs made of their features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from backbones.catalog.card import PreprocessingSpec
from backbones.catalog.layer_info import LayerColumn
from backbones.model.preprocessing import prepare
from tasks.catalog.analysis_parameters import TransferabilitySampleParameters
from tasks.catalog.protocol import Parameters, ProtocolSpec, declared_function
from tasks.catalog.retrieval_parameters import RobustnessParameters
from tasks.datasets.card import MetricName
from tasks.datasets.dataset import Dataset, ImageSource, SourceSplit, digest_labels, digest_lines
from tasks.datasets.shifts import SHIFT, corrupted_split
from tasks.datasets.splits import Indices, ManyShotSplit, Selection, many_shot_indices, pool, select_labels
from tasks.evaluation.inputs import (
    BankInputs,
    FeatureInputs,
    Features,
    LayerInputs,
    ManyShotInputs,
    PixelTargets,
    PoolInputs,
    Samples,
    StoredSamples,
)
from tasks.features.shards import StoredRows
from tasks.reporter import Reporter

Floats = npt.NDArray[np.float64]
VALIDATION_SHARE = 0.2
"""Default fraction of training images used for validation, overridden by the parameter `validation_share`."""
HUES = 12
"""Number of bins of the hue circle; the first is centred on red."""

PerSplit = Mapping[str, Features]
"""Features [n, d] of every source split, by its name."""


@dataclass(frozen=True)
class ChosenImages:
    """Some images of a list."""

    images: ImageSource
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Image.Image:
        """RGB image. Raises `DataError`."""
        return self.images[int(self.indices[index])]


def chosen_split(split: SourceSplit, indices: Indices, name: str) -> SourceSplit:
    """Some images of a split, without targets; the split itself if all are chosen."""
    if np.array_equal(indices, np.arange(len(split.images))):
        return split
    labels = split.labels[indices]
    return SourceSplit(
        name,
        ChosenImages(split.images, indices),
        labels,
        tuple(split.identifiers[int(index)] for index in indices),
        digest_lines([split.images_digest, f"images {indices.tolist()}"]),
        digest_labels(labels),
        newest_change=split.newest_change,
    )


def sampled(dataset: Dataset, parameters: TransferabilitySampleParameters) -> Dataset:
    """The dataset with at most `images` training and validation images, evenly over classes, and at most `test_images`
    test images drawn at random. The draw depends on the dataset only.
    """
    split, random = many_shot_indices(dataset), np.random.RandomState(0)
    chosen: dict[str, list[Indices]] = {name: [] for name in dataset.splits}
    for role, most, even in (
        (split.train_and_val, parameters.images, True),
        (split.test, parameters.test_images, False),
    ):
        for name, rows in _drawn(dataset, role, most, random, even=even):
            chosen[name].append(rows)
    parts = {name: np.sort(np.concatenate(rows)) for name, rows in chosen.items() if sum(map(len, rows))}
    splits = {name: chosen_split(dataset.splits[name], rows, name) for name, rows in parts.items()}
    return replace(dataset, splits=splits)


def _drawn(dataset: Dataset, role: Selection, most: int, random: np.random.RandomState, *, even: bool) -> Selection:
    """At most `most` images of a role: the first of a random order, in which classes take turns if `even`."""
    sizes = [len(rows) for _, rows in role]
    order = random.permutation(sum(sizes))
    if even:
        labels = np.concatenate([dataset.splits[name].labels[rows] for name, rows in role])[order]
        earlier, seen = np.zeros(len(labels), np.int64), np.zeros(int(labels.max()) + 1, np.int64)
        for place, label in enumerate(labels):
            earlier[place] = seen[label]
            seen[label] += 1
        order = order[np.argsort(earlier, kind="stable")]
    kept = np.zeros(len(order), bool)
    kept[order[:most]] = True
    ends = np.cumsum(sizes)[:-1]
    return tuple((name, rows[part]) for (name, rows), part in zip(role, np.split(kept, ends), strict=True))


def corrupted_splits(dataset: Dataset, parameters: RobustnessParameters) -> dict[str, SourceSplit]:
    """By name, the test images at every kind and severity."""
    test = test_split(dataset)
    made = (corrupted_split(test, kind, level) for kind in parameters.corruptions for level in parameters.severities)
    return {split.name: split for split in made}


def test_split(dataset: Dataset) -> SourceSplit:
    """The test images as one split, which never depend on a seed."""
    ((name, indices),) = many_shot_indices(dataset).test
    split = dataset.splits[name]
    if np.array_equal(indices, np.arange(len(split.images))):
        return split
    return replace(chosen_split(split, indices, "test"), labels_digest=split.labels_digest)


@dataclass(frozen=True)
class SplitFeatures:
    """A dataset with the stored features of its source splits."""

    dataset: Dataset
    metric: MetricName
    features: PerSplit
    preprocessing: PreprocessingSpec | None = None
    """Preprocessing, required for pixel targets; None for features alone."""
    seed: int = 0
    """Seed of the validation split; 0 selects the published one."""
    device: str = "cpu"
    layers: Mapping[str, npt.NDArray[np.floating]] | None = None
    """Layer-wise features [n, d] of every source split; None unless the protocol declares them."""
    columns: tuple[LayerColumn, ...] = ()
    """Columns of `layers`."""
    shifts: Mapping[str, SourceSplit] = field(default_factory=dict)
    """Further splits by the name of their features; empty unless the protocol declares them."""

    def inputs(self, protocol: ProtocolSpec, parameters: Parameters, reporter: Reporter) -> FeatureInputs:
        """Inputs that the protocol declares."""
        if protocol.inputs == "pool":
            return self.pool()
        split = many_shot_indices(self.dataset, getattr(parameters, "validation_share", VALIDATION_SHARE), self.seed)
        if protocol.inputs == "bank":
            return self.bank(split)
        inputs = replace(self.many_shot(split), shifts=self.shifted())
        if self.layers is not None:
            inputs = replace(inputs, layers=LayerInputs.of(split, self.layers, self.columns))
        if protocol.pixel_targets is None:
            return inputs
        compute: PixelFunction = declared_function(protocol.pixel_targets)
        return replace(inputs, pixel_targets=self.pixel_targets(split, compute, reporter))

    def many_shot(self, split: ManyShotSplit) -> ManyShotInputs:
        """Inputs of a train, validation and test role."""
        return ManyShotInputs(
            train=samples(self.dataset, self.features, split.train),
            val=samples(self.dataset, self.features, split.val),
            test=samples(self.dataset, self.features, split.test),
            classes=self.dataset.classes,
            metric=self.metric,
            device=self.device,
        )

    def shifted(self) -> dict[str, Samples]:
        """All images of every further split."""
        return {
            name.removeprefix(SHIFT): Samples(self.features[name], split.labels, np.arange(len(split.labels)))
            for name, split in self.shifts.items()
        }

    def bank(self, split: ManyShotSplit) -> BankInputs:
        """Training and validation images as the bank, and the test images; arrays are not copied."""
        train, val = (sum(len(indices) for _, indices in role) for role in (split.train, split.val))
        bank, test = (_stored(self.dataset, self.features, role) for role in (split.train_and_val, split.test))
        (name, rows), *others = split.test
        source = self.dataset.splits[name]
        targets = {} if others or len(rows) < len(source.images) else source.targets
        return BankInputs(bank, test, (train, val), self.dataset.classes, self.metric, self.device, targets)

    def pool(self) -> PoolInputs:
        """All images of all splits."""
        return PoolInputs(samples(self.dataset, self.features, pool(self.dataset)), self.dataset.classes, self.device)

    def pixel_targets(self, split: ManyShotSplit, compute: PixelFunction, reporter: Reporter) -> PixelTargets:
        """Targets of all roles, computed from the preprocessed (resized and cropped) images."""
        roles = (split.train, split.val, split.test)
        reporter.phase("pixel targets", sum(len(indices) for role in roles for _, indices in role), "images")
        return PixelTargets(*(self._computed(role, compute, reporter) for role in roles))

    def _computed(self, selection: Selection, compute: PixelFunction, reporter: Reporter) -> Floats:
        assert self.preprocessing is not None, "pixel targets require images"
        rows: list[Floats] = []
        for name, indices in selection:
            for index in indices:
                image = self.dataset.splits[name].images[int(index)]
                rows.append(compute(prepare(image, self.preprocessing).numpy()))
                reporter.advance()
        return np.stack(rows)


PixelFunction = Callable[[npt.NDArray[np.uint8]], Floats]
"""Targets [k] of pixels [3, h, w]."""


def colour(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Mean of each channel in [0, 1], then the hue histogram, of `pixels` [3, h, w].

    Pixels are weighted by their chroma, so grey has no hue; the histogram of an image without colour is 0.
    """
    red, green, blue = channels = pixels.reshape(3, -1).astype(np.float64) / 255
    highest, chroma = channels.max(axis=0), np.ptp(channels, axis=0)
    divisor = np.where(chroma > 0, chroma, 1.0)
    sextant = np.select(
        [highest == red, highest == green],
        [(green - blue) / divisor, 2 + (blue - red) / divisor],
        4 + (red - green) / divisor,
    )
    bins = np.floor(sextant / 6 * HUES + 0.5).astype(np.int64) % HUES
    weights = np.bincount(bins, weights=chroma, minlength=HUES)
    total = weights.sum()
    return np.concatenate([channels.mean(axis=1), weights / total if total > 0 else weights])


def samples(dataset: Dataset, features: PerSplit, selection: Selection) -> Samples:
    """Features, labels and indices of a selection, part by part."""
    rows = [_rows(features[name], indices) for name, indices in selection]
    return Samples(
        features=rows[0] if len(rows) == 1 else np.concatenate(rows),
        labels=select_labels(dataset, selection),
        index=np.concatenate([indices for _, indices in selection]),
    )


def _stored(dataset: Dataset, features: PerSplit, selection: Selection) -> StoredSamples:
    return StoredSamples(
        features=StoredRows(tuple((features[name], indices) for name, indices in selection)),
        labels=select_labels(dataset, selection),
        index=np.concatenate([indices for _, indices in selection]),
    )


def _rows(values: Features, indices: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Features:
    """Selected rows; the memory-mapped array itself if all rows are selected."""
    return values if np.array_equal(indices, np.arange(len(values))) else np.asarray(values[indices])
