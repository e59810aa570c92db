"""From stored features, one array per source split, to the roles that a protocol asks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.inputs import Features, ManyShotInputs, PoolInputs, Samples
from tasks.parameters import LinearParameters, Parameters
from tasks.splits import Selection, many_shot_indices, pool, select_labels

PerSplit = Mapping[str, Features]
"""Features [n, d] of every source split, by its name."""


def many_shot(
    dataset: Dataset, card: DatasetCard, features: PerSplit, parameters: Parameters, seed: int, device: str
) -> ManyShotInputs:
    """Train, validation and test. Seed 0 is the published validation split; another one draws it anew."""
    share = parameters.validation_share if isinstance(parameters, LinearParameters) else 0.2
    split = many_shot_indices(dataset, share, seed)
    return ManyShotInputs(
        train=samples(dataset, features, split.train),
        val=samples(dataset, features, split.val),
        test=samples(dataset, features, split.test),
        classes=dataset.classes,
        metric=card.metric,
        device=device,
    )


def pooled(dataset: Dataset, features: PerSplit, device: str) -> PoolInputs:
    """Every image of every split."""
    return PoolInputs(samples(dataset, features, pool(dataset)), dataset.classes, device)


def samples(dataset: Dataset, features: PerSplit, selection: Selection) -> Samples:
    """Features, labels and places of a selection, part after part."""
    rows = [_rows(features[name], indices) for name, indices in selection]
    return Samples(
        features=rows[0] if len(rows) == 1 else np.concatenate(rows),
        labels=select_labels(dataset, selection),
        index=np.concatenate([indices for _, indices in selection]),
    )


def _rows(values: Features, indices: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Features:
    """Chosen rows; the memory-mapped array itself when they are all of them."""
    return values if np.array_equal(indices, np.arange(len(values))) else np.asarray(values[indices])
