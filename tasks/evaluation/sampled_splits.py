"""A sample of a dataset: fewer images of every split, so that the others are never decoded nor encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tasks.catalog.analysis_parameters import TransferabilitySampleParameters
from tasks.datasets.dataset import Dataset, ImageSource, Labels, SourceSplit, digest_labels, digest_lines
from tasks.datasets.splits import Indices, Selection, many_shot_indices


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
        labels = np.concatenate([dataset.splits[name].labels[rows] for name, rows in role])
        order = order[np.argsort(_turns(labels[order]), kind="stable")]
    kept = np.zeros(len(order), bool)
    kept[order[:most]] = True
    ends = np.cumsum(sizes)[:-1]
    return tuple((name, rows[part]) for (name, rows), part in zip(role, np.split(kept, ends), strict=True))


def _turns(labels: Labels) -> Indices:
    """Number of earlier images [n] of the same class."""
    found, seen = np.zeros(len(labels), np.int64), np.zeros(int(labels.max()) + 1, np.int64)
    for place, label in enumerate(labels):
        found[place] = seen[label]
        seen[label] += 1
    return found
