"""Corrupted test images of a dataset, as further splits whose features are stored as those of any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tasks.catalog.robustness_parameters import RobustnessParameters
from tasks.datasets.corruptions import corrupted_split
from tasks.datasets.dataset import Dataset, ImageSource, SourceSplit, digest_lines
from tasks.datasets.splits import Indices, many_shot_indices


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
    digest = digest_lines([split.images_digest, f"images {indices.tolist()}"])
    identifiers = tuple(split.identifiers[int(index)] for index in indices)
    images = ChosenImages(split.images, indices)
    return SourceSplit(
        "test",
        images,
        split.labels[indices],
        identifiers,
        digest,
        split.labels_digest,
        newest_change=split.newest_change,
    )
