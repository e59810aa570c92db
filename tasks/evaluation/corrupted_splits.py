"""Corrupted test images of a dataset, as further splits whose features are stored as those of any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.catalog.retrieval_parameters import RobustnessParameters
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.shifts import corrupted_split
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.sampled_splits import chosen_split


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
